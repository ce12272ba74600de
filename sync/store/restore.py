"""Restore a backup: prepared in a draft beside the database, then put in its place, all or nothing."""

from __future__ import annotations

import fcntl
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sync.durability import flush_to_disk
from sync.errors import InvalidRequest
from sync.ownership import give_to_folder_owner
from sync.packing import FORGOTTEN
from sync.records import AuditLine, RestoreReport
from sync.store import database
from sync.store.drafts import COMPANIONS, NAME_LENGTH, copy_pages, open_draft
from sync.store.events import Events
from sync.store.file_identity import DATABASE_FILE, database_id, forget_database, leave_marker
from sync.store.forgotten_people import forget_again, list_forgotten_since
from sync.store.live_people import find_common_salt, keep_live_people
from sync.store.live_syncs import (
    keep_attributes,
    keep_restarts,
    keep_unknown_syncs,
    keep_what_holds,
    match_syncs,
)
from sync.store.snapshot import Snapshot

SHARED_LOCK_START = 0x40000002  # where SQLite locks a file it reads (os_unix.c: SHARED_FIRST, SHARED_SIZE)
SHARED_LOCK_SIZE = 510
UNUSED_SECONDS = 3.0  # seconds a click on a page may keep the file open before it counts as in use
UNUSED_POLL_SECONDS = 0.05

Describe = Callable[[RestoreReport], AuditLine]
"""What the audit log says of a restore, which is written with it."""


def restore_in_place(
    live: sqlite3.Connection, folder: Path, backup: Path, require_alone: Callable[[], None], describe: Describe
) -> RestoreReport:
    """Replace the content of the open database by a backup's, in one transaction; return what was kept and paused.

    Raise InvalidRequest, and change nothing, when the backup is damaged or not of Cohort Sync, when it does not know
    people who are true in WebEngage and could not be kept, or when another process writes meanwhile; and what
    ``require_alone`` raises, which is asked once no write is overlooked any more. Everyone exported is sent again, since
    WebEngage may have been changed after the copy was made; the next runner cancels the runs under way. Killed anywhere,
    the former content is there, or the restored one with its line in the audit log.
    """
    database_id(live)  # drawn now, if never before: from here on nothing is written to it
    probe = sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)
    with closing(probe), open_draft(folder, backup) as (_, copy):
        require_unwritten = _watch_writes(probe)
        require_alone()
        report = _keep_live_rows(live, copy)
        Events(copy).add_audit_line(describe(report))
        copy_pages(copy, live, require_unwritten)
    database.empty_log(live)
    return report


def replace_unusable(folder: Path, backup: Path, describe: Describe) -> RestoreReport:
    """Put a backup in the place of a database that cannot be opened; return the names of what was set aside.

    Raise InvalidRequest, and move nothing, while another process has the file open. Stopped between the moves, by a
    kill or a failing disk, the folder has no database: every open reports it, and restoring again completes it.
    """
    path = folder / DATABASE_FILE
    if not folder.exists():
        folder.mkdir(parents=True, mode=database.PRIVATE_FOLDER, exist_ok=True)
        give_to_folder_owner(folder.absolute())
    _require_unused(path)
    with open_draft(folder, backup) as (draft, copy):
        _unconfirm_runs_under_way(copy)
        cancelled = _require_full_resend(copy)
        moves = _name_aside(path)
        aside = tuple(to.name for part, to in moves.items() if part.exists())
        report = RestoreReport(cancelled=cancelled, set_aside=aside)
        Events(copy).add_audit_line(describe(report))
        copy.execute("pragma journal_mode = wal")
        copy.close()
        flush_to_disk(draft)
        _require_unused(path)
        leave_marker(folder)
        _move_in(draft, path, moves)
    forget_database(path)
    return report


def _move_in(draft: Path, path: Path, moves: dict[Path, Path]) -> None:
    """Move the former files aside and the draft to their place; raise InvalidRequest when that stops half-way."""
    try:
        for part, to in moves.items():  # app.db first: once it is missing nothing opens, and its log meets no other
            if part.exists():
                part.rename(to)
        draft.rename(path)
        flush_to_disk(path.parent)
    except OSError as problem:
        kept = [to.name for to in moves.values() if to.exists()]
        if not kept and draft.exists():
            raise
        state = "there is no app.db" if draft.exists() else "the backup is in its place, perhaps not for good"
        former = f"the former database is kept in {path.parent} as {', '.join(kept)}, and " if kept else ""
        raise InvalidRequest(
            f"The restore stopped half-way ({problem.strerror}): {former}{state}. Correct what is wrong with the disk or the "
            "folder, then restore the same backup again."
        ) from None


def _unconfirm_runs_under_way(copy: sqlite3.Connection) -> None:
    """Let whatever the backup's runs under way sent, or were to send, be unconfirmed, before others are brought in.

    What these were to send may have been sent after the copy; of a run in steps, what its present step allows.
    """
    copy.execute(
        """
        update batch
        set state = 'in_flight'
        where state = 'confirmed' or exists (
            select 1
            from run
            where run.id = run_id and finished_at is null and run.state <> 'held'
                and number < ifnull(json_extract(step_limits, '$[' || (step - 1) || ']'), 1 << 62)
        )
        """
    )


def _require_full_resend(copy: sqlite3.Connection) -> tuple[int, ...]:
    """Make every sync send all its members again, and the next runner cancel the runs under way; return these."""
    database_id(copy)  # a copy of an early version has none yet
    Snapshot(copy).unconfirm()
    copy.execute("update rejection set active = 0")  # WebEngage may have taken them since
    cancelled = copy.execute(
        """
        update run
        set cancel_requested = 1, lease_owner = null, lease_until = null
        where finished_at is null
        returning id
        """
    ).fetchall()
    copy.execute("delete from runner")
    copy.execute("delete from message where delivered_at is null")  # of the time of the copy, and surely sent since
    return tuple(sorted(number for [number] in cancelled))


def _keep_live_rows(live: sqlite3.Connection, copy: sqlite3.Connection) -> RestoreReport:
    """Bring into the copy what must not go back in time: people and syncs, limits, lists, the audit log and run numbers.

    Return what was kept and paused.
    """
    _share_salt(live, copy)
    salt, forgotten = find_common_salt(live, copy), list_forgotten_since(live, copy)
    again = None if salt is None else forget_again(copy, forgotten, salt)
    syncs = match_syncs(live, copy, same_salt=salt is not None)
    _keep_used_up(live, copy)
    _keep_safety_lists(live, copy)
    _unconfirm_runs_under_way(copy)
    keep_unknown_syncs(live, copy, syncs)
    keep_restarts(live, copy, syncs)
    keep_attributes(live, copy)
    cancelled = _require_full_resend(copy)
    if salt is not None:
        keep_live_people(live, copy, syncs.common, salt)
    copy.execute("update setting set value = ? where name = 'database_id'", (database_id(live),))
    unknown = len(forgotten) if again is None else 0
    report = keep_what_holds(live, copy, syncs)
    return replace(report, cancelled=cancelled, forgotten=unknown, forgotten_again=again or 0)


def _share_salt(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Give a backup that knows nobody yet, so that it has no salt, the one of the live database."""
    copy.executemany(
        """
        insert into setting (name, value)
        values ('salt', ?)
        on conflict do nothing
        """,
        live.execute("select value from setting where name = 'salt'"),
    )


def _keep_used_up(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Copy the rate limits in use, the audit log and the last run number from the live database."""
    for table in ("mixpanel_query", "webengage_rate", "mixpanel_block"):
        copy.execute(f"delete from {table}")
        for row in live.execute(f"select * from {table}"):
            copy.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)
    line = "select at, actor, action, target, before, after, run_id from audit order by id"
    known = set(map(tuple, copy.execute(line)))  # in memory: without an index each line would be searched for in all
    copy.executemany(
        "insert into audit (at, actor, action, target, before, after, run_id) values (?, ?, ?, ?, ?, ?, ?)",
        (row for row in map(tuple, live.execute(line)) if row not in known),
    )
    copy.executemany(
        "update mixpanel_project set later_pages_counted_at = ? where id = ?",
        live.execute("select later_pages_counted_at, id from mixpanel_project"),
    )
    [last] = live.execute("select ifnull(max(seq), 0) from sqlite_sequence where name = 'run'").fetchone()
    if not copy.execute("update sqlite_sequence set seq = max(seq, ?) where name = 'run'", (last,)).rowcount:
        copy.execute("insert into sqlite_sequence (name, seq) values ('run', ?)", (last,))


def _keep_safety_lists(live: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Keep who is on a never-export list or a tripwire now, beside those of the backup: a restore takes nobody off.

    Who was forgotten stays without label and note. The lists hold salted hashes, so those of another database cannot be
    kept: raise InvalidRequest then.
    """
    listed = [live.execute(f"select * from {table}").fetchall() for table in ("never_export", "tripwire")]
    if any(listed) and find_common_salt(live, copy) is None:
        raise InvalidRequest(
            f"The backup is of another database, so the {sum(map(len, listed)):,} people on the never-export list and the "
            "tripwires here cannot be kept; take them off first, or restore into an empty data folder. Nothing was changed."
        )
    copy.executemany(
        """
        insert into never_export (license_code, id_hash, label, note, added_by, added_at)
        values (?1, ?2, ?3, ?4, ?5, ?6)
        on conflict do update set label = excluded.label, note = excluded.note
        where excluded.label = ?7
        """,
        ((*row, FORGOTTEN) for row in listed[0]),
    )
    copy.executemany(
        """
        insert into tripwire (project_id, cohort_id, id_hash, label, note, added_by, added_at)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        on conflict do update set label = excluded.label, note = excluded.note
        where excluded.label = ?8
        """,
        ((*tuple(row)[1:], FORGOTTEN) for row in listed[1]),
    )
    copy.executemany(
        """
        insert into setting (name, value)
        values ('list_version', ?)
        on conflict (name) do update set value = max(cast(value as integer), excluded.value) + 1
        """,
        live.execute("select ifnull(max(cast(value as integer)), 0) from setting where name = 'list_version'"),
    )


def _watch_writes(probe: sqlite3.Connection) -> Callable[[], None]:
    """Return what raises InvalidRequest once another connection than this one has written to the database."""
    version = probe.execute("pragma data_version").fetchone()

    def require_unwritten() -> None:
        if probe.execute("pragma data_version").fetchone() != version:
            raise InvalidRequest(
                "The database was written meanwhile, and a restore would undo that; stop the pages and the runner, then "
                "restore. Nothing was changed."
            )

    return require_unwritten


def _require_unused(path: Path) -> None:
    """Raise InvalidRequest while another process has the database open, in whatever state the file is.

    Every connection in WAL mode holds SQLite's shared lock until it is closed. This process must have
    no connection to the file: closing the descriptor used here would drop its locks (POSIX).
    """
    deadline = time.monotonic() + UNUSED_SECONDS
    while path.is_file() and _is_used_elsewhere(path):
        if time.monotonic() > deadline:
            raise InvalidRequest(f"Another process still uses {path}; stop the pages and the runner, then restore.")
        time.sleep(UNUSED_POLL_SECONDS)


def _is_used_elsewhere(path: Path) -> bool:
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_LOCK_SIZE, SHARED_LOCK_START)
        except (BlockingIOError, PermissionError):
            return True
    return False


def _name_aside(path: Path) -> dict[Path, Path]:
    """Return the new names of the database and of SQLite's files beside it, whether they are there or not yet."""
    suffix = f".aside-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:NAME_LENGTH]}"
    return {path.with_name(path.name + name): path.with_name(path.name + suffix + name) for name in ("", *COMPANIONS)}
