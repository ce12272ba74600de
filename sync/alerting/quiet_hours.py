"""When alerts wait, and when the digest is due: times of day in a named time zone, across both clock changes.

A time of day that the clock skips (spring) counts as the hour after it; of one that comes twice (autumn) the first
counts, so that quiet hours are one stretch each day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sync.cadence import find_zone, parse_time
from sync.errors import InvalidRequest

DIGEST_LATE_SECONDS = 4 * 3600.0  # seconds after its time until which a digest is still sent; later it is left out


@dataclass(frozen=True, slots=True)
class Schedule:
    """When alerts wait (``quiet_from`` to ``quiet_to``) and when the digest is sent; empty: never."""

    zone: str = "UTC"
    quiet_from: str = ""
    quiet_to: str = ""
    digest: str = ""

    def require_valid(self) -> None:
        """Raise InvalidRequest when a time or the zone is none, or when half of the quiet hours is missing."""
        for name in ("zone", "quiet_from", "quiet_to", "digest"):
            try:
                if name == "zone":
                    find_zone(self.zone)
                elif getattr(self, name):
                    parse_time(getattr(self, name))
            except ValueError as problem:
                raise InvalidRequest(str(problem), name) from None
        if bool(self.quiet_from) != bool(self.quiet_to):
            raise InvalidRequest("Quiet hours need a beginning and an end, such as 22:00 and 07:00.", "quiet_to")
        if self.quiet_from and parse_time(self.quiet_from) == parse_time(self.quiet_to):
            raise InvalidRequest("Quiet hours that begin when they end would never end; choose two times.", "quiet_to")

    def is_quiet(self, now: float) -> bool:
        """Return whether alerts wait at this moment (seconds since 1970)."""
        if not self.quiet_from:
            return False
        begin, end = parse_time(self.quiet_from), parse_time(self.quiet_to)
        today = self._find_day(now)
        for day in (today - timedelta(days=1), today):
            last = day if begin < end else day + timedelta(days=1)
            if self._find_moment(day, begin) <= now < self._find_moment(last, end):
                return True
        return False

    def find_digest_day(self, now: float) -> date | None:
        """Return the day whose digest is due now, or None."""
        if not self.digest:
            return None
        day, due_at = self._find_day(now), parse_time(self.digest)
        for one in (day - timedelta(days=1), day):
            if 0 <= now - self._find_moment(one, due_at) < DIGEST_LATE_SECONDS:
                return one
        return None

    def format_moment(self, at: float) -> str:
        """Return a moment as people in the zone read it."""
        return datetime.fromtimestamp(at, ZoneInfo(self.zone)).strftime("%Y-%m-%d %H:%M %Z")

    def _find_day(self, now: float) -> date:
        return datetime.fromtimestamp(now, ZoneInfo(self.zone)).date()

    def _find_moment(self, day: date, at: time) -> float:
        return datetime.combine(day, at, ZoneInfo(self.zone)).timestamp()
