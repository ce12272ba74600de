"""Start Sync again while a run is under way: what may change is changed, and nothing that was asked for gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.views import StartedExport
from tests.engine_workspace import HOUR, EngineWorkspace, fans, later
from tests.sandbox.control import PROJECT, Sandbox


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
