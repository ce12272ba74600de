"""Find what was asked for of a sync and did not go ahead yet, in the order of its runs."""

from __future__ import annotations

import json

import pytest

from sync.cadence import DailyTime
from tests.workspace import Workspace

AHEAD = {"planned": 1, "state": "succeeded"}  # its plan went ahead, which took the request off
SENT_IN_PART = {"planned": 1, "state": "cancelled"}
TRIED = {"request": "asked", "planned": 1, "state": "cancelled"}  # nobody approved its plan for everybody
ASKED = {"request": "asked", "state": "cancelled"}  # and cancelled before its plan
FAILED = {"state": "failed", "error": "Mixpanel answered 401."}
FAILED_LATE = FAILED | {"planned": 1}
STOPPED = {"state": "cancelled"}
CLEARED = {"purpose": "clear", "planned": 1, "state": "succeeded"}
NOT_CLEARED = CLEARED | FAILED
BACK = {"purpose": "undo", "undoes": 1, "planned": 1, "state": "succeeded"}
NOT_BACK = FAILED | {"purpose": "undo", "undoes": 1}
UNDER_WAY = {"request": "asked", "state": "queued", "finished_at": None}


@pytest.fixture
def workspace(connected: Workspace) -> Workspace:
    """Return two syncs without any run."""
    for name in ("Fans", "Others"):
        connected.start_export(connected.add_cohort(3, name))
    with connected.open_database() as db:
        db.executescript("update sync set last_run_id = null; delete from event; delete from run;")
    return connected


def add_runs(workspace: Workspace, *runs: dict[str, object], sync_id: int = 1) -> None:
    """Add runs of a sync, the oldest first; their requests name the place."""
    with workspace.open_database() as db:
        for place, run in enumerate(runs, 1):
            values = {"sync_id": sync_id, "purpose": "refresh", "queued_at": 1, "not_before": 1, "finished_at": 1} | run
            if "request" in values:
                mode = "one-time" if values["request"] == "once" else "dynamic"
                values["request"] = json.dumps({"mode": mode, "place": place})
            marks = ", ".join("?" * len(values))
            added = db.execute(f"insert into run ({', '.join(values)}) values ({marks})", tuple(values.values()))
            db.execute("update sync set last_run_id = ? where id = ?", (added.lastrowid, sync_id))


@pytest.mark.parametrize(
    ("runs", "has"),
    [
        ([], False),
        ([AHEAD], True),
        ([SENT_IN_PART], True),
        ([TRIED], False),
        ([FAILED], False),
        ([BACK], False),
        ([AHEAD, TRIED, BACK], True),
        ([AHEAD, CLEARED], False),
        ([AHEAD, NOT_CLEARED], False),
        ([AHEAD, CLEARED, TRIED], False),
        ([AHEAD, CLEARED, AHEAD], True),
    ],
)
def test_a_plan_went_ahead_when_its_request_is_off_its_run_since_the_last_clear(
    workspace: Workspace, runs: list[dict[str, object]], has: bool
) -> None:
    """A take-back is no plan of the cohort, and another sync's runs are no matter."""
    add_runs(workspace, *runs)
    add_runs(workspace, *([CLEARED] if has else [AHEAD]), sync_id=2)
    with workspace.open_store() as store:
        assert store.open_requests.has_gone_ahead(1) is has


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        ([AHEAD], None),
        ([AHEAD, FAILED], 2),
        ([AHEAD, FAILED_LATE], None),
        ([AHEAD, STOPPED], None),
        ([AHEAD, NOT_BACK], None),
        ([AHEAD, FAILED, AHEAD], None),
        ([ASKED, ASKED], 2),
        ([TRIED, BACK], 1),
        ([AHEAD, ASKED], None),
        ([AHEAD, CLEARED], None),
        ([TRIED, CLEARED], None),
        ([TRIED, CLEARED, ASKED], 3),
        ([AHEAD, NOT_CLEARED], None),
    ],
)
def test_the_next_run_goes_on_with_the_last_one_that_was_left_open(
    workspace: Workspace, runs: list[dict[str, object]], left: int | None
) -> None:
    """One that failed before its plan; where nothing went ahead yet, or since the clear, the last one asked for."""
    add_runs(workspace, *runs)
    with workspace.open_store() as store, workspace.open_database() as db:
        ids = [row[0] for row in db.execute("select id from run order by id")]
        assert store.open_requests.find_left_open(1) == (ids[left - 1] if left else None)


@pytest.mark.parametrize(
    ("runs", "asked"),
    [
        ([], None),
        ([AHEAD], None),
        ([TRIED], 1),
        ([ASKED, ASKED], 2),
        ([TRIED, BACK], 1),
        ([TRIED, CLEARED], 1),
        ([FAILED, ASKED], 2),
        ([ASKED, FAILED], 1),
        ([ASKED, AHEAD, CLEARED], None),
        ([ASKED, SENT_IN_PART, CLEARED], None),
        ([AHEAD, CLEARED, ASKED], 3),
        ([AHEAD, ASKED], None),
    ],
)
def test_the_terms_of_a_sync_are_those_last_asked_for_until_they_go_ahead(
    workspace: Workspace, runs: list[dict[str, object]], asked: int | None
) -> None:
    """Where a plan went ahead last, they are the sync's own."""
    add_runs(workspace, *runs)
    add_runs(workspace, ASKED, sync_id=2)
    with workspace.open_store() as store:
        found = {
            sync_id: json.loads(text)["place"] for sync_id, text in store.open_requests.list_last_asked([1]).items()
        }
    assert found == ({1: asked} if asked else {})


@pytest.mark.parametrize(
    ("runs", "changed"),
    [
        ([ASKED, ASKED], [2]),
        ([AHEAD, ASKED, UNDER_WAY], [3]),
        ([AHEAD, ASKED], []),
        ([ASKED | {"request": "once"}], []),
    ],
)
def test_new_times_go_into_the_request_that_the_next_run_goes_on_with_and_that_of_a_run_under_way(
    workspace: Workspace, runs: list[dict[str, object]], changed: list[int]
) -> None:
    """Not into former ones, that of a one-time export, or those of another sync."""
    add_runs(workspace, *runs)
    add_runs(workspace, ASKED, UNDER_WAY, sync_id=2)
    with workspace.open_store() as store:
        store.open_requests.set_cadence(1, 86_400.0, DailyTime("07:30", "UTC", "mon"), 5.0)
    with workspace.open_database() as db:
        requests = [json.loads(row[0]) for row in db.execute("select request from run where request is not null")]
    daily = {"at": "07:30", "zone": "UTC", "days": "mon"}
    new = {"mode": "dynamic", "interval_seconds": 86_400.0, "daily": daily, "ends_at": 5.0}
    assert [one for one in requests if len(one) > 2] == [new | {"place": place} for place in changed]
