"""The real runner at a pace and a time of the bench's choosing: carries what is due, then ends."""

from __future__ import annotations

import gc
import os
import sys
import time

from sync.engine import Clock
from sync.runner import Runner, exit_immediately

if __name__ == "__main__":
    gc.freeze()  # as `main` of the runner does
    pace, later = (*sys.argv[1:], *("490", "0")[len(sys.argv) - 1 :])
    Runner(os.environ, Clock(lambda: time.time() + float(later), time.sleep), a_minute=int(pace)).run_once()
    exit_immediately(0)
