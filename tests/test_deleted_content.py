"""Remove what is deleted from the files: also when a page was reading at that moment, or the process died before the end."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState
from tests.sandbox.control import PROJECT, member
from tests.workspace import ROOT, Workspace, make_environment

# Whoever deletes is killed when it begins to return free pages to the disk and to empty the log.
DIES_DELETED = """
import functools, os, sqlite3, sys
from sync.cli.commands import main
class DyingConnection(sqlite3.Connection):
    def execute(self, sql, *values):
        if sql in ("pragma freelist_count", "pragma wal_checkpoint(truncate)"):
            os._exit(137)
        return super().execute(sql, *values)
sqlite3.connect = functools.partial(sqlite3.connect, factory=DyingConnection)
sys.exit(main())
"""


@pytest.mark.parametrize("how", ["read", "killed"])
def test_somebody_who_was_forgotten_is_gone_from_the_log_after_the_next_purge(
    fans: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The command could not empty the log; the hourly purge does, although it finds nothing to delete."""
    monkeypatch.setattr("sync.store.database.EMPTY_LOG_SECONDS", 0.1)
    fans.sandbox.poison("fan-7")
    with closing(
        sqlite3.connect(fans.data_dir / "app.db", isolation_level=None)
    ) as other:  # as a runner and pages have
        fans.export()
        other.execute("begin")
        other.execute("select count(*) from run").fetchone()
        if how == "read":
            with fans.open() as service:
                service.admin.forget_person("fan-7")
        else:
            command = [sys.executable, "-c", DIES_DELETED, "forget", "fan-7"]
            died = subprocess.run(command, cwd=ROOT, env=make_environment(fans.data_dir), check=False)
            assert died.returncode == 137
        assert b"fan-7" in fans.read_bytes()
        other.execute("rollback")
        with fans.open() as service:
            service.admin.purge_expired()
        assert b"fan-7" not in fans.read_bytes()


def test_somebody_who_is_forgotten_is_gone_at_once_when_nobody_reads(fans: Workspace) -> None:
    """Also while a runner and pages have the file open, without whom SQLite itself would empty the log."""
    fans.sandbox.poison("fan-7")
    with closing(sqlite3.connect(fans.data_dir / "app.db", isolation_level=None)) as other:
        fans.export()
        other.execute("select count(*) from run").fetchone()
        with fans.open() as service:
            service.admin.forget_person("fan-7")
            assert b"fan-7" not in fans.read_bytes()


def test_what_a_purge_deletes_is_overwritten_beside_what_stays(fans: Workspace) -> None:
    """Two people are kept on one page of the file, and only the days of one of them have passed."""
    old, young = "a" * 150, "b" * 150  # too long to be exported
    fans.sandbox.set_members(fans.cohort, [member(old), member(young)])
    fans.export()
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db, db:
        assert db.execute("update rejection set at = 1 where user_id = ?", (old,)).rowcount == 1
    assert old.encode() in fans.read_bytes()
    with closing(sqlite3.connect(fans.data_dir / "app.db", isolation_level=None)) as other:
        other.execute("select count(*) from run").fetchone()  # or SQLite itself would empty the log
        with fans.open() as service:
            assert service.admin.purge_expired() == 1
        left = fans.read_bytes()
    assert old.encode() not in left and young.encode() in left


@pytest.mark.parametrize("nobody", ["", "  "])
def test_nobody_is_forgotten_by_an_empty_id(fans: Workspace, nobody: str) -> None:
    """It is in every preview, so all of them would be emptied."""
    with fans.open() as service:
        service.cohorts.preview(PROJECT, fans.cohort)
        with pytest.raises(InvalidRequest, match="Name the User ID"):
            service.admin.forget_person(nobody)
        assert [one.action for one in service.admin.list_audit()].count("forget a person") == 0
    assert b"fan-7" in fans.read_bytes()


LONG_AGO, SINCE = 1.0, 9e9  # before and after the days that anything is kept


def test_a_purge_deletes_what_is_over_and_leaves_what_is_not(fans: Workspace) -> None:
    """However old a line is, it is kept while its run is under way or young, and a message until it was sent or given up."""
    young, held = fans.export().id, fans.export(fans.sandbox.add_cohort("Seconds", []), dry_run=True).id
    assert fans.get_run(held).state is RunState.HELD
    with fans.open_database() as db:
        db.executemany(
            "insert into event (at, run_id, message) values (?, ?, ?)",
            [(LONG_AGO, None, "of no run"), (LONG_AGO, young, "of a young run"), (LONG_AGO, held, "of a held run")],
        )
        db.execute(
            "insert into recipient (kind, name, masked_url, sealed_url, created_at) values ('alerts', 'a', 'b', 'c', 1)"
        )
        db.executemany(
            """
            insert into message (recipient_id, key, topic, title, body, created_at, delivered_at, failed_at, problem)
            values (1, ?1, 't', 't', 't', 1.0, ?2, ?3, iif(?3, 'p', null))
            """,
            [
                ("unsent", None, None),
                ("sent lately", SINCE, None),
                ("given up lately", None, SINCE),
                ("sent", LONG_AGO, None),
                ("given up", None, LONG_AGO),
            ],
        )
    with fans.open() as service:
        assert service.admin.purge_expired() == 3
    with fans.open_database() as db:
        left = [row[0] for row in db.execute("select message from event where at = ?", (LONG_AGO,))]
        assert left == ["of a young run", "of a held run"]
        kept = {row[0] for row in db.execute("select key from message")}
        assert kept == {"unsent", "sent lately", "given up lately"}
