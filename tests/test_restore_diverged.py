"""Restore a backup beside a database that went on without it: numbers mean something else in each, and nobody is mixed up.

The newest backup was restored too late: the database was lost, an older one was put in its place and worked on.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState, SyncState
from sync.service import Service
from tests.engine_workspace import EngineWorkspace, export_five, fan_ids, fans, last, later, stop_and_clear
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def older(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it."""
    return workspace.back_up(tmp_path / "older.db")


def lose(workspace: EngineWorkspace, older: Path) -> None:
    """Lose the database, and restore a backup in its place; nothing is under way afterwards."""
    (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    Service.restore_database(older, workspace.env)
    workspace.run_queued()


def restore(workspace: EngineWorkspace, backup: Path) -> None:
    """Restore the backup beside the healthy database, and let what was under way end."""
    with workspace.open() as service:
        service.admin.restore(backup)
    workspace.sandbox.clear_faults()
    workspace.run_queued()


def export_half(workspace: EngineWorkspace, sandbox: Sandbox, cohort: int) -> int:
    """Export a cohort of 75 people until WebEngage asks to wait; return the number of the run."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(cohort)
    assert run.state is RunState.QUEUED and run.planned
    return run.id


def test_a_half_export_of_a_cohort_is_no_export_of_the_one_that_has_its_number_in_the_backup(
    workspace: EngineWorkspace, sandbox: Sandbox, older: Path, tmp_path: Path
) -> None:
    """The people of the one would be set to false in the attribute of the other."""
    seconds, thirds = sandbox.add_cohort("Seconds", fans(30)), sandbox.add_cohort("Thirds", fans(*range(100, 175)))
    workspace.export(seconds)
    workspace.export(thirds)
    newer = workspace.back_up(tmp_path / "newer.db")
    lose(workspace, older)
    second = workspace.export(thirds).sync_id
    with workspace.open() as service:
        service.syncs.stop(second, clear=True)
    workspace.run_queued()
    run_id = export_half(workspace, sandbox, thirds)
    restore(workspace, newer)
    with workspace.open() as service:
        assert {one.cohort_name: one.last_run.id for one in service.syncs.list() if one.last_run} == {
            "Fans": 1,
            "Seconds": 2,
            "Thirds": 3,
        }
    later(workspace, 7300)
    assert run_id > 3 and sandbox.holding("Mixpanel - Seconds") == (fan_ids(30), set())


def test_the_history_of_a_run_of_the_backup_stays_its_own(
    workspace: EngineWorkspace, sandbox: Sandbox, older: Path, tmp_path: Path
) -> None:
    """Another run has its number in the database that is replaced, and made the sync go on."""
    workspace.set_members(*fans(*range(7)))
    assert workspace.export().id == 2
    newer = workspace.back_up(tmp_path / "newer.db")
    with workspace.open() as service:
        before = service.runs.list_events(2), service.runs.get(2).entered
    lose(workspace, older)
    with workspace.open() as service:
        service.syncs.stop(1)
    workspace.set_members(*fans(*range(75)))
    assert export_half(workspace, sandbox, workspace.cohort) == 2
    restore(workspace, newer)
    with workspace.open() as service:
        assert (service.runs.list_events(2), service.runs.get(2).entered) == before


def test_a_backup_in_which_another_cohort_has_the_attribute_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, sandbox: Sandbox, older: Path, tmp_path: Path
) -> None:
    """WebEngage knows one attribute, however its letters are written, so the people of both would be one audience."""
    workspace.export(sandbox.add_cohort("Thirds", fans(30)), attribute="MIXPANEL - Seconds")
    newer = workspace.back_up(tmp_path / "newer.db")
    lose(workspace, older)
    cleared = workspace.export(sandbox.add_cohort("Fourths", fans(40))).sync_id
    with workspace.open() as service:
        service.syncs.stop(cleared, clear=True)
    workspace.run_queued()
    workspace.export(sandbox.add_cohort("Seconds", fans(50)))
    with workspace.open() as service, pytest.raises(InvalidRequest, match=r"people of “Seconds” .*clear"):
        service.admin.restore(newer)


@pytest.mark.parametrize("sent", ["to all", "to some", "to nobody"])
def test_a_backup_that_has_a_number_of_a_run_already_is_refused_when_people_would_be_lost(
    workspace: EngineWorkspace, sandbox: Sandbox, older: Path, tmp_path: Path, sent: str
) -> None:
    """There is room for the cohort, but its run would be mixed up with another one; of a dry run nobody is lost."""
    assert workspace.export().id == 2
    newer = workspace.back_up(tmp_path / "newer.db")
    lose(workspace, older)
    seconds = sandbox.add_cohort("Seconds", fans(*range(100, 175)))
    if sent == "to some":
        assert export_half(workspace, sandbox, seconds) == 2
    else:
        assert workspace.export(seconds, dry_run=sent == "to nobody").id == 2
    if sent == "to nobody":
        restore(workspace, newer)
        assert workspace.get_run(2).state is RunState.SUCCEEDED
    else:
        with pytest.raises(InvalidRequest, match=r"people of “Seconds” .*clear"):
            restore(workspace, newer)


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_run_of_the_backup_stands_for_the_half_export_that_is_not_brought_in(
    workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path, is_finished: bool
) -> None:
    """Both are ended by the restore: the sync shows the one that it has, with its outcome."""
    workspace.set_members(*fans(*range(75)))
    with workspace.open() as service:
        under_way = service.syncs.refresh_now(1).run_id
    file = workspace.back_up(tmp_path / "under-way.db")
    workspace.run_queued()
    stop_and_clear(workspace)
    run_id = export_half(workspace, sandbox, workspace.cohort)
    if is_finished:
        with workspace.open() as service:
            service.runs.cancel(run_id)
        workspace.run_queued()
    restore(workspace, file)
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert sync.last_run and (sync.last_run.id, sync.last_run.state) == (under_way, RunState.CANCELLED)


def test_a_cancel_after_a_restore_leaves_the_schedule_when_the_export_that_began_it_was_completed(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """Who cancels a refresh then says no to this refresh only, as before the restore."""
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    file = workspace.back_up(tmp_path / "under-way.db")
    workspace.run_queued()
    stop_and_clear(workspace)
    assert workspace.export().state is RunState.SUCCEEDED
    restore(workspace, file)
    with workspace.open() as service:
        service.runs.cancel(service.syncs.refresh_now(1).run_id)
    workspace.run_queued()
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.ACTIVE and last(workspace).state is RunState.CANCELLED
