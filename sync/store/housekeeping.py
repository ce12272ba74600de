"""Keeping the file itself: copies, checks, forgetting, and throwing away what is old."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sync.errors import Refused
from sync.packing import hash_id
from sync.store.batches import Batches
from sync.store.database import Table, bring_forward, immediate, needs_setup
from sync.store.snapshot import Snapshot
from sync.store.staged import Staged

DAY = 86400.0  # seconds
KEEP_REFUSALS, KEEP_DETAIL = 30.0, 14.0  # days; who was refused, and what each run told whom
_RETENTION = {"keep_refusals_days": KEEP_REFUSALS, "keep_detail_days": KEEP_DETAIL}


class Housekeeping(Table):
    """What is done to the whole file rather than to one of its things."""

    def copy_to(self, file: Path) -> None:
        """Write a consistent copy (0600) while others work; Refused when the file exists or cannot be written.

        The copy appears under its name only when it is complete.
        """
        if file.exists():
            raise Refused(f"{file} already exists; name a new file for the backup.")
        draft = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._plain.execute("vacuum into ?", (str(draft),))
            draft.rename(file)
        except (OSError, sqlite3.OperationalError) as problem:
            raise Refused(f"The backup {file} could not be written ({problem}).") from problem
        finally:
            draft.unlink(missing_ok=True)

    def restore_from(self, file: Path) -> None:
        """Take over everything of a copy; Refused, and nothing changed, when it is none of ours.

        Everyone exported becomes doubtful, since what WebEngage was told after the copy was made is
        not in it; so does whoever a run of the copy was telling, and the next runner ends such a run.
        """
        with closing(_copy_of_ours(file)) as copy:
            Snapshot(copy).unconfirm()
            copy.execute("update batch set state = 'in flight' where state = 'confirmed'")
            copy.execute(
                "update run set cancel_wanted = 1, lease_owner = null, lease_until = null where finished_at is null"
            )
            copy.execute("delete from runner")
            self._carry_over(copy)
            copy.backup(self._plain)

    def _carry_over(self, copy: sqlite3.Connection) -> None:
        """What never goes back in time: the limits used up, who did what, and the numbers of runs."""
        for table in ("query", "pace", "quiet"):
            copy.execute(f"delete from {table}")
            for row in self._all(f"select * from {table}"):
                copy.execute(f"insert into {table} values ({', '.join('?' * len(row))})", tuple(row))
        copy.executemany(
            "insert into audit (at, who, what, subject, before, after, run_id) select ?1, ?2, ?3, ?4, ?5, ?6, ?7 "
            "where not exists (select 1 from audit where at = ?1 and who = ?2 and what = ?3 and subject = ?4)",
            self._all("select at, who, what, subject, before, after, run_id from audit order by id"),
        )
        copy.executemany(
            "update project set pages_counted_at = ? where id = ?",
            self._all("select pages_counted_at, id from project"),
        )
        copy.executemany(
            "update sqlite_sequence set seq = max(seq, ?) where name = 'run'",
            self._all("select seq from sqlite_sequence where name = 'run'"),
        )

    def integrity(self) -> str | None:
        """What SQLite finds wrong with the file, or None."""
        try:
            found = [row[0] for row in self._all("pragma quick_check(5)")]
        except sqlite3.DatabaseError as problem:
            return str(problem)
        return None if found == ["ok"] else "; ".join(found)

    def days(self, name: str) -> float:
        """How many days something is kept."""
        value = self._value("select value from setting where name = ?", (name,))
        return float(value) if value is not None else _RETENTION[name]

    def set_days(self, name: str, days: float) -> None:
        """Keep something for so many days."""
        if name not in _RETENTION or not 1 <= days <= 3650:
            raise Refused("Retention is a number of days between 1 and 3650.")
        self._do(
            "insert into setting (name, value) values (?, ?) on conflict (name) do update set value = excluded.value",
            (name, str(days)),
        )

    def purge(self, now: float) -> int:
        """Remove refusals and run details past their days for good, overwritten on the disk; tell how many rows."""
        refusals = now - self.days("keep_refusals_days") * DAY
        detail = now - self.days("keep_detail_days") * DAY
        self.scrub()
        with immediate(self._plain):
            gone = self._do("delete from rejection where at < ?", (refusals,))
            gone += self._do(
                "delete from delivery_log where run_id in (select id from run where finished_at < ?)", (detail,)
            )
            gone += self._do(
                "delete from event where at < ? and (run_id is null or run_id in "
                "(select id from run where finished_at < ?))",
                (detail, detail),
            )
        if gone:
            self.settle_file()
        return gone

    def forget(self, user_id: str, salt: int) -> int:
        """Remove a person from every table, also of runs under way; return in how many places they were.

        Invalid ids and samples are kept cut to 200 characters, and previews as JSON.
        """
        kept, written = user_id[:200], json.dumps(user_id[:200])[1:-1]
        snapshot, who = Snapshot(self._plain), hash_id(user_id, salt)
        with immediate(self._plain):
            found = self._do("delete from rejection where user_id in (?, ?)", (user_id, kept))
            for row in self._all("select id from sync"):
                found += snapshot.remove(row[0], who)
            found += Staged(self._plain).forget(user_id, who) + Batches(self._plain).forget(user_id)
            found += self._do(
                "update cohort set preview = null where preview is not null and instr(preview, ?)", (written,)
            )
        return found

    def scrub(self) -> None:
        """Overwrite deleted rows from now on, instead of only forgetting where they are."""
        self._plain.execute("pragma secure_delete = on")

    def settle_file(self) -> None:
        """Give free pages back and empty the write-ahead log, which may still hold what was deleted."""
        # Only a script steps through the whole of it; execute() would free a single page.
        self._plain.executescript("pragma incremental_vacuum")
        self._plain.execute("pragma wal_checkpoint(truncate)").fetchall()

    def secrets(self) -> tuple[tuple[str, str, str], ...]:
        """Every stored secret, sealed: table, key, ciphertext."""
        rows = self._all(
            "select 'project' as kind, id as name, sealed_secret as sealed from project "
            "where sealed_secret is not null "
            "union all select 'webengage', license_code, sealed_key from webengage where sealed_key is not null"
        )
        return tuple((row["kind"], str(row["name"]), row["sealed"]) for row in rows)

    def reseal(self, kind: str, name: str, sealed: str) -> None:
        """Replace one stored secret's ciphertext."""
        if kind == "project":
            self._do("update project set sealed_secret = ? where id = ?", (sealed, int(name)))
        else:
            self._do("update webengage set sealed_key = ? where license_code = ?", (sealed, name))


def _copy_of_ours(file: Path) -> sqlite3.Connection:
    """Open a private copy of a backup at the newest schema; Refused when it is damaged or not ours."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as given:
            copy = sqlite3.connect(":memory:", isolation_level=None)
            given.backup(copy)
        healthy = copy.execute("pragma quick_check(1)").fetchone()[0] == "ok"
        ours = (
            copy.execute("select count(*) from sqlite_master where name in ('sync', 'run', 'setting')").fetchone()[0]
            == 3
        )
    except sqlite3.DatabaseError as problem:
        raise Refused(f"{file} cannot be read as a backup ({problem}); nothing was changed.") from problem
    if not (healthy and ours):
        raise Refused(f"{file} is damaged or no backup of Cohort Sync; nothing was changed.")
    if needs_setup(copy):  # one of a newer version is refused here, before anything is replaced
        bring_forward(copy)
    return copy
