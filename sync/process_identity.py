"""Names of processes, and whether a named process has surely ended.

A killed runner leaves leases and query slots behind. They expire by themselves; on the same machine
they are released at once, since every process can see that their owner has ended.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path

# Places of the fields behind the command's name, which may itself hold spaces (man 5 proc: fields 3 and 22).
STATE_FIELD, START_FIELD = 0, 19
ZOMBIE = "Z"


@lru_cache(maxsize=1)
def _machine_name() -> str:
    """Return the host name and the PID namespace: containers share files, but not process numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = "-"
    return f"{socket.gethostname()}/{space}"


def process_name() -> str:
    """Return the name of this process for leases and query slots: machine:number@start.

    The start time (clock ticks since boot) distinguishes it from a later process with the same number.
    """
    return _name_process(os.getpid())


@lru_cache(maxsize=1)
def _name_process(number: int) -> str:
    started = _read_stat(str(number))[1]
    name = f"{_machine_name()}:{number}"
    return f"{name}@{started}" if started else name


def is_process_gone(name: str) -> bool:
    """Return whether a process has surely ended; False whenever that cannot be known."""
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
    return state == ZOMBIE or bool(started and since and started != since)


def is_here(name: str) -> bool:
    """Return whether a process surely still runs on this machine; False whenever that cannot be known."""
    return bool(_number_here(name)[0]) and not is_process_gone(name)


def _number_here(name: str) -> tuple[str, str]:
    """Return number and start of a process of this machine, else two empty strings.

    The name of a runner or of a lease is that of its process, a hyphen, and more.
    """
    machine, _, process = name.rpartition(":")
    number, _, started = process.partition("-")[0].partition("@")
    known = machine == _machine_name() and number.isdigit() and os.name == "posix"
    return (number, started) if known else ("", "")


def _read_stat(number: str) -> tuple[str, str]:
    """Return state and start of a process (Linux, man 5 proc: fields 3 and 22), else two empty strings.

    Z is a zombie: it has ended, and its parent has not read its exit code yet.
    """
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[STATE_FIELD], fields[START_FIELD]
    except (OSError, IndexError):
        return "", ""
