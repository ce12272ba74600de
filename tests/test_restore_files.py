"""Restore from and beside real files: a backup that cannot be read, one that somebody writes, drafts of killed restores."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState
from sync.packing import pack, unpack_ids
from sync.service import Service
from sync.store.drafts import copy_pages, open_draft
from tests.database_faults import END_SECONDS
from tests.engine_workspace import EngineWorkspace, export_five, fans, last
from tests.sandbox.control import Sandbox
from tests.workspace import ROOT, assert_refused


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it, made while a run is under way that has read and planned."""
    workspace.set_members(*fans(*range(7)))
    assert workspace.export(dry_run=True).state is RunState.HELD
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
        service.runs.cancel(last(workspace).id)
    return tmp_path / "copy.db"


# What SQLite's quick check does not look at: what is packed, and whether an index has every row.
DAMAGE = {
    "no ids": ["update snapshot_bucket set ids = x'00'"],
    "another id": ["update snapshot_bucket set ids = packed(ids, 'fan-0', 'fan-8')"],
    "fewer hashes": ["update snapshot_bucket set records = substr(records, 1, 24)"],
    "no log": ["update delivery_log set ids = x'00'"],
    "shorter log": ["update delivery_log set kinds = 'a', outcomes = 'c'"],
    "no rows": ["update staged_page set ids = x'00'"],
    "no plan": ["update batch_block set ids = x'00'"],
    "an index": [
        "create table kept as select * from sqlite_master where name = 'run_of_sync'",
        "pragma writable_schema = on",
        "delete from sqlite_master where name = 'run_of_sync'",
        "pragma writable_schema = reset",
        "update run set sync_id = 2 where id = 1",
        "pragma writable_schema = on",
        "insert into sqlite_master select * from kept",
    ],
}


def damage(backup: Path, how: str) -> None:
    """Change in a backup what a bad disk might."""
    with closing(sqlite3.connect(backup, isolation_level=None)) as db:
        db.create_function(
            "packed", 3, lambda ids, old, new: pack([new if one == old else one for one in unpack_ids(ids)])
        )
        for statement in DAMAGE[how]:
            db.execute(statement)
        assert db.execute("select total_changes()").fetchone()[0] > 0
    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("pragma quick_check(1)").fetchone()[0] == "ok"


@pytest.mark.parametrize("is_usable", [True, False])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_backup_in_which_somebody_cannot_be_read_is_refused_and_the_database_stays(
    workspace: EngineWorkspace, backup: Path, how: str, is_usable: bool
) -> None:
    """It is the backup that is damaged, so the database is not set aside for it; nor is anything put in a lost one's place."""
    damage(backup, how)
    with workspace.open() as service:
        service.admin.forget_person("fan-4")  # so that a restore looks at everybody in the backup
    if not is_usable:
        (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    before = {path.name: path.read_bytes() for path in workspace.data_dir.iterdir()}
    with pytest.raises(InvalidRequest, match=r"copy\.db is damaged"):
        Service.restore_database(backup, workspace.env)
    assert {path.name: path.read_bytes() for path in workspace.data_dir.iterdir()} == before


# Somebody writes to the file that is restored after each part that was copied.
WRITTEN_MEANWHILE = """
import functools, sqlite3, sys
from sync.cli.commands import main
writer = sqlite3.connect(sys.argv[-1], isolation_level=None)
class BusyConnection(sqlite3.Connection):
    def backup(self, target, *, progress, **more):
        def write(*left):
            writer.execute("insert into event (at, message) values (1, 'x')")
            progress(*left)
        super().backup(target, progress=write, **more)
sqlite3.connect = functools.partial(sqlite3.connect, factory=BusyConnection)
sys.exit(main())
"""


def test_a_restore_of_a_file_that_somebody_writes_ends(tmp_path: Path) -> None:
    """The database of another folder whose runner works, for instance: what it had when the copy began is restored."""
    with Service.open({"COHORT_SYNC_DATA": str(tmp_path / "other")}) as service:
        service.admin.set_retention(rejections=11)
    file, new = tmp_path / "other" / "app.db", {"COHORT_SYNC_DATA": str(tmp_path / "new")}
    command = [sys.executable, "-c", WRITTEN_MEANWHILE, "restore", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | new, timeout=END_SECONDS, check=False)
    assert done.returncode == 0
    with Service.open(new) as service:
        assert service.admin.get_retention()[0] == 11


@pytest.mark.parametrize("name", ["app.db.1.0123abcd.draft", "app.db.0123abcd.draft-journal"])
def test_what_a_killed_restore_left_is_deleted_whoever_has_its_number_now(
    workspace: EngineWorkspace, backup: Path, name: str
) -> None:
    """It has everybody's ids, also of those who are forgotten; in a container there is always a process 1."""
    left, others = workspace.data_dir / name, [workspace.data_dir / one for one in ("app.db.my.draft", f"{name}.kept")]
    for path in (left, *others):
        path.write_bytes(b"everybody")
    with workspace.open() as service:
        service.admin.purge_expired()
        assert not left.exists()
        left.write_bytes(b"everybody")
        service.admin.restore(backup)
    assert not left.exists() and all(one.exists() for one in others)


def test_the_draft_of_a_restore_under_way_is_left_alone(workspace: EngineWorkspace, backup: Path) -> None:
    """By a purge and by another restore, also of another container, where no process has the number of the first one's."""
    with open_draft(workspace.data_dir, backup) as (draft, _), workspace.open() as service:
        service.admin.purge_expired()
        with pytest.raises(InvalidRequest, match="Another restore"):
            service.admin.restore(backup)
        assert draft.stat().st_mode & 0o777 == 0o600  # it has everybody's ids
    assert not draft.exists()
    workspace.restore(backup)


FULL = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])));"
RESTORE = "del sys.argv[1]; from sync.cli.commands import main; sys.exit(main())"


def test_a_disk_that_is_full_when_the_content_is_replaced_changes_nothing(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """There was room for the draft; a healthy database is not set aside because there is none for the rest."""
    with closing(sqlite3.connect(backup)) as db, db:
        db.execute("insert into event (at, message) values (1, ?)", ("x" * 20_000_000,))
    room = backup.stat().st_size + 40_960  # the log needs 24 bytes more for each page of 4,096
    before = {path.name for path in workspace.data_dir.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", FULL + RESTORE, str(room), "restore", str(backup)],
        cwd=ROOT,
        env=os.environ | workspace.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(done, "disk")
    assert {path.name for path in workspace.data_dir.iterdir()} == before
    with workspace.open() as service:
        assert service.syncs.get(1).size == 5
        assert [one.action for one in service.admin.list_audit()].count("restore") == 0


@pytest.mark.parametrize(("fails_at", "says"), [(1, "nothing was changed"), (2, "there is no app.db")])
def test_a_restore_of_a_damaged_file_whose_moves_fail_says_what_is_where(
    workspace: EngineWorkspace, backup: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, says: str
) -> None:
    """Half-way it said that nothing was changed, while the former file had another name already."""
    damaged = b"no database" * 1000
    (workspace.data_dir / "app.db").write_bytes(damaged)
    move, moves = Path.rename, []

    def fail_once(self: Path, to: Path) -> Path:
        moves.append(to)
        if len(moves) == fails_at:
            raise OSError(errno.EIO, "Input/output error")
        return move(self, to)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(InvalidRequest, match=f"Input/output error.*{says}") as refused:
        Service.restore_database(backup, workspace.env)
    [former] = [path for path in workspace.data_dir.iterdir() if path.is_file() and path.read_bytes() == damaged]
    assert former.name == "app.db" or former.name in str(refused.value)
    Service.restore_database(backup, workspace.env)
    with workspace.open() as service:
        assert service.syncs.get(1).size == 5


def test_a_copy_asks_once_more_before_its_end_however_small_it_is(tmp_path: Path) -> None:
    """What speaks against it by then leaves the target as it was."""

    def refuse() -> None:
        raise InvalidRequest("Somebody writes.")

    paths = tmp_path / "from.db", tmp_path / "to.db"
    with closing(sqlite3.connect(paths[0])) as source, closing(sqlite3.connect(paths[1])) as target:
        source.execute("create table copied (x)")
        with pytest.raises(InvalidRequest, match="Somebody writes"):
            copy_pages(source, target, refuse)
        assert target.execute("select count(*) from sqlite_master").fetchone()[0] == 0
        copy_pages(source, target)
        assert target.execute("select name from sqlite_master").fetchone()[0] == "copied"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "unable to open database file"), (b"no database" * 1000, "file is not a database")],
)
def test_a_backup_that_is_none_is_refused_with_a_sentence_about_it_and_not_about_the_database(
    workspace: EngineWorkspace, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """“The database is damaged, restore a backup” would be said of the file that was given."""
    file = tmp_path / "mistyped.db"
    if content:
        file.write_bytes(content)
    said = f"{file} cannot be read as a backup ({problem}); nothing was changed.\n"
    assert workspace.run_cli("restore", str(file)).stderr == said


def test_a_backup_that_another_program_locks_for_long_is_refused(
    workspace: EngineWorkspace, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself would wait for it without end."""
    monkeypatch.setattr("sync.store.database.BUSY_SECONDS", 0.5)
    with closing(sqlite3.connect(":memory:")) as target, closing(sqlite3.connect(backup)) as given:
        given.execute("pragma busy_timeout = 0")
        with closing(sqlite3.connect(backup, isolation_level=None)) as other:
            other.execute("pragma journal_mode = delete")
            other.execute("begin exclusive")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                copy_pages(given, target)
