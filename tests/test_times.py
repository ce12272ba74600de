"""Times of day, days, moments, ends and intervals as people write them, and refreshes counted by the hour."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from sync.cadence import (
    BusyHour,
    DailyTime,
    Refreshes,
    find_busiest_hour,
    find_end,
    find_moment,
    format_end,
    format_interval,
    format_moment,
)

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
HOUR, DAY = 3600.0, 86400.0
CHANGES = [  # zone, time of day, a moment before, the next two moments
    (BERLIN, "02:30", "2027-03-27 12:00", "2027-03-28 01:00", "2027-03-29 00:30"),  # 02:30 does not exist: 03:00
    (BERLIN, "02:30", "2027-10-30 12:00", "2027-10-31 00:30", "2027-11-01 01:30"),  # 02:30 comes twice: the first
    (BERLIN, "02:30", "2027-10-31 01:10", "2027-11-01 01:30", "2027-11-02 01:30"),  # between the two
    (BERLIN, "07:30", "2027-03-27 12:00", "2027-03-28 05:30", "2027-03-29 05:30"),
    (NEW_YORK, "02:30", "2027-03-13 12:00", "2027-03-14 07:00", "2027-03-15 06:30"),
    (NEW_YORK, "01:30", "2027-11-06 12:00", "2027-11-07 05:30", "2027-11-08 06:30"),
    (NEW_YORK, "01:30", "2027-11-07 06:10", "2027-11-08 06:30", "2027-11-09 06:30"),
]


def parse_utc(text: str) -> float:
    """Return a moment in UTC in seconds since 1970."""
    return find_moment(text, "UTC")


@pytest.mark.parametrize(("zone", "at", "before", "first", "second"), CHANGES)
def test_a_time_of_day_when_the_clock_changes_comes_once_a_day(
    zone: str, at: str, before: str, first: str, second: str
) -> None:
    """A time that is skipped is the end of the gap, and one that comes twice is the first."""
    daily = DailyTime.parse(at, zone)
    found = daily.find_next(parse_utc(before))
    assert (found, daily.find_next(found)) == (parse_utc(first), parse_utc(second))


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize("at", ["00:00", "01:30", "02:30", "23:59"])
def test_a_time_of_day_when_followed_for_a_year_comes_on_each_day(zone: str, at: str) -> None:
    """No day is left out, none has two, and each moment lies after the one before it."""
    daily, moment, days = DailyTime.parse(at, zone), parse_utc("2027-01-01 12:00"), []
    for _ in range(365):
        found = daily.find_next(moment)
        assert found > moment
        moment = found
        days.append(datetime.fromtimestamp(moment, ZoneInfo(zone)).date())
    assert [later - day for day, later in pairwise(days)] == [timedelta(days=1)] * 364


@pytest.mark.parametrize(
    ("at", "days", "shown"),
    [
        ("7:05", "", "at 07:05 Europe/Berlin"),
        (" 07:05 ", " ", "at 07:05 Europe/Berlin"),
        ("07:05", "Mon-Fri", "at 07:05 Europe/Berlin, mon-fri"),
        ("07:05", "fri - mon", "at 07:05 Europe/Berlin, mon,fri,sat,sun"),
        ("07:05", "fri, mon, wed", "at 07:05 Europe/Berlin, mon,wed,fri"),
        ("07:05", "sat-sun", "at 07:05 Europe/Berlin, sat,sun"),
        ("07:05", "sun-sat", "at 07:05 Europe/Berlin"),
    ],
)
def test_a_time_of_day_has_one_spelling_however_it_was_typed(at: str, days: str, shown: str) -> None:
    """Days are in their order, a range may go over the end of the week, and only three in a row are shown as one."""
    assert DailyTime.parse(at, f" {BERLIN} ", days).describe() == shown


def test_a_time_of_day_on_weekdays_when_it_is_friday_comes_on_monday() -> None:
    """It was past nine."""
    friday = DailyTime.parse("09:00", "UTC", "mon-fri").find_next(parse_utc("2027-01-01 10:00"))
    assert friday == parse_utc("2027-01-04 09:00")


@pytest.mark.parametrize("text", ["24:00", "7", "07:5", "07:300", "x" * 300])
def test_what_is_no_time_of_day_is_refused_with_an_example(text: str) -> None:
    """Of a long text the first 40 characters are quoted."""
    with pytest.raises(ValueError, match=rf"^“{text[:40]}” is not a time of day; write it like 07:30\.$"):
        DailyTime.parse(text, BERLIN)


@pytest.mark.parametrize("name", ["", "Mars", "Europe", "../UTC", "x" * 300])
@pytest.mark.parametrize("find", [find_moment, find_end])
def test_what_is_no_time_zone_is_refused_with_an_example(find: Callable[[str, str], float], name: str) -> None:
    """Some are folders among the files of zones, or lead out of them."""
    for ask in (lambda: DailyTime.parse("07:00", name), lambda: find("2027-01-07", name)):
        with pytest.raises(
            ValueError, match=rf"^“{re.escape(name[:40])}” is not a time zone; write one like Europe/Berlin"
        ):
            ask()


@pytest.mark.parametrize("days", ["someday", "mon-someday", "mon,,tue", "x" * 300])
def test_what_names_no_days_is_refused_with_an_example(days: str) -> None:
    """Both ends of a range are days."""
    with pytest.raises(ValueError, match=rf"^“{days[:40]}” names no days; write them like mon-fri or mon,wed\.$"):
        DailyTime.parse("07:00", BERLIN, days)


@pytest.mark.parametrize("zone", [BERLIN, "UTC"])
@pytest.mark.parametrize(
    "text", ["2027-03-27", "2027-10-30", "2027-10-31", "2027-03-31 22:00", "2027-03-31 00:30", "2027-03-31 00:00:30"]
)
def test_an_end_when_written_is_read_as_the_same_end(text: str, zone: str) -> None:
    """A day ends at midnight there; shortly after midnight is a moment of the next one."""
    assert format_end(find_end(text, zone), zone) == text
    assert find_end(f" {text} ", zone) == find_end(text, zone)


@pytest.mark.parametrize("find", [find_moment, find_end])
@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2027-02-30", BERLIN),
        ("x" * 300, BERLIN),
        ("9999-12-31 23:59", "UTC"),
        ("9999-12-31 23:59", NEW_YORK),
        ("0001-01-01 00:00+14:00", "UTC"),
    ],
)
def test_what_is_no_moment_is_refused_with_an_example(find: Callable[[str, str], float], text: str, zone: str) -> None:
    """Nor is one that is beyond the calendar in another zone, where a page could not show it."""
    with pytest.raises(ValueError, match=rf"^“{re.escape(text[:40])}” is not a time; write it like 2027-01-07 or"):
        find(text, zone)


def test_the_last_day_of_the_calendar_is_an_end() -> None:
    """People mean for ever; the day after it, which would be its end, has no date."""
    assert find_end("9999-12-31", BERLIN) == find_moment("9999-12-31", BERLIN)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "UTC", "Asia/Kolkata"])
def test_a_moment_when_written_is_read_as_the_same_moment_also_when_its_time_comes_twice(zone: str) -> None:
    """Every quarter of an hour around both clock changes comes back, whatever the zone's offset."""
    for begin in ("2027-03-13 22:00", "2027-03-27 22:00", "2027-10-30 22:00", "2027-11-07 03:00"):
        for quarter in range(48):
            moment = parse_utc(begin) + quarter * 900.0 + 7
            assert find_moment(format_moment(moment, zone), zone) == moment


def test_an_interval_when_shown_is_in_the_largest_unit_that_fits() -> None:
    """Pages and the audit log say intervals as people do."""
    shown = [format_interval(seconds) for seconds in (None, 300.0, 2700.0, 3600.0, 7200.0, 86_400.0, 301.0, 3601.0)]
    hours = ["once", "every 5 minutes", "every 45 minutes", "every hour", "every 2 hours"]
    assert shown == [*hours, "every day", "every 301 seconds", "every 3,601 seconds"]


def test_refreshes_when_counted_by_hour_are_each_in_one_hour() -> None:
    """Intervals, times of day and ends are counted where they fall; the busiest hour is the first of several."""
    now = parse_utc("2027-03-01 10:20")
    often = Refreshes(queries=2, next_run_at=now + 60, interval_seconds=900.0)
    assert find_busiest_hour([often], now, 24).queries == 8
    daily = DailyTime.parse("07:30", BERLIN)
    morning = Refreshes(queries=30, next_run_at=daily.find_next(now), interval_seconds=DAY, daily=daily)
    found = find_busiest_hour([often, morning, morning], now, 168)
    assert (found.begins_at, found.queries) == (parse_utc("2027-03-02 06:00"), 68)
    ended = Refreshes(queries=5, next_run_at=now, interval_seconds=HOUR, ends_at=now - 1)
    assert find_busiest_hour([ended], now, 24).queries == 0


def test_refreshes_on_the_hour_are_counted_up_to_an_end_and_not_at_it() -> None:
    """One that falls on the last moment is of the hour after, or comes no more."""
    now, daily = parse_utc("2027-03-01 10:00"), DailyTime.parse("10:00", "UTC")
    for one in (
        Refreshes(queries=5, next_run_at=now, interval_seconds=HOUR),
        Refreshes(queries=5, next_run_at=now, interval_seconds=DAY, daily=daily),
    ):
        assert find_busiest_hour([one], now, 24) == BusyHour(begins_at=now, queries=5)
        assert find_busiest_hour([replace(one, ends_at=now)], now, 24).queries == 0


def test_refreshes_that_end_within_an_hour_are_counted_until_then() -> None:
    """Every ten minutes until half past: at the hour, ten past and twenty past."""
    now = parse_utc("2027-03-01 10:00")
    ending = Refreshes(queries=1, next_run_at=now, interval_seconds=600.0, ends_at=now + HOUR / 2)
    assert find_busiest_hour([ending], now, 24).queries == 3


@pytest.mark.parametrize("daily", [None, DailyTime.parse("07:30", "UTC")])
def test_a_late_refresh_is_counted_in_this_hour(daily: DailyTime | None) -> None:
    """It is made as soon as a runner works."""
    now = parse_utc("2027-03-01 10:20")
    late = Refreshes(queries=5, next_run_at=parse_utc("2027-02-28 07:30"), interval_seconds=DAY, daily=daily)
    assert find_busiest_hour([late], now, 24) == BusyHour(begins_at=parse_utc("2027-03-01 10:00"), queries=5)
