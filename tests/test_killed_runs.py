"""A run killed between any two writes goes on to the same end: nobody is left out, left true or sent once more for nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import RunExecutor
from sync.model import RunState
from sync.store import Store
from sync.store.database import open_database
from tests.engine_workspace import DAY, MAPPED, PATIENT, EngineWorkspace, fans, last, later, on_plan
from tests.sandbox.control import Member, Sandbox

KILLED, DONE = 9, 0
LATER = 600.0  # seconds, after which another runner takes the run of a dead one; an hour has queries for six such runs
WRITES = ("begin immediate", "insert", "update", "delete")


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder connected to a sandbox with small pages."""
    sandbox.settings(page_size=10)
    return EngineWorkspace(data_dir, sandbox)


def execute_until(workspace: EngineWorkspace, write: int) -> bool:
    """Execute the queued run in a process that ends at once before its N-th write; return whether it was."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _execute_in_child(workspace, write)
            code = DONE
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (KILLED, DONE)
    return code == KILLED


def _execute_in_child(workspace: EngineWorkspace, write: int) -> None:
    database = open_database(workspace.data_dir)
    with Store(database, workspace.data_dir) as store:
        claimed = store.runs.claim_run("gone", workspace.now())
        assert claimed is not None
        count = itertools.count(1)

        def watch(statement: str) -> None:
            begins = statement.lower().lstrip().startswith(WRITES)
            own = statement.lower().startswith("begin") or not database.in_transaction
            if begins and own and next(count) == write:
                os._exit(KILLED)

        database.set_trace_callback(watch)
        RunExecutor(store, claimed, "gone", workspace.context()).execute()


def stop_gracefully(workspace: EngineWorkspace, times: int) -> None:
    """Let so many runners claim the queued run, each of which is asked to stop before it gets anywhere."""
    context = replace(workspace.context(), is_stopping=lambda: True)
    with workspace.open_store() as store:
        for number in range(times):
            claimed = store.runs.claim_run(f"stopped-{number}", workspace.now())
            assert claimed is not None
            RunExecutor(store, claimed, f"stopped-{number}", context).execute()


def people(first: int, end: int, plan: str) -> Iterator[Member]:
    """Return fan-N, … on a plan."""
    return (on_plan(f"fan-{number}", plan) for number in range(first, end))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, "another_total", "displaced"])
def test_a_refresh_killed_before_any_of_its_writes_comes_to_the_same_end(
    workspace: EngineWorkspace, sandbox: Sandbox, fault: str | None
) -> None:
    """Five come, fifteen change, five leave: the same numbers at whichever write it was killed, and exactly the cohort.

    That the next refresh has those numbers, too, shows that the snapshot is what WebEngage was sent. The faults make a
    reading begin again, or be made twice.
    """
    workspace.set_members(*people(0, 30, "a"))
    workspace.export(mapping=MAPPED, interval=DAY)
    for write in itertools.count(1):
        first, plan = (5, "b") if write % 2 else (0, "a")
        workspace.set_members(*people(first, first + 15, plan), *people(first + 15, first + 30, "a"))
        if fault:
            sandbox.fault(fault, page=1, by=1)
        with workspace.open() as service:
            service.syncs.refresh_now(1)
        was_killed = execute_until(workspace, write)
        later(workspace, LATER)
        run = last(workspace)
        assert (run.id, run.state, run.entered, run.updated, run.exited) == (write + 1, RunState.SUCCEEDED, 5, 15, 5)
        assert run.delivered == run.change_count
        exportable = sandbox.exportable(workspace.cohort)
        assert workspace.holders() == exportable
        with workspace.open_store() as store:
            assert set(store.snapshot.iterate_members(1)) == exportable
        if not was_killed:
            break
    assert write > 15, "it was not killed at every write"


@pytest.mark.parametrize("planned", [False, True])
def test_a_run_whose_runners_were_asked_to_stop_is_not_given_up(workspace: EngineWorkspace, *, planned: bool) -> None:
    """A runner that is restarted often, before a page or an answer is here, says nothing about the run."""
    workspace.set_members(*fans(*range(5)))
    if planned:
        run_id = workspace.export(dry_run=True).id
        with workspace.open() as service:
            service.runs.approve(run_id)
    else:
        run_id = workspace.start_export()
    stop_gracefully(workspace, 25)
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED


def test_a_second_error_of_our_own_after_restarts_is_tried_again(workspace: EngineWorkspace) -> None:
    """It is given up at the third error, however often the runner was asked to stop after the first."""
    workspace.policy = PATIENT
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    workspace.set_members(*fans(*range(4)))
    with workspace.open_database() as db:
        db.execute("update snapshot_bucket set ids = x'00'")  # the plan cannot name who leaves
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    workspace.run_queued()
    workspace.ahead += LATER
    stop_gracefully(workspace, 3)
    workspace.run_queued()
    run = workspace.get_run(run_id)
    assert (run.state, run.wait_reason) == (RunState.QUEUED, "an unexpected error")
