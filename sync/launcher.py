"""`make run`: start the processes of a Procfile together, show what they print, and leave none of them behind.

`python -m sync.launcher PROCFILE [PORT …]` first checks that the ports are free. It ends all processes when one
of them ends, when it is asked to end, and when its terminal is closed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess  # nosec B404
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from sync.errors import CohortSyncError, InvalidRequest

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL_SECONDS = 0.1
ANOTHER_PORT = ", or let STREAMLIT_SERVER_PORT name another port for the pages"
STOP_SECONDS = 20.0  # seconds to end by itself; a runner is done with what is in flight after two
LOOPBACK = "127.0.0.1"


def require_free_port(port: int, other_way: str = "") -> None:
    """Raise InvalidRequest, with what else to do than stop it, when another program listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise InvalidRequest(
                f"Port {port} is taken by another program, perhaps by a Cohort Sync that already runs here; "
                f"stop that program{other_way}, and try again."
            ) from None


def read_procfile(path: Path) -> dict[str, str]:
    """Return the command of each process by its name; raise InvalidRequest when the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise InvalidRequest(f"{path} cannot be read ({problem.strerror}).") from None
    named = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in named}


class Launcher:
    """Processes that live and end together, each in a session of its own, so that no closed terminal kills one alone."""

    def __init__(self, commands: dict[str, str]) -> None:
        """Prepare to start these commands of the shell, by name."""
        self._commands = commands
        self._width = max(map(len, commands), default=0)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_signal = 0

    def run(self) -> int:
        """Run until one process ends or a signal arrives, end the others, and return the exit code.

        Killed itself (SIGKILL): the processes go on, and the next start finds their port taken.
        """
        for one in STOP_SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:  # nohup ignores a closed terminal on purpose
                signal.signal(one, self._request_stop)
        try:
            for name, command in self._commands.items():
                self._start(name, command)
            while not self._stop_signal and all(one.poll() is None for one in self._processes.values()):
                time.sleep(POLL_SECONDS)
        finally:
            codes = [code for one in self._processes.values() if (code := one.poll()) is not None]
            self._end_all()
        return 128 + self._stop_signal if self._stop_signal else next(filter(None, codes), 0)

    def _request_stop(self, number: int, _frame: object) -> None:
        self._stop_signal = self._stop_signal or number

    def _start(self, name: str, command: str) -> None:
        process = subprocess.Popen(  # a Procfile's lines are of the shell  # noqa: S602  # nosec B602
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes[name] = process
        if process.stdout:
            threading.Thread(target=self._pass_on, args=(name, process.stdout), daemon=True).start()

    def _pass_on(self, name: str, output: IO[bytes]) -> None:
        """Print each line of a process behind its name; read on when the terminal is gone, so that it can end in peace."""
        for line in output:
            with suppress(OSError, ValueError):
                sys.stdout.buffer.write(f"{name:{self._width}} | ".encode() + line)
                sys.stdout.buffer.flush()

    def _end_all(self) -> None:
        """Ask all processes to end, and everything they started; kill what has not ended in time."""
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(one.poll() is None for one in self._processes.values()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._signal_all(signal.SIGKILL)
        for one in self._processes.values():
            one.wait()

    def _signal_all(self, number: int) -> None:
        for one in self._processes.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(one.pid, number)


def main(arguments: Sequence[str]) -> int:
    """Run the launcher from the command line; 1 with one sentence when a port is taken or the Procfile cannot be read."""
    try:
        Path.home()
    except RuntimeError:  # a user without a name and HOME; Streamlit does not start without a home
        os.environ["HOME"] = str(Path.cwd())
    try:
        for port in filter(str.isdecimal, arguments[1:]):  # what else may stand there, the pages explain
            require_free_port(int(port), ANOTHER_PORT)
        return Launcher(read_procfile(Path(arguments[0]))).run()
    except CohortSyncError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
