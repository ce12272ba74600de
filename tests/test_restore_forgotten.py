"""Restore a backup from before somebody was forgotten: who asked for that is not brought back, as far as they can be known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.model import RunState
from sync.packing import unpack_ids
from tests.engine_workspace import EngineWorkspace, fan_ids, fans, keep_out, last, later, watch
from tests.sandbox.control import PROJECT, Sandbox, member

LONG, OTHER, LONGEST = "z" * 150, "y" * 150, "x" * 300  # no User IDs; of the last only the beginning is kept
PACKED = ("snapshot_bucket", "batch_block", "delivery_log", "staged_page")


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five, one of them rejected, ids that are too long, and a preview."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(5)), *map(member, (LONG, OTHER, LONGEST)))
    sandbox.poison("fan-4")
    found.export()
    with found.open() as service:
        service.cohorts.preview(PROJECT, sandbox.add_cohort("Seen only", fans(20)))
    return found


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it, made while a run is under way that has read and planned."""
    workspace.set_members(*fans(*range(7)), *map(member, (LONG, OTHER, LONGEST)))
    run = workspace.export(dry_run=True)
    assert run.state is RunState.HELD
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    return tmp_path / "copy.db"


def forget(workspace: EngineWorkspace, *user_ids: str) -> None:
    """Forget these people."""
    with workspace.open() as service:
        for one in user_ids:
            service.admin.forget_person(one)


def stored_ids(file: Path) -> Iterator[str]:
    """Yield every user id in a database file."""
    with closing(sqlite3.connect(file)) as db:
        for table in PACKED:
            for (packed,) in db.execute(f"select ids from {table} where ids <> x''").fetchall():
                yield from unpack_ids(packed)
        for (text,) in db.execute("select user_id from rejection union all select ifnull(preview, '') from cohort"):
            yield text


def test_who_was_forgotten_after_the_backup_is_forgotten_again(workspace: EngineWorkspace, backup: Path) -> None:
    """Sent, planned, rejected, invalid or seen in a preview: whoever asked for it is in no table; all others are."""
    gone = ("fan-1", "fan-4", "fan-6", "fan-20", OTHER, LONGEST)
    assert all(any(one[:200] in text for text in stored_ids(backup)) for one in gone)
    forget(workspace, *gone)
    done = workspace.read_json("restore", str(backup))
    assert (done["forgotten"], done["forgotten_again"]) == (0, 4)
    left = list(stored_ids(workspace.data_dir / "app.db"))
    assert not [text for text in left if any(one[:200] in text for one in gone)]
    assert fan_ids(0, 2, 3, 5) | {LONG} <= set(left)


def test_who_is_only_in_the_snapshot_of_the_backup_is_forgotten_again(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """What was sent about them is older than the log reaches back."""
    with workspace.open_database() as db:
        db.execute("delete from delivery_log")
    assert_forgotten_again(workspace, tmp_path / "copy.db", "fan-1")


def test_who_is_only_in_the_log_of_the_backup_is_forgotten_again(workspace: EngineWorkspace, tmp_path: Path) -> None:
    """They had left the cohort before."""
    workspace.set_members(*fans(0, 2, 3))
    assert workspace.export().exited == 1
    assert_forgotten_again(workspace, tmp_path / "copy.db", "fan-1")


def test_who_is_only_read_in_the_backup_is_forgotten_again(
    workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Their run waits for Mixpanel's second page and has no plan yet."""
    sandbox.settings(page_size=10)
    workspace.set_members(*fans(*range(15)))
    sandbox.fault("status", path="/engage", page=1, code=429, retry_after=300, times=0)
    assert workspace.export().state is RunState.QUEUED
    assert_forgotten_again(workspace, tmp_path / "copy.db", "fan-8")


def assert_forgotten_again(workspace: EngineWorkspace, backup: Path, user_id: str) -> None:
    """Make a backup that has somebody, forget them, restore it, and look for them."""
    with workspace.open() as service:
        service.admin.write_backup(backup)
    assert user_id in set(stored_ids(backup))
    forget(workspace, user_id)
    with workspace.open() as service:
        assert service.admin.restore(backup).forgotten_again == 1
    assert user_id not in set(stored_ids(workspace.data_dir / "app.db"))


def test_a_restore_when_nobody_was_forgotten_since_the_backup_keeps_everybody_in_it(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """Also previews, long ids, and who was exported again after they were forgotten: they are true in WebEngage."""
    forget(workspace, "fan-2")
    workspace.export()
    with workspace.open() as service:
        service.cohorts.preview(PROJECT, workspace.cohort, fresh=True)
        service.admin.write_backup(tmp_path / "copy.db")
        assert service.admin.restore(tmp_path / "copy.db").forgotten_again == 0
    left = list(stored_ids(workspace.data_dir / "app.db"))
    assert left == list(stored_ids(tmp_path / "copy.db"))
    assert "fan-2" in left and LONGEST[:200] in left and any("sample" in one for one in left)


def test_a_restore_says_that_it_forgot_people_again(workspace: EngineWorkspace, backup: Path) -> None:
    """There is nothing left to do by hand, and somebody who was forgotten twice is one person."""
    forget(workspace, "fan-3", "fan-3", "fan-2")
    done = workspace.run_cli("restore", str(backup))
    assert done.returncode == 0 and "forgotten after the backup: 2 people." in done.stdout
    assert "forget them again" not in done.stdout


def test_who_was_forgotten_before_the_backup_and_once_more_after_it_is_forgotten_again(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """An export between the two brought them back, so the backup has them."""
    forget(workspace, "fan-2")
    workspace.export()
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    assert "fan-2" in set(stored_ids(tmp_path / "copy.db"))
    forget(workspace, "fan-2")
    with workspace.open() as service:
        assert service.admin.restore(tmp_path / "copy.db").forgotten_again == 1
    assert "fan-2" not in set(stored_ids(workspace.data_dir / "app.db"))


def test_who_was_exported_again_after_they_were_forgotten_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """The replaced database has them as true: forgetting that, too, would leave them true for ever."""
    with workspace.open() as service:
        service.runs.cancel(last(workspace).id)
    forget(workspace, "fan-1")
    workspace.export()
    assert "fan-1" in workspace.holders()
    with workspace.open() as service:
        service.admin.restore(backup)
    workspace.set_members(*fans(0, 2, 3))
    later(workspace, 7300)
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(0, 2, 3)


def test_the_label_and_note_of_somebody_who_was_forgotten_do_not_come_back(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """They stay on the lists by the hash alone; also on one they were taken off, which a restore puts them on again."""
    keep_out(workspace, "fan-1", "fan-3")
    watch(workspace, "fan-2")
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
        service.safety.remove_never_export(None, ["fan-3"])
    forget(workspace, "fan-1", "fan-2", "fan-3")
    with workspace.open() as service:
        service.admin.restore(tmp_path / "copy.db")
        listed = [*service.safety.list_never_export(), *service.safety.list_tripwires()]
    assert [one.label for one in listed] == ["(forgotten)"] * 3


def test_people_forgotten_in_another_database_are_counted(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """Its fingerprints have another salt, so nobody can be found by them: a person has to forget them again."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    other.set_members(*fans(30))
    other.export(attribute="Others")
    with other.open() as service:
        service.admin.write_backup(tmp_path / "other.db")
    forget(workspace, "fan-30", "fan-1")
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    done = workspace.run_cli("restore", str(tmp_path / "other.db"))
    assert done.returncode == 0 and "2 people were forgotten" in done.stdout and "forget them again" in done.stdout
