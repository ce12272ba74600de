"""The ways a run stops short of its end, and how long a failing call is tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sync.errors import Wait


class CancelWanted(Exception):
    """A person asked to end the run."""


class StopWanted(Exception):
    """The runner is asked to stop: leave the run to go on later."""


class Snooze(Exception):
    """The run has to wait longer than it is worth holding: ``seconds``, and why."""

    def __init__(self, seconds: float, why: str) -> None:
        """Say how long and why."""
        super().__init__(why)
        self.seconds = seconds
        self.why = why


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how long a call that may mend itself is tried: five times in a minute."""

    waits: tuple[float, ...] = (1.0, 3.0, 9.0, 27.0)
    longest: float = 60.0
    snooze: float = 120.0

    def pause(self, tries: int, error: Wait) -> float:
        """Tell how long to wait after this many tries; Snooze when it is too long or too often."""
        if tries > len(self.waits):
            raise Snooze(error.seconds or self.snooze, str(error))
        pause = error.seconds if error.seconds is not None else self.waits[tries - 1]
        if pause > self.longest:
            raise Snooze(pause, str(error))
        return pause


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from; a parameter, so that a test can move it.

    ``now`` is the wall clock, which people, NTP and a suspend move; ``monotonic`` only goes forward.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float] = time.monotonic
