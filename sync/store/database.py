"""Open the SQLite file safely from many processes, and write it in short immediate transactions."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.ownership import give_to_folder_owner
from sync.store.file_identity import DATABASE_FILE, leave_marker, remember_database, require_not_missing
from sync.store.migrations import MIGRATIONS, Step
from sync.store.sqlite_errors import explain_error, is_busy, is_cannot_open, is_damage

BUSY_SECONDS = 30.0  # how long a writer waits for another one's transaction
BUSY_POLL_SECONDS = 0.003  # seconds between two looks whether the file is free to write
EMPTY_LOG_SECONDS, EMPTY_LOG_POLL_SECONDS = 5.0, 0.05  # how long readers are waited for, and between two looks
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # modes: for this user only
OTHERS = 0o077  # the bits of a mode that let other users in

Row = sqlite3.Row
Made = TypeVar("Made")
Values = Sequence[Any] | Mapping[str, Any]  # of a statement, by place or by name


def open_database(folder: Path, wait_seconds: float | None = None) -> sqlite3.Connection:
    """Open (or create) the database of a data folder, at the newest schema, in WAL mode.

    A statement waits so long for a lock of another process.

    Raise InvalidRequest when the folder cannot be written or the file cannot be used; DatabaseUnusable when
    it is damaged, missing, of a newer or another version or cannot be opened, so that a restore would help;
    DatabaseReplaced when this process opened another one here before. Nothing is changed then. Killed during
    a migration, the former schema is there, and the next open migrates.
    """
    path = folder / DATABASE_FILE
    try:
        require_not_missing(folder)
        _ensure_private_file(folder, path)
        return _open_file(path, BUSY_SECONDS if wait_seconds is None else wait_seconds)
    except OSError as problem:
        raise InvalidRequest(
            f"The data folder {folder} cannot be written ({problem.strerror}); "
            "make it writable or set COHORT_SYNC_DATA to another folder."
        ) from problem
    except sqlite3.DatabaseError as problem:
        kind = DatabaseUnusable if is_damage(problem) or is_cannot_open(problem) else InvalidRequest
        raise kind(f"{path}: {explain_error(problem)}") from problem


def _ensure_private_file(folder: Path, path: Path) -> None:
    """Make folder (0700) and file (0600) before SQLite would make them readable for others."""
    if not folder.exists():
        folder.mkdir(parents=True, mode=PRIVATE_FOLDER, exist_ok=True)
        give_to_folder_owner(folder.absolute())
    if folder.stat().st_mode & OTHERS and folder.stat().st_uid == os.getuid():
        folder.chmod(PRIVATE_FOLDER)  # a fresh checkout's data/ is readable for others
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE_FILE))
        give_to_folder_owner(path)  # SQLite gives its own files beside it to the same owner
    if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _open_file(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Connect to the existing file, bring it to the newest schema, and remember which database it is."""
    # mode=rw: a file that is deleted at this moment is not created again.
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(address, timeout=wait_seconds, isolation_level=None, uri=True)
    try:
        _make_ready(db)
        leave_marker(path.parent)
        remember_database(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _make_ready(db: sqlite3.Connection) -> None:
    """Set what every connection needs; migrate when the schema is old, and switch to WAL when the file is not in it."""
    db.row_factory = sqlite3.Row
    db.execute("pragma foreign_keys = on")
    # FULL: "in flight" must survive a power cut before its request is sent (docs/decisions.md).
    db.execute("pragma synchronous = full")
    # Some builds overwrite every freed page, which doubles what a large run writes; purge and forget turn it on.
    db.execute("pragma secure_delete = fast")
    if needs_migration(db):
        db.execute("pragma auto_vacuum = incremental")
        apply_migrations(db)
    if db.execute("pragma journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(db)


def needs_migration(db: sqlite3.Connection) -> bool:
    """Return whether the schema is missing or old; raise DatabaseUnusable when this version does not know it.

    By the names of the migrations: a file of another line of development may have had as many.
    """
    known = db.execute("select count(*) from sqlite_master where name = '_sqlite_migrations'").fetchone()[0]
    if not known:
        return True
    applied = tuple(row[0] for row in db.execute("select name from _sqlite_migrations order by rowid"))
    other = next((name for name, ours in zip(applied, MIGRATIONS, strict=False) if name != ours), None)
    if other is not None:
        raise DatabaseUnusable(
            f"The database was made by another edition of Cohort Sync, which knows “{other}”; open it with that one, "
            "or restore a backup of this one."
        )
    if len(applied) > len(MIGRATIONS):
        raise DatabaseUnusable("The database was made by a newer version of Cohort Sync; update this one to open it.")
    return len(applied) < len(MIGRATIONS)


def apply_migrations(db: sqlite3.Connection) -> None:
    """Apply the migrations that are pending, all or none."""
    # sqlite-utils imports pandas when it is installed (0.3 s and 50 MB), so it is imported only to migrate.
    from sqlite_utils import Database, Migrations

    migrations = Migrations("cohort-sync")
    for name, steps in MIGRATIONS.items():
        migrations(name=name)(lambda _, steps=steps: _take_steps(db, steps))
    with write_transaction(db):
        migrations.apply(Database(db, execute_plugins=False))


def _take_steps(db: sqlite3.Connection, steps: tuple[Step, ...]) -> None:
    for step in steps:
        if isinstance(step, str):
            db.execute(step)
        else:
            step(db)


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Switch the file to WAL, in which readers keep no writer out; while others use it, that is left to the next open.

    So a process that dies between its migrations and this leaves nothing behind, nor does a backup put in place by hand.
    """
    try:
        with _without_waiting(db):
            db.execute("pragma journal_mode = wal")
    except sqlite3.OperationalError as problem:
        if not is_busy(problem):
            raise


def _take_write_lock(db: sqlite3.Connection) -> None:
    """Begin a transaction as soon as no other process writes; raise OperationalError after 30 seconds.

    SQLite's busy handler backs off, up to 100 ms, so newer writers win and older ones starve: of fifty
    deliveries at once some stood still for seconds. Polling at the same pace is fair.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with _without_waiting(db):
        while True:
            try:
                db.execute("begin immediate")
                return
            except sqlite3.OperationalError as problem:
                if not is_busy(problem) or time.monotonic() > deadline:
                    raise
            time.sleep(BUSY_POLL_SECONDS)


def empty_log(db: sqlite3.Connection) -> None:
    """Empty the write-ahead log as soon as nobody reads from it; after a while that is left to the next time.

    Each try ends at once: a checkpoint that waits for readers keeps out all writers meanwhile
    (https://sqlite.org/c3ref/wal_checkpoint_v2.html), and a reader may stay for long.
    """
    deadline = time.monotonic() + EMPTY_LOG_SECONDS
    with _without_waiting(db):
        while db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] and time.monotonic() < deadline:
            time.sleep(EMPTY_LOG_POLL_SECONDS)


@contextmanager
def _without_waiting(db: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite answer at once, within, that somebody else is at work."""
    waits = db.execute("pragma busy_timeout").fetchone()[0]
    db.execute("pragma busy_timeout = 0")
    try:
        yield
    finally:
        db.execute(f"pragma busy_timeout = {waits}")


@contextmanager
def write_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock from the first statement on, so that read-then-write cannot be overtaken.

    Nested use joins the outer transaction. Killed inside, or on an error, nothing of it is stored.
    """
    if db.in_transaction:
        yield
        return
    _take_write_lock(db)
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()


@contextmanager
def read_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the database until the end, whatever others write meanwhile; nobody waits for it.

    Within another transaction that one's state is read.
    """
    if db.in_transaction:
        yield
        return
    db.execute("begin")
    try:
        yield
    finally:
        db.rollback()  # nothing was written


def read_row(kind: type[Made], row: Row, **others: Any) -> Made:
    """Return a dataclass made of the columns that are called as its fields; ``others``: fields that need more than that.

    SQLite has no Booleans, so a field that is one is made of its 0 or 1.
    """
    wanted = [one for one in fields(kind) if one.name not in others]  # type: ignore[arg-type]
    found = {one.name: bool(row[one.name]) if one.type == "bool" else row[one.name] for one in wanted}
    return kind(**found, **others)


class Table:
    """The base of the parts of the store: a connection, and methods to read and write with it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _fetch_all(self, sql: str, values: Values = ()) -> list[Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except OverflowError:
            raise InvalidRequest("That number is too large to exist; see the list.") from None

    def _fetch_one(self, sql: str, values: Values = ()) -> Row | None:
        rows = self._fetch_all(sql, values)
        return rows[0] if rows else None

    def _fetch_value(self, sql: str, values: Values = ()) -> Any:
        row = self._fetch_one(sql, values)
        return row[0] if row else None

    def _fetch_int(self, sql: str, values: Values = ()) -> int:
        return int(self._fetch_value(sql, values))

    def _fetch_bool(self, sql: str, values: Values = ()) -> bool:
        return bool(self._fetch_value(sql, values))

    def _execute(self, sql: str, values: Values = ()) -> int:
        """Write in a transaction; return the number of rows changed."""
        with write_transaction(self._db):
            return self._db.execute(sql, values).rowcount

    def _write_setting(self, name: str, value: str) -> None:
        self._execute(
            """
            insert into setting (name, value)
            values (?, ?)
            on conflict (name) do update set value = excluded.value
            """,
            (name, value),
        )

    def _count_setting_up(self, name: str) -> None:
        """Add 1 to a setting that is a number, which begins at 0."""
        self._execute(
            """
            insert into setting (name, value)
            values (?, '1')
            on conflict (name) do update set value = cast(value as integer) + 1
            """,
            (name,),
        )
