"""When a sync is refreshed: at a time of day in a named time zone, and how many queries all refreshes take, by hour.

A time of day that the clock skips (spring) counts as the end of the gap; of one that comes twice (autumn) the first
counts, so that there is one refresh each day. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = ",".join(DAYS)
HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
INTERVAL_UNITS = ((DAY_SECONDS, "day"), (HOUR_SECONDS, "hour"), (60.0, "minute"), (1.0, "second"))
MAX_SHOWN = 40  # characters of a wrong input that an error quotes
EASTERNMOST = timezone(timedelta(hours=14))  # where a day begins first
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class DailyTime:
    """A time of day (``07:30``) in a named time zone, on some days of the week (``mon,tue``)."""

    at: str
    zone: str
    days: str = EVERY_DAY

    @classmethod
    def parse(cls, at: str, zone: str, days: str = "") -> DailyTime:
        """Return what a person wrote, in one spelling; raise ValueError, with what to write, when it is none."""
        spelled = parse_time(at).isoformat("minutes")
        find_zone(zone.strip())
        return cls(spelled, zone.strip(), _parse_days(days) if days.strip() else EVERY_DAY)

    def find_next(self, after: float) -> float:
        """Return the first time after this moment; on the day of a clock change there is one, too."""
        hour, minute = self.at.split(":")
        moments = CronSim(
            f"{int(minute)} {int(hour)} * * {self.days}", datetime.fromtimestamp(after, find_zone(self.zone))
        )
        # In the hour that comes twice, the first 02:30 lies before a moment between the two.
        return next(found.timestamp() for found in moments if found.timestamp() > after)

    def describe(self) -> str:
        """Return this for people, such as “at 07:30 Europe/Berlin, mon-fri”."""
        return f"at {self.at} {self.zone}" + ("" if self.days == EVERY_DAY else f", {shorten_days(self.days)}")


def format_interval(seconds: float | None) -> str:
    """Return an interval in seconds for people, such as “every 2 hours”; None means once."""
    if seconds is None:
        return "once"
    size, noun = next((unit for unit in INTERVAL_UNITS if seconds % unit[0] == 0), INTERVAL_UNITS[-1])
    number = round(seconds / size)
    return f"every {noun}" if number == 1 else f"every {number:,} {noun}s"


def parse_time(text: str) -> time:
    """Return a time of day written as 7:00 or 22:30; raise ValueError, with what to write, for anything else."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise ValueError(f"“{text[:MAX_SHOWN]}” is not a time of day; write it like 07:30.")
    return time(int(found[1]), int(found[2]))


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name; raise ValueError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"“{name[:MAX_SHOWN]}” is not a time zone; write one like Europe/Berlin.") from None


def _parse_days(text: str) -> str:
    """Return days such as ``mon-fri`` or ``sat,sun``, in their order; a range may go over the end of the week."""
    chosen = set[str]()
    for part in text.casefold().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in DAYS or last not in DAYS:
            raise ValueError(f"“{text[:MAX_SHOWN]}” names no days; write them like mon-fri or mon,wed.")
        start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % len(DAYS)
        chosen |= {DAYS[(start + step) % len(DAYS)] for step in range(length + 1)}
    return ",".join(day for day in DAYS if day in chosen)


def shorten_days(days: str) -> str:
    """Return days in a row as a range: ``mon-fri``."""
    named = days.split(",")
    is_range = len(named) > 2 and days in EVERY_DAY  # two days in a row are not shorter as a range
    return f"{named[0]}-{named[-1]}" if is_range else days


def find_moment(text: str, zone: str) -> float:
    """Return a day, or a day and a time (``2027-01-07 08:00``), in a time zone; raise ValueError when it is none.

    A moment with an offset (``2027-01-07 08:00+01:00``) is that moment, whatever the zone.
    """
    where = find_zone(zone)
    try:
        found = datetime.fromisoformat(text.strip())
        moment = found if found.tzinfo else found.replace(tzinfo=where)
        return moment.astimezone(EASTERNMOST).timestamp()  # OverflowError where no page there could show it
    except (ValueError, OverflowError):
        shown = text[:MAX_SHOWN]
        raise ValueError(f"“{shown}” is not a time; write it like 2027-01-07 or 2027-01-07 08:00.") from None


def find_end(text: str, zone: str) -> float:
    """Return the end of a day (``2027-03-31``), or a moment, in a time zone; raise ValueError when it is none."""
    where = find_zone(zone)
    try:
        day = date.fromisoformat(text.strip())
        return datetime.combine(day + timedelta(days=1), time(), where).timestamp()
    except (ValueError, OverflowError):
        return find_moment(text, zone)


def format_end(ends_at: float, zone: str) -> str:
    """Return an end as `find_end` reads it: the last day, or the moment when it is not the end of a day."""
    local = datetime.fromtimestamp(ends_at, find_zone(zone))
    if local.time() == time():
        return (local.date() - timedelta(days=1)).isoformat()
    return format_moment(ends_at, zone)


def format_moment(at: float, zone: str) -> str:
    """Return a moment as `find_moment` reads it: whole seconds, with the offset when the time comes twice that day."""
    local = datetime.fromtimestamp(at, find_zone(zone))
    text = local.isoformat(sep=" ", timespec="seconds" if local.second else "minutes")
    return text if local.fold else text[: text.rindex("+" if "+" in text else "-")]


@dataclass(frozen=True, slots=True)
class Refreshes:
    """The refreshes of one sync from now on, and how many queries each one takes."""

    queries: int
    next_run_at: float
    interval_seconds: float
    daily: DailyTime | None = None
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class BusyHour:
    """The hour in which the refreshes of a project take the most queries."""

    begins_at: float
    queries: int


def find_busiest_hour(refreshes: Iterable[Refreshes], now: float, hours: int) -> BusyHour:
    """Return the busiest of the next full hours, this one included; the first of several."""
    start = now // HOUR_SECONDS * HOUR_SECONDS
    counts = [0] * hours
    for one in refreshes:
        for hour, times in _count_by_hour(one, start, hours):
            counts[hour] += times * one.queries
    most = max(counts)
    return BusyHour(begins_at=start + counts.index(most) * HOUR_SECONDS, queries=most)


def _count_by_hour(one: Refreshes, start: float, hours: int) -> Iterator[tuple[int, int]]:
    """Yield the hours with refreshes, counted from 0, and how many; what is late counts in the first."""
    end = min(start + hours * HOUR_SECONDS, math.inf if one.ends_at is None else one.ends_at)
    moment = max(one.next_run_at, start)
    if one.daily is not None:
        while moment < end:
            yield int((moment - start) // HOUR_SECONDS), 1
            moment = one.daily.find_next(moment)
        return
    while moment < end:
        hour = int((moment - start) // HOUR_SECONDS)
        until = min(start + (hour + 1) * HOUR_SECONDS, end)
        times = math.ceil((until - moment) / one.interval_seconds)
        yield hour, times
        moment += times * one.interval_seconds
