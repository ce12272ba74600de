"""What happened, for people (append only), and who works."""

from __future__ import annotations

from sync.store.database import Table
from sync.store.process import is_gone
from sync.views import RUNNER_SILENT, AuditLine, Event


class History(Table):
    """Events and runners."""

    def tell(self, what: str, now: float, sync_id: int | None = None, run_id: int | None = None) -> None:
        """Add one line to the history."""
        self._do("insert into event (at, sync_id, run_id, what) values (?, ?, ?, ?)", (now, sync_id, run_id, what))

    def of_run(self, run_id: int) -> tuple[Event, ...]:
        """Everything said about a run, oldest first."""
        rows = self._all("select at, sync_id, run_id, what from event where run_id = ? order by id", (run_id,))
        return tuple(Event(*row) for row in rows)

    def audit(self, line: AuditLine, once_in: float = 0.0) -> None:
        """Add one line to the audit; not when the same was noted within the last ``once_in`` seconds."""
        self._do(
            "insert into audit (at, who, what, subject, before, after, run_id) select ?1, ?2, ?3, ?4, ?5, ?6, ?7 "
            "where ?8 <= 0 or not exists (select 1 from audit where id > (select max(id) from audit) - 200 and who = ?2 "
            "and what = ?3 and subject = ?4 and at > ?1 - ?8)",
            (line.at, line.who, line.what, line.subject, line.before, line.after, line.run_id, once_in),
        )

    def audited(self, limit: int) -> tuple[AuditLine, ...]:
        """The audit, newest first."""
        rows = self._all(
            "select at, who, what, subject, before, after, run_id from audit order by id desc limit ?", (limit,)
        )
        return tuple(AuditLine(*row) for row in rows)

    def alive(self, runner: str, now: float) -> None:
        """Say that this runner works; forget those long gone."""
        self._do(
            "insert into runner (id, seen_at) values (?, ?) on conflict (id) do update set seen_at = excluded.seen_at",
            (runner, now),
        )
        self._do("delete from runner where seen_at < ?", (now - 86400.0,))

    def gone(self, runner: str) -> None:
        """Say that this runner stopped on purpose."""
        self._do("delete from runner where id = ?", (runner,))

    def runners(self, now: float) -> tuple[int, float | None]:
        """Tell how many runners work now, and when one was last seen; one that was killed does not count."""
        rows = self._all("select id, seen_at from runner order by seen_at desc")
        here = [row["seen_at"] for row in rows if not is_gone(row["id"].rpartition("-")[0])]
        return sum(1 for seen in here if seen > now - RUNNER_SILENT), here[0] if here else None

    def bury(self) -> int:
        """Forget the runners that went without goodbye; tell how many."""
        gone = [row["id"] for row in self._all("select id from runner") if is_gone(row["id"].rpartition("-")[0])]
        for runner in gone:
            self.gone(runner)
        return len(gone)

    def working(self, now: float) -> tuple[str, ...]:
        """Return the names of the runners that work now; a name ends with the ids of the keys that runner knows."""
        rows = self._all("select id from runner where seen_at > ?", (now - RUNNER_SILENT,))
        return tuple(row["id"] for row in rows if not is_gone(row["id"].rpartition("-")[0]))
