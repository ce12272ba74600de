"""Heartbeats of the runner processes that work on this database."""

from __future__ import annotations

from sync.process_identity import is_here, is_process_gone
from sync.records import RUNNER_SILENT_SECONDS, Heartbeat, RunnerState
from sync.store.database import Table

KEEP_HEARTBEAT_SECONDS = 86400.0  # seconds; a heartbeat farther away from now is deleted
CLOCK_SLACK_SECONDS = 5.0  # seconds a heartbeat may be ahead: it may be written after the reader read its clock


class Runners(Table):
    """Heartbeats of runner processes."""

    def record_heartbeat(self, runner: str, now: float) -> None:
        """Store that this runner works now; delete heartbeats over a day away."""
        self._execute(
            """
            insert into runner (id, heartbeat_at)
            values (?, ?)
            on conflict (id) do update set heartbeat_at = excluded.heartbeat_at
            """,
            (runner, now),
        )
        self._execute(
            """
            delete from runner
            where heartbeat_at < ?1 - ?2 or heartbeat_at > ?1 + ?2
            """,
            (now, KEEP_HEARTBEAT_SECONDS),
        )

    def remove_runner(self, runner: str) -> None:
        """Delete the heartbeat of a runner that stopped."""
        self._execute("delete from runner where id = ?", (runner,))

    def list_heartbeats(self, now: float) -> tuple[Heartbeat, ...]:
        """Return the last heartbeat of every runner, newest first, without runners whose process has ended."""
        rows = self._fetch_all("select id, heartbeat_at from runner order by heartbeat_at desc")
        return tuple(
            Heartbeat(runner=row["id"], seen_at=row["heartbeat_at"], state=_state_of_age(now - row["heartbeat_at"]))
            for row in rows
            if not is_process_gone(row["id"])
        )

    def list_working(self, now: float) -> tuple[str, ...]:
        """Return the names of the runners that may work now; a name ends with the ids of the runner's keys."""
        return tuple(one.runner for one in self.list_heartbeats(now) if one.state is not RunnerState.SILENT)

    def can_any_write(self, now: float) -> bool:
        """Return whether a runner may still write: not silent, or silent while its process still runs here."""
        return any(one.state is not RunnerState.SILENT or is_here(one.runner) for one in self.list_heartbeats(now))

    def list_dead_runners(self) -> tuple[str, ...]:
        """Return the runners whose process ended without removing its heartbeat."""
        return tuple(row["id"] for row in self._fetch_all("select id from runner") if is_process_gone(row["id"]))


def _state_of_age(age: float) -> RunnerState:
    """Return the state a heartbeat of this age shows; UNKNOWN in the future, since a clock was moved."""
    if age < -CLOCK_SLACK_SECONDS:
        return RunnerState.UNKNOWN
    return RunnerState.WORKING if age < RUNNER_SILENT_SECONDS else RunnerState.SILENT
