"""The migration to plain names, with a row in every table it renames; files that no migration of ours can bring forward;
several processes that migrate at once.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.model import RunState
from sync.packing import pack
from sync.service.run_people import iterate_people
from sync.store import Store
from sync.store.migrations import MIGRATIONS

RENAMED_AFTER = 4  # schemas up to this one have the names of the first edition
SCHEMAS = [
    path
    for path in sorted((Path(__file__).parent / "schemas").glob("*.sql"), key=lambda path: int(path.stem))
    if int(path.stem) <= RENAMED_AFTER
]
ENTRY = struct.Struct("<BIHIH")  # a change of the first edition: kind, page, place, chunk, place
NOW = 1_800_000_000.0
# Rows as the first edition wrote them, in its names.
ROWS = (
    "insert or replace into setting (name, value) values ('keep_refusals_days', '45.0')",
    "insert or replace into project (id, name, username, sealed_secret, tail, region, role, role_note, checked_at, pages_count) "
    "values (42, 'Shop', 'robot', 'sealed', '1234', 'us', 'admin', '', 1.0, 1)",
    "insert or replace into webengage (license_code, data_center, sealed_key, tail, checked_at) values ('lc', 'in', "
    "'sealed', '9876', 1.0)",
    'insert or replace into cohort (project_id, id, name, description, created, "group", preview) '
    "values (42, 7, 'Old', '', '', 0, '{}')",
    "insert or replace into run (id, sync_id, state, purpose, dry, queued_at, not_before, waiting, cancel_wanted, "
    "expected, finished_at) "
    "values (5, 1, 'succeeded', 'export', 1, 1.0, 1.0, null, 0, 900, 2.0)",
    "insert or replace into run (id, sync_id, state, purpose, queued_at, not_before, waiting, cancel_wanted) "
    "values (6, 1, 'queued', 'refresh', 3.0, 3.0, 'the hour is used up', 1)",
    "update sync set state = 'paused', reason = 'disconnected', guard = 0, last_run = 6 where id = 1",
    "insert into told (run_id, kind, outcome, ids) values (5, 'enter', 'settled', :ids), (5, 'exit', 'doubt', :ids)",
    "insert or replace into batch (run_id, number, state, people, entries) values (6, 0, 'settled', 1, :entries), "
    "(6, 1, 'doubt', 1, :entries), (6, 2, 'pending', 1, :entries)",
    "insert or replace into refusal (run_id, sync_id, user_id, kind, reason, at, live) values (5, 1, 'bad', 'enter', "
    "'no e-mail', 1.0, 1), "
    "(6, 1, 'gone', 'exit', 'no', 1.0, 0), (6, 1, '', 'invalid', 'empty id', 1.0, 0)",
    "insert into event (at, sync_id, run_id, what) values (1.0, 1, 5, 'Succeeded.')",
    "insert or replace into runner (id, seen_at) values ('elsewhere/1:2-x', 1.0)",
    "insert or replace into pace (license_code, next_at) values ('lc', 1800000005.0)",
    "insert or replace into query (project_id, at, later_page, flying_until, owner) values (42, 1799999999.0, 1, "
    "1800000100.0, 'x')",
    "insert or replace into quiet (project_id, until) values (42, 1800000060.0)",
)
AUDIT = "insert into audit (at, who, what, subject, before, after) values (1.0, 'ann', 'pause', 'sync 1', '', 'x')"


def fill(file: Path, schema: Path) -> None:
    """Make a file of this schema with a row in every table."""
    values = {"ids": pack(["a", "b"]), "entries": zstandard.compress(ENTRY.pack(0, 0, 0, 0, 0))}
    with closing(sqlite3.connect(file)) as db, db:
        db.executescript(schema.read_text(encoding="utf-8"))
        db.execute("pragma foreign_keys = on")
        for statement in ROWS:
            db.execute(statement, values)
        if db.execute("select 1 from sqlite_master where name = 'audit'").fetchone():
            db.execute(AUDIT)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_renaming_when_a_file_has_rows_in_every_table_keeps_them_all(schema: Path, tmp_path: Path) -> None:
    """Every row of an earlier schema is read by the store of today, its stored words translated."""
    fill(tmp_path / "app.db", schema)
    with Store.open(tmp_path) as store:
        sync, done, queued = store.syncs.get_sync(1), store.runs.get_run(5), store.runs.get_run(6)
        assert sync is not None and done is not None and queued is not None
        assert (sync.pause_reason, sync.interval_seconds, sync.schedule_anchor) == ("disconnected", 7200.0, NOW)
        assert (sync.guard_enabled, sync.last_run_id) == (False, 6)
        assert (done.state, done.dry_run, done.expected_total) == (RunState.SUCCEEDED, True, 900)
        assert (queued.wait_reason, queued.cancel_requested) == ("the hour is used up", True)
        project, account = store.connections.get_project(42), store.connections.get_account("lc")
        assert project is not None and account is not None
        assert (project.secret_last4, account.secret_last4) == ("1234", "9876")
        assert store.batches.count_unconfirmed(6) == 0 and not queued.planned  # a run under way reads again
        assert [(one.user_id, one.operation, one.outcome) for one in iterate_people(store, 5)][:4] == [
            ("a", "add", "accepted"),
            ("b", "add", "accepted"),
            ("a", "remove", "unconfirmed"),
            ("b", "remove", "unconfirmed"),
        ]
        assert {(one.user_id, one.kind) for run in (5, 6) for one in store.rejections.list(run, 9)} == {
            ("bad", "add"),
            ("gone", "remove"),
            ("", "invalid"),
        }
        assert store.rejections.count_active() == 1
        assert [event.message for event in store.events.list_of_run(5)] == ["Succeeded."]
        assert store.rate_limits.next_slot("lc", NOW) == NOW + 5
        assert (
            store.rate_limits.acquire_query(42, NOW, later_page=False).limit == "hourly"
        )  # blocked until a minute later
        assert store.maintenance.get_retention_days("keep_rejections_days") == 45.0


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_renaming_when_it_is_done_leaves_the_schema_of_a_new_file(schema: Path, tmp_path: Path) -> None:
    """A file brought forward and a file made today have the same tables, indexes, triggers and views."""

    def names(folder: Path) -> set[tuple[str, str]]:
        with closing(sqlite3.connect(folder / "app.db")) as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
            assert db.execute("pragma foreign_key_check").fetchall() == []
            return {
                (kind, name)
                for kind, name in db.execute("select type, name from sqlite_master where name not like 'sqlite_%'")
            }

    (tmp_path / "old").mkdir()
    fill(tmp_path / "old" / "app.db", schema)
    for folder in ("old", "new"):
        Store.open(tmp_path / folder).close()
    assert names(tmp_path / "old") == names(tmp_path / "new")
    known = {name for _, name in names(tmp_path / "new")}
    assert known.isdisjoint({"project", "webengage", "staged", "told", "refusal", "pace", "query", "quiet"})


def test_renaming_when_the_process_dies_half_way_changes_nothing(tmp_path: Path) -> None:
    """The migration is one transaction: what a failing one did is gone, and the next opening begins again."""
    fill(tmp_path / "app.db", SCHEMAS[-1])
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:  # in the way of an index made after the tables' renaming
        db.execute("create index delivery_log_of_run on told (kind)")
    with pytest.raises(InvalidRequest):
        Store.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        assert db.execute("select count(*) from told").fetchone() == (2,)
        db.execute("drop index delivery_log_of_run")
    with Store.open(tmp_path) as store:
        assert store.rejections.count_active() == 1


@pytest.mark.parametrize(
    "stored", sorted((Path(__file__).parent / "schemas").glob("*.sql")), ids=lambda path: path.stem
)
def test_a_file_when_another_line_of_development_changed_it_is_refused_and_stays_as_it_is(
    stored: Path, tmp_path: Path
) -> None:
    """It has as many migrations as one of ours, and a migration of ours would have failed in it, or worse, not failed."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.executescript(stored.read_text(encoding="utf-8"))
        db.execute(
            "update _sqlite_migrations set name = 'of_others' where rowid = (select max(rowid) from _sqlite_migrations)"
        )
    before = (tmp_path / "app.db").read_bytes()
    with pytest.raises(DatabaseUnusable, match="another edition of Cohort Sync, which knows “of_others”"):
        Store.open(tmp_path)
    assert (tmp_path / "app.db").read_bytes() == before


def test_a_file_when_another_line_of_development_has_as_many_changes_as_this_one_is_refused(tmp_path: Path) -> None:
    """Counted, it was at the newest schema, and opened."""
    Store.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.execute("update _sqlite_migrations set name = 'of_others' where name = 'known_chunks'")
    with pytest.raises(DatabaseUnusable, match="“of_others”"):
        Store.open(tmp_path)


@pytest.mark.slow
def test_four_processes_open_a_new_folder_at_once(tmp_path: Path) -> None:
    """All end up with the newest schema; none fails. They wait for each other after their imports."""
    code = "import sys, pathlib, sqlite_utils, sync.store; print(flush=True); sys.stdin.read(); "
    code += "sync.store.Store.open(pathlib.Path(sys.argv[1])).close()"
    for turn in range(2):
        folder = tmp_path / str(turn)
        reading, writing = os.pipe()
        command = [sys.executable, "-c", code, str(folder)]
        started = [subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE) for _ in range(4)]
        assert all(process.stdout and process.stdout.readline() for process in started)
        os.close(writing)
        assert [process.wait(30) for process in started] == [0] * 4
        os.close(reading)
        with closing(sqlite3.connect(folder / "app.db")) as db:
            assert db.execute("select count(*) from _sqlite_migrations").fetchone() == (len(MIGRATIONS),)


def test_a_file_that_is_not_in_wal_mode_is_switched_by_the_next_open_that_meets_nobody(data_dir: Path) -> None:
    """So it is after a kill right behind the first migrations, or when a backup was put in place by hand."""
    Store.open(data_dir).close()
    with closing(sqlite3.connect(data_dir / "app.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode = delete")
        db.execute("begin immediate")
        with Store.open(data_dir):
            assert db.execute("pragma journal_mode").fetchone() == ("delete",)
        db.rollback()
    with Store.open(data_dir), closing(sqlite3.connect(data_dir / "app.db")) as db:
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)


@pytest.mark.timeout(60)  # half of what SQLite would wait
def test_opening_a_file_that_is_not_in_wal_mode_waits_for_no_reader(data_dir: Path) -> None:
    """Somebody who reads for long keeps the switch out, and nobody from opening."""
    Store.open(data_dir).close()
    with closing(sqlite3.connect(data_dir / "app.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode = delete")
        db.execute("begin")
        db.execute("select * from run").fetchall()
        with Store.open(data_dir, wait_seconds=120.0) as store:
            assert store.syncs.list_due(NOW) == ()
            assert db.execute("pragma journal_mode").fetchone() == ("delete",)
