"""Processes by fork: one process imports everything once, and the commands, runners and pages of the tests begin in it.

A fork is a process of its own in all that these tests are about: number, environment, folder, files, signals, exit code.
What it does not show is that a fresh interpreter can import the program: tests/test_process_factory.py does, and the many
tests that start an interpreter themselves.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
FRESH_ONLY = ("PYTHON", "LANG", "LC_")  # variables that are read when an interpreter starts
AT_IMPORT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}  # no threads, so that a fork is whole
STDOUT, STDERR = 1, 2
NUMBER = struct.Struct("q")  # what is written for each process: its number, later its exit code
PRELOADED = (
    "pandas",
    "streamlit.web.bootstrap",
    "streamlit.web.cli",
    "streamlit.web.server.starlette.starlette_server",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "sync.cli.commands",
    "sync.runner",
)


class ForkedProcess:
    """A process that the factory started, with what the tests use of a Popen."""

    def __init__(self, args: list[str], channel: socket.socket) -> None:
        """Read the number of the process, which comes first on its channel; its exit code follows when it has ended."""
        self.args = args
        self.returncode: int | None = None
        self.stderr: IO[bytes] | None = None
        self._channel = channel
        self.pid = _read_number(channel)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the process has ended; raise subprocess.TimeoutExpired after so many seconds."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = _read_number(self._channel)
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


Process = ForkedProcess | subprocess.Popen[bytes]


class ProcessFactory:
    """The process that starts the others; it ends with this one."""

    def __init__(self) -> None:
        """Start it; the first process that is wanted waits until everything is imported."""
        self._env = os.environ | AT_IMPORT
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.process_factory", str(theirs.fileno())],
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def can_start(self, env: Mapping[str, str]) -> bool:
        """Return whether a fork is what a fresh interpreter would be: what one reads at its start is the same."""
        names = {name for name in {*env, *self._env} if name.startswith(FRESH_ONLY)}
        return all(env.get(name) == self._env.get(name) for name in names)

    def start(self, args: list[str], env: Mapping[str, str], stdout: int, stderr: int) -> ForkedProcess:
        """Start `python -m ARGS` with this environment, files and no input."""
        mask = os.umask(0)
        os.umask(mask)
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._requests, [b"."], [theirs.fileno(), stdout, stderr])
        ours.sendall(json.dumps({"args": args, "env": dict(env), "umask": mask}).encode() + b"\n")
        return ForkedProcess([sys.executable, "-m", *args], ours)


@functools.cache
def get_factory() -> ProcessFactory:
    """Return this process's factory, started when it is first wanted."""
    return ProcessFactory()


def start_module(
    *args: str, env: Mapping[str, str], stdout: IO[Any] | None = None, stderr: IO[Any] | None = None
) -> Process:
    """Start `python -m ARGS` in the project's folder, with exactly this environment and no input."""
    if get_factory().can_start(env):
        out, err = stdout.fileno() if stdout else STDOUT, stderr.fileno() if stderr else STDERR
        return get_factory().start(list(args), env, out, err)
    command = [sys.executable, "-m", *args]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)


def start_module_heard(*args: str, env: Mapping[str, str]) -> Process:
    """Start it, with a pipe from its standard error."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        process = start_module(*args, env=env, stderr=end)
    process.stderr = os.fdopen(reading, "rb")
    return process


def _read_number(channel: socket.socket) -> int:
    return int(NUMBER.unpack(channel.recv(NUMBER.size, socket.MSG_WAITALL))[0])


def _preload() -> None:
    """Import what the programs import; none of it looks at the environment before it runs."""
    parts = importlib.import_module("pages.parts")
    for name in (*PRELOADED, *(f"pages.parts.{one.name}" for one in pkgutil.iter_modules(parts.__path__))):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve_forks(requests: socket.socket) -> list[str]:
    """Fork a process for each request and write down how each ends; return only in a fork, what it is to run."""
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then stop what they started
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    channels: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    wake.recv(1024)
                    _report_ended(channels)
                elif asked := _fork(requests, channels):
                    for one in (requests, wake, woken, *channels.values()):
                        one.close()
                    return asked


def _fork(requests: socket.socket, channels: dict[int, socket.socket]) -> list[str]:
    """Fork for one request; return what to run in the fork, and nothing in the factory."""
    byte, files, _, _ = socket.recv_fds(requests, 1, 3)
    if not byte:
        sys.exit()
    channel = socket.socket(fileno=files[0])
    with channel.makefile("r") as lines:
        asked = json.loads(lines.readline())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: pyarrow has one, which runs no Python
        pid = os.fork()
    if pid == 0:
        channel.close()
        _become(files[1:], asked["env"], asked["umask"])
        return list(asked["args"])
    for file in files[1:]:
        os.close(file)
    channels[pid] = channel
    with contextlib.suppress(OSError):
        channel.sendall(NUMBER.pack(pid))
    return []


def _become(files: list[int], env: dict[str, str], umask: int) -> None:
    """Be a process as its request wants it: files, environment, mask, and signals as in any new one."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for file, place in zip(files, (STDOUT, STDERR), strict=True):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.umask(umask)
    time.tzset()


def _report_ended(channels: dict[int, socket.socket]) -> None:
    """Reap what has ended and write its exit code."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with channels.pop(ended[0]) as channel, contextlib.suppress(OSError):
                channel.sendall(NUMBER.pack(os.waitstatus_to_exitcode(ended[1])))


if __name__ == "__main__":
    requested = socket.socket(fileno=int(sys.argv[1]))
    _preload()
    sys.argv = _serve_forks(requested)
    if not hasattr(sys.modules.get(sys.argv[0]), "__path__"):  # of a package its __main__ runs
        sys.modules.pop(sys.argv[0], None)  # it runs as __main__, as `python -m` would have it
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
