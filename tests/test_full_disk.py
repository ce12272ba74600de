"""A real runner whose files may not grow: one line when it begins, one when it is over, and SIGTERM is exit 0."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.model import RunState
from tests.workspace import ROOT, Workspace, make_environment, wait_until

PATIENCE = 60.0  # seconds something awaited may take on a busy machine; never asserted
FAILED_POLLS = 4  # heartbeats that must have failed before the log is read


class LoggedRunner:
    """A runner process and what it logs, read while it works so that it never blocks."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sync.runner"],
            cwd=ROOT,
            env=make_environment(folder, COHORT_SYNC_LOG="DEBUG"),  # `schedule` then logs every poll
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def limit(self, size: int) -> None:
        """Let no file of the process grow beyond this, as a full disk does (the soft limit, so that it can be lifted)."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def logged(self, word: str) -> list[str]:
        """Return the lines that hold this word."""
        return [line for line in self.lines if word in line]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code


@contextmanager
def running(folder: Path) -> Iterator[LoggedRunner]:
    """Start a runner that ends with the test."""
    runner = LoggedRunner(folder)
    try:
        yield runner
    finally:
        runner.process.kill()
        runner.process.wait()


@pytest.mark.slow
def test_the_runner_when_the_disk_fills_up_and_empties_logs_one_line_each(fans: Workspace) -> None:
    """However many polls fail there is no traceback; with space again the runner executes what was queued meanwhile."""
    with running(fans.data_dir) as runner:
        wait_until(lambda: fans.read_heartbeat() > 0.0)
        runner.limit(0)
        fans.start_export()  # the person's own process has no limit: the runner finds work it cannot claim
        wait_until(lambda: bool(runner.logged("database")))
        polled = len(runner.logged("Running job"))
        wait_until(lambda: len(runner.logged("Running job")) >= polled + FAILED_POLLS)
        assert len(runner.logged("waits until it can work again")) == 1
        runner.limit(resource.RLIM_INFINITY)
        wait_until(lambda: fans.get_run(1).state is RunState.SUCCEEDED)
        wait_until(lambda: bool(runner.logged("works again")))
        assert runner.stop() == 0
    assert len(runner.logged("works again")) == 1
    assert not runner.logged("Traceback") and len(runner.logged("ERROR")) == 1, runner.lines


@pytest.mark.slow
def test_the_runner_when_terminated_on_a_full_disk_is_exit_0(workspace: Workspace) -> None:
    """A supervisor sees an orderly end, and the runner that is gone does not count as alive."""
    with running(workspace.data_dir) as runner:
        wait_until(lambda: workspace.read_heartbeat() > 0.0)
        runner.limit(0)
        wait_until(lambda: bool(runner.logged("database")))
        assert runner.stop() == 0
    assert not runner.logged("Traceback"), runner.lines
    with workspace.open() as here:
        assert not here.check_health().is_runner_alive
