"""Restore a backup from before something was changed: nobody stays true unknown, and nothing is sent that was held back."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.service import Service
from sync.wording import CANCELLED_HALF_WAY_DONE
from tests.engine_workspace import (
    CUSTOMER,
    EngineWorkspace,
    approve,
    customers,
    export_five,
    fan_ids,
    fans,
    last,
    later,
    stop_and_clear,
)
from tests.sandbox.control import PROJECT, Sandbox

SECOND = "Mixpanel - Seconds"


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it."""
    return workspace.back_up(tmp_path / "copy.db")


def read_state(workspace: EngineWorkspace, sync_id: int) -> tuple[SyncState, str]:
    """Return the state of a sync, and why it is paused."""
    with workspace.open() as service:
        sync = service.syncs.get(sync_id)
    return sync.state, sync.pause_reason or ""


def test_a_cohort_first_exported_after_the_backup_is_kept_paused(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """Its people are true in WebEngage: who leaves becomes false, and no other cohort gets its attribute."""
    seconds = sandbox.add_cohort("Seconds", fans(*range(10, 14)))
    run = workspace.export(seconds)
    done = workspace.read_json("restore", str(backup))
    assert done["paused"] == ["Seconds"]
    state, reason = read_state(workspace, run.sync_id)
    assert state is SyncState.PAUSED and "after the backup" in reason
    thirds = sandbox.add_cohort("Thirds", fans(1))
    with workspace.open() as service:
        assert [one.operation for one in service.people.find("fan-10").history] == ["add"]
        with pytest.raises(InvalidRequest, match="already belongs"):
            service.syncs.start_export(PROJECT, thirds, ExportTerms(mode=Mode.ONE_TIME, attribute=SECOND))
    sandbox.set_members(seconds, fans(*range(10, 12)))
    later(workspace, 7300)
    assert sandbox.holding(SECOND)[0] == fan_ids(*range(10, 14)), "a paused sync was refreshed"
    with workspace.open() as service:
        service.syncs.resume(run.sync_id)
    workspace.run_queued()
    assert sandbox.holding(SECOND)[0] == fan_ids(10, 11)


def test_a_cohort_that_was_only_tried_on_a_few_after_the_backup_is_not_sent_to_the_rest(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """Its run ends, whom it sent is known, and the next run is the request that nobody approved for the rest."""
    seconds = sandbox.add_cohort("Seconds", fans(*range(10, 14)))
    run = workspace.export(seconds, chosen=["fan-12"])
    assert (run.state, run.delivered) == (RunState.HELD, 1)
    workspace.restore(backup)
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.CANCELLED
    with workspace.open() as service:
        next_id = service.syncs.refresh_now(run.sync_id).run_id
    workspace.run_queued()
    assert workspace.get_run(next_id).state is RunState.HELD
    assert sandbox.holding(SECOND)[0] == fan_ids(12)
    with workspace.open() as service:
        service.runs.cancel(next_id)
    sandbox.set_members(seconds, fans(10))
    run = workspace.export(seconds)
    assert (approve(workspace, run) if run.state is RunState.HELD else run).state is RunState.SUCCEEDED
    assert sandbox.holding(SECOND)[0] == fan_ids(10)


def test_a_backup_that_knows_another_sync_by_that_number_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, tmp_path: Path
) -> None:
    """After a restore without the former file numbers are given again; clearing the cohort lets the restore through."""
    workspace.export(sandbox.add_cohort("Seconds", fans(10)))
    newer = workspace.back_up(tmp_path / "newer.db")
    (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    Service.restore_database(backup, workspace.env)
    thirds = workspace.export(sandbox.add_cohort("Thirds", fans(20)))
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match=r"“Thirds”.*clear"):
            service.admin.restore(newer)
        service.syncs.stop(thirds.sync_id, clear=True)
    workspace.run_queued()
    workspace.restore(newer)
    with workspace.open() as service:
        assert {one.cohort_name for one in service.syncs.list()} == {"Fans", "Seconds"}
    assert not sandbox.holding("Mixpanel - Thirds")[0]


def test_a_backup_that_knows_the_cohort_by_another_attribute_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, tmp_path: Path
) -> None:
    """After a restore without the former file the cohort was exported as something else: both cannot be kept."""
    seconds = sandbox.add_cohort("Seconds", fans(10))
    workspace.export(seconds)
    newer = workspace.back_up(tmp_path / "newer.db")
    (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    Service.restore_database(backup, workspace.env)
    thirds = workspace.export(sandbox.add_cohort("Thirds", fans(20)))
    workspace.export(seconds, attribute="Other")
    with workspace.open() as service:
        service.syncs.stop(thirds.sync_id, clear=True)
    workspace.run_queued()
    with workspace.open() as service, pytest.raises(InvalidRequest, match=r"people of “Seconds” .*clear"):
        service.admin.restore(newer)


def test_a_backup_of_another_database_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """They are true in WebEngage because of this database, and the other one has never heard of them."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    other.set_members(*fans(30))
    other.export(attribute="Others")
    other.back_up(tmp_path / "other.db")
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match=r"“Fans”.*clear"):
            service.admin.restore(tmp_path / "other.db")
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    workspace.restore(tmp_path / "other.db")


def test_a_backup_of_another_database_that_has_the_same_cohort_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """It knows the cohort, but not these people, and their hashes mean nothing there."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    other.export(workspace.cohort)
    workspace.set_members(*fans(*range(3, 8)))
    workspace.export()
    with workspace.open() as service, pytest.raises(InvalidRequest, match=r"“Fans”.*clear"):
        service.admin.restore(other.back_up(tmp_path / "other.db"))


@pytest.mark.parametrize("how", ["pause", "pause until", "stop", "clear", "once", "take back"])
def test_a_sync_that_was_not_refreshed_any_more_stays_so(workspace: EngineWorkspace, backup: Path, how: str) -> None:
    """The backup knows it as active, and its next refresh would send everybody again."""
    with workspace.open() as service:
        if how.startswith("pause"):
            service.syncs.pause(1, workspace.now() + 86_400 if how == "pause until" else None)
        elif how == "take back":
            service.runs.undo(1)
        elif how != "once":
            service.syncs.stop(1, clear=how == "clear")
    if how == "once":
        workspace.export(mode=Mode.ONE_TIME)
    workspace.run_queued()
    if how == "take back":
        approve(workspace, last(workspace))
    before, asked = workspace.holders(), workspace.sandbox.meter().users_delivered
    _, reason = read_state(workspace, 1)
    done = workspace.read_json("restore", str(backup))
    assert done["paused"] == ["Fans"]
    with workspace.open() as service:
        assert service.admin.list_audit(1)[0].after == "paused: Fans"
    later(workspace, 7300)
    assert (workspace.holders(), workspace.sandbox.meter().users_delivered) == (before, asked)
    state, now = read_state(workspace, 1)
    assert state is SyncState.PAUSED and (now == reason if reason else "not refreshed any more" in now)
    later(workspace, 86_400)
    assert (workspace.holders() == fan_ids(*range(5))) is (before == fan_ids(*range(5)))
    assert read_state(workspace, 1)[0] is (SyncState.ACTIVE if how == "pause until" else SyncState.PAUSED)


@pytest.mark.parametrize("change", [{"id_property": CUSTOMER}, {"mapping": ()}])
def test_a_sync_whose_values_or_user_ids_were_changed_is_paused(
    workspace: EngineWorkspace, tmp_path: Path, change: dict[str, object]
) -> None:
    """The refresh would send again what a person took out, or everybody by the former User ID."""
    workspace.set_members(*customers(*range(5)))
    workspace.export(mapping=(("plan", "Plan"),))
    copy = workspace.back_up(tmp_path / "mapped.db")
    if workspace.export(**change).state is RunState.HELD:
        approve(workspace, last(workspace))
    before = workspace.holders()
    workspace.restore(copy)
    later(workspace, 7300)
    state, reason = read_state(workspace, 1)
    assert state is SyncState.PAUSED and "changed after the backup" in reason
    assert workspace.holders() == before


def test_a_restore_over_a_file_that_cannot_be_opened_promises_nothing_about_people_it_does_not_know(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """Clearing the cohort sets those to false whom this database knows, so it is no way to find the others."""
    (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    done = workspace.run_cli("restore", str(backup))
    assert done.returncode == 0 and "stay true in WebEngage" in done.stdout and "clear" not in done.stdout


def test_a_backup_from_before_anything_was_connected_keeps_what_was_connected_since(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """Without them the cohort could be neither refreshed nor cleared, and its people would stay true."""
    folder = tmp_path / "new"
    with Service.open({"COHORT_SYNC_DATA": str(folder)}) as service:
        service.admin.write_backup(tmp_path / "empty.db")
    workspace = EngineWorkspace(folder, sandbox)
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    workspace.restore(tmp_path / "empty.db")
    with workspace.open() as service:
        assert [one.cohort_name for one in service.syncs.list()] == ["Fans"]
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == set()


def test_restoring_twice_and_an_older_backup_after_a_newer_one_loses_nobody(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, tmp_path: Path
) -> None:
    """Each restore keeps what the one before kept."""
    seconds = sandbox.add_cohort("Seconds", fans(10, 11))
    run = workspace.export(seconds)
    newer = workspace.back_up(tmp_path / "newer.db")
    for file in (newer, backup, backup, newer, backup):
        workspace.restore(file)
    sandbox.set_members(seconds, fans(10))
    workspace.set_members(*fans(*range(4)))
    with workspace.open() as service:
        service.syncs.resume(run.sync_id)
    later(workspace, 7300)
    assert sandbox.holding(SECOND)[0] == fan_ids(10)
    assert workspace.holders() == fan_ids(*range(4))


@pytest.mark.parametrize("made", ["before it", "while a refresh was under way", "half-way"])
def test_an_export_that_a_restore_ended_half_way_sends_nobody_else_once_its_rest_is_cancelled(
    workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path, made: str
) -> None:
    """It had made a stopped sync go on, so whoever cancels what follows it says no to a schedule that nobody had before."""
    workspace.set_members(*fans(*range(75)))
    file = tmp_path / "half.db"
    if made == "while a refresh was under way":
        with workspace.open() as service:
            service.syncs.refresh_now(1)
    if made != "half-way":
        workspace.back_up(file)
    workspace.run_queued()
    stop_and_clear(workspace)
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export()
    assert run.state is RunState.QUEUED and run.planned and len(workspace.holders()) == 25
    if made == "half-way":
        workspace.back_up(file)
    workspace.restore(file)
    sandbox.clear_faults()
    workspace.run_queued()
    assert last(workspace).state is RunState.CANCELLED
    with workspace.open() as service:
        rest = service.syncs.refresh_now(1).run_id
        assert service.runs.cancel(rest) == CANCELLED_HALF_WAY_DONE
    later(workspace, 7300)
    assert len(workspace.holders()) == 25 and read_state(workspace, 1)[0] is SyncState.PAUSED


def test_a_sync_that_was_stopped_before_the_backup_is_stopped_after_it(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """A pause, which can be resumed, would be more than either database had."""
    with workspace.open() as service:
        service.syncs.stop(1)
    workspace.restore(workspace.back_up(tmp_path / "stopped.db"))
    assert read_state(workspace, 1)[0] is SyncState.FINISHED


def test_half_an_export_approves_no_former_one(workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path) -> None:
    """The backup has a dry run that nobody approved: what is sent after its restore is held as before."""
    seconds = sandbox.add_cohort("Seconds", fans(*range(10, 85)))
    run = workspace.export(seconds, dry_run=True)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    file = workspace.back_up(tmp_path / "dry.db")
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    assert workspace.export(seconds).planned
    workspace.restore(file)
    sandbox.clear_faults()
    workspace.run_queued()
    with workspace.open() as service:
        again = service.syncs.refresh_now(run.sync_id).run_id
    workspace.run_queued()
    assert workspace.get_run(again).state is RunState.HELD


def test_a_sync_that_is_being_exported_once_since_the_backup_is_not_refreshed(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """Its plan went ahead, so it had no schedule any more; that its run waits for WebEngage makes no difference."""
    workspace.set_members(*fans(*range(60)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(mode=Mode.ONE_TIME)
    if run.state is RunState.HELD:
        run = approve(workspace, run)
    assert run.state is RunState.QUEUED and run.planned
    before = workspace.holders()
    assert workspace.read_json("restore", str(backup))["paused"] == ["Fans"]
    sandbox.clear_faults()
    later(workspace, 7300)
    assert read_state(workspace, 1)[0] is SyncState.PAUSED and workspace.holders() == before


@pytest.mark.parametrize("change", ["pause until", "stop"])
def test_a_sync_that_was_paused_for_good_before_the_backup_stays_so(
    workspace: EngineWorkspace, tmp_path: Path, change: str
) -> None:
    """Nothing of it is refreshed before a person resumes it, and the reason is the one that was given."""
    with workspace.open() as service:
        service.syncs.pause(1)
    file = workspace.back_up(tmp_path / "paused.db")
    with workspace.open() as service:
        if change == "stop":
            service.syncs.stop(1)
        else:
            service.syncs.pause(1, workspace.now() + 5000)
        assert service.admin.restore(file).paused == ()
    later(workspace, 7300)
    assert read_state(workspace, 1) == (SyncState.PAUSED, "Paused by a person.")


def test_a_sync_that_was_paused_until_a_time_and_is_stopped_since_does_not_go_on_then(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """The stop is the later word, so it waits for a person after the restore."""
    with workspace.open() as service:
        service.syncs.pause(1, workspace.now() + 5000)
    file = workspace.back_up(tmp_path / "paused.db")
    with workspace.open() as service:
        service.syncs.stop(1)
        assert service.admin.restore(file).paused == ("Fans",)
    later(workspace, 7300)
    state, reason = read_state(workspace, 1)
    assert state is SyncState.PAUSED and "not refreshed any more" in reason
