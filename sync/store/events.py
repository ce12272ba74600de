"""The history of syncs and runs, and the audit log; lines are only ever added."""

from __future__ import annotations

from dataclasses import asdict

from sync.model import format_utc_time
from sync.records import AuditLine, Event, WaitView
from sync.store.database import Row, Table, read_row, write_transaction

WAITING_PREFIX = "Waiting: "  # begins every line about waiting
MAX_WAIT_LINES = 10  # different reasons kept while a run waits; an API may word each answer differently
REPEAT_LINES = 200  # newest lines of the audit log searched for a repetition


class Events(Table):
    """The events of syncs and runs, and the audit log."""

    def add_event(
        self,
        message: str,
        now: float,
        sync_id: int | None = None,
        run_id: int | None = None,
        until: float | None = None,
    ) -> None:
        """Add one line to the history; ``until``: the end of the wait that it is about."""
        self._execute(
            """
            insert into event (at, sync_id, run_id, message, until)
            values (?, ?, ?, ?, ?)
            """,
            (now, sync_id, run_id, message, until),
        )

    def add_wait(self, reason: str, now: float, until: float, sync_id: int, run_id: int) -> None:
        """Add that a run waits ``until`` then; the same reason again, without progress in between, is counted on its line."""
        message = WAITING_PREFIX + reason.rstrip(".")
        with write_transaction(self._db):
            lines = self._wait_lines(run_id)
            same = [row["id"] for row in lines if _read_message(row) == message]
            if not same and len(lines) >= MAX_WAIT_LINES:
                same = [lines[-1]["id"]]
            if same:
                self._execute("update event set times = times + 1, until = ? where id = ?", (until, same[0]))
            else:
                self.add_event(message, now, sync_id, run_id, until)

    def current_wait(self, run_id: int) -> WaitView | None:
        """Return what a run has been waiting for since its last line of another kind, or None when it does not wait."""
        lines = self._wait_lines(run_id)
        if not lines:
            return None
        last = max(lines, key=lambda row: float(row["until"]))
        reason = _read_message(last).removeprefix(WAITING_PREFIX)
        return WaitView(since=lines[0]["at"], times=sum(row["times"] for row in lines), reason=reason)

    def _wait_lines(self, run_id: int) -> list[Row]:
        return self._fetch_all(
            """
            select id, at, message, times, until
            from event
            where run_id = ?1
                and id > coalesce((select max(id) from event where run_id = ?1 and until is null), 0)
            order by id
            """,
            (run_id,),
        )

    def list_of_run(self, run_id: int) -> tuple[Event, ...]:
        """Return the history of a run, oldest first."""
        rows = self._fetch_all(
            """
            select at, sync_id, run_id, message, times, until
            from event
            where run_id = ?
            order by id
            """,
            (run_id,),
        )
        return tuple(read_row(Event, row, message=_format_line(row)) for row in rows)

    def add_audit_line(self, line: AuditLine, once_in: float = 0.0) -> None:
        """Add one line to the audit log; not when the same was added within the last ``once_in`` seconds.

        A line of a later time was added before the clock was set back, and stands for no other.
        """
        self._execute(
            """
            insert into audit (at, actor, action, target, before, after, run_id)
            select :at, :actor, :action, :target, :before, :after, :run_id
            where :once_in <= 0 or not exists (
                select 1
                from audit
                where id > (select max(id) from audit) - :lines
                    and actor = :actor
                    and action = :action
                    and target = :target
                    and at > :at - :once_in and at <= :at
            )
            """,
            asdict(line) | {"once_in": once_in, "lines": REPEAT_LINES},
        )

    def list_audit(self, limit: int, search: str = "") -> tuple[AuditLine, ...]:
        """Return the newest lines of the audit log that contain a text, capitals or not, newest first."""
        rows = self._fetch_all(
            """
            select at, actor, action, target, before, after, run_id
            from audit
            where ?1 = '' or instr(casefold(actor || '¶' || action || '¶' || target || '¶' || before || '¶' || after), ?1)
            order by id desc
            limit ?2
            """,
            (self._fold(search), limit),
        )
        return tuple(read_row(AuditLine, row) for row in rows)

    def count_audit(self, search: str = "") -> int:
        """Return how many lines of the audit log contain a text, capitals or not."""
        return self._fetch_int(
            """
                select count(*)
                from audit
                where ?1 = ''
                    or instr(casefold(actor || '¶' || action || '¶' || target || '¶' || before || '¶' || after), ?1)
                """,
            (self._fold(search),),
        )

    def _fold(self, search: str) -> str:
        """Return a text to search for, and let SQL fold what it is compared with; its own lower() knows ASCII only."""
        self._db.create_function("casefold", 1, str.casefold, deterministic=True)
        return search.casefold()


def _read_message(row: Row) -> str:
    """Return the text of a line; of a wait without the full stop that former versions stored with it."""
    message = str(row["message"])
    return message if row["until"] is None else message.rstrip(".")


def _format_line(row: Row) -> str:
    """Return a line of history for people; of a wait also how often, and until when."""
    message = _read_message(row)
    if row["until"] is None:
        return message
    often = f", {row['times']:,} times" if row["times"] > 1 else ""
    return f"{message}{often}; continues at {format_utc_time(row['until'])}."
