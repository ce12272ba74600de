"""The places of a run among Mixpanel's concurrent queries: waited for, kept while Mixpanel works, and given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sync.engine import Clock, RunContext, RunExecutor
from sync.mixpanel.client import Mixpanel
from sync.model import Run, RunState
from sync.store import Store
from sync.store.rate_limits import MAX_CONCURRENT_QUERIES, SERVER_DEADLINE
from tests.engine_workspace import EngineWorkspace, fans, last, later, patient_workspace
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import wait_until

QUERIES = "/api/query/engage"
LONG = 60.0  # seconds Mixpanel takes for a page that nobody waits for


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an export that is queued, of a cohort of 25, on three pages."""
    found = patient_workspace(data_dir, sandbox)
    found.set_members(*fans(*range(25)))
    found.start_export()
    return found


def execute(workspace: EngineWorkspace, context: RunContext) -> Run:
    """Execute the queued run in this thread, and return it."""
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        RunExecutor(store, claimed, "me", context).execute()
    return last(workspace)


def skip_time(workspace: EngineWorkspace, at_each: Callable[[], None] = lambda: None) -> RunContext:
    """Return what a run needs, with a clock that a wait moves at once; ``at_each`` is called at each wait."""

    def skip(seconds: float) -> None:
        workspace.ahead += seconds
        at_each()

    return replace(workspace.context(), clock=Clock(workspace.now, skip))


def count_free_places(workspace: EngineWorkspace) -> int:
    """Return how many queries somebody else may ask now."""
    with workspace.open_store() as store:
        asked = (
            store.rate_limits.acquire_query(PROJECT, workspace.now(), later_page=False)
            for _ in range(MAX_CONCURRENT_QUERIES)
        )
        return sum(slot.id is not None for slot in asked)


def test_a_run_when_others_have_all_places_asks_nothing_and_is_put_off_with_the_reason(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It waits some seconds, and later tries again; that others are at work is no failure of the run."""
    with workspace.open_store() as store:
        asked = [store.rate_limits.acquire_query(PROJECT, workspace.now(), later_page=False) for _ in range(5)]
        run = execute(workspace, skip_time(workspace))
        assert (run.state, run.wait_reason) == (RunState.QUEUED, "all of Mixpanel's concurrent queries are in use")
        assert run.failures == 0 and 15 < workspace.ahead < 40
        assert QUERIES not in sandbox.meter().requests
        for slot in asked:
            store.rate_limits.release_query(slot, workspace.now())
    later(workspace, 30)
    assert last(workspace).state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_run_when_a_place_becomes_free_while_it_waits_reads_the_whole_cohort(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Nothing on its way and nothing read yet is no end of the reading."""
    with workspace.open_store() as store:
        asked = [store.rate_limits.acquire_query(PROJECT, workspace.now(), later_page=False) for _ in range(5)]

        def free_one() -> None:
            if workspace.ahead > 10 and asked:
                store.rate_limits.release_query(asked.pop(), workspace.now())

        run = execute(workspace, skip_time(workspace, free_one))
    assert (run.state, run.entered, run.reading) == (RunState.SUCCEEDED, 25, 1)
    assert sandbox.meter().requests[QUERIES] == 3


def test_a_page_that_was_given_up_keeps_its_place_as_long_as_mixpanel_may_work_on_it(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the answer any more, but the query runs on at Mixpanel, and counts there."""
    monkeypatch.setattr("sync.engine.clients.Mixpanel", partial(Mixpanel, timeout=0.5))
    sandbox.fault("stall", path="engage", seconds=LONG)
    run = execute(workspace, workspace.context())
    assert run.state is RunState.SUCCEEDED
    assert count_free_places(workspace) == MAX_CONCURRENT_QUERIES - 1
    workspace.ahead += SERVER_DEADLINE
    assert count_free_places(workspace) == MAX_CONCURRENT_QUERIES


def test_pages_on_their_way_when_a_runner_stops_are_heard_and_their_places_given_back(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A restart leaves no place taken for the eight minutes that Mixpanel itself allows a query."""
    sandbox.settings(latency=700.0)

    def has_asked() -> bool:
        with workspace.open_database() as database:
            [asked] = database.execute("select count(*) from mixpanel_query where sync_id is not null").fetchone()
        return asked > 0

    run = execute(workspace, replace(workspace.context(), is_stopping=has_asked))
    assert not run.state.is_final
    assert count_free_places(workspace) == MAX_CONCURRENT_QUERIES


def test_the_place_of_a_page_on_its_way_is_kept_after_a_clock_was_set_forward(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """By the new clock Mixpanel must be done with it, and yet the answer is still awaited."""
    workspace.set_members(*fans(*range(5)))
    sandbox.fault("slow", path="/engage", ms=2000, times=1)
    runner = threading.Thread(target=execute, args=(workspace, workspace.context()))
    runner.start()
    wait_until(lambda: last(workspace).requests == 1)
    workspace.ahead += 2 * SERVER_DEADLINE
    time.sleep(1.0)
    free = count_free_places(workspace)
    runner.join()
    assert free == MAX_CONCURRENT_QUERIES - 1
    assert last(workspace).state is RunState.SUCCEEDED


def test_a_cohort_is_read_while_a_larger_one_has_all_places(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Runs that read share the places, or each page of the larger cohort would take the next one, to its end."""
    workspace.set_members(*fans(*range(700)))
    few = sandbox.add_cohort("Few", fans(*range(15)))
    sandbox.fault("slow", path="/engage", ms=100, times=0)
    runner = threading.Thread(target=workspace.run_queued)
    runner.start()
    wait_until(lambda: last(workspace).staged >= 60)
    later_id = workspace.start_export(few)
    runner.join()
    larger, smaller = workspace.get_run(1), workspace.get_run(later_id)
    assert (larger.state, smaller.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert smaller.planned_at and larger.planned_at and smaller.planned_at < larger.planned_at


def test_a_limit_that_mixpanel_does_not_name_is_waited_for_by_all_and_is_no_failure(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It may be the one of the hour, so no other cohort of the project is asked for meanwhile."""
    body = {"error": "Rate limit exceeded"}
    sandbox.fault("status", path="/engage", code=429, retry_after=600, body=body, times=0)
    workspace.run_queued()
    run = last(workspace)
    assert (run.state, run.failures) == (RunState.QUEUED, 0) and 500 < run.not_before - workspace.now() <= 600
    assert sandbox.meter().requests[QUERIES] == 1 and count_free_places(workspace) == 0
