"""Compare what all refreshes take with Mixpanel's hourly limit of queries, hour by hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

from sync.cadence import BusyHour, DailyTime, Refreshes, find_busiest_hour
from sync.model import USUAL_PAGE_SIZE, format_utc_time
from sync.permissions import AccessLevel, requires
from sync.records import SyncView
from sync.service.base import Topic
from sync.store import Store
from sync.store.rate_limits import SYNC_QUERIES_AN_HOUR

DAY_HOURS = 24  # hours that the alert looks ahead
WEEK_HOURS = 7 * DAY_HOURS  # hours; some syncs are refreshed on one day of the week only
MAX_READINGS = 2  # readings of a cohort whose first one does not add up


def count_queries(sync: SyncView, *, pages_count: bool) -> int:
    """Return how many queries one reading takes; ``pages_count``: whether pages after the first count as queries."""
    if not pages_count:
        return 1
    run = sync.last_run
    read = max(run.staged, run.expected_total or 0) if run else 0
    return count_pages(max(sync.size, read), run.page_size if run else None)


def count_pages(people: int | None, page_size: int | None) -> int:
    """Return how many pages a cohort of so many people has; one when that is not known."""
    return max(1, ceil((people or 0) / (page_size or USUAL_PAGE_SIZE)))


def list_refreshes(syncs: Iterable[SyncView], *, pages_count: bool) -> Iterator[Refreshes]:
    """Yield the refreshes of the dynamic syncs that are active, or will be when their pause ends."""
    for one in syncs:
        if one.interval_seconds and one.next_run_at is not None:
            yield Refreshes(
                queries=count_queries(one, pages_count=pages_count),
                next_run_at=one.next_run_at,
                interval_seconds=one.interval_seconds,
                daily=one.daily,
                ends_at=one.ends_at,
            )


def describe_fit(refreshes: Iterable[Refreshes], now: float) -> tuple[bool, str]:
    """Return whether these refreshes fit Mixpanel's hourly limit for a week, one reading each, and a sentence about it."""
    found = find_busiest_hour(refreshes, now, WEEK_HOURS)
    limit, twice = SYNC_QUERIES_AN_HOUR, MAX_READINGS * found.queries
    if found.queries > limit:
        return False, (
            f"All syncs of this project together need {found.queries:,} Mixpanel queries in the hour from "
            f"{format_utc_time(found.begins_at)}, and refreshes may make {limit}: some will be late. Choose another time, "
            "or refresh some of them less often."
        )
    fits = f"All syncs of this project together fit Mixpanel's limit: {found.queries:,} of {limit} queries in the busiest hour"
    if twice > limit:
        return (
            True,
            f"{fits}. If cohorts have to be read twice it takes up to {twice:,}, and some refreshes are late then.",
        )
    return True, f"{fits}, at most {twice:,} if cohorts have to be read twice."


class HourlyFitService(Topic):
    """The check that the refreshes of all syncs fit the hour, with one that is about to be saved."""

    @requires(AccessLevel.VIEWER)
    def check(
        self, project_id: int | None, cohort_id: int, interval: float, daily: DailyTime | None = None
    ) -> tuple[bool, str]:
        """Return whether all syncs of a project fit Mixpanel's limit when this cohort is refreshed so, and a sentence."""
        project_id = self._state.get_project(project_id).id
        now, store = self._state.now(), self._store
        pages_count = store.rate_limits.pages_count(project_id, now)
        others = [one for one in store.syncs.list_views(project_id) if one.cohort_id != cohort_id]
        known = next((one for one in store.connections.list_cohorts(project_id) if one.id == cohort_id), None)
        pages = count_pages(known.count if known else None, self._state.settings.page_size) if pages_count else 1
        first = daily.find_next(now) if daily else now + interval
        mine = Refreshes(queries=pages, next_run_at=first, interval_seconds=interval, daily=daily)
        return describe_fit([*list_refreshes(others, pages_count=pages_count), mine], now)


def find_unkept_limits(store: Store, syncs: Iterable[SyncView], now: float) -> dict[int, BusyHour]:
    """Return the busiest hour of the next day for each project whose refreshes do not fit Mixpanel's limit in it."""
    found, listed = dict[int, BusyHour](), tuple(syncs)
    for project in {one.project_id for one in listed}:
        pages_count = store.rate_limits.pages_count(project, now)
        mine = (one for one in listed if one.project_id == project)
        hour = find_busiest_hour(list_refreshes(mine, pages_count=pages_count), now, DAY_HOURS)
        if hour.queries > SYNC_QUERIES_AN_HOUR:
            found[project] = hour
    return found
