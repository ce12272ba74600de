"""The runner processes that work on this database."""

from __future__ import annotations

from sync.store.database import Table

WAITING = "Waiting: "
WAIT_LINES_MAX = 10
CLOCK_SLACK = 5.0
DAY = 86400.0


class Runners(Table):
    """Heartbeats of runner processes."""

    def record_heartbeat(self, runner: str, now: float) -> None:
        """Say that this runner works; forget those long gone."""
        self._execute(
            "insert into runner (id, heartbeat_at) values (?, ?) on conflict (id) do update set heartbeat_at = "
            "excluded.heartbeat_at",
            (runner, now),
        )
        self._execute("delete from runner where heartbeat_at < ? or heartbeat_at > ?", (now - DAY, now + DAY))

    def remove_runner(self, runner: str) -> None:
        """Say that this runner stopped on purpose."""
        self._execute("delete from runner where id = ?", (runner,))
