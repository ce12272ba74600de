"""The SQLite file: opened safely by many processes, written in short immediate transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.store.file_identity import DATABASE_FILE, leave_marker, remember_database, require_not_missing
from sync.store.sqlite_errors import explain_error, is_cannot_open, is_damage

BUSY_SECONDS = 30.0  # how long a writer waits for another one's transaction
MIGRATION_COUNT = 5  # how many there are; a test holds it against sync/store/migrations.py
BUSY_POLL_SECONDS = 0.003  # seconds between two looks whether the file is free to write
MAX_OPEN_TRIES = 40  # turning WAL on needs the file alone for a moment; others try at the same time

Row = sqlite3.Row


def open_database(folder: Path) -> sqlite3.Connection:
    """Open (or create) the database of a data folder, at the newest schema, in WAL mode.

    Raises InvalidRequest in one plain sentence when the folder cannot be written or the file cannot be used;
    DatabaseUnusable when it is damaged, missing, of a newer version or cannot be opened, so that a restore
    would help; DatabaseReplaced when this process opened another one here before. Nothing is changed then.
    """
    path = folder / DATABASE_FILE
    try:
        require_not_missing(folder)
        _ensure_private_file(folder, path)
        return _open_file(path)
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
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077 and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)  # a fresh checkout's data/ is readable for others
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied")


def _open_file(path: Path) -> sqlite3.Connection:
    """Connect to the file that is there, bring it to the newest schema, and note which database it is."""
    # mode=rw: a file that goes away in this moment is not created again.
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, uri=True)
    try:
        _make_ready(db)
        leave_marker(path.parent)
        remember_database(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _make_ready(db: sqlite3.Connection) -> None:
    """Set what every connection needs; migrate under a lock and switch to WAL when it is due."""
    db.row_factory = sqlite3.Row
    db.execute("pragma foreign_keys = on")
    # FULL: a doubt must survive a power cut before its request leaves (docs/decisions.md).
    db.execute("pragma synchronous = full")
    # Some builds overwrite every freed page, which doubles what a large run writes; purge and forget ask for it.
    db.execute("pragma secure_delete = fast")
    if needs_migration(db):
        _set_up(db)


def needs_migration(db: sqlite3.Connection) -> bool:
    """Tell whether the schema is missing or old; InvalidRequest when it is newer than this version."""
    known = db.execute("select count(*) from sqlite_master where name = '_sqlite_migrations'").fetchone()[0]
    if not known:
        return True
    applied = db.execute("select count(*) from _sqlite_migrations").fetchone()[0]
    if applied > MIGRATION_COUNT:
        raise DatabaseUnusable("The database was made by a newer version of Cohort Sync; update this one to open it.")
    return bool(applied < MIGRATION_COUNT)


def apply_migrations(db: sqlite3.Connection) -> None:
    """Apply the migrations that are pending, all or none."""
    # sqlite-utils brings pandas along when it is installed: 0.3 s and 50 MB, only paid when there is work for it.
    from sync.store.migrations import apply

    with write_transaction(db):
        apply(db)


def _set_up(db: sqlite3.Connection) -> None:
    """Apply what is pending; several processes may try at once and one does it."""
    db.execute("pragma auto_vacuum = incremental")
    apply_migrations(db)
    for turn in range(MAX_OPEN_TRIES):
        try:
            db.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError:
            if turn == MAX_OPEN_TRIES - 1:
                raise
            time.sleep(0.05 * (turn + 1))


def _take_write_lock(db: sqlite3.Connection) -> None:
    """Begin to write, as soon as nobody else does.

    SQLite's own waiting looks ever more seldom, up to 100 ms apart, so that late comers overtake it: of
    fifty deliveries at once some stood still for seconds. Everybody looking equally often is fair.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    db.execute("pragma busy_timeout = 0")
    try:
        while not _try_begin(db, last=time.monotonic() > deadline):
            time.sleep(BUSY_POLL_SECONDS)
    finally:
        db.execute(f"pragma busy_timeout = {BUSY_SECONDS * 1000:.0f}")


def _try_begin(db: sqlite3.Connection, *, last: bool) -> bool:
    """Try to begin; False when another one writes, unless it was the last try."""
    try:
        db.execute("begin immediate")
    except sqlite3.OperationalError as busy:
        if last or busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte is the primary code
            raise
        return False
    return True


@contextmanager
def write_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock from the first statement on, so that read-then-write cannot be overtaken.

    Nested use joins the outer transaction. Killed inside: nothing of it happened.
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


class Table:
    """What the parts of the store share: a connection and three ways to ask it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Speak through this connection."""
        self._db = db

    def _fetch_all(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except OverflowError:
            raise InvalidRequest("That number is larger than any there is; look at the list.") from None

    def _fetch_one(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        rows = self._fetch_all(sql, values)
        return rows[0] if rows else None

    def _fetch_value(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        row = self._fetch_one(sql, values)
        return row[0] if row else None

    def _execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Write, and tell how many rows it touched."""
        with write_transaction(self._db):
            return self._db.execute(sql, values).rowcount
