"""What the documents say is there, is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sync.cli.commands import cli as commands

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("sync", "pages", "tests") for path in (ROOT / folder).rglob("*.py")
)
HOME_BUSINESS = re.compile(r"/(root|home|tmp|Users)/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link and picture of a document exists."""
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_every_command_the_readme_names_exists() -> None:
    """And every command that exists is named."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.search(r"`python -m sync COMMAND`: (.*?)\. Every one", text)
    assert listed
    named = {word.split()[0] for word in re.findall(r"`([^`]+)`", listed[1])}
    assert named == set(commands.commands)


def test_every_make_target_named_exists() -> None:
    """Make demo, run, test and bench are in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"\bmake ([a-z]+)\b(?=\s+#|`|$)", document.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "run"} <= named <= targets


def test_every_variable_named_is_read() -> None:
    """Each environment variable of the README is one the code knows, and the other way round."""
    named = set(
        re.findall(r"`((?:COHORT_SYNC|MIXPANEL|WEBENGAGE)_[A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    )
    read = set(re.findall(r"\"((?:COHORT_SYNC|MIXPANEL_S|WEBENGAGE_A)[A-Z_]+)\"", CODE))
    assert named == read


def test_nothing_speaks_of_the_place_it_was_written_in() -> None:
    """No path of somebody's machine stands in what we publish."""
    for document in [*DOCUMENTS, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "requirements.txt"]:
        assert not HOME_BUSINESS.search(document.read_text(encoding="utf-8")), document


def test_the_units_are_sound(tmp_path: Path) -> None:
    """Systemd itself reads both units and finds nothing wrong, once the program they start is there."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("No systemd-analyze on this machine; install systemd to check the units.")
    for unit in sorted((ROOT / "docs" / "systemd").glob("*.service")):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/cohort-sync/.venv/bin/python", "/bin/true"))
        done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (0, "")
