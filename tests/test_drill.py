"""A short drill in every test run; `python -m tests.drill` plays as many rounds as one likes."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.model import Mode, RunState, SyncState
from sync.store import Store
from sync.store.export_requests import ExportRequest, Request
from tests.drill import between
from tests.drill.__main__ import play
from tests.drill.drill_runner import STATEMENTS
from tests.drill.invariants import Broken
from tests.drill.schedule_book import Work
from tests.drill.time_legs import is_asleep
from tests.process_factory import start_module
from tests.sandbox.readings import READINGS
from tests.workspace import ATTRIBUTE, Workspace, make_environment

PATIENCE = 120.0  # seconds; never asserted


@pytest.mark.drill
def test_the_drill_when_it_kills_and_falsifies_answers_finds_every_promise_kept() -> None:
    """After every round WebEngage holds exactly the exportable members, the snapshot too, and a second run sends nobody."""
    tally: Counter[str] = Counter()
    assert play(8, 1, tally) == []
    assert tally["SIGKILL"] and tally["cohort changed"] and tally["round with small limits"] == 2
    assert tally["times of day"] + tally["pause until a time"]
    assert any(tally[f"SIGKILL {point}"] for point in STATEMENTS)
    assert any(tally[f"reading: {name}"] for name in READINGS)


@pytest.mark.slow
@pytest.mark.parametrize("point", STATEMENTS)
def test_a_runner_when_killed_at_a_chosen_statement_leaves_a_run_that_the_next_one_ends(
    fans: Workspace, point: str
) -> None:
    """The runner of the drill really dies there, and afterwards WebEngage holds exactly the cohort."""
    run_id = fans.start_export()
    killed = start_module(
        "tests.drill.drill_runner", "--once", env=make_environment(fans.data_dir, DRILL_DIE=f"{point}:1")
    )
    assert killed.wait(PATIENCE) == -signal.SIGKILL
    fans.run_queued()
    assert fans.get_run(run_id).state is RunState.SUCCEEDED
    assert fans.sandbox.holding(ATTRIBUTE) == (fans.sandbox.exportable(fans.cohort), set())


def test_somebody_false_who_never_left_breaks_a_round() -> None:
    """A removal is proven by the cohort's own past or by a person's approval, and by nothing else."""
    between.judge_nobody_left_unproven({"left", "approved"}, {"left", "approved"})
    with pytest.raises(Broken, match="never left"):
        between.judge_nobody_left_unproven({"left", "stayed"}, {"left"})


@pytest.mark.parametrize(
    ("change", "asleep"),
    [
        ({}, False),
        ({"state": SyncState.PAUSED}, True),
        ({"state": SyncState.PAUSED, "resume_at": 21.0}, True),
        ({"state": SyncState.PAUSED, "resume_at": 20.0}, False),
        ({"ends_at": 10.0}, True),
        ({"ends_at": 10.1}, False),
    ],
)
def test_a_sync_that_is_paused_or_over_while_a_runner_works_may_send_nothing(
    data_dir: Path, change: dict[str, Any], asleep: bool
) -> None:
    """From the first moment to the last; a pause that ends meanwhile, or an end that comes then, allows a refresh."""
    request = ExportRequest(1, 1, "Fans", "license", "Fans", Request(Mode.DYNAMIC, 7200.0))
    with Store.open(data_dir) as store, store.transaction():
        sync = store.syncs.get_sync(store.syncs.create(request, 1.0, active=True))
    assert sync
    work = Work(before=[], after={}, busy=set(), queued=[], began=10.0, ended=20.0)
    assert is_asleep(replace(sync, **change), work) is asleep


@pytest.mark.parametrize(
    ("ending", "broken"),
    [
        ({"state": "held", "held_reason": "Mixpanel announced 9 members and sent 8."}, ""),
        ({"state": "held", "held_reason": "Something is odd."}, "without numbers"),
        ({"state": "failed", "error": None}, "without a reason"),
        ({"state": "queued", "not_before": 200.0, "wait_reason": None}, "waits without a reason"),
        ({"state": "queued", "not_before": 50.0, "wait_reason": None}, ""),
    ],
)
def test_a_run_that_stops_without_saying_why_breaks_a_round(
    data_dir: Path, ending: dict[str, Any], broken: str
) -> None:
    """Held with numbers, failed for a reason, waiting for something: anything else breaks a round."""
    store = Store.open(data_dir)
    request = ExportRequest(1, 1, "Fans", "license", "Fans", Request(Mode.DYNAMIC, 7200.0))
    with store, store.transaction():
        run_id = store.runs.enqueue_run(store.syncs.create(request, 1.0, active=True), "export", 1.0)
        run = store.runs.get_run(run_id or 0)
    assert run is not None
    changed = replace(run, **{**ending, "state": RunState(ending["state"])})
    with pytest.raises(Broken, match=broken) if broken else nullcontext():
        between.judge_run(changed, 100.0)


def test_queries_of_one_hour_are_counted_wherever_the_hour_begins() -> None:
    """The hour is a rolling one: three queries around its turn are three."""
    assert between.most_in_an_hour([0.0, 3500.0, 3599.0, 3601.0, 9000.0]) == 3
