"""When syncs were refreshed in a random life, compared with times of day that are worked out here from the time zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sync.cadence import DAYS, DailyTime, find_moment
from sync.model import Mode, Run, Sync, SyncState
from tests.drill.invariants import hold

MINUTE, GAP_HOURS = 60.0, 3
REFRESHES = ("refresh", "resync")  # what a schedule queues; an approved export that grew old is queued again as one
BIRTH = find_moment("2036-01-07 12:00", "UTC")  # each life begins then, so that its seed alone decides what is due when


@dataclass(frozen=True)
class Work:
    """Hold what a runner found and what it left: syncs before and after, the syncs that were busy, and the runs it queued."""

    before: list[Sync]
    after: dict[int, Sync]
    busy: set[int]
    queued: list[Run]
    began: float
    ended: float


@dataclass
class ScheduleBook:
    """The times at which each sync was due and refreshed."""

    due: dict[int, set[float]] = field(default_factory=dict)
    days: set[tuple[int, DailyTime, date]] = field(default_factory=set)

    def judge_work(self, work: Work, tally: Counter[str]) -> None:
        """Check every sync after a runner worked."""
        for sync in work.before:
            mine = [run for run in work.queued if run.sync_id == sync.id and run.purpose in REFRESHES]
            self._judge_refresh(sync, mine, work)
            judge_next(work.after[sync.id], work)
            if mine and sync.state is SyncState.ACTIVE:
                self._note_due(sync)
            tally["refresh of a daily sync"] += bool(mine and sync.daily)
            tally["pause ended by itself"] += bool(mine and sync.state is SyncState.PAUSED)
            tally["sync reached its end"] += has_ended(sync, work.began) and sync.state is not SyncState.FINISHED

    def _judge_refresh(self, sync: Sync, mine: list[Run], work: Work) -> None:
        """Nothing while it is paused or ended, at most one at a time, and one when it is due; one more time may come."""
        next_time = sync.find_next_run(work.began)
        most = 2 if next_time is not None and next_time <= work.ended else 1
        hold(len(mine) <= most, f"sync {sync.id} was refreshed {len(mine)} times at once")
        hold(not mine or may_refresh(sync, work), f"sync {sync.id} was refreshed, and was not due: {sync}")
        is_due = sync.state is SyncState.ACTIVE and may_refresh(sync, work) and (sync.next_run_at or 0) <= work.began
        hold(not is_due or bool(mine) or sync.id in work.busy, f"sync {sync.id} was due and not refreshed: {sync}")
        after = work.after[sync.id]
        is_over = sync.resume_at is not None and sync.resume_at <= work.began
        hold(not is_over or after.resume_at is None, f"the pause of sync {sync.id} is over and goes on: {after}")
        if has_ended(sync, work.began) and sync.mode is Mode.DYNAMIC and after.ends_at == sync.ends_at:
            hold(after.state is SyncState.FINISHED, f"sync {sync.id} has ended and is not finished")

    def _note_due(self, sync: Sync) -> None:
        """Each time a sync is due is one refresh, and each day of a daily one; what resumes is refreshed at once besides."""
        assert sync.next_run_at is not None  # it was due
        known = self.due.setdefault(sync.id, set())
        hold(sync.next_run_at not in known, f"sync {sync.id} was refreshed twice for {sync.next_run_at}")
        known.add(sync.next_run_at)
        if sync.daily and find_next_by_hand(sync.daily, sync.next_run_at - 1) == sync.next_run_at:
            day = datetime.fromtimestamp(sync.next_run_at, ZoneInfo(sync.daily.zone)).date()
            hold((sync.id, sync.daily, day) not in self.days, f"sync {sync.id} was refreshed twice on {day}")
            self.days.add((sync.id, sync.daily, day))


def has_ended(sync: Sync, now: float) -> bool:
    """Return whether the end of a sync has come."""
    return sync.ends_at is not None and sync.ends_at <= now


def may_refresh(sync: Sync, work: Work) -> bool:
    """Return whether the schedule of a sync allows a refresh while a runner worked."""
    if sync.mode is not Mode.DYNAMIC or has_ended(sync, work.began):
        return False
    due_at = {SyncState.ACTIVE: sync.next_run_at, SyncState.PAUSED: sync.resume_at}.get(sync.state)
    return due_at is not None and due_at <= work.ended


def judge_next(sync: Sync, work: Work) -> None:
    """Check that a daily sync is due next at its time of day, whatever its clocks do."""
    if sync.daily and sync.mode is Mode.DYNAMIC and sync.state is SyncState.ACTIVE:
        expected = {find_next_by_hand(sync.daily, moment) for moment in (work.began, work.ended)}
        hold(sync.next_run_at in expected, f"sync {sync.id} is due at {sync.next_run_at}, expected {expected}: {sync}")


def find_next_by_hand(daily: DailyTime, after: float) -> float:
    """Return the first moment after another at which a clock in the zone shows the time, or passes over it."""
    zone, at = ZoneInfo(daily.zone), time.fromisoformat(daily.at)
    first = datetime.fromtimestamp(after, zone).date() - timedelta(days=1)
    moments = (
        _find_moment(first + timedelta(days=number), at, zone) for number in range(10) if _is_on(daily, first, number)
    )
    return next(moment for moment in moments if moment > after)


def _is_on(daily: DailyTime, first: date, number: int) -> bool:
    return DAYS[(first + timedelta(days=number)).weekday()] in daily.days.split(",")


def _find_moment(day: date, at: time, zone: ZoneInfo) -> float:
    """Return the first minute of a day at which the clock shows this time or a later one."""
    wanted = datetime.combine(day, at)
    moment = wanted.replace(tzinfo=zone).timestamp() - GAP_HOURS * 60 * MINUTE
    while datetime.fromtimestamp(moment, zone).replace(tzinfo=None) < wanted:
        moment += MINUTE
    return moment


def list_busy(runs: Iterable[Run]) -> set[int]:
    """Return the syncs of which a run has not ended."""
    return {run.sync_id for run in runs if not run.state.is_final}
