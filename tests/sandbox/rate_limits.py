"""What was asked of the sandbox: rolling limits, counters and the log."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

LOG_LENGTH = 5000
SERIES_LENGTH = 7200
LOSING = ("vanish", "garbled", "truncated")
"""Faults after which something was taken and the one who sent it cannot know."""


class Window:
    """A limit over a rolling time: grants up to a number, remembers the most that ever came.

    A refused request does not use up the limit (how the real ones count it, nobody says), but it does
    count towards `most`, so that "never more than the limit" means nothing was ever refused.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.most = 0
        self._granted: deque[float] = deque()
        self._arrived: deque[float] = deque()

    def arrive(self, now: float) -> None:
        """Note a request, granted or not."""
        self._arrived.append(now)
        self.most = max(self.most, self._size(self._arrived, now))

    def used(self, now: float) -> int:
        """How many were granted in the last rolling time."""
        return self._size(self._granted, now)

    def grant(self, now: float) -> None:
        """Let one through."""
        self._granted.append(now)

    def _size(self, times: deque[float], now: float) -> int:
        while times and times[0] <= now - self.seconds:
            times.popleft()
        return len(times)


@dataclass(frozen=True)
class Entry:
    """One line of the log; never a body, a query string or a credential."""

    at: float
    method: str
    path: str
    status: int
    ms: float
    users: int
    request_id: str
    page: int
    fault: str


@dataclass
class Meter:
    """Counters since the start or the last reset."""

    paths: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    over_limit: Counter[str] = field(default_factory=Counter)
    bulk_seconds: Counter[int] = field(default_factory=Counter)
    users_delivered: int = 0
    repeated_request_ids: int = 0
    applied_again: int = 0
    told_again: int = 0
    lost_answers: int = 0
    log: deque[Entry] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))

    def note(self, entry: Entry) -> None:
        """Count and log one API request."""
        self.paths[entry.path] += 1
        self.log.append(entry)
        if entry.status == 429:
            api = "mixpanel" if entry.path.startswith("/api/") else "webengage"
            self.refused[api] += 1
            self.over_limit[api] += not entry.fault
        if entry.path.endswith("/bulk-users"):
            self.bulk_seconds[int(entry.at)] += 1
            self.lost_answers += bool(entry.users and entry.fault in LOSING)

    def last(self, limit: int) -> list[dict[str, Any]]:
        """The last requests, oldest first."""
        return [asdict(entry) for entry in list(self.log)[-limit:]]

    def series(self) -> list[list[int]]:
        """Bulk requests second by second."""
        return [[second, count] for second, count in sorted(self.bulk_seconds.items())[-SERIES_LENGTH:]]
