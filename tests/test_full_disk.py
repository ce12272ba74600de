"""A real runner whose files may not grow: one line when it begins, one when it is over, and SIGTERM is exit 0."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sync.model import Mode, RunState
from sync.store import Store
from tests.browser import ROOT, connect, environment, runs, service
from tests.sandbox.control import PROJECT, Sandbox, member

PATIENCE = 60.0  # seconds something awaited may take on a busy machine; never asserted
LOOKS = 4  # heartbeats that must have failed before the log is read


class Runner:
    """A runner process and what it logs, read while it works so that it never blocks."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sync.runner"],
            cwd=ROOT,
            env=environment(folder) | {"COHORT_SYNC_LOG": "DEBUG"},  # `schedule` then logs every look
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
        """The lines that hold this word."""
        return [line for line in self.lines if word in line]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code


@contextmanager
def running(folder: Path) -> Iterator[Runner]:
    """A runner that ends with the test."""
    runner = Runner(folder)
    try:
        yield runner
    finally:
        runner.process.kill()
        runner.process.wait()


def until(question: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def heartbeat(folder: Path) -> float:
    """When the runner last gave a sign of life."""
    with Store.open(folder) as store:
        return float(store.events._fetch_value("select max(heartbeat_at) from runner") or 0.0)


def test_a_full_disk_is_one_line_when_it_begins_and_one_when_it_ends(data_dir: Path, sandbox: Sandbox) -> None:
    """However many looks fail there is no traceback; with space again the runner carries what was asked meanwhile."""
    connect(data_dir, sandbox)
    cohort = sandbox.add_cohort("Fans", [member("a"), member("b")])
    with running(data_dir) as runner:
        until(lambda: heartbeat(data_dir) > 0.0)
        runner.limit(0)
        with service(data_dir) as here:  # the person's own process has no limit: the runner finds work it cannot claim
            here.start_export(PROJECT, cohort, Mode.DYNAMIC)
        until(lambda: bool(runner.logged("database")))
        looked = len(runner.logged("Running job"))
        until(lambda: len(runner.logged("Running job")) >= looked + LOOKS)
        assert len(runner.logged("waits until it can work again")) == 1
        runner.limit(resource.RLIM_INFINITY)
        until(lambda: runs(data_dir)[0].state is RunState.SUCCEEDED)
        until(lambda: bool(runner.logged("works again")))
        assert runner.stop() == 0
    assert len(runner.logged("works again")) == 1
    assert not runner.logged("Traceback") and len(runner.logged("ERROR")) == 1, runner.lines


def test_sigterm_on_a_full_disk_is_exit_0(data_dir: Path) -> None:
    """A supervisor sees an orderly end, and nobody takes the runner that is gone for alive."""
    with running(data_dir) as runner:
        until(lambda: heartbeat(data_dir) > 0.0)
        runner.limit(0)
        until(lambda: bool(runner.logged("database")))
        assert runner.stop() == 0
    assert not runner.logged("Traceback"), runner.lines
    with service(data_dir) as here:
        assert not here.check_health().is_runner_alive
