"""A real runner with short patience, so that a round takes seconds: the same code, other numbers.

Its clock may be ahead or behind (`DRILL_CLOCK`, seconds), and its disk may end (`DRILL_DISK`, bytes
a file may have).
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time

from sync.pipeline import Clock, Policy
from sync.runner import Runner, leave

OFFSET = float(os.environ.get("DRILL_CLOCK", "0"))
PATIENCE = Policy(waits=(0.02, 0.05, 0.1, 0.2), longest=1.5, snooze=0.3)
A_MINUTE = 30_000  # the sandbox's limit is raised too; rounds about the limit keep 490


def main() -> None:
    """Work until a signal, or once."""
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)  # a runner that hangs says where
    disk = int(os.environ.get("DRILL_DISK", "0"))
    if disk:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    runner = Runner(os.environ, Clock(lambda: time.time() + OFFSET, time.sleep), PATIENCE, A_MINUTE)
    signal.signal(signal.SIGTERM, runner.stop)
    runner.once() if "--once" in sys.argv else runner.work()


if __name__ == "__main__":
    main()
    leave(0)
