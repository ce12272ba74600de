"""What happened, for people, and who did what; both append only."""

from __future__ import annotations

from sync.model import format_utc_time
from sync.process_identity import is_here, is_process_gone
from sync.store.database import Row, Table, write_transaction
from sync.views import RUNNER_SILENT_SECONDS, AuditLine, Event, Heartbeat, RunnerState, WaitView

WAITING = "Waiting: "  # how a line about waiting begins
WAIT_LINES_MAX = 10  # reasons kept apart while a run waits; a reply may word each refusal differently
CLOCK_SLACK = 5.0  # seconds a heartbeat may be ahead: it may be written after the reader looked at its clock
DAY = 86400.0  # seconds; a heartbeat farther away is no use to anybody


class Events(Table):
    """The events of syncs and runs, and the audit log."""

    def add_event(self, message: str, now: float, sync_id: int | None = None, run_id: int | None = None) -> None:
        """Add one line to the history."""
        self._execute(
            "insert into event (at, sync_id, run_id, message) values (?, ?, ?, ?)", (now, sync_id, run_id, message)
        )

    def add_wait(self, reason: str, now: float, until: float, sync_id: int, run_id: int) -> None:
        """Add that a run waits; count it on the line that says so already when the run has not moved since."""
        message = WAITING + reason.rstrip(".")
        with write_transaction(self._db):
            lines = self._wait_lines(run_id)
            same = [row["id"] for row in lines if row["message"] == message]
            if not same and len(lines) >= WAIT_LINES_MAX:
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
        reason = str(last["message"]).removeprefix(WAITING)
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
            Event(at=row["at"], sync_id=row["sync_id"], run_id=row["run_id"], message=_line(row), times=row["times"])
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

    def heartbeats(self, now: float) -> tuple[Heartbeat, ...]:
        """Return the last sign of life of every runner, newest first; of one whose process is gone there is none."""
        rows = self._fetch_all("select id, heartbeat_at from runner order by heartbeat_at desc")
        return tuple(
            Heartbeat(runner=row["id"], seen_at=row["heartbeat_at"], state=_state(now - row["heartbeat_at"]))
            for row in rows
            if not is_process_gone(_process(row["id"]))
        )

    def working(self, now: float) -> tuple[str, ...]:
        """Return the names of the runners that may work now; a name ends with the ids of the keys that runner knows."""
        return tuple(one.runner for one in self.heartbeats(now) if one.state is not RunnerState.SILENT)

    def may_write(self, now: float) -> bool:
        """Return whether a runner may still write: seen lately, seen in the future, or silent with its process there."""
        return any(one.state is not RunnerState.SILENT or is_here(_process(one.runner)) for one in self.heartbeats(now))

    def dead_runners(self) -> tuple[str, ...]:
        """Return the runners that ended without saying so."""
        return tuple(
            row["id"] for row in self._fetch_all("select id from runner") if is_process_gone(_process(row["id"]))
        )


def _line(row: Row) -> str:
    """Return a line as people read it: of a wait also how often, and until when."""
    if row["until"] is None:
        return str(row["what"])
    often = f", {row['times']:,} times" if row["times"] > 1 else ""
    return f"{row['what']}{often}; continues at {format_utc_time(row['until'])}."


def _process(runner: str) -> str:
    """Return the process of a runner, as its name carries it."""
    return runner.rpartition("-")[0]


def _state(age: float) -> RunnerState:
    """Return what a heartbeat of this age says; one in the future says nothing, since a clock was moved."""
    if age < -CLOCK_SLACK:
        return RunnerState.UNKNOWN
    return RunnerState.WORKING if age < RUNNER_SILENT_SECONDS else RunnerState.SILENT
