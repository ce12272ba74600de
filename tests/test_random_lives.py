"""A few random lives in every test run; `python -m tests.drill.lives` lives as many as one likes."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.cadence import DailyTime, find_moment
from sync.model import Mode, Run, RunState, SyncState
from sync.store import Store
from sync.store.export_requests import ExportRequest, Request
from tests.drill.book import CohortBook, RequestBook
from tests.drill.invariants import Broken
from tests.drill.lives import live
from tests.drill.schedule_book import ScheduleBook, Work


@pytest.mark.slow
def test_random_lives_when_anything_is_asked_in_any_order_keep_every_promise() -> None:
    """Whatever a person asks for in whatever order, each success leaves WebEngage and the snapshot as the cohort was."""
    done: Counter[str] = Counter()
    assert live(8, 222, done) == []
    assert done["success judged"] >= 12
    assert all(
        done[name]
        for name in ("export", "change_cohort", "dry_run", "approve", "cancel", "forget", "restore", "keep_out")
    )
    assert all(done[name] for name in ("try_on_a_few", "step judged", "take_back", "take-back judged"))
    assert all(done[name] for name in ("export_at_a_time", "change_times", "pause_until", "clock change"))
    assert all(done[name] for name in ("success by property judged", "change of User ID judged"))
    assert all(done[name] for name in ("refresh of a daily sync", "pause ended by itself", "sync reached its end"))


BERLIN = DailyTime("02:30", "Europe/Berlin", "sun")
ACTIVE_UNTIL = find_moment("2027-03-28 03:00", "UTC")


@pytest.mark.parametrize(
    ("change", "now", "refreshes", "next_run_at", "broken"),
    [
        ({}, "2027-03-28 01:00", 1, "2027-04-04 00:30", ""),
        ({}, "2027-03-28 01:00", 0, "2027-04-04 00:30", "due and not refreshed"),
        ({}, "2027-03-28 01:00", 2, "2027-04-04 00:30", "2 times at once"),
        ({}, "2027-03-28 01:00", 1, "2027-04-04 01:30", "expected"),
        ({}, "2027-03-28 00:59", 1, "2027-03-28 01:00", "was not due"),
        ({"ends_at": ACTIVE_UNTIL}, "2027-03-28 03:00", 1, "2027-04-04 00:30", "was not due"),
        ({"state": SyncState.PAUSED}, "2027-03-28 01:00", 1, "2027-04-04 00:30", "was not due"),
        ({"state": SyncState.PAUSED, "resume_at": ACTIVE_UNTIL}, "2027-03-28 02:59", 1, "2027-04-04 00:30", "not due"),
        ({"state": SyncState.PAUSED, "resume_at": ACTIVE_UNTIL}, "2027-03-28 03:00", 1, "2027-04-04 00:30", ""),
        ({"state": SyncState.FINISHED}, "2027-03-28 01:00", 1, "2027-04-04 00:30", "was not due"),
    ],
)
def test_a_refresh_that_was_not_due_or_is_missing_breaks_a_life(
    finished: Run, data_dir: Path, change: dict[str, Any], now: str, refreshes: int, next_run_at: str, broken: str
) -> None:
    """A sync that is refreshed on Sundays at 02:30, on the one on which that time is skipped and 03:00 counts."""
    with Store.open(data_dir) as store:
        stored = store.syncs.get_sync(1)
    assert stored
    before = replace(stored, daily=BERLIN, next_run_at=find_moment("2027-03-28 01:00", "UTC"), **change)
    after = replace(before, state=SyncState.ACTIVE, resume_at=None, next_run_at=find_moment(next_run_at, "UTC"))
    moment = find_moment(now, "UTC")
    queued = [replace(finished, id=number, purpose="refresh") for number in range(refreshes)]
    work = Work(before=[before], after={1: after}, busy=set(), queued=queued, began=moment, ended=moment)
    with pytest.raises(Broken, match=broken) if broken else nullcontext():
        ScheduleBook().judge_work(work, Counter())


def test_a_pause_that_goes_on_after_its_time_breaks_a_life(data_dir: Path, finished: Run) -> None:
    """A runner that worked after that time has ended it."""
    with Store.open(data_dir) as store:
        sync = store.syncs.get_sync(1)
    assert sync
    paused = replace(sync, state=SyncState.PAUSED, resume_at=10.0)
    work = Work(before=[paused], after={1: paused}, busy=set(), queued=[], began=10.0, ended=11.0)
    with pytest.raises(Broken, match="goes on"):
        ScheduleBook().judge_work(work, Counter())
    ScheduleBook().judge_work(replace(work, began=9.0, ended=9.5), Counter())


def test_a_second_refresh_for_the_same_time_breaks_a_life(finished: Run, data_dir: Path) -> None:
    """Each time a sync is due is one refresh."""
    with Store.open(data_dir) as store:
        sync = store.syncs.get_sync(1)
    assert sync and sync.next_run_at
    work = Work(
        before=[sync],
        after={1: sync},
        busy=set(),
        queued=[replace(finished, purpose="refresh")],
        began=sync.next_run_at,
        ended=sync.next_run_at,
    )
    book = ScheduleBook()
    book.judge_work(work, Counter())
    with pytest.raises(Broken, match="refreshed twice"):
        book.judge_work(work, Counter())


@pytest.fixture
def finished(data_dir: Path) -> Run:
    """Return a run of a stored sync."""
    request = ExportRequest(1, 1, "Red", "license", "Red", Request(Mode.DYNAMIC, 7200.0))
    with Store.open(data_dir) as store, store.transaction():
        run_id = store.runs.enqueue_run(store.syncs.create(request, 1.0, active=True), "export", 1.0)
        run = store.runs.get_run(run_id or 0)
    assert run is not None
    return replace(run, state=RunState.SUCCEEDED, planned=True, planned_at=2.0)


@pytest.mark.parametrize(
    ("held_true", "snapshot", "broken"),
    [
        ({"a", "b"}, {"a", "b"}, ""),
        ({"a"}, {"a", "b"}, "not true in WebEngage"),
        ({"a", "b", "c"}, {"a", "b"}, "not in the cohort"),
        ({"a", "b"}, {"a"}, "not in the snapshot"),
        ({"a", "b"}, {"a", "b", "c"}, "still in the snapshot"),
    ],
)
def test_a_success_that_left_something_else_than_the_cohort_breaks_a_life(
    finished: Run, held_true: set[str], snapshot: set[str], broken: str
) -> None:
    """WebEngage and the snapshot both hold exactly who was read."""
    book = CohortBook(1, "Red", {"a": "gold", "b": "free"})
    book.note_reading(finished)
    with pytest.raises(Broken, match=broken) if broken else nullcontext():
        book.judge(finished, held_true, snapshot, set())


@pytest.mark.parametrize("approved", [True, False])
def test_a_held_request_that_goes_ahead_unapproved_breaks_a_life(finished: Run, approved: bool) -> None:
    """A run that was held may hand its request to the sync only after a person approved it."""
    book, asked = RequestBook(), Request(Mode.ONE_TIME, None)
    book.note_run(replace(finished, state=RunState.HELD, request=asked.dump()))
    book.approved |= {finished.id} if approved else set()
    with nullcontext() if approved else pytest.raises(Broken, match="nobody approved"):
        book.note_run(finished)
