"""Restore while something is half done: a run that was put off, a runner that starts, a process that dies after the copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import RunState
from tests.engine_workspace import EngineWorkspace, approve, fan_ids, fans, last, later, stop_and_clear
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(5)))
    found.export()
    return found


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it."""
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    return tmp_path / "copy.db"


def restore(workspace: EngineWorkspace, backup: Path) -> None:
    """Restore the backup beside the healthy database."""
    with workspace.open() as service:
        service.admin.restore(backup)


@pytest.mark.parametrize("is_new", [True, False])
def test_who_was_not_sent_yet_by_an_export_that_a_restore_ended_gets_no_profile(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, is_new: bool
) -> None:
    """Of a run of after the backup it is known what was sent: whoever leaves before the next run was never true."""
    cohort, attribute = workspace.cohort, "Mixpanel - Fans"
    if is_new:
        cohort, attribute = sandbox.add_cohort("Seconds", fans(*range(10, 85))), "Mixpanel - Seconds"
    else:
        stop_and_clear(workspace)
        workspace.set_members(*fans(*range(10, 85)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(cohort)
    sent = sandbox.holding(attribute)[0]
    assert run.state is RunState.QUEUED and len(sent) == 25
    restore(workspace, backup)
    sandbox.clear_faults()
    workspace.run_queued()
    ended = workspace.get_run(run.id)
    assert (ended.state, ended.delivered, ended.unconfirmed) == (RunState.CANCELLED, 25, 0)
    sandbox.set_members(cohort, fans(10))
    if is_new:
        with workspace.open() as service:
            service.syncs.resume(run.sync_id)
    later(workspace, 7300)
    while last(workspace).state is RunState.HELD:
        approve(workspace, last(workspace))
    assert sandbox.holding(attribute)[0] == fan_ids(10)
    assert not [one for one in fan_ids(*range(11, 85)) - sent if sandbox.profile(one)]
