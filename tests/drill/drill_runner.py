"""A real runner with short patience, so that a round takes seconds: the same code, other numbers.

Its clock may be ahead or behind (`DRILL_CLOCK`, seconds), its disk may end (`DRILL_DISK`, bytes a
file may have), the limits it keeps may be small (`DRILL_A_MINUTE`, `DRILL_AN_HOUR`), and it may die
by SIGKILL at a point of its own choosing (`DRILL_DIE`, see `Mortal`).
"""

from __future__ import annotations

import faulthandler
import functools
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
import time
from typing import Any

from sync.engine import Clock, RetryPolicy
from sync.runner import Runner, exit_immediately
from sync.store import rate_limits

OFFSET = float(os.environ.get("DRILL_CLOCK", "0"))
# Like the real ladder it ends with a pause that --once does not wait for, or what fails for ever would hold it up.
PATIENCE = RetryPolicy(delays=(0.02, 0.05, 0.1, 0.2), max_delay=1.5, postponements=(0.3, 0.3, 0.3, 0.3, 0.3, 70.0))
FAST = 30_000  # batches a minute where a round is not about the limit; the sandbox's is raised too
STATEMENTS = {
    "pulling": "insert or replace into staged_page",
    "planning": "insert into batch",
    "marking in flight": "update batch set state = 'in_flight'",
    "before sending": "update batch set state = 'in_flight'",
    "after sending": "update batch set state = 'confirmed'",
    "inside a commit": "update batch set state",
    "recording": "insert into snapshot_bucket",
    "ending": "delete from staged_page",
}
"""Where a runner may die, and the statement that tells where it is."""
COMMITS = ("before sending", "inside a commit", "recording")


class Mortal(sqlite3.Connection):
    """A connection whose process dies at the n-th statement of a kind, or around the commit that follows it."""

    point, left = "", 0

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.due = False
        self.set_trace_callback(self.watch)

    def watch(self, statement: str) -> None:
        """Count the statements of our kind; die at the last one, or remember it for the commit."""
        if not " ".join(statement.split()).startswith(STATEMENTS[Mortal.point]):
            return
        Mortal.left -= 1
        self.due = Mortal.left <= 0
        if self.due and Mortal.point not in COMMITS:
            die()

    def commit(self) -> None:
        """Commit; die afterwards, or while the disk is being written."""
        if self.due and Mortal.point == "inside a commit":
            threading.Timer(random.uniform(0.0, 0.002), die).start()
        super().commit()
        if self.due:
            die()


def die() -> None:
    """End at once, like a machine that loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)


def _prepare() -> None:
    """Take over what the round asked for."""
    disk = int(os.environ.get("DRILL_DISK", "0"))
    if disk:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    point, _, left = os.environ.get("DRILL_DIE", "").partition(":")
    if point:
        Mortal.point, Mortal.left = point, int(left)
        sqlite3.connect = functools.partial(sqlite3.connect, factory=Mortal)  # type: ignore[assignment]
    rate_limits.QUERIES_AN_HOUR = int(os.environ.get("DRILL_AN_HOUR", rate_limits.QUERIES_AN_HOUR))


def main() -> None:
    """Work until a signal, or once."""
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)  # a runner that hangs says where
    _prepare()
    a_minute = int(os.environ.get("DRILL_A_MINUTE", FAST))
    runner = Runner(os.environ, Clock(lambda: time.time() + OFFSET, time.sleep), PATIENCE, a_minute)
    signal.signal(signal.SIGTERM, runner.request_stop)
    runner.run_once() if "--once" in sys.argv else runner.run_forever()


if __name__ == "__main__":
    main()
    exit_immediately(0)
