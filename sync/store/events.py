"""What happened, for people, and who did what; both append only."""

from __future__ import annotations

from sync.model import format_utc_time
from sync.store.database import Row, Table, write_transaction
from sync.views import AuditLine, Event, WaitView

WAITING_PREFIX = "Waiting: "  # how a line about waiting begins
MAX_WAIT_LINES = 10  # reasons kept apart while a run waits; a reply may word each refusal differently


class Events(Table):
    """The events of syncs and runs, and the audit log."""

    def add_event(self, message: str, now: float, sync_id: int | None = None, run_id: int | None = None) -> None:
        """Add one line to the history."""
        self._execute(
            "insert into event (at, sync_id, run_id, message) values (?, ?, ?, ?)", (now, sync_id, run_id, message)
        )

    def add_wait(self, reason: str, now: float, until: float, sync_id: int, run_id: int) -> None:
        """Add that a run waits; count it on the line that says so already when the run has not moved since."""
        message = WAITING_PREFIX + reason.rstrip(".")
        with write_transaction(self._db):
            lines = self._wait_lines(run_id)
            same = [row["id"] for row in lines if row["message"] == message]
            if not same and len(lines) >= MAX_WAIT_LINES:
                same = [lines[-1]["id"]]
            if same:
                self._execute("update event set times = times + 1, until = ? where id = ?", (until, same[0]))
            else:
                self._execute(
                    "insert into event (at, sync_id, run_id, message, until) values (?, ?, ?, ?, ?)",
                    (now, sync_id, run_id, message, until),
                )

    def current_wait(self, run_id: int) -> WaitView | None:
        """Return what a run has been waiting for since its last other line, or None when it moved."""
        lines = self._wait_lines(run_id)
        if not lines:
            return None
        last = max(lines, key=lambda row: float(row["until"]))
        reason = str(last["message"]).removeprefix(WAITING_PREFIX)
        return WaitView(since=lines[0]["at"], times=sum(row["times"] for row in lines), reason=reason)

    def _wait_lines(self, run_id: int) -> list[Row]:
        return self._fetch_all(
            "select id, at, message, times, until from event where run_id = ?1 and id > coalesce("
            "(select max(id) from event where run_id = ?1 and until is null), 0) order by id",
            (run_id,),
        )

    def list_of_run(self, run_id: int) -> tuple[Event, ...]:
        """Everything said about a run, oldest first."""
        rows = self._fetch_all(
            "select at, sync_id, run_id, message, times, until from event where run_id = ? order by id", (run_id,)
        )
        return tuple(
            Event(
                at=row["at"],
                sync_id=row["sync_id"],
                run_id=row["run_id"],
                message=_format_line(row),
                times=row["times"],
            )
            for row in rows
        )

    def add_audit_line(self, line: AuditLine, once_in: float = 0.0) -> None:
        """Add one line to the audit; not when the same was noted within the last ``once_in`` seconds."""
        self._execute(
            "insert into audit (at, actor, action, target, before, after, run_id) select ?1, ?2, ?3, ?4, ?5, ?6, ?7 "
            "where ?8 <= 0 or not exists (select 1 from audit where id > (select max(id) from audit) - 200 and actor = ?2 "
            "and action = ?3 and target = ?4 and at > ?1 - ?8)",
            (line.at, line.actor, line.action, line.target, line.before, line.after, line.run_id, once_in),
        )

    def list_audit(self, limit: int) -> tuple[AuditLine, ...]:
        """The audit, newest first."""
        rows = self._fetch_all(
            "select at, actor, action, target, before, after, run_id from audit order by id desc limit ?", (limit,)
        )
        return tuple(AuditLine(*row) for row in rows)


def _format_line(row: Row) -> str:
    """Return a line as people read it: of a wait also how often, and until when."""
    if row["until"] is None:
        return str(row["message"])
    often = f", {row['times']:,} times" if row["times"] > 1 else ""
    return f"{row['message']}{often}; continues at {format_utc_time(row['until'])}."
