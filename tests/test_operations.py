"""Run every command of docs/operations.md, in the order in which it is written.

Those of `litestream` are run in tests/test_litestream.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.cli.commands import main
from tests.documented_lines import TEXT, localise, read_container_commands, read_lines
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.service_manager import ServiceManager
from tests.workspace import ROOT, Workspace, free_port, make_fans, run_cli, wait_until, wait_until_healthy

COMMAND = "python -m sync "
PROGRAMS = (COMMAND, "mkdir ", "cp ", "systemctl ", "curl ", "docker compose ", "litestream ")
SETTING = re.compile(r"(COHORT_SYNC|STREAMLIT)_[A-Z_]+=")
NEEDS_PERSON = ("status",)  # may exit with 1, which is an answer
# In the place of Podman: note what it is asked, and answer that there are no containers yet.
PODMAN = """#!/bin/sh
printf '%s\\n' "$*" >>"$0.log"
case "$1" in --version) echo "podman version 5.0.0" ;; ps) echo "[]" ;; esac
"""


def find_program(name: str) -> str:
    """Return the path of a program of this machine; a test without it is skipped, and fails under CI."""
    reason = f"No {name} on this machine; install it to run the lines of docs/operations.md that begin with it."
    return shutil.which(name) or (pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason))


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["sync", *shlex.split(line.removeprefix(COMMAND))])
    return main()


def run_in_shell(line: str) -> str:
    """Run a line as a person types it in the project's folder, and return what it printed; raise when it fails."""
    env = {**os.environ, "no_proxy": "127.0.0.1"}
    return subprocess.run(line, shell=True, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S602


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
    for line in read_lines(COMMAND):
        code = run_command(localise(line, here), monkeypatch)
        assert code in ((0, 1) if line.split()[3] in NEEDS_PERSON else (0,)), line
        if "day-30.db" in line and "backup" in line:
            shutil.copy(tmp_path / "backups" / "day-30.db", tmp_path / "backups" / "copy.db")
        workspace.run_queued()


@pytest.fixture
def services(workspace: Workspace, tmp_path: Path) -> Iterator[ServiceManager]:
    """Make a folder in the place of the machine's root, with a port of its own among the settings of the services."""
    with ServiceManager(tmp_path / "root", workspace.data_dir, find_program("systemctl")) as manager:
        port = manager.places[":8501"] = f":{free_port()}"
        manager.places["/var/backups/cohort-sync"] = tmp_path / "backups" / "cohort-sync"
        (manager.root / "etc" / "cohort-sync.env").write_text(f"STREAMLIT_SERVER_PORT={port[1:]}\n")
        yield manager


@pytest.mark.slow
def test_lines_for_services_when_typed_as_documented_install_watch_stop_and_start_them(
    workspace: Workspace, services: ServiceManager
) -> None:
    """`mkdir`, `cp`, `systemctl` and `curl` lines on a machine of two real processes, and what needs them running or stopped.

    Only starting and stopping is not done by systemd itself (tests/service_manager.py says why).
    """
    curl, lines = (
        find_program("curl"),
        read_lines("mkdir ", "cp ", "systemctl ", "curl ", f"{COMMAND}backup", f"{COMMAND}restore"),
    )
    restarted = re.findall(r"`(systemctl restart [^`]+)`", TEXT)
    stop = next(number for number, line in enumerate(lines) if line.startswith("systemctl stop"))
    lines = [*lines[:stop], *restarted, *lines[stop:]]
    assert lines[0].startswith("cp ") and len(restarted) == 1
    for line in lines[:-1]:  # the last one restores Litestream's copy, on another machine
        asked = localise(line, services.places)
        if line.startswith("systemctl "):
            services.do(line)
            wait_until_up(services, workspace)
        elif line.startswith(COMMAND):
            assert run_cli(workspace.data_dir, *shlex.split(asked.removeprefix(COMMAND))).returncode == 0, line
        else:
            assert "<html" not in run_in_shell(asked.replace("curl ", f"{curl} ", 1)), line  # of an unknown address
    assert services.ask("is-enabled", *services.running).split() == ["enabled", "enabled"]
    assert len(services.running) == 2


def wait_until_up(services: ServiceManager, workspace: Workspace) -> None:
    """Wait until the pages answer and the runner works, those of them that were started."""
    for name, process in services.running.items():
        if "pages" in name:
            wait_until_healthy(process, f"http://127.0.0.1{services.places[':8501']}")
        else:
            with workspace.open_store() as store:
                wait_until(lambda: bool(store.runners.list_heartbeats(workspace.now())))  # those alive


@pytest.mark.slow
def test_lines_for_docker_when_read_by_podman_compose_start_and_ask_confined_services(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The lines and compose.yaml are read by podman-compose, and the command for a container runs.

    A stub in the place of Podman notes what it is asked: neither it nor Docker can pull an image on any machine the
    tests run on. In the folder that tests/dockerfile.py makes by the steps of the Dockerfile the command runs, too.
    """
    podman = tmp_path / "podman"
    podman.write_text(PODMAN)
    podman.chmod(0o755)
    lines = read_lines("docker compose ")
    for line in lines:
        words = shlex.split(line.removeprefix("docker compose "))
        compose = [sys.executable, "-m", "podman_compose", "--podman-path", str(podman), *words]
        subprocess.run(compose, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    asked = Path(f"{podman}.log").read_text(encoding="utf-8").splitlines()
    created = [one for one in asked if one.startswith("create ")]
    for confined in ("--read-only", "--cap-drop ALL", "-u 10001:10001", "destination=/data", "no-new-privileges"):
        assert all(confined in one for one in created), confined
    started = [one.split("_")[-2] for one in asked if one.startswith("start ")]
    assert started == ["pages", "runner"] and len(created) == 2
    [(service, command)] = read_container_commands()
    assert [one for one in asked if one.endswith(f"_{service}_1 {shlex.join(command)}")]
    assert command[:3] == ["python", "-m", "sync"] and workspace.run_cli(*command[3:]).returncode == 0


def test_lines_when_they_are_no_command_of_ours_are_run_too() -> None:
    """Every line of a box is a setting or begins with a program whose lines are all run by a test."""
    rest = [line for line in read_lines() if not line.startswith(PROGRAMS) and not SETTING.match(line)]
    assert rest == []
    assert all((ROOT / path).exists() for path in re.findall(r"`(docs/[\w./]+\w)/?`", TEXT))


def test_document_when_read_is_day_1_day_30_and_a_bad_day() -> None:
    """Three chapters, in the order in which people need them."""
    assert re.findall(r"^# (.+)$", TEXT, re.MULTILINE)[1:] == ["Day 1", "Day 30", "A bad day"]
