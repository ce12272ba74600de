"""A real runner on a clock that a test moves while it works: `python tests/moved_clock.py`, commands on stdin.

`zone TZ` changes the local time zone, as spring and autumn do; `wall SECONDS` moves the machine's clock
against the monotonic one, as NTP, a person or a suspend do. Each command is answered on stdout.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import schedule

from sync.engine import Clock, RetryPolicy
from sync.runner import Runner, exit_immediately

SHORT = RetryPolicy(delays=(0.02, 0.05), max_delay=1.0, postpone_seconds=0.3)
FAST = 30_000  # batches a minute; these tests are not about the limit


class Moved(datetime.datetime):
    """The machine's local time as the `schedule` package would read it, moved with the wall clock."""

    offset = 0.0

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Moved:
        """Return the moved local time."""
        return cls.fromtimestamp(time.time() + cls.offset, tz)


def obey() -> None:
    """Move the clock as stdin says, until it closes."""
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        if what == "zone":
            os.environ["TZ"] = value
            time.tzset()
        else:
            Moved.offset = float(value)
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()


def main() -> None:
    """Work until a signal."""
    schedule.datetime = SimpleNamespace(  # type: ignore[attr-defined]
        datetime=Moved, timedelta=datetime.timedelta, time=datetime.time
    )
    threading.Thread(target=obey, daemon=True).start()
    runner = Runner(os.environ, Clock(lambda: time.time() + Moved.offset, time.sleep), SHORT, FAST)
    signal.signal(signal.SIGTERM, runner.request_stop)
    runner.run_forever()


if __name__ == "__main__":
    main()
    exit_immediately(0)
