"""Do the steps of the Dockerfile in a clean folder without Docker, start what compose.yaml starts, and check its health.

`python -m tests.dockerfile` uses a fresh virtual environment in the place of the image's Python, and a folder in
the place of its root. The user of the image is used when this is run as root and that user can run Python.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.workspace import ROOT, free_port

DOCKERFILE, COMPOSE = ROOT / "Dockerfile", ROOT / "compose.yaml"
HEALTHY_SECONDS = 120.0
POLL_SECONDS = 1.0


def read_steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile, each with the rest of its line."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


class Image:
    """Make a folder in the place of the image's root, and the environment of its processes."""

    def __init__(self, root: Path) -> None:
        """Begin with the Python of a fresh virtual environment, as the base image has one."""
        self._root, self._place, self._user = root, root, ""
        self.environment = {"PATH": f"{root}/python/bin:{os.environ['PATH']}", "PIP_NO_INPUT": "1"}
        self.command: list[str] = []
        venv.create(root / "python", with_pip=True)
        if os.geteuid() != 0:  # only root can give a folder away; the rest of the step is done all the same
            (root / "python" / "bin" / "chown").symlink_to("/bin/true")

    def do(self, word: str, rest: str) -> None:
        """Do one step; raise for one that is not known here, so that no step is left out unnoticed."""
        if word == "WORKDIR":
            self._place = self.locate(rest)
            self._place.mkdir(parents=True)
        elif word == "COPY":
            self._copy(*rest.split())
        elif word == "RUN":
            command = rest.replace("/data", str(self.locate("/data")))
            subprocess.run(["/bin/sh", "-ec", command], cwd=self._place, env=self.environment, check=True)
        elif word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            self.environment |= pairs | {"COHORT_SYNC_DATA": str(self.locate(pairs["COHORT_SYNC_DATA"]))}
        elif word == "USER":
            self._user = rest.partition(":")[0]
        elif word == "CMD":
            self.command = json.loads(rest)
        elif word not in ("FROM", "VOLUME", "EXPOSE"):
            raise AssertionError(f"tests/dockerfile.py does not know the step {word}")

    def locate(self, path: str) -> Path:
        """Return where an absolute path of the image is here."""
        return self._root / path.lstrip("/")

    def _copy(self, source: str, target: str) -> None:
        found, place = ROOT / source, self._place / target
        if found.is_dir():
            shutil.copytree(found, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place)

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command of the image, as its user where that is possible."""
        user: dict[str, Any] = {}
        if os.geteuid() == 0 and self._user:
            number = int(self._user)
            if self._can_run_python(number):
                user = {"user": number, "group": number, "extra_groups": []}
            else:
                os.chown(self.locate("/data"), os.geteuid(), os.getegid())
                print(f"The user {number} cannot reach this machine's Python; run as root instead.", flush=True)
                self._user = ""
        return subprocess.Popen(command, cwd=self._place, env=self.environment, text=True, **user, **options)

    def _can_run_python(self, number: int) -> bool:
        command = [f"{self._root}/python/bin/python", "-c", ""]
        try:
            return subprocess.run(command, user=number, group=number, extra_groups=[], check=False).returncode == 0
        except PermissionError:
            return False


def wait_until_healthy(image: Image, name: str, check: list[str]) -> None:
    """Wait until a service's health check of compose.yaml says that it is well."""
    command = check[1:] if check[0] == "CMD" else ["/bin/sh", "-c", check[1]]
    deadline = time.monotonic() + HEALTHY_SECONDS
    while image.start(command, stderr=subprocess.DEVNULL).wait():
        if time.monotonic() > deadline:
            sys.exit(f"{name} did not become healthy.")
        time.sleep(POLL_SECONDS)
    print(f"{name} is healthy.", flush=True)


def main() -> None:
    """Do all steps, start both services, and wait for their health checks."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    with tempfile.TemporaryDirectory(prefix="cohort-sync-image-") as folder:
        Path(folder).chmod(0o755)
        image = Image(Path(folder))
        for word, rest in read_steps(DOCKERFILE.read_text(encoding="utf-8")):
            print(word, rest, flush=True)
            image.do(word, rest)
        port = str(free_port())
        image.environment["STREAMLIT_SERVER_PORT"] = port
        started = {name: image.start(one.get("command", image.command)) for name, one in services.items()}
        try:
            for name, one in services.items():
                wait_until_healthy(
                    image, name, [word.replace(":8501", f":{port}") for word in one["healthcheck"]["test"]]
                )
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.wait()


if __name__ == "__main__":
    main()
