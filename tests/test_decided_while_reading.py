"""Decide something while a run waits for a page of Mixpanel: it counts for the plan, which is made afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sync.export_terms import ExportTerms
from sync.guards import GuardLimits
from sync.model import Mode, RunState, SyncState
from sync.steps import Steps
from tests.engine_workspace import HOUR, MAPPED, EngineWorkspace, fan_ids, fans, last, on_plan
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import wait_until

SLOW_MS = 1500  # how long Mixpanel takes to answer, in milliseconds; never asserted


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of twenty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(20)))
    return found


@contextmanager
def while_reading(workspace: EngineWorkspace) -> Iterator[None]:
    """Let a runner work, do what is done inside while it waits for Mixpanel's first page, and wait for its end."""
    workspace.sandbox.fault("slow", api="mixpanel", path="engage", ms=SLOW_MS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(workspace.run_queued)
        wait_until(lambda: workspace.sandbox.faults() == [])
        yield
        working.result()


def press(workspace: EngineWorkspace, **asked: Any) -> bool:
    """Press Start Sync, for a dynamic sync unless another mode is asked for; return whether a run was started."""
    with workspace.open() as service:
        terms = ExportTerms(**({"mode": Mode.DYNAMIC} | asked))
        return service.syncs.start_export(PROJECT, workspace.cohort, terms).started


def test_limits_that_are_lowered_while_a_run_reads_hold_it(workspace: EngineWorkspace) -> None:
    """Somebody who saw the cohort grow lowered them in time: nobody was planned yet."""
    workspace.export()
    workspace.set_members(*fans(*range(40)))
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    with while_reading(workspace), workspace.open() as service:
        service.guards.set_limits(1, GuardLimits(add_people=5))
    assert last(workspace).state is RunState.HELD
    assert workspace.holders() == fan_ids(*range(20))


def test_a_guard_that_is_put_back_while_a_run_reads_holds_it(workspace: EngineWorkspace) -> None:
    """It is on when the run is planned, and that is what the page says then."""
    workspace.export()
    with workspace.open() as service:
        service.guards.set_limits(1, GuardLimits(add_people=5))
        service.guards.lift(1)
    workspace.set_members(*fans(*range(40)))
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    with while_reading(workspace), workspace.open() as service:
        service.guards.put_back(1)
    assert last(workspace).state is RunState.HELD
    assert workspace.holders() == fan_ids(*range(20))


def test_a_mode_asked_for_while_a_refresh_reads_is_the_syncs_afterwards(workspace: EngineWorkspace) -> None:
    """Who exports once from now on is refreshed no more; with the run's end the request was lost."""
    workspace.export()
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    with while_reading(workspace):
        assert not press(workspace, mode=Mode.ONE_TIME)
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.mode, sync.state, sync.next_run_at) == (Mode.ONE_TIME, SyncState.FINISHED, None)


@pytest.mark.parametrize("asked", [{"mode": Mode.ONE_TIME}, {"interval": HOUR}], ids=["once", "every hour"])
def test_terms_asked_for_while_a_first_export_reads_are_the_syncs_afterwards(
    workspace: EngineWorkspace, asked: dict[str, Any]
) -> None:
    """The last click counts, whether the run waits in the queue or for Mixpanel."""
    assert press(workspace)
    with while_reading(workspace):
        assert not press(workspace, **asked)
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert last(workspace).state is RunState.SUCCEEDED
    assert (sync.mode, sync.interval_seconds) == (asked.get("mode", Mode.DYNAMIC), asked.get("interval"))


def test_an_end_and_an_interval_chosen_while_an_export_reads_are_not_undone_by_it(workspace: EngineWorkspace) -> None:
    """The request of the run had the former ones."""
    assert press(workspace, interval=2 * HOUR)
    ends_at = workspace.now() + 10 * HOUR
    with while_reading(workspace), workspace.open() as service:
        service.syncs.change_interval(1, HOUR, ends_at=ends_at)
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.interval_seconds, sync.ends_at) == (HOUR, ends_at)


def test_terms_asked_for_while_a_first_step_reads_wait_for_the_last_step(workspace: EngineWorkspace) -> None:
    """Only some people are tried, so nothing is refreshed yet; approved, it is as was asked last."""
    steps = {"steps": Steps(first=10)}
    assert press(workspace, **steps)
    with while_reading(workspace):
        assert not press(workspace, mode=Mode.ONE_TIME, **steps)
    run = last(workspace)
    assert run.state is RunState.HELD and len(workspace.holders()) == 10
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    with workspace.open() as service:
        assert (service.syncs.get(1).mode, service.syncs.get(1).state) == (Mode.ONE_TIME, SyncState.FINISHED)


def test_a_type_that_another_export_chooses_while_a_refresh_reads_is_kept(workspace: EngineWorkspace) -> None:
    """How the values of an attribute are written is the attribute's; a refresh of an earlier hour does not change it."""
    workspace.set_members(on_plan("fan-1", "gold"))
    assert press(workspace, mapping=MAPPED, forms=(("Plan", "text"),))
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    with while_reading(workspace), workspace.open_store() as store:
        store.attributes.claim("sandbox1", 1, "Mixpanel - Fans", MAPPED, (("Plan", "text,joined"),))
    with workspace.open_store() as store:
        assert store.attributes.read_forms("sandbox1") == {"Plan": "text,joined"}
