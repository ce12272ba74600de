"""Run every command of docs/operations.md, in the order in which it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from sync.cli.commands import main
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import ROOT, Workspace, make_fans

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMMAND = "python -m sync "
# What other programs do; each has a test of its own, except Docker, whose steps are done without it.
OTHERS = ("cp docs/systemd/", "systemctl ", "docker compose ", "curl --fail http://127.0.0.1:8501/", "litestream ")
SETTING = re.compile(r"(COHORT_SYNC|STREAMLIT)_[A-Z_]+=")
NEEDS_PERSON = ("status",)  # may exit with 1, which is an answer


def read_lines() -> list[str]:
    """Return every line of the boxes for a shell."""
    return [line for box in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in box.splitlines()]


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["sync", *shlex.split(line.removeprefix(COMMAND))])
    return main()


@pytest.mark.slow
def test_commands_when_typed_as_documented_work_in_that_order(
    workspace: Workspace, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of each box is accepted and does its work, with a runner between them."""
    cohort = sandbox.add_cohort("Fans", make_fans(30))
    (tmp_path / "backups").mkdir()
    here = {
        "--project-id 42": f"--project-id {PROJECT}",
        "NAME": USERNAME,
        "LICENSE": LICENSE,
        "--region eu": f"--region {sandbox.url}",
        "--data-center eug": f"--data-center {sandbox.url}",
        "preview 12": f"preview {cohort}",
        "export 12": f"export {cohort}",
        "USER_ID": "fan-7",
        "/var/backups/cohort-sync": str(tmp_path / "backups"),
    }
    secrets = {"MIXPANEL_SECRET": SECRET, "WEBENGAGE_API_KEY": API_KEY, "COHORT_SYNC_ALERT_URL": "json://127.0.0.1:9/"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    for line in (line for line in read_lines() if line.startswith(COMMAND)):
        asked = line
        for documented, real in here.items():
            asked = asked.replace(documented, real)
        assert run_command(asked, monkeypatch) in ((0, 1) if line.split()[3] in NEEDS_PERSON else (0,)), line
        if "day-30.db" in line and "backup" in line:
            shutil.copy(tmp_path / "backups" / "day-30.db", tmp_path / "backups" / "copy.db")
        workspace.run_queued()


def test_lines_when_they_are_no_command_of_ours_are_known() -> None:
    """Every other line of a box is a setting, or belongs to a program whose use is tested elsewhere."""
    rest = [line for line in read_lines() if not line.startswith((COMMAND, *OTHERS)) and not SETTING.match(line)]
    assert rest == []
    assert all((ROOT / path).exists() for path in re.findall(r"`(docs/[\w./]+\w)/?`", TEXT))


def test_document_when_read_is_day_1_day_30_and_a_bad_day() -> None:
    """Three chapters, in the order in which people need them."""
    assert re.findall(r"^# (.+)$", TEXT, re.MULTILINE)[1:] == ["Day 1", "Day 30", "A bad day"]
