"""Restore a backup from before a limit was set: the stricter one of both counts, and what was used up stays so."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.guards import GuardLimits
from sync.model import Mode, SyncState
from sync.permissions import command_line_actor
from sync.service import Service
from sync.store import Store
from tests.engine_workspace import EngineWorkspace, export_five, fan_ids, fans, keep_out, last, later, stop_and_clear
from tests.sandbox.control import LICENSE, PROJECT, Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it."""
    return workspace.back_up(tmp_path / "copy.db")


def read_state(workspace: EngineWorkspace) -> SyncState:
    """Return the state of the sync."""
    with workspace.open() as service:
        return service.syncs.get(1).state


@pytest.mark.parametrize("newest_first", [True, False])
def test_what_holds_runs_now_or_held_them_then_holds_them_after_a_restore(
    workspace: EngineWorkspace, tmp_path: Path, newest_first: bool
) -> None:
    """The second person, the guard and each of its limits; the stricter of both counts."""
    then, now = GuardLimits(90.0, 5, 70.0, 900), GuardLimits(30.0, 50, 80.0, 9)
    change, put_back = [(False, then, 100), (True, now, 3)][:: 1 if newest_first else -1]
    set_guard(workspace, *change)
    copy = workspace.back_up(tmp_path / "guards.db")
    set_guard(workspace, *put_back)
    workspace.restore(copy)
    with workspace.open() as service:
        assert service.admin.get_approval_limit() == 3
    with workspace.open_store() as store:
        sync = store.syncs.get_sync(1)
    assert sync and sync.guard_enabled
    assert sync.limits == GuardLimits(add_share=30.0, add_people=5, remove_share=70.0, remove_people=9)


def set_guard(workspace: EngineWorkspace, is_on: bool, limits: GuardLimits, people: int) -> None:
    """Set the guard of the sync, its limits, and above how many people a second person is needed."""
    with workspace.open() as service:
        (service.guards.put_back if is_on else service.guards.lift)(1)
        service.guards.set_limits(1, limits)
        service.admin.set_approval_limit(people)


def test_a_restore_keeps_in_mind_what_mixpanels_refusals_said(workspace: EngineWorkspace, backup: Path) -> None:
    """Later pages count as queries, and nothing may be asked for ten minutes: that was learned after the backup."""
    with workspace.open_store() as store:
        now = workspace.now()
        store.rate_limits.block_until(PROJECT, now + 600, pages_count=True, now=now)
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert store.rate_limits.pages_count(PROJECT, workspace.now())
        assert 500 < store.rate_limits.acquire_query(PROJECT, workspace.now(), later_page=False).wait <= 600


@pytest.mark.parametrize("has_passed", [False, True])
def test_a_sync_that_was_to_end_since_the_backup_ends(
    workspace: EngineWorkspace, backup: Path, has_passed: bool
) -> None:
    """Somebody said until when people are sent; the backup would send whoever enters for ever."""
    end = workspace.now() + 10_000
    with workspace.open() as service:
        service.syncs.change_interval(1, 7200.0, ends_at=end)
    if has_passed:  # while no runner worked
        workspace.ahead += 11_000
        workspace.sandbox.advance(11_000)
    workspace.restore(backup)
    later(workspace, 11_000)
    workspace.set_members(*fans(*range(7)))
    later(workspace, 7300)
    assert read_state(workspace) is SyncState.FINISHED and workspace.holders() == fan_ids(*range(5))


@pytest.mark.parametrize("put_off", [None, 50_000.0])
def test_a_sync_whose_end_was_put_off_since_the_backup_ends_as_the_backup_says(
    workspace: EngineWorkspace, tmp_path: Path, put_off: float | None
) -> None:
    """The earlier end is the stricter one, as of limits."""
    with workspace.open() as service:
        service.syncs.change_interval(1, 7200.0, ends_at=workspace.now() + 10_000)
    file = workspace.back_up(tmp_path / "ending.db")
    with workspace.open() as service:
        service.syncs.change_interval(1, 7200.0, ends_at=put_off and workspace.now() + put_off)
    workspace.restore(file)
    later(workspace, 11_000)
    assert read_state(workspace) is SyncState.FINISHED


def test_the_audit_log_has_every_line_of_before_and_after_the_backup_once(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """Also two of one moment that say different things of the same person; restoring again adds none of them once more."""
    moment = workspace.now()
    with Service(Store.open(workspace.data_dir), workspace.env, lambda: moment, command_line_actor()) as service:
        service.admin.forget_person("fan-1")
        expected = service.admin.list_audit()
    assert len({line.at for line in expected}) == len(expected) - 1
    for times in (1, 2):
        workspace.restore(backup)
        with workspace.open() as service:
            lines = service.admin.list_audit()
        assert [line.action for line in lines[:times]] == ["restore"] * times
        assert sorted(lines[times:], key=repr) == sorted(expected, key=repr)


def test_a_number_of_a_run_is_not_given_again_after_a_backup_without_runs(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """The audit log says of runs by their numbers who asked for them and who approved them."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    keep_out(other, "fan-30")
    file = other.back_up(tmp_path / "other.db")
    stop_and_clear(workspace)
    former = last(workspace).id
    workspace.restore(file)
    workspace.connect(sandbox)  # the secrets of the backup are of another key
    assert workspace.export().id == former + 1


def test_a_restore_gives_no_query_and_no_time_of_sending_back(workspace: EngineWorkspace, backup: Path) -> None:
    """What was asked and sent after the backup counts at both sides, whatever this database says."""
    with workspace.open_store() as store:
        workspace.export()
        now = workspace.now()
        store.rate_limits.delay_account_until(LICENSE, now + 500)
        used = store.rate_limits.queries_used(PROJECT, now)
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert store.rate_limits.queries_used(PROJECT, now) == used > 1
        assert store.rate_limits.find_wait(LICENSE, now) == pytest.approx(500)


def test_a_sync_that_has_ended_since_the_backup_waits_for_a_person(workspace: EngineWorkspace, backup: Path) -> None:
    """Its end was reached, so nothing is sent by itself; whoever resumes it decides until when."""
    with workspace.open() as service:
        service.syncs.change_interval(1, 7200.0, ends_at=workspace.now() + 5000)
    later(workspace, 6000)
    assert read_state(workspace) is SyncState.FINISHED
    with workspace.open() as service:
        assert service.admin.restore(backup).paused == ("Fans",)
    later(workspace, 7300)
    assert read_state(workspace) is SyncState.PAUSED


def test_an_end_that_was_set_since_the_backup_is_none_of_a_cohort_that_it_exports_once(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """Nothing of the backup's is refreshed, so there is nothing to end."""
    workspace.export(mode=Mode.ONE_TIME)
    file = workspace.back_up(tmp_path / "once.db")
    workspace.export()
    with workspace.open() as service:
        service.syncs.change_interval(1, 7200.0, ends_at=workspace.now() + 5000)
    workspace.restore(file)
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.mode, sync.state, sync.ends_at) == (Mode.ONE_TIME, SyncState.FINISHED, None)
