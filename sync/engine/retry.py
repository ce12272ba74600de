"""The time a failing run is retried, and the exceptions that stop a run before its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sync.errors import CohortSyncError, RetryLater


class CancelRequested(Exception):
    """A person asked to end the run."""


class ShutdownRequested(Exception):
    """The runner is asked to stop: leave the run to go on later."""


class Postpone(Exception):
    """The run waits longer than it is worth holding a thread.

    ``seconds`` None means as long as the number of failures since the last progress asks for. ``failed`` is False
    when only a limit is waited for.
    """

    def __init__(self, seconds: float | None, reason: str, *, failed: bool = True) -> None:
        super().__init__(reason)
        self.seconds, self.reason, self.failed = seconds, reason, failed


class TripwireFound(Exception):
    """Somebody who must not be in the cohort is in it, or may be, and people are still to be sent.

    ``labels`` by id hash; ``reason`` says it to people.
    """

    def __init__(self, labels: Mapping[bytes, str], reason: str) -> None:
        super().__init__(f"{len(labels)} tripwires")
        self.labels, self.reason = labels, reason


class AccountAtFault(CohortSyncError):
    """WebEngage refused everybody for one reason: a setting of the account, not the people, is to blame."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from; a parameter, so that a test can move it.

    ``now`` is the wall clock, which people, NTP and a suspend move; ``monotonic`` only goes forward.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """One ladder for both APIs: five tries within a minute, then growing pauses until the deadline.

    After the first postponement a call is tried once each time, until there is progress again.
    """

    delays: tuple[float, ...] = (1.0, 3.0, 9.0, 27.0)
    max_delay: float = 60.0
    postponements: tuple[float, ...] = (120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)

    def delay(self, tries: int, error: RetryLater, failures: int = 0) -> float:
        """Return the seconds to wait after this many tries; raise Postpone when that is too long or too often."""
        if tries > len(self.delays) or failures:
            raise Postpone(error.seconds, str(error))
        delay = error.seconds if error.seconds is not None else self.delays[tries - 1]
        if delay > self.max_delay:
            raise Postpone(delay, str(error))
        return delay

    def postponement(self, failures: int) -> float:
        """Return the seconds a run is put off after so many failures without progress."""
        return self.postponements[min(max(failures, 1), len(self.postponements)) - 1]
