"""Start Sync again while a run is under way: what may change is changed, and nothing that was asked for gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.steps import Steps
from sync.views import StartedExport
from tests.engine_workspace import CUSTOMER, HOUR, MAPPED, EngineWorkspace, customer, fans, last, later
from tests.sandbox.control import PROJECT, Sandbox

JOINED = (("Plan", "text,joined"),)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of three whole batches."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(75)))
    return found


def press(workspace: EngineWorkspace, **asked: Any) -> StartedExport:
    """Press Start Sync, for a dynamic sync unless another mode is asked for."""
    with workspace.open() as service:
        return service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(**({"mode": Mode.DYNAMIC} | asked)))


def list_changes(workspace: EngineWorkspace) -> list[str]:
    """Return what the audit says was changed, the newest first."""
    with workspace.open() as service:
        return [f"{one.before} -> {one.after}" for one in service.admin.list_audit(50) if one.action == "change"]


def test_an_interval_asked_for_while_a_run_is_put_off_half_way_is_the_syncs_at_once(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The plan went ahead, so nothing takes the request over later: with the run's end it was lost."""
    workspace.export()
    workspace.set_members(*fans(*range(75, 150)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    with workspace.open() as service:
        service.guards.lift(1)
        run_id = service.syncs.refresh_now(1).run_id
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.QUEUED and workspace.get_run(run_id).delivered
    assert not press(workspace, interval=HOUR).started
    with workspace.open() as service:
        assert service.syncs.get(1).interval_seconds == HOUR
        service.runs.cancel(run_id)
    sandbox.clear_faults()
    later(workspace, 0.5 * HOUR)
    with workspace.open() as service:
        assert service.runs.get(run_id).state is RunState.CANCELLED
        assert (service.syncs.get(1).interval_seconds, service.syncs.get(1).state) == (HOUR, SyncState.ACTIVE)


def test_what_a_waiting_dry_run_was_asked_for_stays_when_only_its_interval_is_changed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Properties, their types and the User ID property were asked for first; the second click says nothing about them."""
    workspace.set_members(customer(1, plan=["gold", "blue"]))
    assert press(workspace, dry_run=True, mapping=MAPPED, forms=JOINED, id_property=CUSTOMER).started
    assert not press(workspace, dry_run=True, interval=HOUR).started
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.approve(last(workspace).id)
    workspace.run_queued()
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.interval_seconds, sync.id_property, last(workspace).state) == (HOUR, CUSTOMER, RunState.SUCCEEDED)
    profile = sandbox.profile("c-1")
    assert profile and profile["attributes"]["Plan"] == "gold, blue"


def test_start_sync_when_pressed_twice_for_new_properties_starts_one_run_and_changes_nothing(
    workspace: EngineWorkspace,
) -> None:
    """The run serves what was asked for first, not what the sync still has; another type is refused with the reason."""
    workspace.export()
    assert press(workspace, mapping=MAPPED, forms=JOINED).started
    assert not press(workspace, mapping=MAPPED, forms=JOINED).started
    with pytest.raises(InvalidRequest, match="other properties"):
        press(workspace, mapping=MAPPED, forms=(("Plan", "text"),))
    with pytest.raises(InvalidRequest, match="another User ID property"):
        press(workspace, id_property=CUSTOMER)
    assert list_changes(workspace) == []


def test_a_dry_run_when_asked_for_twice_is_no_change(workspace: EngineWorkspace) -> None:
    """The sync is not active before somebody approves, so its own state says nothing of what was asked."""
    assert press(workspace, dry_run=True).started
    assert not press(workspace, dry_run=True).started
    assert list_changes(workspace) == []


def test_a_mode_that_is_asked_for_and_then_not_any_more_is_taken_back(workspace: EngineWorkspace) -> None:
    """The last click counts, also when it asks for what the sync has had all the time."""
    workspace.export()
    assert press(workspace, mode=Mode.ONE_TIME).started
    assert not press(workspace).started
    workspace.run_queued()
    with workspace.open() as service:
        assert (service.syncs.get(1).mode, service.syncs.get(1).state) == (Mode.DYNAMIC, SyncState.ACTIVE)
    assert len(list_changes(workspace)) == 1


def test_an_interval_asked_for_while_a_first_step_is_put_off_waits_for_the_approval(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Only some people were tried, so nothing is refreshed yet, and approved it is refreshed as was asked last."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=1)
    terms = {"steps": Steps(first=10)}
    workspace.export(**terms)
    assert last(workspace).state is RunState.QUEUED and last(workspace).planned
    assert not press(workspace, interval=HOUR, **terms).started
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED
    later(workspace, 400)
    assert last(workspace).state is RunState.HELD and len(workspace.holders()) == 10
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED
        service.runs.approve(last(workspace).id)
    workspace.run_queued()
    with workspace.open() as service:
        assert (service.syncs.get(1).state, service.syncs.get(1).interval_seconds) == (SyncState.ACTIVE, HOUR)


@pytest.mark.parametrize("asked", [{"dry_run": True}, {"steps": Steps(first=10)}], ids=["dry run", "first step"])
def test_a_refresh_when_a_run_waits_that_stops_before_everybody_is_refused(
    workspace: EngineWorkspace, asked: dict[str, Any]
) -> None:
    """“It is on its way” would not be true: that run is held, and sends nobody else by itself."""
    workspace.export()
    assert press(workspace, **asked).started
    with workspace.open() as service, pytest.raises(InvalidRequest, match="under way"):
        service.syncs.refresh_now(1)


@pytest.mark.parametrize("purpose", ["clear", "undo"])
def test_a_refresh_and_an_export_when_a_run_takes_people_out_are_refused(
    workspace: EngineWorkspace, purpose: str
) -> None:
    """That run sends false, so nobody who asks for a refresh may read that it does it."""
    run = workspace.export()
    with workspace.open() as service:
        if purpose == "clear":
            service.syncs.stop(1, clear=True)
        else:
            service.runs.undo(run.id)
        with pytest.raises(InvalidRequest):
            service.syncs.refresh_now(1)
    with pytest.raises(InvalidRequest):
        press(workspace, interval=HOUR)


def test_a_refresh_and_an_export_while_a_run_is_being_cancelled_are_refused(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It sends nobody else, so it is neither of them, and says when to ask again."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run_id = workspace.export().id
    with workspace.open() as service:
        service.syncs.pause(1)
        service.syncs.resume(1)
        assert service.runs.get(run_id).cancel_requested and not service.runs.get(run_id).state.is_final
        with pytest.raises(InvalidRequest, match="still being cancelled"):
            service.syncs.refresh_now(1)
    with pytest.raises(InvalidRequest, match="still being cancelled; start again when it has ended"):
        press(workspace, interval=HOUR)


@pytest.mark.parametrize("held", [False, True], ids=["waiting", "held"])
def test_an_interval_chosen_while_an_export_has_yet_to_go_ahead_is_not_undone_by_it(
    workspace: EngineWorkspace, held: bool
) -> None:
    """A person who exports again with other properties and then changes the interval has both in the end."""
    workspace.export()
    assert press(workspace, mapping=MAPPED, interval=2 * HOUR, dry_run=held).started
    if held:
        workspace.run_queued()
    with workspace.open() as service:
        service.syncs.change_interval(1, HOUR)
        if held:
            service.runs.approve(last(workspace).id)
    workspace.run_queued()
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.interval_seconds, last(workspace).state) == (HOUR, RunState.SUCCEEDED)
