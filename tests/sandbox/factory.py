"""Sandboxes by fork: one process imports everything once and makes a sandbox of each test in a few milliseconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from types import TracebackType
from typing import NoReturn, Self

from .control import ROOT, Sandbox
from .server import serve
from .settings import Settings
from .world import World

START, FAILED = "start", "failed"
GONE_SECONDS, POLL_SECONDS = 60.0, 0.005


class ForkedProcess:
    """A sandbox that the factory made: the factory's child, so another process of ours only knows its number."""

    def __init__(self, pid: int) -> None:
        """Name the process."""
        self._pid = pid

    def terminate(self) -> None:
        """Ask it to end; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def wait(self, seconds: float = GONE_SECONDS) -> int:
        """Return 0 when it has ended; raise TimeoutError when it has not after so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                os.kill(self._pid, 0)
            except ProcessLookupError:
                return 0
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"Sandbox {self._pid} did not end within {seconds} s.")


class SandboxFactory:
    """The process that makes sandboxes; they and it end with this one."""

    def __init__(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox.factory"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def make_sandbox(self) -> Sandbox:
        """Return a new sandbox without cohorts, ready to be asked."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{START}\n")
        self._process.stdin.flush()
        pid, ready = self._process.stdout.readline(), self._process.stdout.readline()
        if "ready on " not in ready:
            raise RuntimeError("The sandbox did not start; its words are above.")
        return Sandbox(ForkedProcess(int(pid)), ready.split("ready on ")[1].strip())

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process; sandboxes that are still there follow it."""
        self._process.communicate()


def _serve_forks() -> None:
    """Fork a sandbox for each line on standard input; end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that one that ended is really gone
    for _ in sys.stdin:
        if os.fork() == 0:
            os.close(0)
            _serve_one()


def _serve_one() -> NoReturn:
    """Be a sandbox until told to end; one that cannot start says so, since whoever asked for it waits for its answer."""
    print(os.getpid(), flush=True)
    try:
        serve(World(Settings()), "127.0.0.1", 0, os.getppid())
    except BaseException:
        traceback.print_exc()
        print(FAILED, flush=True)
    os._exit(0)


if __name__ == "__main__":
    _serve_forks()
