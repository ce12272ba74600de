"""Who works on the file: a process by name, and whether it is surely gone.

A runner killed without goodbye leaves leases and places behind. They end by themselves in time; on
the same machine they need not, since everybody can see that the process is no more.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def _place() -> str:
    """The machine and, where there are such, its space of process numbers: containers share files, not numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = "-"
    return f"{socket.gethostname()}/{space}"


def identity() -> str:
    """The name of this process, as leases and places carry it."""
    return f"{_place()}:{os.getpid()}"


def is_gone(name: str) -> bool:
    """Whether a process surely no longer runs; False whenever that cannot be known."""
    place, _, number = name.rpartition(":")
    if place != _place() or not number.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _is_zombie(number)


def _is_zombie(number: str) -> bool:
    """Killed, and only waiting for its parent to notice."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
