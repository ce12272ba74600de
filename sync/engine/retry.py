"""How often and how long a failing call is tried, and where time comes from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sync.engine.interrupts import RunPostponed
from sync.errors import RetryLater


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call that may mend itself is tried: five times in a minute."""

    delays: tuple[float, ...] = (1.0, 3.0, 9.0, 27.0)
    max_delay: float = 60.0
    postpone_seconds: float = 120.0

    def delay(self, tries: int, error: RetryLater) -> float:
        """Tell how long to wait after this many tries; RunPostponed when it is too long or too often."""
        if tries > len(self.delays):
            raise RunPostponed(error.seconds or self.postpone_seconds, str(error))
        pause = error.seconds if error.seconds is not None else self.delays[tries - 1]
        if pause > self.max_delay:
            raise RunPostponed(pause, str(error))
        return pause


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from; a parameter, so that a test can move it.

    ``now`` is the wall clock, which people, NTP and a suspend move; ``monotonic`` only goes forward.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float] = time.monotonic
