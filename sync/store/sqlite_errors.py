"""The kinds of SQLite errors, by what a person does about them: one sentence for each.

The kinds follow SQLite's primary result codes (https://www.sqlite.org/rescode.html). Only SQLITE_CORRUPT
and SQLITE_NOTADB are damage; every other error leaves the content intact.
"""

from __future__ import annotations

import sqlite3

StorageError = sqlite3.DatabaseError  # all errors of SQLite; see `is_about_the_file` before explaining one to people
StorageUnavailable = sqlite3.OperationalError  # locked, full, unreadable: the file is whole, and nothing was written

DAMAGED_MESSAGE = (
    "The database is damaged ({}); stop the pages and the runner, then restore a backup "
    "with `python -m sync restore FILE`."
)
LOCKED_MESSAGE = (
    "The database is locked by another program ({}), and nothing was changed; "
    "wait until that program has finished, or end it, then try again."
)
FULL_MESSAGE = "The disk is full ({}), and nothing was changed in the database; free some space, then try again."
READ_ONLY_MESSAGE = (
    "The database cannot be written ({}); let this user read and write app.db and its folder, then try again."
)
CANNOT_OPEN_MESSAGE = (
    "The database cannot be opened ({}); check that app.db is a file this user can read, "
    "or restore a backup with `python -m sync restore FILE`."
)
DISK_ERROR_MESSAGE = (
    "The database could not be read or written ({}); check whether the disk is full or failing, and try again. "
    "Nothing was partly written."
)
_PRIMARY = 0xFF  # the low byte of an extended result code
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCK = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_SENTENCES = {
    **dict.fromkeys(_DAMAGE, DAMAGED_MESSAGE),
    **dict.fromkeys(_LOCK, LOCKED_MESSAGE),
    sqlite3.SQLITE_FULL: FULL_MESSAGE,
    sqlite3.SQLITE_READONLY: READ_ONLY_MESSAGE,
    sqlite3.SQLITE_PERM: READ_ONLY_MESSAGE,
    sqlite3.SQLITE_CANTOPEN: CANNOT_OPEN_MESSAGE,
    sqlite3.SQLITE_IOERR: DISK_ERROR_MESSAGE,
}


def _primary_code(problem: BaseException) -> int:
    """Return SQLite's primary result code, or -1 when the error did not come from SQLite itself."""
    code = getattr(problem, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & _PRIMARY


def is_damage(problem: BaseException) -> bool:
    """Return whether the file itself is broken, so that only a backup helps."""
    return _primary_code(problem) in _DAMAGE


def is_busy(problem: BaseException) -> bool:
    """Return whether another connection is at work in the file."""
    return _primary_code(problem) == sqlite3.SQLITE_BUSY


def is_cannot_open(problem: BaseException) -> bool:
    """Return whether there is something at the path that SQLite cannot open as a file."""
    return _primary_code(problem) == sqlite3.SQLITE_CANTOPEN


def is_about_the_file(problem: BaseException) -> bool:
    """Return whether a person can do something about this error; a broken constraint is a bug of ours."""
    return isinstance(problem, StorageUnavailable) or _primary_code(problem) in _SENTENCES


def explain_error(problem: BaseException) -> str:
    """Return the sentence for a person: what is wrong with the file and what to do."""
    return _SENTENCES.get(_primary_code(problem), DISK_ERROR_MESSAGE).format(problem)
