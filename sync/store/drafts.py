"""The draft of a restore: a private copy of the backup beside the database, checked and brought forward there.

It is a file, read and written page by page, so that a large backup needs disk and hardly any memory. A killed process
leaves at most the draft behind, which the next restore or purge deletes.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.ownership import give_to_folder_owner
from sync.store import database
from sync.store.backup_check import is_whole
from sync.store.file_identity import DATABASE_FILE
from sync.store.sqlite_errors import explain_error, is_damage

COMPANIONS = ("-wal", "-shm", "-journal")  # SQLite's own files beside a database
COPY_PAGES = 2048  # pages of 4 kB between two checks whether a copy still makes progress
COPY_POLL_SECONDS = 0.05
NAME_LENGTH = 8  # random hexadecimal digits in the name of a file
# Earlier versions put the number of the process before them.
DRAFT_NAME = re.compile(
    rf"{re.escape(DATABASE_FILE)}\.([0-9]+\.)?[0-9a-f]{{{NAME_LENGTH}}}\.draft({'|'.join(COMPANIONS)})?"
)


def remove_stale_drafts(folder: Path) -> None:
    """Delete the drafts of killed restores, unless one is under way."""
    with _lock_drafts(folder) as is_alone:
        if is_alone:
            _delete_drafts(folder)


@contextmanager
def open_draft(folder: Path, backup: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Yield a private copy of a backup, at the newest schema; delete it afterwards.

    Raise InvalidRequest when the backup is damaged, of another program or of a newer version, and while another restore
    into this folder is under way.
    """
    path = folder / f"{DATABASE_FILE}.{uuid.uuid4().hex[:NAME_LENGTH]}.draft"
    try:
        with _lock_drafts(folder) as is_alone:
            if not is_alone:
                raise InvalidRequest(f"Another restore into {folder} is under way; wait until it has ended.")
            _delete_drafts(folder)
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, database.PRIVATE_FILE))
                give_to_folder_owner(path)
                with closing(sqlite3.connect(path, isolation_level=None)) as copy:
                    copy.row_factory = sqlite3.Row
                    _read_backup(backup, copy)
                    yield path, copy
            finally:
                with suppress(OSError):  # which says nothing about the restore; the next one deletes them
                    _delete_drafts(folder)
    except OSError as problem:
        raise InvalidRequest(
            f"The backup could not be copied into {folder} ({problem.strerror}); nothing was changed."
        ) from None


@contextmanager
def _lock_drafts(folder: Path) -> Iterator[bool]:
    """Lock the drafts of a folder, and yield whether that could be done: no restore into it is under way then.

    The kernel knows when a process has ended. A number in the name does not say it: in a container the one of a killed
    restore is that of another process, and that of a restore in another container nobody's.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _delete_drafts(folder: Path) -> None:
    for path in [one for one in folder.iterdir() if DRAFT_NAME.fullmatch(one.name)]:
        path.unlink()


def copy_pages(
    source: sqlite3.Connection, target: sqlite3.Connection, check: Callable[[], None] = lambda: None
) -> None:
    """Copy a whole database in one transaction of the target, a few megabytes at a time.

    Python waits for a locked file without end; here a copy without progress for 30 seconds raises
    OperationalError, as any other writer does. ``check`` is called after each part but the last, while nobody else can
    write to the target: what it raises leaves that as it was.
    """
    half = source.execute("pragma page_count").fetchone()[0] // 2
    pages = min(COPY_PAGES, max(1, half))  # two parts at least, so that the check comes before the end
    progress = _check_progress(database.BUSY_SECONDS, check)
    source.backup(target, pages=pages, progress=progress, sleep=COPY_POLL_SECONDS)


def _read_backup(backup: Path, copy: sqlite3.Connection) -> None:
    """Copy a backup page by page; raise InvalidRequest when it is damaged, of another program or a newer version."""
    try:
        copy.execute("pragma synchronous = off")  # the draft of a killed restore is never used
        address = f"{backup.absolute().as_uri()}?mode=ro"
        given = sqlite3.connect(address, uri=True, isolation_level=None)
        with closing(given), database.read_transaction(given):
            given.execute("select count(*) from sqlite_master").fetchone()  # a copy of what changes would begin again
            copy_pages(given, copy)
        copy.execute("pragma journal_mode = off")  # also when the backup was copied with its log switched on
        if not is_whole(copy):
            raise InvalidRequest(f"{backup} is damaged, or not a backup of Cohort Sync; nothing was changed.")
    except DatabaseUnusable as newer:  # about the backup: as DatabaseUnusable it would be taken for the live database
        raise InvalidRequest(f"{backup}: {newer}") from newer
    except sqlite3.DatabaseError as problem:
        if not is_damage(problem) and backup.exists():
            raise InvalidRequest(f"{backup} could not be read as a backup. {explain_error(problem)}") from problem
        raise InvalidRequest(f"{backup} cannot be read as a backup ({problem}); nothing was changed.") from problem


def _check_progress(seconds: float, check: Callable[[], None]) -> Callable[[int, int, int], None]:
    """Return a progress callback that raises OperationalError after ``seconds`` without progress, and checks."""
    moved_at = time.monotonic()

    def check_progress(status: int, _left: int, _total: int) -> None:
        nonlocal moved_at
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            moved_at = time.monotonic()
            if status != sqlite3.SQLITE_DONE:
                check()
        elif time.monotonic() - moved_at > seconds:
            problem = sqlite3.OperationalError("database is locked")
            problem.sqlite_errorcode = status
            raise problem

    return check_progress
