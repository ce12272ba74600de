"""Take back a run that followed one without an answer: whom that may have added, this one surely did."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import Run, RunState
from tests.engine_workspace import PATIENT, SOON, EngineWorkspace, approve, fan_ids, fans
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Export thirty, and then ten more whose request was taken without an answer; that run was cancelled."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(30)))
    assert found.export().state is RunState.SUCCEEDED
    found.set_members(*fans(*range(40)))
    cancel_without_answer(found)
    assert found.holders() == fan_ids(*range(40))
    return found


def cancel_without_answer(workspace: EngineWorkspace, fault: str = "vanish") -> Run:
    """Export while no answer of WebEngage arrives, and cancel that."""
    workspace.policy = PATIENT
    workspace.sandbox.fault(fault, path="bulk-users", times=0)
    run = workspace.export()
    with workspace.open() as service:
        service.runs.cancel(run.id)
        if service.syncs.get(1).pause_reason:
            service.syncs.resume(1)
    workspace.sandbox.clear_faults()
    workspace.policy = SOON
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert run.state is RunState.CANCELLED
    return run


def take_back(workspace: EngineWorkspace, run: Run) -> Run:
    """Take a run back and approve it; return the run that was approved, as it was held."""
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
    workspace.run_queued()
    held = workspace.get_run(undo_id)
    approve(workspace, held)
    return held


@pytest.mark.parametrize("tries", [1, 2])
def test_taking_back_the_run_after_one_without_an_answer_sets_those_to_false_whom_both_sent(
    workspace: EngineWorkspace, tries: int
) -> None:
    """For them it was an update, since they may have been true; that they stay true must not depend on a lost answer."""
    for _ in range(tries - 1):
        cancel_without_answer(workspace)
    run = workspace.export()
    assert (run.state, run.entered, run.updated) == (RunState.SUCCEEDED, 0, 10)
    held = take_back(workspace, run)
    assert "10 people" in str(held.held_reason) and "former values" not in str(held.held_reason)
    assert workspace.holders() == fan_ids(*range(30))


def test_taking_back_a_resend_of_everybody_leaves_those_who_were_confirmed_before(workspace: EngineWorkspace) -> None:
    """The run after the one without an answer succeeded, so who is sent again later was true before that."""
    assert workspace.export().state is RunState.SUCCEEDED
    with workspace.open() as service:
        again = service.syncs.resync(1).run_id
    workspace.run_queued()
    take_back(workspace, workspace.get_run(again))
    assert workspace.holders() == fan_ids(*range(40))


def test_taking_back_a_resend_after_a_run_without_an_answer_leaves_who_was_true_before_both(
    workspace: EngineWorkspace,
) -> None:
    """Of those it sent again, only the ten were added by the run without an answer."""
    with workspace.open() as service:
        again = service.syncs.resync(1).run_id
    workspace.run_queued()
    run = workspace.get_run(again)
    assert (run.state, run.updated) == (RunState.SUCCEEDED, 40)
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(30))


@pytest.mark.parametrize("fault", ["vanish", "reset"])
def test_taking_back_a_run_that_may_have_been_changed_back_since_sets_its_people_to_false(
    data_dir: Path, sandbox: Sandbox, fault: str
) -> None:
    """The removal of the ten it added may have been lost with its answer, so they are not left to that run."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(30)))
    workspace.export()
    workspace.set_members(*fans(*range(40)))
    run = workspace.export()
    workspace.set_members(*fans(*range(30)))
    cancel_without_answer(workspace, fault)
    assert workspace.holders() == fan_ids(*range(30 if fault == "vanish" else 40))
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(30))


@pytest.mark.parametrize("fault", ["vanish", "reset"])
def test_taking_back_the_run_after_one_without_an_answer_when_its_people_may_be_removed_since_sets_them_to_false(
    workspace: EngineWorkspace, fault: str
) -> None:
    """Both odds at once: it was an update for the ten, and the answer to their removal is missing."""
    run = workspace.export()
    assert (run.state, run.entered, run.updated) == (RunState.SUCCEEDED, 0, 10)
    workspace.set_members(*fans(*range(30)))
    cancel_without_answer(workspace, fault)
    assert workspace.holders() == fan_ids(*range(30 if fault == "vanish" else 40))
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(30))


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("tries", [1, 2])
def test_taking_back_a_removal_when_those_who_came_back_may_not_have_arrived_sets_them_to_true(
    data_dir: Path, sandbox: Sandbox, answered: bool, tries: int
) -> None:
    """However often they were sent since without an answer, and whether or not the removal itself was answered."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(40)))
    workspace.export()
    workspace.set_members(*fans(*range(30)))
    run = workspace.export() if answered else cancel_without_answer(workspace, "vanish")
    workspace.set_members(*fans(*range(40)))
    for _ in range(tries):
        cancel_without_answer(workspace, "reset")
    assert workspace.holders() == fan_ids(*range(30))
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(40))


def test_taking_back_a_removal_leaves_those_who_came_back_for_sure_however_they_were_sent_later(
    data_dir: Path, sandbox: Sandbox
) -> None:
    """Everybody is sent once more without an answer, which makes nobody uncertain who was confirmed to be back."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(40)))
    workspace.export()
    workspace.set_members(*fans(*range(30)))
    run = workspace.export()
    workspace.set_members(*fans(*range(40)))
    assert workspace.export().state is RunState.SUCCEEDED
    with workspace.open() as service:
        service.syncs.resync(1)
    assert cancel_without_answer(workspace).updated == 40
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
    workspace.run_queued()
    undo = workspace.get_run(undo_id)
    assert (undo.entered, undo.updated, undo.exited) == (0, 0, 0)


def export_half_way(workspace: EngineWorkspace) -> Run:
    """Export until WebEngage breaks down after the first request, and cancel that."""
    workspace.policy = PATIENT
    workspace.sandbox.fault("status", path="bulk-users", code=503, after=1, times=0)
    run = workspace.export()
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.sandbox.clear_faults()
    workspace.policy = SOON
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert run.state is RunState.CANCELLED
    return run


def test_taking_back_a_resend_leaves_who_was_confirmed_by_a_run_that_did_not_get_to_its_end(
    workspace: EngineWorkspace,
) -> None:
    """Who was added without an answer, and then confirmed half-way, was true before everybody was sent again."""
    workspace.set_members(*fans(*range(90)))
    half = export_half_way(workspace)
    with workspace.open() as service:
        rows = list(service.runs.iterate_export_rows(half.id))
        again = service.syncs.resync(1).run_id
    confirmed = {row.user_id for row in rows if row.outcome == "accepted"}
    assert 0 < len(confirmed) < 60
    workspace.run_queued()
    run = workspace.get_run(again)
    assert (run.state, run.updated) == (RunState.SUCCEEDED, 90)
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(30)) | confirmed


def test_taking_back_sets_to_false_who_was_rejected_after_a_try_without_an_answer(workspace: EngineWorkspace) -> None:
    """WebEngage took the first try, so they are true there although the run has them as rejected."""
    assert workspace.export().state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(42)))
    workspace.sandbox.fault("vanish", path="bulk-users")
    refused = {"response": {"message": "bad user"}}
    # Both together, then one of them alone.
    workspace.sandbox.fault("status", api="webengage", path="bulk-users", code=400, times=2, body=refused)
    run = workspace.export()
    assert (run.delivered, run.rejected) == (1, 1) and workspace.holders() == fan_ids(*range(42))
    take_back(workspace, run)
    assert workspace.holders() == fan_ids(*range(40))
