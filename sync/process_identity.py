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
def _machine_name() -> str:
    """The machine and, where there are such, its space of process numbers: containers share files, not numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = "-"
    return f"{socket.gethostname()}/{space}"


def process_name() -> str:
    """Return the name of this process, as leases and places carry it: place:number@start.

    The start tells a process from a later one that was given the same number.
    """
    number = str(os.getpid())
    started = _read_stat(number)[1]
    return f"{_machine_name()}:{number}@{started}" if started else f"{_machine_name()}:{number}"


def is_process_gone(name: str) -> bool:
    """Whether a process surely no longer runs; False whenever that cannot be known."""
    number, started = _number_here(name)
    if not number:
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    state, since = _read_stat(number)
    return state == "Z" or bool(started and since and started != since)


def is_here(name: str) -> bool:
    """Return whether a process surely still runs on this machine; False whenever that cannot be known."""
    return bool(_number_here(name)[0]) and not is_process_gone(name)


def _number_here(name: str) -> tuple[str, str]:
    """Return number and start of a process whose number means something here, else two empty strings."""
    place, _, number = name.rpartition(":")
    number, _, started = number.partition("@")
    known = place == _machine_name() and number.isdigit() and os.name == "posix"
    return (number, started) if known else ("", "")


def _read_stat(number: str) -> tuple[str, str]:
    """Return state and start of a process as Linux tells them (man 5 proc, fields 3 and 22), else empty strings.

    Z is one that was killed and only waits for its parent to notice.
    """
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
