"""Maintenance of the whole file: copy, check, forget a person, delete what is old."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sync.cadence import DAY_SECONDS
from sync.durability import flush_to_disk
from sync.errors import InvalidRequest
from sync.packing import FORGOTTEN, hash_id
from sync.store.batches import Batches
from sync.store.database import Table, empty_log, write_transaction
from sync.store.rejections import LONG_ID_KEPT
from sync.store.snapshot import Snapshot
from sync.store.sqlite_errors import is_damage
from sync.store.staged import StagedPages

MAX_RETENTION_DAYS = 3650  # days; ten years
VACUUM_PAGES = 2000  # pages of 4,096 bytes returned to the disk in one transaction, in some tenths of a second
CHECKED_PROBLEMS = 5  # problems of a damaged file that are listed
_RETENTION = {"keep_rejections_days": 30.0, "keep_detail_days": 14.0}  # days; rejected people, and details of runs
_SECRETS = (  # the tables and columns of every stored secret
    ("mixpanel_project", "sealed_secret"),
    ("webengage_account", "sealed_key"),
    ("recipient", "sealed_url"),
    ("recipient", "sealed_secret"),
)


class Maintenance(Table):
    """Statements about the whole file, or about many tables."""

    def write_backup(self, file: Path) -> None:
        """Write a consistent copy (mode 0600) while others work; raise InvalidRequest when the file exists.

        Raise InvalidRequest also when it cannot be written. The copy gets its name only when it is complete;
        killed half-way, a file ending in .part is left.
        """
        if file.exists():
            raise InvalidRequest(f"{file} already exists; name a new file for the backup.")
        draft = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._db.execute("vacuum into ?", (str(draft),))
            draft.rename(file)
            with suppress(PermissionError):  # a folder that this user may write, and not read
                flush_to_disk(file.absolute().parent)
        except (OSError, sqlite3.OperationalError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else problem
            raise InvalidRequest(f"The backup {file} could not be written ({reason}).") from problem
        finally:
            draft.unlink(missing_ok=True)

    def check_integrity(self) -> str | None:
        """Return what SQLite finds wrong with the file, or None; raise when it is locked or unreadable, not damaged."""
        try:
            found = [row[0] for row in self._fetch_all(f"pragma quick_check({CHECKED_PROBLEMS})")]
        except sqlite3.DatabaseError as problem:
            if not is_damage(problem):
                raise
            return str(problem)
        return None if found == ["ok"] else "; ".join(found)

    def get_retention_days(self, name: str) -> float:
        """Return the days something is kept; ``name``: keep_rejections_days or keep_detail_days."""
        value = self._fetch_value("select value from setting where name = ?", (name,))
        return float(value) if value is not None else _RETENTION[name]

    def set_retention_days(self, name: str, days: float) -> None:
        """Set the days something is kept; raise InvalidRequest unless they are 1 to 3650."""
        if name not in _RETENTION or not 1 <= days <= MAX_RETENTION_DAYS:
            raise InvalidRequest(f"Retention is a number of days between 1 and {MAX_RETENTION_DAYS}.")
        self._write_setting(name, str(days))

    def purge_expired(self, now: float) -> int:
        """Delete rejections, run details and previews older than their retention, overwritten on disk; return the count.

        The write-ahead log is emptied also when nothing is deleted.
        """
        self.overwrite_deleted()
        gone = self._delete_expired(now)
        if gone:
            self.shrink_file()
        else:  # it may hold what was deleted while somebody read from it, or by a process that was killed then
            empty_log(self._db)
        return gone

    def _delete_expired(self, now: float) -> int:
        """Delete what is older than its retention, in one transaction; return the count."""
        times = {
            "rejections": now - self.get_retention_days("keep_rejections_days") * DAY_SECONDS,
            "detail": now - self.get_retention_days("keep_detail_days") * DAY_SECONDS,
            "now": now,
        }
        statements = (
            # A run under way is recorded by its rejections when it ends, however long it was held between two steps.
            """
            delete from rejection
            where at < :rejections and run_id not in (select id from run where finished_at is null)
            """,
            "delete from delivery_log where run_id in (select id from run where finished_at < :detail)",
            """
            delete from event
            where at < :detail and (run_id is null or run_id in (select id from run where finished_at < :detail))
            """,
            "delete from message where coalesce(delivered_at, failed_at) < :detail",
            # A preview dated in the future is never shown either.
            """
            update cohort
            set preview = null
            where preview is not null and json_extract(preview, '$.read_at') not between :detail and :now
            """,
        )
        with write_transaction(self._db):
            return sum(self._execute(statement, times) for statement in statements)

    def forget_person(self, user_id: str, salt: int) -> int:
        """Remove a person from every table, also of runs under way; return in how many places they were.

        A short transaction for each place; killed, what is done stays done. The snapshots come last, in one: until then
        they say where the person is true in WebEngage, also to who asks again. Previews go in the transaction that counts:
        one that Mixpanel was asked for before is stored without examples afterwards.

        The ids of invalid people and of previews are kept cut, previews as JSON.
        """
        who, kept = hash_id(user_id, salt), user_id[:LONG_ID_KEPT]
        self.overwrite_deleted()
        found = self._execute(
            """
            delete from rejection
            where user_id in (?, ?) and run_id not in (select id from run where finished_at is null)
            """,
            (user_id, kept),
        )
        found += self._execute(
            "update or replace rejection set user_id = ?, active = 0 where user_id in (?, ?)",
            (FORGOTTEN, user_id, kept),
        )
        found += StagedPages(self._db).forget(user_id, who) + Batches(self._db).forget(user_id)
        with write_transaction(self._db):
            for row in self._fetch_all("select id from sync"):
                found += Snapshot(self._db).remove(row[0], who)
            found += self._execute(
                "update cohort set preview = null where preview is not null and instr(preview, ?)",
                (json.dumps(kept)[1:-1],),
            )
            self._count_setting_up("forget_version")
        return found

    def get_forget_version(self) -> int:
        """Return how often somebody was forgotten: what was read of a plan at another time may have them still."""
        return int(self._fetch_value("select value from setting where name = 'forget_version'") or 0)

    def overwrite_deleted(self) -> None:
        """Overwrite the content of deleted rows from now on, on this connection."""
        self._db.execute("pragma secure_delete = on")

    def shrink_file(self) -> None:
        """Return free pages to the disk and empty the write-ahead log, which may still contain what was deleted.

        Writers wait for a few pages at a time.
        """
        free = self._fetch_int("pragma freelist_count")
        for _ in range(0, free, VACUUM_PAGES):
            # executescript() runs the statement to its end; execute() would free a single page.
            self._db.executescript(f"pragma incremental_vacuum({VACUUM_PAGES})")
        empty_log(self._db)

    def list_secrets(self) -> tuple[str, ...]:
        """Return every stored secret, sealed."""
        return tuple(
            row[0]
            for table, column in _SECRETS
            for row in self._fetch_all(f"select {column} from {table} where {column} is not null")
        )

    def reseal_secrets(self, reseal: Callable[[str], str]) -> None:
        """Replace every stored secret by what ``reseal`` returns for it."""
        for table, column in _SECRETS:
            for rowid, sealed in self._fetch_all(f"select rowid, {column} from {table} where {column} is not null"):
                self._execute(f"update {table} set {column} = ? where rowid = ?", (reseal(sealed), rowid))
