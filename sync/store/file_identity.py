"""Notice when the database file is moved, replaced or missing, before an empty one takes its place.

Three things are compared. A connection that stays open compares device and inode of the path with those
it opened. A process that opens the file at every click (the pages) compares the id stored inside the
database. And a folder with a database also has a marker file, so that a missing database is noticed after
a restart.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path

from sync.errors import DatabaseReplaced, DatabaseUnusable
from sync.ownership import give_to_folder_owner

DATABASE_FILE = "app.db"
MARKER_FILE = "database.marker"
MARKER_MODE = 0o600  # read and written by this user only
_MARKER_TEXT = (
    "This folder contains the database of Cohort Sync, app.db. As long as this file is here, a missing app.db is "
    "reported instead of being replaced by an empty one. For a fresh start remove everything in this folder.\n"
)
MISSING = (
    "{} is missing or empty, although this folder had a database: bring it back, or restore a backup with "
    "`python -m sync restore FILE`. For a fresh start remove everything in {}{}."
)
MOVED = (
    "{} was moved, deleted or replaced while this process used it, so it stops and writes nothing more: "
    "bring the file back or restore a backup, then start this process again."
)
OTHER = (
    "{} is another database than the one this process opened before: "
    "bring the former file back, or restart the pages and the runner to work with this one."
)
ID_BYTES = 16  # random bytes of a database's id
_known_ids: dict[Path, str] = {}  # databases this process opened: path, id inside the database


def identify_file(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, which no other one has while it is open; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def require_same_file(path: Path, opened: tuple[int, int] | None) -> None:
    """Raise DatabaseReplaced when the path no longer leads to the file that was opened."""
    if identify_file(path) != opened:
        raise DatabaseReplaced(MOVED.format(path))


def require_not_missing(folder: Path) -> None:
    """Raise DatabaseUnusable when the folder had a database and has none now; create nothing.

    The traces are checked before the file: another process may create both at this moment, the
    marker last.
    """
    path = folder / DATABASE_FILE
    known = path.resolve() in _known_ids
    traces = known or (folder / MARKER_FILE).exists() or _file_size(folder / f"{DATABASE_FILE}-wal") > 0
    if traces and not path.is_dir() and not _file_size(path):
        restart = " and restart the pages and the runner" if known else ""
        raise DatabaseUnusable(MISSING.format(path, folder, restart))


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def leave_marker(folder: Path) -> None:
    """Create the marker file, which shows that this folder has a database."""
    marker = folder / MARKER_FILE
    if not marker.exists():
        with suppress(OSError):  # on a full disk the database still works; the next open tries again
            marker.write_text(_MARKER_TEXT)
            marker.chmod(MARKER_MODE)
            give_to_folder_owner(marker)


def remember_database(path: Path, db: sqlite3.Connection) -> None:
    """Remember which database this process uses; raise DatabaseReplaced when it used another one before."""
    found = database_id(db)
    if _known_ids.setdefault(path.resolve(), found) != found:
        raise DatabaseReplaced(OTHER.format(path))


def forget_database(path: Path) -> None:
    """Accept any database at this path from now on, since this process put it there."""
    _known_ids.pop(path.resolve(), None)


def database_id(db: sqlite3.Connection) -> str:
    """Return the id of this database, drawn once; a backup has the id of its original."""
    return draw_setting(db, "database_id", secrets.token_hex(ID_BYTES))


def draw_setting(db: sqlite3.Connection, name: str, drawn: str) -> str:
    """Return a setting that never changes, which is what was ``drawn`` now if it was never drawn before."""
    sql = "select value from setting where name = ?"
    row = db.execute(sql, (name,)).fetchone()
    if row is None:
        db.execute(
            """
            insert into setting (name, value)
            values (?, ?)
            on conflict do nothing
            """,
            (name, drawn),
        )
        row = db.execute(sql, (name,)).fetchone()
    return str(row[0])
