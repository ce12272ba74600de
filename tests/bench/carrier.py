"""The real runner at a pace of the bench's choosing: carries what is queued, then ends."""

from __future__ import annotations

import os
import sys

from sync.runner import Runner, leave

if __name__ == "__main__":
    Runner(os.environ, a_minute=int(sys.argv[1]) if len(sys.argv) > 1 else None).once()
    leave(0)
