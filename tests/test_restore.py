"""Restore a backup: whoever WebEngage was sent after it was made is known all the same, as far as this database knows."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState
from sync.service import Service
from tests.engine_workspace import (
    CUSTOMER,
    PATIENT,
    EngineWorkspace,
    approve,
    customer_ids,
    customers,
    fan_ids,
    fans,
    keep_out,
    last,
    later,
)
from tests.sandbox.control import Sandbox
from tests.workspace import wait_until


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(5)))
    return found


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Return where the backup goes."""
    return tmp_path / "copy.db"


def back_up(workspace: EngineWorkspace, backup: Path) -> None:
    """Write a backup."""
    with workspace.open() as service:
        service.admin.write_backup(backup)


def refresh(workspace: EngineWorkspace) -> None:
    """Let the next refresh be due, and approve it when it is held."""
    later(workspace, 7300)
    if last(workspace).state is RunState.HELD:
        with workspace.open() as service:
            service.runs.approve(last(workspace).id)
        workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED


def test_who_entered_after_the_backup_and_left_before_the_next_run_is_set_to_false(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """The backup does not know them, the database that it replaces does."""
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(7)))
    refresh(workspace)
    workspace.restore(backup)
    workspace.set_members(*fans(*range(4)))
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(4))


def test_whom_the_replaced_database_knows_counts_as_in_webengage_at_once(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """Lists of syncs say how many there may be, also before the next run has sent anybody."""
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(7)))
    refresh(workspace)
    workspace.restore(backup)
    with workspace.open() as service:
        assert service.syncs.get(1).size == 7


def test_who_was_sent_after_the_backup_by_a_run_under_way_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """All whom its requests may have reached, also behind the first thousand; and its number is not given to another run."""
    workspace.policy = PATIENT
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(1300)))
    sandbox.fault("status", path="bulk-users", code=503, retry_after=300, after=45, times=0)
    run = approve(workspace, workspace.export())  # it adds far more people than usual
    assert run.state is RunState.QUEUED and len(workspace.holders()) > 1025
    workspace.restore(backup)
    sandbox.clear_faults()
    workspace.set_members(*fans(*range(4)))
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(4))
    assert last(workspace).id > run.id


def test_who_was_sent_in_a_step_after_the_backup_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """A run that was held after a step when the backup was restored sent them; the rejected one is no stranger's profile."""
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(9)))
    sandbox.poison("fan-6")
    held = workspace.export(chosen=["fan-5", "fan-6", "fan-7"])
    assert (held.state, held.delivered, held.rejected) == (RunState.HELD, 2, 1)
    workspace.restore(backup)
    sandbox.clear_faults()
    workspace.set_members(*fans(*range(5)))
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(5))
    assert sandbox.profile("fan-6") is None


def test_who_may_have_been_taken_before_they_were_rejected_in_a_step_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """WebEngage took the first try without an answer, and rejected the next: the run under way is all that knows."""
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(7)))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", api="webengage", path="bulk-users", code=400, body={"response": {"message": "bad user"}})
    held = workspace.export(chosen=["fan-5"])
    assert (held.state, held.rejected) == (RunState.HELD, 1) and "fan-5" in workspace.holders()
    workspace.restore(backup)
    workspace.set_members(*fans(*range(5)))
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(5))


def test_who_was_never_sent_gets_no_profile_after_a_restore(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """Neither whom a run of the backup was to send once approved, nor whom one of after it did not get to."""
    workspace.policy = PATIENT
    workspace.export()
    workspace.set_members(*fans(*range(7)))
    assert workspace.export(dry_run=True).state is RunState.HELD
    back_up(workspace, backup)
    with workspace.open() as service:
        service.runs.cancel(last(workspace).id)
    workspace.set_members(*fans(*range(5)), *fans(*range(10, 3010)))
    sandbox.fault("status", path="bulk-users", code=503, retry_after=300, after=5, times=0)
    run = approve(workspace, workspace.export())  # it adds far more people than usual
    assert run.state is RunState.QUEUED and run.delivered < 500
    workspace.restore(backup)
    sandbox.clear_faults()
    workspace.set_members(*fans(*range(5)))
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(5))
    assert sandbox.profile("fan-5") is None and sandbox.profile("fan-6") is None
    assert sum(sandbox.profile(f"fan-{number}") is None for number in range(10, 3010, 50)) > 30


def test_who_was_to_be_sent_in_a_later_step_gets_no_profile_after_a_restore(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path
) -> None:
    """The backup has the first step approved and not begun: it may have been sent since, and nobody else."""
    held = workspace.export(chosen=["fan-1"], dry_run=True)
    with workspace.open() as service:
        service.runs.approve(held.id)
    back_up(workspace, backup)
    workspace.restore(backup)
    workspace.run_queued()
    assert workspace.get_run(held.id).state is RunState.CANCELLED
    workspace.set_members(*fans(1))
    run = workspace.export()
    assert (approve(workspace, run) if run.state is RunState.HELD else run).state is RunState.SUCCEEDED
    assert workspace.holders() == fan_ids(1) and sandbox.profile("fan-2") is None


def test_who_was_sent_in_a_step_before_the_backup_and_taken_back_since_is_sent_again(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """The backup says that WebEngage has them as true; as of everybody, that is not believed any more."""
    held = workspace.export(chosen=["fan-1", "fan-2"])
    assert (held.state, held.delivered) == (RunState.HELD, 2)
    back_up(workspace, backup)
    with workspace.open() as service:
        undo = service.runs.undo(held.id).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo))
    assert workspace.holders() == set()
    workspace.restore(backup)
    workspace.run_queued()
    run = workspace.export()
    assert (approve(workspace, run) if run.state is RunState.HELD else run).state is RunState.SUCCEEDED
    assert workspace.holders() == fan_ids(*range(5))


def test_a_runner_of_the_time_of_the_backup_does_not_seem_to_work_after_it_was_restored(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """It was stopped for the restore; its heartbeat of then says nothing about now."""
    with workspace.open_store() as store:
        store.runners.record_heartbeat("elsewhere:1:1-1", workspace.now())
        store.maintenance.write_backup(backup)
        store.runners.remove_runner("elsewhere:1:1-1")
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert store.runners.list_heartbeats(workspace.now()) == ()


def test_who_was_forgotten_after_a_run_under_way_sent_them_is_nobody_in_the_restored_database(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """Their place in the plan is blank, and a blank is no person."""
    workspace.export()
    back_up(workspace, backup)
    workspace.set_members(*fans(*range(9)))
    assert workspace.export(chosen=["fan-5", "fan-6"]).state is RunState.HELD
    with workspace.open() as service:
        service.admin.forget_person("fan-5")
    workspace.restore(backup)
    with workspace.open_store() as store:
        assert set(store.snapshot.iterate_members(1)) == fan_ids(0, 1, 2, 3, 4, 6)


def test_who_was_exported_by_another_user_id_after_the_backup_is_set_to_false(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """The property of the backup is the User ID again; nobody stays true under the one of after it."""
    workspace.set_members(*customers(*range(5)))
    workspace.export()
    back_up(workspace, backup)
    workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.runs.approve(last(workspace).id)
    workspace.run_queued()
    assert workspace.holders() == customer_ids(*range(5))
    workspace.restore(backup)
    with workspace.open() as service:
        service.syncs.resume(1)
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(5))


@pytest.mark.parametrize("is_usable", [True, False])
def test_who_was_rejected_when_the_backup_was_made_is_tried_again(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, is_usable: bool
) -> None:
    """WebEngage may have taken them since, and they may leave: the next run sends them again, as it does everybody."""
    sandbox.poison("fan-3")
    assert workspace.export().rejected == 1
    back_up(workspace, backup)
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.retry_rejected(1)
    workspace.run_queued()
    assert "fan-3" in workspace.holders()
    if not is_usable:
        (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    Service.restore_database(backup, workspace.env)
    refresh(workspace)
    with workspace.open() as service:
        assert service.check_health().rejected == 0
    workspace.set_members(*fans(0, 1, 2, 4))
    refresh(workspace)
    assert workspace.holders() == fan_ids(0, 1, 2, 4)


def test_who_was_taken_off_the_list_and_exported_after_the_backup_is_set_to_false(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """The restore puts them on the list again, so the next run keeps what the list promises."""
    keep_out(workspace, "fan-3")
    workspace.export()
    back_up(workspace, backup)
    with workspace.open() as service:
        service.safety.remove_never_export(None, ["fan-3"])
    refresh(workspace)
    assert "fan-3" in workspace.holders()
    workspace.restore(backup)
    refresh(workspace)
    assert workspace.holders() == fan_ids(0, 1, 2, 4)


def test_a_database_whose_people_cannot_be_read_is_set_aside(workspace: EngineWorkspace, backup: Path) -> None:
    """SQLite finds nothing wrong with it; the backup takes its place all the same."""
    workspace.export()
    back_up(workspace, backup)
    with workspace.open_database() as db:
        db.execute("update snapshot_bucket set ids = x'00'")
    assert Service.restore_database(backup, workspace.env).set_aside
    refresh(workspace)
    assert workspace.holders() == fan_ids(*range(5))


def is_refused(workspace: EngineWorkspace, backup: Path) -> bool:
    """Restore a backup, and return whether that was refused since somebody wrote meanwhile."""
    try:
        with workspace.open() as service:
            service.admin.restore(backup)
    except InvalidRequest as refusal:
        if "written meanwhile" not in str(refusal):
            raise
        return True
    return False


def test_what_is_written_while_a_restore_is_prepared_is_not_lost(workspace: EngineWorkspace, backup: Path) -> None:
    """Pages may be open, and a runner may start: what they said is done must not vanish, so the restore is refused."""
    back_up(workspace, backup)
    added: list[str] = []
    stopped = threading.Event()

    def add() -> None:
        with workspace.open() as service:
            while not stopped.is_set():
                service.safety.add_never_export(None, [f"out-{len(added)}"])
                added.append(f"out-{len(added)}")

    writer = threading.Thread(target=add)
    writer.start()
    try:
        wait_until(lambda: len(added) > 3)
        wait_until(lambda: is_refused(workspace, backup))  # one that fits between two writes loses nothing either
    finally:
        stopped.set()
        writer.join()
    with workspace.open() as service:
        assert len(service.safety.list_never_export()) == len(added)
        service.admin.restore(backup)
        assert len(service.safety.list_never_export()) == len(added)


def test_a_run_that_was_held_in_the_backup_is_named_as_cancelled_and_waits_for_nobody(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """WebEngage may have changed since its plan; whoever restored asks for it again, if it is still wanted."""
    assert workspace.export(dry_run=True).state is RunState.HELD
    back_up(workspace, backup)
    done = workspace.run_cli("restore", str(backup))
    assert "Cancelled, as unfinished in the backup: run 1. Ask again for what is still wanted." in done.stdout
    with workspace.open() as service:
        assert not service.check_health().needs_attention
