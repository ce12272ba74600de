"""A sync that was stopped and cleared: nobody is sent again without a new export, and what is shown says how it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import Mode, RunState, SyncState
from sync.service import Service
from sync.wording import EXPORTED_ONCE, NOBODY_THERE, NOT_CLEARED, STOPPED, SYNCED, name_sync_state
from tests.engine_workspace import HOUR, EngineWorkspace, approve, fan_ids, fans, last, later, stop_and_clear
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import assert_refused, page_text

ASK = pytest.mark.parametrize("ask", ["refresh_now", "resync", "retry_rejected"])
pytestmark = pytest.mark.usefixtures("local_browser")
COMMANDS = {"refresh_now": "sync-now", "resync": "resync", "retry_rejected": "retry"}


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> EngineWorkspace:
    """Connect a data folder to a cohort of five, and export it."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))  # for the pages
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(5)))
    found.export()
    return found


def sync_page_buttons(workspace: EngineWorkspace) -> set[str]:
    """Return the labels of the buttons on the page of the sync."""
    return {button.label for button in workspace.page("syncs", sync="1").button}


@ASK
def test_nothing_but_an_export_sends_a_cleared_cohort_again(workspace: EngineWorkspace, ask: str) -> None:
    """No dialog stands before these, and everybody would become true in WebEngage again."""
    stop_and_clear(workspace)
    assert_refused(workspace.run_cli(COMMANDS[ask], "1"), "stopped and cleared", f"export cohort {workspace.cohort}")
    assert last(workspace).purpose == "clear" and workspace.holders() == set()
    assert "Sync now" not in sync_page_buttons(workspace)
    assert workspace.export().state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(5))
    with workspace.open() as service:
        getattr(service.syncs, ask)(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED


@ASK
def test_a_sync_that_was_only_stopped_is_refreshed_once_when_it_is_asked_for(
    workspace: EngineWorkspace, ask: str
) -> None:
    """Its people are true, so a person may bring them up to date; nothing goes on by itself after that."""
    with workspace.open() as service:
        service.syncs.stop(1)
    assert "Sync now" in sync_page_buttons(workspace)
    workspace.set_members(*fans(*range(1, 6)))
    with workspace.open() as service:
        run_id = getattr(service.syncs, ask)(1).run_id
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(1, 6))
    later(workspace, 5 * HOUR)
    assert last(workspace).id == run_id
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED


@ASK
def test_a_clear_that_failed_is_not_followed_by_sending_everybody_again(
    workspace: EngineWorkspace, sandbox: Sandbox, ask: str
) -> None:
    """It would also hide who is still true, and that somebody wanted them to be false."""
    sandbox.fault("status", path="bulk-users", code=401, times=0)
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    sandbox.clear_faults()
    with workspace.open() as service:
        assert service.syncs.get(1).clear_problem
        with pytest.raises(InvalidRequest, match=r"cleared"):
            getattr(service.syncs, ask)(1)
        assert service.syncs.get(1).clear_problem


@ASK
def test_a_clear_that_was_taken_back_leaves_a_sync_that_was_only_stopped(workspace: EngineWorkspace, ask: str) -> None:
    """A take-back is asked for and approved, so its people are meant to be true again; planned only, it changes nothing."""
    stop_and_clear(workspace)
    with workspace.open() as service:
        undo_id = service.runs.undo(last(workspace).id).run_id
        service.runs.cancel(undo_id)
        with pytest.raises(InvalidRequest, match=r"stopped and cleared"):
            getattr(service.syncs, ask)(1)
        undo_id = service.runs.undo(2).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo_id))
    assert workspace.holders() == fan_ids(*range(5))
    with workspace.open() as service:
        getattr(service.syncs, ask)(1)


def test_a_failed_export_of_a_cleared_cohort_has_a_way_on(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """It was asked for after the clear, so Sync now goes on with it."""
    stop_and_clear(workspace)
    sandbox.fault("status", path="/api/query/engage", code=403, times=0)
    assert workspace.export().state is RunState.FAILED
    sandbox.clear_faults()
    assert "Sync now" in sync_page_buttons(workspace)
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(5))


@pytest.mark.parametrize("sent", [75, 25])
def test_a_cleared_sync_that_was_exported_again_and_stopped_is_only_stopped(
    workspace: EngineWorkspace, sandbox: Sandbox, sent: int
) -> None:
    """People of it are true again, all or whom the export had sent by then, so they can be brought up to date."""
    stop_and_clear(workspace)
    workspace.set_members(*fans(*range(75)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=sent // 25)
    workspace.export()
    with workspace.open() as service:
        service.syncs.stop(1)
    sandbox.clear_faults()
    workspace.run_queued()
    assert len(workspace.holders()) == sent
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED and not service.syncs.get(1).is_cleared


def test_a_clear_under_way_is_what_keeps_a_refresh_out(workspace: EngineWorkspace) -> None:
    """The run that is in the way is named, as always."""

    def ask(service: Service) -> None:
        service.syncs.refresh_now(1)

    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
        with pytest.raises(InvalidRequest, match=r"Run 2 of this cohort is under way"):
            ask(service)


def test_the_page_of_a_run_offers_no_retry_once_its_sync_is_cleared(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Trying rejected people again reads the cohort and sends everybody."""
    sandbox.poison("fan-9")
    workspace.set_members(*fans(*range(5), 9))
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    workspace.run_queued()
    assert workspace.get_run(run_id).rejected == 1

    def labels() -> set[str]:
        return {button.label for button in workspace.page("runs", run=str(run_id)).button}

    assert "Try rejected people again" in labels()
    stop_and_clear(workspace)
    assert "Try rejected people again" not in labels()


def state_of(workspace: EngineWorkspace) -> str:
    """Return what the pages and commands call the state of the sync."""
    with workspace.open() as service:
        return name_sync_state(service.syncs.get(1))


@pytest.mark.parametrize("mode", [Mode.DYNAMIC, Mode.ONE_TIME])
def test_a_cleared_sync_that_is_being_exported_again_is_not_called_never_exported(
    workspace: EngineWorkspace, sandbox: Sandbox, mode: Mode
) -> None:
    """It is stopped until the new export goes ahead; then nobody is in WebEngage until its people are."""
    workspace.export(mode=mode)
    stop_and_clear(workspace)
    assert state_of(workspace) == STOPPED
    run_id = workspace.start_export(mode=mode)
    assert state_of(workspace) == STOPPED
    with workspace.open() as service:
        service.runs.cancel(run_id)
    assert state_of(workspace) == STOPPED
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run = workspace.export(mode=mode)
    assert run.state is RunState.QUEUED and run.planned and state_of(workspace) == NOBODY_THERE
    assert NOBODY_THERE in page_text(workspace.page("syncs"))
    sandbox.clear_faults()
    later(workspace, HOUR)
    assert state_of(workspace) == (SYNCED if mode is Mode.DYNAMIC else EXPORTED_ONCE)


def test_a_sync_whose_cohort_is_empty_stays_synced_while_it_is_refreshed(workspace: EngineWorkspace) -> None:
    """It is in step with its cohort, before, during and after a refresh."""
    workspace.set_members()
    later(workspace, 2 * HOUR + 100)
    approve(workspace, last(workspace))
    assert workspace.holders() == set() and state_of(workspace) == SYNCED
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    assert state_of(workspace) == SYNCED
    with workspace.open() as service:
        service.runs.cancel(run_id)
    assert state_of(workspace) == SYNCED


def test_the_stop_dialog_of_a_sync_with_nobody_in_webengage_asks_nothing_about_them(workspace: EngineWorkspace) -> None:
    """It asked whether nobody should be set to false."""
    assert [one.key for one in workspace.page("syncs", stop="1").radio] == ["stop-choice"]
    workspace.set_members()
    later(workspace, 2 * HOUR + 100)
    approve(workspace, last(workspace))
    app = workspace.page("syncs", stop="1")
    assert [one.key for one in app.radio] == [] and "It has nobody in WebEngage." in page_text(app)
    app.button(key="sync-sure").click().run()
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED and not service.syncs.get(1).is_cleared


def test_a_sync_that_was_taken_back_and_resumed_is_not_called_synced(workspace: EngineWorkspace) -> None:
    """Its refresh is held, and cancelled leaves nobody in WebEngage."""
    with workspace.open() as service:
        undo_id = service.runs.undo(1).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo_id))
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.cancel(last(workspace).id)
    assert workspace.holders() == set() and state_of(workspace) == NOBODY_THERE


def clear_with_one_rejected(workspace: EngineWorkspace, sandbox: Sandbox) -> int:
    """Stop and clear while WebEngage rejects one of the removals; return the run."""
    sandbox.poison("fan-3")
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    run = last(workspace)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, 4, 1)
    assert workspace.holders() == {"fan-3"}
    return run.id


def test_a_clear_that_webengage_rejected_for_somebody_says_who_is_true_and_what_to_do(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """They are reached by every campaign; nothing but clearing again sets them to false."""
    run_id = clear_with_one_rejected(workspace, sandbox)
    said = f"1 person still true in WebEngage; it rejected setting them to false (see run {run_id})."
    assert state_of(workspace) == NOT_CLEARED
    assert said in page_text(workspace.page("syncs", sync="1")) and "Clear again" in sync_page_buttons(workspace)
    assert "1 person still true in WebEngage" in page_text(workspace.page("syncs"))
    words = workspace.run_cli("syncs").stdout
    assert said in words and "python -m sync stop 1 --clear" in words
    page = workspace.page("runs", run=str(run_id))
    assert "fan-3" in page_text(page) and "clear the sync again" in page_text(page)
    assert "Try rejected people again" not in page_text(page)
    listed = workspace.run_cli("never-export", "add", "fan-3").stdout
    assert "Still true in WebEngage for “Fans”" in listed and "clear it again" in listed  # Sync now is refused
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert workspace.holders() == set() and state_of(workspace) == STOPPED
    assert "still true" not in page_text(workspace.page("syncs", sync="1"))


def test_the_receipt_of_a_clear_that_was_rejected_for_somebody_counts_them_and_claims_nothing_else(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Four of five were set to false, and not everybody; the one who is true did not leave the cohort."""
    run_id = clear_with_one_rejected(workspace, sandbox)
    with workspace.open() as service:
        found = service.receipts.read(PROJECT, workspace.cohort)
    assert (found.accepted, found.left_behind) == (1, 1)
    assert "1 person of “Fans” has the attribute" in found.sentence
    assert f"Since then run {run_id} set 4 people to false." in found.sentence
    assert "No member is left out" not in found.sentence
    assert f"Run {run_id} has since set everybody to false, except 1 person rejected by WebEngage." in found.remarks
    for words in (
        page_text(workspace.page("receipt", cohort=str(workspace.cohort))),
        workspace.run_cli("receipt", str(workspace.cohort)).stdout,
    ):
        assert "WebEngage rejected setting 1 of" in words and "left the cohort" not in words
