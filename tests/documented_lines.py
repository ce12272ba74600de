"""The command lines of docs/operations.md, with a test's own places where they name those of a real machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from tests.workspace import ROOT

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def read_lines(*programs: str) -> list[str]:
    """Return the lines of the boxes for a shell that begin with one of these words; all lines without any."""
    boxes = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [line for box in boxes for line in box.splitlines() if line.startswith(programs or "")]


def localise(line: str, places: Mapping[str, object]) -> str:
    """Return a line with each documented place replaced by the one given for it, in the order given."""
    for documented, here in places.items():
        line = line.replace(documented, str(here))
    return line


def read_container_commands() -> list[tuple[str, list[str]]]:
    """Return the service and the command of each `docker compose exec` line."""
    words = [shlex.split(line) for line in read_lines("docker compose exec ")]
    return [(service, command) for _, _, _, service, *command in words]
