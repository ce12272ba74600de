"""A run that fails needs a person, also when its sync is finished and no refresh follows; until somebody acts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync.model import Mode, RunState
from tests.engine_workspace import DAY, HOUR, PATIENT, EngineWorkspace, fans, last, later
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder connected to a cohort of thirty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(30)))
    return found


def needs_person(workspace: EngineWorkspace) -> bool:
    """Return whether the status, the overview and the alerts all say that the sync needs a person, or that it does not."""
    with workspace.open() as service:
        health, attention = service.check_health(), service.overview.read().attention
        found = bool(health.failed or health.paused)
        assert found == bool(attention) == health.needs_attention
    return found


def fail(workspace: EngineWorkspace, sandbox: Sandbox, path: str = "bulk-users") -> None:
    """Have WebEngage, or Mixpanel, refuse the credentials while a runner works."""
    sandbox.fault("status", path=path, code=401, times=0)
    workspace.run_queued()
    sandbox.clear_faults()
    assert last(workspace).state is RunState.FAILED


def start_take_back(workspace: EngineWorkspace) -> None:
    """Export once, and approve taking that back."""
    run = workspace.export(mode=Mode.ONE_TIME)
    with workspace.open() as service:
        undo = service.runs.undo(run.id).run_id
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.approve(undo)


def start_first_step(workspace: EngineWorkspace) -> None:
    """Try a first export on a few people."""
    workspace.start_export(chosen=["fan-1"])


def start_again(workspace: EngineWorkspace) -> None:
    """Export a cohort that was exported once."""
    workspace.export(mode=Mode.ONE_TIME)
    workspace.set_members(*fans(*range(40)))
    workspace.start_export(mode=Mode.DYNAMIC)


@pytest.mark.parametrize(
    ("start", "path"), [(start_take_back, "bulk-users"), (start_first_step, "bulk-users"), (start_again, "engage")]
)
def test_a_run_that_fails_on_a_finished_sync_needs_a_person_until_one_succeeds(
    workspace: EngineWorkspace, sandbox: Sandbox, start: Callable[[EngineWorkspace], None], path: str
) -> None:
    """No refresh follows that could fail again, so this is the only sign of it."""
    start(workspace)
    fail(workspace, sandbox, path)
    assert needs_person(workspace)
    workspace.export_and_approve()
    assert not needs_person(workspace)


def test_a_failed_run_on_a_finished_sync_needs_nobody_when_a_person_stops_the_sync(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who stops it leaves WebEngage as it is, on purpose; one that failed before is no news either."""
    start_take_back(workspace)
    fail(workspace, sandbox)
    with workspace.open() as service:
        service.syncs.stop(1)
    assert not needs_person(workspace)
    workspace.export()
    workspace.set_members(*fans(*range(35)))
    workspace.start_export()
    fail(workspace, sandbox)
    assert needs_person(workspace)
    with workspace.open() as service:
        service.syncs.stop(1)
    assert not needs_person(workspace)


def test_a_failed_refresh_needs_nobody_any_more_when_its_sync_has_ended(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """While the sync was active it did; a person chose its end."""
    workspace.export(ends_at=workspace.now() + DAY)
    sandbox.fault("status", path="engage", code=418, times=0)
    later(workspace, 7300)
    assert last(workspace).state is RunState.FAILED and needs_person(workspace)
    later(workspace, DAY)
    assert not needs_person(workspace)


def test_a_refresh_once_a_month_that_gets_nowhere_needs_a_person_after_two_days(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is tried until its deadline, sixty days; a person should know long before."""
    workspace.policy = PATIENT
    workspace.export(interval=30 * DAY)
    sandbox.fault("status", path="engage", code=503, times=0)
    later(workspace, 30 * DAY + HOUR)
    for late, is_noticed in ((DAY, False), (1.1 * DAY, True)):
        later(workspace, late)
        assert last(workspace).state is RunState.QUEUED
        with workspace.open() as service, workspace.open_store() as store:
            store.runners.record_heartbeat("elsewhere/1:1-a", workspace.now())
            assert service.check_health().needs_attention == is_noticed
            assert bool(service.overview.read().attention) == is_noticed
            store.runners.remove_runner("elsewhere/1:1-a")


def test_overview_while_the_run_after_a_failure_is_queued_says_why_the_former_one_failed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Until the next run has ended the failure needs somebody, and a run under way has no error of its own."""
    start_take_back(workspace)
    fail(workspace, sandbox)
    error = last(workspace).error
    workspace.start_export(mode=Mode.ONE_TIME)
    with workspace.open() as service:
        [attention] = service.overview.list_attention()
    assert error and attention.reason == error
