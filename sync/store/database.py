"""The SQLite file: opened safely by many processes, written in short immediate transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sync.errors import DatabaseUnusable, Refused
from sync.store.file_identity import DATABASE_FILE, leave_marker, remember_database, require_not_missing
from sync.store.trouble import explain, is_cannot_open, is_damage

BUSY_SECONDS = 30.0  # how long a writer waits for another one's transaction
MIGRATIONS = 4  # how many there are; a test holds it against sync/migrations.py
BUSY_LOOK = 0.003  # seconds between two looks whether the file is free to write
OPEN_TRIES = 40  # turning WAL on needs the file alone for a moment; others try at the same time

Row = sqlite3.Row


def connect(folder: Path) -> sqlite3.Connection:
    """Open (or create) the database of a data folder, at the newest schema, in WAL mode.

    Raises Refused in one plain sentence when the folder cannot be written or the file cannot be used;
    DatabaseUnusable when it is damaged, missing, of a newer version or cannot be opened, so that a restore
    would help; DatabaseReplaced when this process opened another one here before. Nothing is changed then.
    """
    path = folder / DATABASE_FILE
    try:
        require_not_missing(folder)
        _private_file(folder, path)
        return _opened(path)
    except OSError as problem:
        raise Refused(
            f"The data folder {folder} cannot be written ({problem.strerror}); "
            "make it writable or set COHORT_SYNC_DATA to another folder."
        ) from problem
    except sqlite3.DatabaseError as problem:
        kind = DatabaseUnusable if is_damage(problem) or is_cannot_open(problem) else Refused
        raise kind(f"{path}: {explain(problem)}") from problem


def _private_file(folder: Path, path: Path) -> None:
    """Make folder (0700) and file (0600) before SQLite would make them readable for others."""
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077 and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)  # a fresh checkout's data/ is readable for others
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied")


def _opened(path: Path) -> sqlite3.Connection:
    """Connect to the file that is there, bring it to the newest schema, and note which database it is."""
    # mode=rw: a file that goes away in this moment is not created again.
    address = f"{path.absolute().as_uri()}?mode=rw"
    plain = sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, uri=True)
    try:
        _make_ready(plain)
        leave_marker(path.parent)
        remember_database(path, plain)
    except BaseException:
        plain.close()
        raise
    return plain


def _make_ready(plain: sqlite3.Connection) -> None:
    """Set what every connection needs; migrate under a lock and switch to WAL when it is due."""
    plain.row_factory = sqlite3.Row
    plain.execute("pragma foreign_keys = on")
    # FULL: a doubt must survive a power cut before its request leaves (docs/decisions.md).
    plain.execute("pragma synchronous = full")
    # Some builds overwrite every freed page, which doubles what a large run writes; purge and forget ask for it.
    plain.execute("pragma secure_delete = fast")
    if needs_setup(plain):
        _set_up(plain)


def needs_setup(plain: sqlite3.Connection) -> bool:
    """Tell whether the schema is missing or old; Refused when it is newer than this version."""
    known = plain.execute("select count(*) from sqlite_master where name = '_sqlite_migrations'").fetchone()[0]
    if not known:
        return True
    applied = plain.execute("select count(*) from _sqlite_migrations").fetchone()[0]
    if applied > MIGRATIONS:
        raise DatabaseUnusable("The database was made by a newer version of Cohort Sync; update this one to open it.")
    return bool(applied < MIGRATIONS)


def bring_forward(plain: sqlite3.Connection) -> None:
    """Apply the migrations that are pending, all or none."""
    # sqlite-utils brings pandas along when it is installed: 0.3 s and 50 MB, only paid when there is work for it.
    from sync.migrations import apply

    with immediate(plain):
        apply(plain)


def _set_up(plain: sqlite3.Connection) -> None:
    """Apply what is pending; several processes may try at once and one does it."""
    plain.execute("pragma auto_vacuum = incremental")
    bring_forward(plain)
    for turn in range(OPEN_TRIES):
        try:
            plain.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError:
            if turn == OPEN_TRIES - 1:
                raise
            time.sleep(0.05 * (turn + 1))


def _take_write_lock(plain: sqlite3.Connection) -> None:
    """Begin to write, as soon as nobody else does.

    SQLite's own waiting looks ever more seldom, up to 100 ms apart, so that late comers overtake it: of
    fifty deliveries at once some stood still for seconds. Everybody looking equally often is fair.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    plain.execute("pragma busy_timeout = 0")
    try:
        while not _begun(plain, last=time.monotonic() > deadline):
            time.sleep(BUSY_LOOK)
    finally:
        plain.execute(f"pragma busy_timeout = {BUSY_SECONDS * 1000:.0f}")


def _begun(plain: sqlite3.Connection, *, last: bool) -> bool:
    """Try to begin; False when another one writes, unless it was the last try."""
    try:
        plain.execute("begin immediate")
    except sqlite3.OperationalError as busy:
        if last or busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte is the primary code
            raise
        return False
    return True


@contextmanager
def immediate(plain: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock from the first statement on, so that read-then-write cannot be overtaken.

    Nested use joins the outer transaction. Killed inside: nothing of it happened.
    """
    if plain.in_transaction:
        yield
        return
    _take_write_lock(plain)
    try:
        yield
    except BaseException:
        plain.rollback()
        raise
    plain.commit()


class Table:
    """What the parts of the store share: a connection and three ways to ask it."""

    def __init__(self, plain: sqlite3.Connection) -> None:
        """Speak through this connection."""
        self._plain = plain

    def _all(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        try:
            return self._plain.execute(sql, values).fetchall()
        except OverflowError:
            raise Refused("That number is larger than any there is; look at the list.") from None

    def _one(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        rows = self._all(sql, values)
        return rows[0] if rows else None

    def _value(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        row = self._one(sql, values)
        return row[0] if row else None

    def _do(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Write, and tell how many rows it touched."""
        with immediate(self._plain):
            return self._plain.execute(sql, values).rowcount
