"""Pause, resume, stop and refresh: what cannot be is refused with the reason, and then nothing was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import Mode, RunState, SyncState, format_utc_time
from sync.records import SyncView
from tests.engine_workspace import HOUR, EngineWorkspace, export_five, fans
from tests.sandbox.control import LICENSE, Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Export a cohort of five, that is refreshed every two hours."""
    return export_five(data_dir, sandbox)


def look(workspace: EngineWorkspace) -> tuple[SyncView, int]:
    """Return the sync as it is, and how many runs there were."""
    with workspace.open() as service:
        return service.syncs.get(1), len(service.runs.list())


@pytest.mark.parametrize("ask", ["refresh_now", "resync", "retry_rejected"])
def test_a_paused_sync_is_refreshed_by_nobody_before_it_is_resumed(workspace: EngineWorkspace, ask: str) -> None:
    """The person who paused it wants nobody to be sent, whichever button another one presses."""
    with workspace.open() as service:
        service.syncs.pause(1)
        with pytest.raises(InvalidRequest, match="paused; resume it first"):
            getattr(service.syncs, ask)(1)
    assert look(workspace)[1] == 1


@pytest.mark.parametrize("ask", ["refresh", "stop and clear"])
def test_a_stopped_sync_when_its_account_is_not_connected_starts_no_run_that_could_only_fail(
    workspace: EngineWorkspace, ask: str
) -> None:
    """The reason is said at the click."""
    with workspace.open() as service:
        service.syncs.stop(1)
        service.connections.disconnect_webengage(LICENSE)
        with pytest.raises(InvalidRequest, match="is not connected"):
            service.syncs.refresh_now(1) if ask == "refresh" else service.syncs.stop(1, clear=True)
    assert look(workspace)[1] == 1 and not look(workspace)[0].is_cleared


def test_a_sync_when_a_run_is_under_way_is_not_stopped_and_cleared(workspace: EngineWorkspace) -> None:
    """That run would send people as true again; stopping alone cancels it."""
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
        with pytest.raises(InvalidRequest, match="A run is under way"):
            service.syncs.stop(1, clear=True)
        assert service.syncs.get(1).state is SyncState.ACTIVE
        assert service.syncs.stop(1) is None
        assert service.runs.get(run_id).state is RunState.CANCELLED
    assert look(workspace)[0].state is SyncState.FINISHED


@pytest.mark.parametrize("ahead", [-HOUR, 0.0])
def test_a_pause_until_a_time_that_is_over_is_refused(workspace: EngineWorkspace, ahead: float) -> None:
    """It would end at once, and a mistyped day would send people."""
    with workspace.open() as service, pytest.raises(InvalidRequest, match="must lie ahead"):
        service.syncs.pause(1, workspace.now() + ahead)
    assert look(workspace)[0].state is SyncState.ACTIVE


def test_a_one_time_export_is_not_paused_until_a_time(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """It has no schedule that could go on then."""
    workspace.start_export(sandbox.add_cohort("Others", fans(1)), Mode.ONE_TIME)
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="Only a dynamic sync"):
            service.syncs.pause(2, workspace.now() + HOUR)
        assert service.syncs.get(2).state is SyncState.ACTIVE


def test_the_reason_of_a_failure_stays_when_paused_again_but_not_when_an_end_is_set(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It says what to mend; once a person says until when, that is what the page has to say."""
    sandbox.fault("status", path="bulk-users", code=401)
    workspace.set_members(*fans(*range(6)))
    workspace.export()
    with workspace.open() as service:
        service.syncs.pause(1)
        assert "answered 401" in (service.syncs.get(1).pause_reason or "")
        until = workspace.now() + HOUR
        service.syncs.pause(1, until)
        assert service.syncs.get(1).pause_reason == f"Paused by a person until {format_utc_time(until)}."


def test_a_sync_that_is_not_paused_is_not_resumed(workspace: EngineWorkspace) -> None:
    """A second click in another tab starts no second run; a stopped one goes on with an export only."""
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="is active, so there is nothing to resume"):
            service.syncs.resume(1)
        service.syncs.stop(1)
        with pytest.raises(InvalidRequest, match="is finished, so there is nothing to resume"):
            service.syncs.resume(1)
    assert look(workspace)[1] == 1


def test_a_sync_whose_account_is_not_connected_is_not_resumed(workspace: EngineWorkspace) -> None:
    """Its run could only fail, and pause it again with another reason."""
    with workspace.open() as service:
        service.connections.disconnect_webengage(LICENSE)
        with pytest.raises(InvalidRequest, match="is not connected"):
            service.syncs.resume(1)
    assert look(workspace)[0].state is SyncState.PAUSED and look(workspace)[1] == 1


def test_an_interval_with_a_last_day_that_is_over_is_refused(workspace: EngineWorkspace) -> None:
    """The sync would end at once, unseen."""
    with workspace.open() as service, pytest.raises(InvalidRequest, match="lies in the past"):
        service.syncs.change_interval(1, HOUR, None, workspace.now() - HOUR)
    assert (look(workspace)[0].interval_seconds, look(workspace)[0].ends_at) == (2 * HOUR, None)


def test_an_interval_for_a_one_time_export_is_refused(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Also while it waits: nothing would refresh it."""
    workspace.start_export(sandbox.add_cohort("Others", fans(1)), Mode.ONE_TIME)
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="one-time export is never refreshed"):
            service.syncs.change_interval(2, HOUR)
        assert service.syncs.get(2).interval_seconds is None
