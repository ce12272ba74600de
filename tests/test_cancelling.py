"""Cancel a run: nobody else is sent by the clock when it was the first export, and a schedule that was wanted goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync.model import Mode, RunState, SyncState
from sync.steps import Steps
from sync.wording import CANCELLED_HALF_WAY_DONE
from tests.engine_workspace import HOUR, EngineWorkspace, approve, fans, last, later, stop_and_clear
from tests.sandbox.control import Sandbox
from tests.workspace import wait_until


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of seventy-five: three whole batches, of which any may arrive first."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(75)))
    return found


@pytest.mark.parametrize("mode", [Mode.DYNAMIC, Mode.ONE_TIME])
def test_a_first_export_that_was_cancelled_before_its_plan_is_never_sent_by_the_clock(
    workspace: EngineWorkspace, mode: Mode
) -> None:
    """Whoever presses Cancel at once, having chosen the wrong cohort, must not see it sent two hours later."""
    run_id = workspace.start_export(mode=mode)
    with workspace.open() as service:
        assert "its sync is stopped" in service.runs.cancel(run_id)
        assert service.syncs.get(1).state is SyncState.FINISHED
        assert {line.action for line in service.admin.list_audit(5)} >= {"cancel", "stop"}
    later(workspace, 5 * HOUR)
    assert workspace.holders() == set() and last(workspace).id == run_id
    assert workspace.export(mode=mode).state is RunState.SUCCEEDED and len(workspace.holders()) == 75


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("mode", [Mode.DYNAMIC, Mode.ONE_TIME])
def test_a_first_export_that_was_cancelled_half_way_sends_nobody_else_before_it_is_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox, mode: Mode, dry_run: bool
) -> None:
    """Who stops an export that is being sent, a dry run too once it is approved, must not see the others sent by the clock."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(mode=mode, dry_run=dry_run)
    run = approve(workspace, run) if dry_run else run
    assert run.state is RunState.QUEUED and len(workspace.holders()) == 25
    with workspace.open() as service:
        assert service.runs.cancel(run.id) == CANCELLED_HALF_WAY_DONE
    sandbox.clear_faults()
    later(workspace, 5 * HOUR)
    assert last(workspace).state is RunState.CANCELLED and len(workspace.holders()) == 25
    with workspace.open() as service:
        sync = service.syncs.list()[0]
        assert sync.state is SyncState.PAUSED and "cancelled while it was being sent" in (sync.pause_reason or "")
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and len(workspace.holders()) == 75


def test_the_take_back_of_a_stopped_sync_promises_no_pause(workspace: EngineWorkspace) -> None:
    """Nothing refreshes it, so nothing sends the same again; it stays stopped."""
    run = workspace.export()
    with workspace.open() as service:
        service.syncs.stop(1)
        undo_id = service.runs.undo(run.id).run_id
    workspace.run_queued()
    undo = workspace.get_run(undo_id)
    assert undo.held_reason and undo.held_reason.endswith("to false for 75 people.")
    approve(workspace, undo)
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED


@pytest.mark.parametrize("mode", [Mode.DYNAMIC, Mode.ONE_TIME])
def test_the_take_back_of_an_export_that_was_cancelled_half_way_says_so_where_it_is_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox, mode: Mode
) -> None:
    """“Resume it to send the rest” would be untrue by then: it sends everybody, those who were taken back too."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(mode=mode)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    sandbox.clear_faults()
    later(workspace, HOUR)
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
    later(workspace, HOUR)
    undo = workspace.get_run(undo_id)
    approve(workspace, undo)
    assert workspace.holders() == set()
    with workspace.open() as service:
        sync = service.syncs.get(1)
        assert sync.state is SyncState.PAUSED and f"Run {run.id} was taken back" in (sync.pause_reason or "")


def test_a_refresh_or_another_export_that_was_cancelled_leaves_the_schedule(workspace: EngineWorkspace) -> None:
    """Everybody of it was wanted before, so the next refresh goes on."""
    workspace.export()
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
        assert service.runs.cancel(run_id) == ""
    again = workspace.start_export()
    with workspace.open() as service:
        assert service.runs.cancel(again) == "" and service.syncs.get(1).state is SyncState.ACTIVE
    workspace.set_members(*fans(*range(50)))
    later(workspace, 3 * HOUR)
    assert last(workspace).state is RunState.SUCCEEDED and len(workspace.holders()) == 50


def test_an_export_of_a_paused_sync_is_followed_by_no_refresh_that_was_due_meanwhile(
    workspace: EngineWorkspace,
) -> None:
    """Everybody was just read and sent; the next refresh comes at the time it would have had without the pause."""
    workspace.export()
    with workspace.open() as service:
        due = service.syncs.get(1).next_run_at
        service.syncs.pause(1)
    assert due is not None
    later(workspace, 5 * HOUR)
    run_id = workspace.start_export()
    workspace.run_queued()
    assert last(workspace).id == run_id and last(workspace).state is RunState.SUCCEEDED
    with workspace.open() as service:
        sync = service.syncs.get(1)
        assert sync.state is SyncState.ACTIVE and sync.next_run_at == due + 4 * HOUR


def test_a_first_export_that_was_cancelled_is_not_sent_when_a_pause_ends(workspace: EngineWorkspace) -> None:
    """A pause until a time ends by itself, so it does not keep back whom a person said no to since."""
    workspace.start_export()
    with workspace.open() as service:
        service.syncs.pause(1, workspace.now() + 3 * HOUR)
        assert service.syncs.get(1).state is SyncState.PAUSED
    run_id = workspace.start_export()
    with workspace.open() as service:
        assert "its sync is stopped" in service.runs.cancel(run_id)
    later(workspace, 5 * HOUR)
    assert last(workspace).id == run_id and workspace.holders() == set()


def test_an_export_of_a_cohort_that_is_empty_now_leaves_the_schedule_when_cancelled(workspace: EngineWorkspace) -> None:
    """The sync goes on with what was asked for before, as it does with people in it."""
    workspace.export()
    workspace.set_members()
    later(workspace, 2 * HOUR + 100)
    approve(workspace, last(workspace))
    assert workspace.holders() == set()
    run_id = workspace.start_export()
    with workspace.open() as service:
        assert service.runs.cancel(run_id) == ""
        assert service.syncs.get(1).state is SyncState.ACTIVE


def test_a_take_back_that_was_cancelled_leaves_a_sync_that_was_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is no export, although none succeeded before: who resumed the sync wants the others to be sent."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export()
    with workspace.open() as service:
        service.runs.cancel(run.id)
    sandbox.clear_faults()
    workspace.run_queued()
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
        service.syncs.resume(1)
        assert service.runs.cancel(undo_id) == ""
        assert service.syncs.get(1).state is SyncState.ACTIVE


def test_a_first_export_that_is_cancelled_within_its_first_step_names_it_as_partly_sent(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Its request is still open then and no step is over, but 25 people are true."""
    workspace.start_export()
    with workspace.open() as service:
        service.syncs.pause(1)
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(steps=Steps(first=50))
    assert (run.state, run.steps_sent, len(workspace.holders())) == (RunState.QUEUED, 0, 25)
    with workspace.open() as service:
        service.syncs.resume(1)
        assert service.runs.cancel(run.id) == CANCELLED_HALF_WAY_DONE
        assert service.syncs.get(1).state is SyncState.PAUSED


def test_a_first_export_that_is_cancelled_after_its_first_step_pauses_a_sync_that_is_active(
    workspace: EngineWorkspace,
) -> None:
    """Ten were sent, so “nobody was sent” would be untrue; the others are not sent by the clock either."""
    workspace.start_export()
    with workspace.open() as service:
        service.syncs.pause(1)
    run = workspace.export(steps=Steps(first=10))
    with workspace.open() as service:
        service.syncs.resume(1)
        assert service.syncs.get(1).state is SyncState.ACTIVE and (run.state, run.steps_sent) == (RunState.HELD, 1)
        assert service.runs.cancel(run.id).endswith(f"take the run back to undo that. {CANCELLED_HALF_WAY_DONE}")
        assert service.syncs.get(1).state is SyncState.PAUSED
    later(workspace, 5 * HOUR)
    assert last(workspace).state is RunState.CANCELLED and len(workspace.holders()) == 10


def stop(workspace: EngineWorkspace) -> None:
    """Stop the sync; people stay true."""
    with workspace.open() as service:
        service.syncs.stop(1)


def pause(workspace: EngineWorkspace) -> None:
    """Pause the sync until a person resumes it."""
    with workspace.open() as service:
        service.syncs.pause(1)


def pause_until(workspace: EngineWorkspace) -> None:
    """Pause the sync until a time."""
    with workspace.open() as service:
        service.syncs.pause(1, workspace.now() + HOUR)


def let_it_end(workspace: EngineWorkspace) -> None:
    """Let the last day of the sync pass."""
    with workspace.open() as service:
        service.syncs.change_interval(1, 2 * HOUR, None, workspace.now() + HOUR)
    later(workspace, 2 * HOUR)


def make_one_time(workspace: EngineWorkspace) -> None:
    """Export the cohort once, so that nothing refreshes it any more."""
    workspace.export(mode=Mode.ONE_TIME)


def take_back(workspace: EngineWorkspace) -> None:
    """Take the export back, which pauses the sync."""
    with workspace.open() as service:
        undo_id = service.runs.undo(1).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo_id))
    assert workspace.holders() == set()


@pytest.mark.parametrize("mode", [Mode.DYNAMIC, Mode.ONE_TIME])
@pytest.mark.parametrize(
    "put_to_rest", [stop_and_clear, stop, pause, pause_until, let_it_end, make_one_time, take_back]
)
def test_an_export_that_made_a_sync_go_on_and_was_cancelled_sends_nobody_else_before_it_is_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox, put_to_rest: Callable[[EngineWorkspace], None], mode: Mode
) -> None:
    """Nothing was to be refreshed before this export, so its cancel leaves nothing that is; nor does that of its rest."""
    workspace.export()
    put_to_rest(workspace)
    with workspace.open() as service:
        assert service.syncs.get(1).state is not SyncState.ACTIVE
    workspace.set_members(*fans(*range(75, 150)), *fans(*range(75)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(mode=mode)
    assert run.state is RunState.QUEUED and run.planned
    with workspace.open() as service:
        assert service.runs.cancel(run.id) == CANCELLED_HALF_WAY_DONE
    sandbox.clear_faults()
    sent = workspace.holders()
    later(workspace, 5 * HOUR)
    assert last(workspace).state is RunState.CANCELLED and workspace.holders() == sent and len(sent) < 150
    with workspace.open() as service:
        service.syncs.resume(1)
        rest = service.runs.list()[0]
        assert rest.id > run.id and service.runs.cancel(rest.id) == CANCELLED_HALF_WAY_DONE
        assert service.syncs.get(1).state is SyncState.PAUSED
    later(workspace, 5 * HOUR)
    assert last(workspace).id == rest.id and workspace.holders() == sent


def test_a_refresh_that_is_cancelled_after_a_cleared_sync_was_exported_again_leaves_the_schedule(
    workspace: EngineWorkspace,
) -> None:
    """The new export was completed, so everybody is wanted again."""
    workspace.export()
    stop_and_clear(workspace)
    assert workspace.export().state is RunState.SUCCEEDED
    with workspace.open() as service:
        assert service.runs.cancel(service.syncs.refresh_now(1).run_id) == ""
        assert service.syncs.get(1).state is SyncState.ACTIVE


def test_a_failed_export_of_a_cleared_sync_that_is_resumed_and_cancelled_is_not_sent_by_the_clock(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A failure half-way is no completed export either."""
    workspace.export()
    stop_and_clear(workspace)
    sandbox.fault("status", path="bulk-users", code=401, times=0, after=1)
    run = workspace.export()
    assert run.state is RunState.FAILED and run.delivered
    sandbox.clear_faults()
    sent = workspace.holders()
    with workspace.open() as service:
        service.syncs.resume(1)
        assert service.runs.cancel(service.runs.list()[0].id) == CANCELLED_HALF_WAY_DONE
    later(workspace, 5 * HOUR)
    assert workspace.holders() == sent and len(sent) < 75


@pytest.mark.parametrize("terms", [{"dry_run": True}, {"steps": Steps(first=10)}])
def test_sync_now_after_a_cancelled_trial_of_a_cleared_cohort_goes_round_no_approval(
    workspace: EngineWorkspace, terms: dict[str, Any]
) -> None:
    """As with a cohort that was never exported: what is sent then is the export that was asked for, and is held."""
    workspace.export()
    stop_and_clear(workspace)
    run = workspace.export(**terms)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    sent = workspace.holders()
    with workspace.open() as service:
        again = service.syncs.refresh_now(1).run_id
    workspace.run_queued()
    assert workspace.get_run(again).state is RunState.HELD and workspace.holders() == sent


def test_a_cancel_that_comes_while_the_last_request_is_on_its_way_claims_nothing_about_the_others(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Everybody is sent by then: the run succeeds, and neither the answer nor the reason of the pause says otherwise."""
    sandbox.fault("slow", path="bulk-users", ms=1500, times=0)
    run_id = workspace.start_export()
    runner = threading.Thread(target=workspace.run_queued)
    runner.start()
    wait_until(lambda: workspace.get_run(run_id).requests == 4)  # a page, and all three batches
    with workspace.open() as service:
        said = service.runs.cancel(run_id)
    runner.join()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and len(workspace.holders()) == 75
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert sync.state is SyncState.PAUSED
    for text in (said, str(sync.pause_reason)):
        assert "not everybody was sent" not in text.lower() and "before everybody was sent" not in text, text


def test_an_export_in_steps_of_a_stopped_sync_that_is_cancelled_in_its_last_step_pauses_it(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The sync takes the request over with its last step only, and that is when it goes on."""
    workspace.export()
    stop(workspace)
    workspace.set_members(*fans(*range(150)))
    run = workspace.export(steps=Steps(first=10))
    assert (run.state, run.steps_sent) == (RunState.HELD, 1) and len(workspace.holders()) == 85
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = approve(workspace, run)
    assert run.state is RunState.QUEUED
    with workspace.open() as service:
        assert service.runs.cancel(run.id) == CANCELLED_HALF_WAY_DONE
    sandbox.clear_faults()
    sent = workspace.holders()
    later(workspace, 5 * HOUR)
    assert workspace.holders() == sent and 85 <= len(sent) < 150
