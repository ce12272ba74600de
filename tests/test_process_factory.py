"""A process that the factory forked is what `python -m` starts, and every program also starts in a fresh interpreter."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import RunnerProcess
from tests.process_factory import ForkedProcess, get_factory
from tests.workspace import (
    ROOT,
    Workspace,
    free_port,
    make_environment,
    make_pages_options,
    run_cli,
    wait_until,
    wait_until_healthy,
)

PATIENCE = 120.0  # seconds; never asserted
FREE_DISK = re.compile(r"Free disk: [\d,]+ MB")  # other programs change it between two looks


def run_fresh(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m sync …` in an interpreter of its own."""
    command = [sys.executable, "-m", "sync", *arguments]
    env = make_environment(data_dir)
    return subprocess.run(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("status",), ("syncs", "--json"), ("pause", "7"), ("pause",), ("nonsense",), ("--help",)]
)
def test_a_command_when_forked_says_and_returns_what_a_fresh_one_does(
    data_dir: Path, arguments: tuple[str, ...]
) -> None:
    """Output, errors and exit code are the same, for what works, what is refused and what click refuses."""
    fresh, forked = run_fresh(data_dir, *arguments), run_cli(data_dir, *arguments)
    outputs = [FREE_DISK.sub("Free disk: some", one.stdout) for one in (forked, fresh)]
    assert outputs[0] == outputs[1]
    assert (forked.returncode, forked.stderr) == (fresh.returncode, fresh.stderr)


@pytest.mark.slow
def test_processes_when_forked_share_nothing_with_one_another(data_dir: Path, tmp_path: Path) -> None:
    """Each has its own environment and data folder; a variable of one is not there for the next."""
    other = tmp_path / "other"
    assert run_cli(data_dir, "status", COHORT_SYNC_DATA=str(other)).returncode == 0 and (other / "app.db").exists()
    (other / "app.db").unlink()
    assert run_cli(data_dir, "status").returncode == 0 and not (other / "app.db").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_runner_when_forked_ends_by_a_signal_as_any_other_does(
    workspace: Workspace, runner_process: RunnerProcess, number: int
) -> None:
    """It is gone when its exit code is there, 0 when it was asked to end; a signal that killed it is named."""
    runner = runner_process(workspace.data_dir)
    assert isinstance(runner, ForkedProcess) and runner.poll() is None
    wait_until(lambda: workspace.read_heartbeat() > 0)
    with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(0.01)
    runner.send_signal(number)
    code = runner.wait(PATIENCE)
    assert not psutil.pid_exists(runner.pid) and runner.poll() == code
    assert code == (-number if number == signal.SIGKILL else 0)


@pytest.mark.parametrize("name", ["PYTHONIOENCODING", "LANG", "LC_ALL"])
def test_a_process_whose_interpreter_would_start_otherwise_is_not_forked(data_dir: Path, name: str) -> None:
    """What Python reads when it starts cannot be changed in a fork."""
    env = make_environment(data_dir)
    assert not get_factory().can_start(env | {name: "x"}) and get_factory().can_start(env)


@pytest.mark.slow
def test_the_runner_and_the_pages_start_in_a_fresh_interpreter(data_dir: Path, tmp_path: Path) -> None:
    """Everything they import is there without the factory."""
    env, port = make_environment(data_dir), free_port()
    subprocess.run([sys.executable, "-m", "sync.runner", "--once"], cwd=ROOT, env=env, check=True, timeout=PATIENCE)
    with (tmp_path / "pages.log").open("w+b") as log:
        command = [sys.executable, "-m", "streamlit", *make_pages_options(port)]
        pages = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_healthy(pages, f"http://127.0.0.1:{port}")
        finally:
            pages.terminate()
            pages.wait(PATIENCE)
