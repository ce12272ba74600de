"""The real runner at a pace and a time of the bench's choosing: carries what is due, then ends."""

from __future__ import annotations

import os
import sys
import time

from sync.engine import Clock
from sync.runner import Runner, exit_immediately, save_memory

if __name__ == "__main__":
    save_memory()
    pace, later = (*sys.argv[1:], *("490", "0")[len(sys.argv) - 1 :])
    Runner(os.environ, Clock(lambda: time.time() + float(later), time.sleep), a_minute=int(pace)).run_once()
    exit_immediately(0)
