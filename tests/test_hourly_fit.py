"""Check that all refreshes fit Mixpanel's queries of an hour: what one takes, what is counted, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync.cadence import DAYS, DailyTime, Refreshes
from sync.model import USUAL_PAGE_SIZE
from sync.records import SyncView
from sync.service.hourly_fit import count_queries, describe_fit, find_unkept_limits, list_refreshes
from sync.store.rate_limits import SYNC_QUERIES_AN_HOUR
from tests.sandbox.control import PROJECT
from tests.workspace import Workspace

HOUR, DAY = 3600.0, 86_400.0
MONDAY = 1_803_895_200.0  # 2027-03-01 10:00 UTC
WEEKLY = DailyTime("09:30", "UTC", "mon")


@pytest.fixture
def exported(connected: Workspace) -> Workspace:
    """Export a cohort of three at half past nine on Tuesdays and Fridays."""
    connected.add_cohort(3)
    connected.export(daily=DailyTime("09:30", "UTC", "tue,fri"))
    return connected


def read_sync(workspace: Workspace) -> SyncView:
    """Return the first sync."""
    with workspace.open() as service:
        return service.syncs.get(1)


def take(queries: int, begin: float = MONDAY) -> Refreshes:
    """Return a refresh of so many queries that comes once a day."""
    return Refreshes(queries=queries, next_run_at=begin, interval_seconds=DAY)


@pytest.mark.parametrize(
    ("size", "staged", "expected", "page_size", "queries"),
    [
        (0, 0, None, None, 1),
        (2_000, 0, None, 1_000, 2),
        (2_001, 0, None, 1_000, 3),
        (10, 2_001, None, 1_000, 3),
        (10, 0, 2_001, 1_000, 3),
        (2_001, 0, None, 500, 5),
        (USUAL_PAGE_SIZE + 1, 0, None, None, 2),
    ],
)
def test_a_refresh_takes_as_many_queries_as_it_reads_pages_where_each_counts(
    exported: Workspace, size: int, staged: int, expected: int | None, page_size: int | None, queries: int
) -> None:
    """Of the people who are in WebEngage, were read or were announced last, the most; where pages do not count, one."""
    sync = read_sync(exported)
    assert sync.last_run
    run = replace(sync.last_run, staged=staged, expected_total=expected, page_size=page_size)
    sync = replace(sync, size=size, last_run=run)
    assert [count_queries(sync, pages_count=counted) for counted in (True, False)] == [queries, 1]


def test_only_what_will_be_refreshed_is_counted_with_its_times_and_its_end(exported: Workspace) -> None:
    """A paused or finished sync, and one that is exported once, have no next time."""
    sync = replace(read_sync(exported), ends_at=MONDAY)
    assert list(list_refreshes([sync, replace(sync, next_run_at=None)], pages_count=False)) == [
        Refreshes(
            queries=1, next_run_at=sync.next_run_at or 0.0, interval_seconds=DAY, daily=sync.daily, ends_at=MONDAY
        )
    ]


@pytest.mark.parametrize(
    ("queries", "fits", "said"),
    [
        (25, True, "limit: 25 of 50 queries in the busiest hour, at most 50 if cohorts have to be read twice."),
        (26, True, "hour. If cohorts have to be read twice it takes up to 52, and some refreshes are late then."),
        (50, True, "hour. If cohorts have to be read twice it takes up to 100, and some refreshes are late then."),
        (51, False, "need 51 Mixpanel queries in the hour from 2027-03-01 10:00 UTC, and refreshes may make 50:"),
    ],
)
def test_what_fits_the_hour_is_said_with_its_numbers(queries: int, fits: bool, said: str) -> None:
    """Ten of Mixpanel's sixty are for people."""
    found = describe_fit([take(queries)], MONDAY)
    assert found[0] is fits and said in found[1]


def test_a_week_is_looked_ahead_before_a_schedule_is_saved() -> None:
    """Some are refreshed on Mondays only; it is Monday, half past ten."""
    later = WEEKLY.find_next(MONDAY)
    weekly = replace(take(51, later), daily=WEEKLY)
    assert not describe_fit([weekly], MONDAY + HOUR / 2)[0]


def test_a_cohort_that_is_about_to_be_exported_is_counted_by_its_pages_where_each_counts(connected: Workspace) -> None:
    """By the size Mixpanel listed for it, and once, also when it is refreshed already."""
    connected.env["COHORT_SYNC_PAGE_SIZE"] = "10"
    connected.add_cohort(3, "Another")
    cohort = connected.add_cohort(25)
    connected.export(cohort, interval=DAY)
    with connected.open() as service:
        assert "1 of 50" in service.hourly_fit.check(PROJECT, cohort, DAY)[1]
        with connected.open_database() as db:
            db.execute("update mixpanel_project set later_pages_counted_at = ?", (connected.now(),))
        assert "3 of 50" in service.hourly_fit.check(PROJECT, cohort, DAY)[1]


def test_a_time_of_day_that_is_about_to_be_saved_is_counted_on_its_days(exported: Workspace) -> None:
    """Tuesday and Friday are full."""
    with exported.open_database() as db:
        columns = [row[1] for row in db.execute("pragma table_info(sync)") if row[1] != "id"]
        for number in range(SYNC_QUERIES_AN_HOUR - 1):
            values = {"cohort_id": 900_000 + number, "attribute": f"'Busy {number}'"}
            chosen = ", ".join(str(values.get(name, name)) for name in columns)
            db.execute(f"insert into sync ({', '.join(columns)}) select {chosen} from sync where id = 1")
    with exported.open() as service:
        fitting = {day for day in DAYS if service.hourly_fit.check(PROJECT, 1, DAY, DailyTime("09:30", "UTC", day))[0]}
    assert fitting == {*DAYS} - {"tue", "fri"}


def test_the_next_day_of_each_project_is_watched(exported: Workspace) -> None:
    """Each has a limit of its own, and what comes later is no reason for an alert."""
    sync = replace(read_sync(exported), daily=None, next_run_at=MONDAY)
    others = [replace(sync, project_id=PROJECT + 1)] * SYNC_QUERIES_AN_HOUR
    with exported.open_store() as store:
        for count, begin, found in ((50, MONDAY, set()), (51, MONDAY, {PROJECT}), (51, MONDAY + 2 * DAY, set())):
            mine = [replace(sync, next_run_at=begin)] * count
            assert set(find_unkept_limits(store, [*mine, *others], MONDAY)) == found
        with exported.open_database() as db:
            db.execute("update mixpanel_project set later_pages_counted_at = ?", (MONDAY,))
        assert set(find_unkept_limits(store, [replace(sync, size=50_001)], MONDAY)) == {PROJECT}
