"""Find late syncs at the borders: when one is late, since when, and when it needs a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync.model import RunState, SyncState
from sync.process_identity import process_name
from sync.records import SyncView
from sync.service.overdue import ends_by_itself, find_overdue
from tests.workspace import Workspace

NOW, HOUR, DAY = 1_803_895_200.0, 3600.0, 86_400.0
LEASED = {"lease_owner": f"{process_name()}-1", "lease_until": NOW + 60.0}


@pytest.fixture
def sync(connected: Workspace) -> SyncView:
    """Return a sync whose only run succeeded."""
    connected.add_cohort(3)
    connected.export()
    with connected.open() as service:
        return service.syncs.get(1)


@pytest.mark.parametrize(
    ("interval", "late", "is_working", "needs_person"),
    [
        (HOUR, 59.0, True, None),
        (HOUR, 60.0, True, False),
        (HOUR, 2 * HOUR - 1, True, False),
        (HOUR, 2 * HOUR, True, True),
        (30 * DAY, 2 * DAY - 1, True, False),
        (30 * DAY, 2 * DAY, True, True),
        (HOUR, 0.0, False, True),
        (HOUR, -1.0, False, None),
    ],
)
def test_a_refresh_that_was_not_queued_is_late_after_a_minute_and_needs_a_person_after_two_intervals(
    connected: Workspace, sync: SyncView, interval: float, late: float, is_working: bool, needs_person: bool | None
) -> None:
    """Two days at most; without a runner at once."""
    sync = replace(sync, interval_seconds=interval, next_run_at=NOW - late)
    paused = replace(sync, state=SyncState.PAUSED)
    with connected.open_store() as store:
        found = list(find_overdue(store, [paused, sync], NOW, working=is_working))
    assert [(one.since, one.needs_person) for one in found] == (
        [] if needs_person is None else [(NOW - late, needs_person)]
    )


@pytest.mark.parametrize(
    ("run", "is_working", "since", "needs_person"),
    [
        (LEASED | {"stalled_since": NOW - HOUR}, True, None, None),
        (LEASED | {"stalled_since": NOW - 2 * HOUR}, True, None, None),
        (LEASED | {"stalled_since": NOW - 2 * HOUR - 1}, True, NOW - 2 * HOUR - 1, True),
        ({"not_before": NOW - 100}, True, NOW - 100, False),
        ({"not_before": NOW - 100, "stalled_since": NOW - 500}, True, NOW - 500, False),
        ({"not_before": NOW - 500, "stalled_since": NOW - 100}, True, NOW - 500, False),
        ({"not_before": NOW - 100, "stalled_since": NOW - 2 * HOUR - 1}, True, NOW - 2 * HOUR - 1, True),
        ({"not_before": NOW - 100, "stalled_since": NOW - 500}, False, NOW - 500, True),
        ({"not_before": NOW + DAY}, False, NOW, True),
        ({"not_before": 0.0}, True, NOW - HOUR, False),
    ],
)
def test_a_run_is_late_since_it_was_due_or_made_no_progress(
    connected: Workspace, sync: SyncView, run: dict[str, Any], is_working: bool, since: float | None, needs_person: bool
) -> None:
    """One that a runner has is late past its deadline only; a clock that was set back puts nothing into the future."""
    assert sync.last_run
    last = replace(sync.last_run, state=RunState.PULLING, queued_at=NOW - HOUR, **run)
    with connected.open_store() as store:
        found = list(
            find_overdue(store, [replace(sync, interval_seconds=HOUR, last_run=last)], NOW, working=is_working)
        )
    assert [(one.since, one.needs_person) for one in found] == ([] if since is None else [(since, needs_person)])


@pytest.mark.parametrize(("resume_at", "ends"), [(None, False), (NOW + 1, True), (NOW - 60, True), (NOW - 61, False)])
def test_a_pause_ends_by_itself_until_a_minute_after_its_end(
    sync: SyncView, resume_at: float | None, ends: bool
) -> None:
    """Then a person has to look why no runner ended it."""
    assert ends_by_itself(replace(sync, resume_at=resume_at), NOW) is ends
