"""Read runs, list and count them."""

from __future__ import annotations

from sync.model import Run, RunState
from sync.store.database import Row, Table, read_row

WAIT_FARTHEST = 86400.0  # seconds; nobody is put off for longer, so a later time comes from a moved clock
CLOCK_SLACK = 5.0  # seconds; processes read the clock at slightly different moments
RUN_COLUMNS = ", ".join(Run.__slots__)


def _where_clause(
    sync_id: int | None, state: str | None, project_id: int | None, between: tuple[float, float] | None = None
) -> tuple[str, tuple[object, ...]]:
    """Return which runs are meant, as SQL: a condition that is not asked for must not keep an index from being used."""
    asked = (
        ("sync_id = ?", sync_id),
        ("state = ?", state),
        # The plus keeps SQLite from the index of syncs: runs are read newest first, and nothing is sorted.
        ("+sync_id in (select id from sync where project_id = ?)", project_id),
        ("queued_at >= ?", between and between[0]),
        ("queued_at < ?", between and between[1]),
    )
    given = [(sql, value) for sql, value in asked if value is not None]
    return " and ".join(sql for sql, _ in given) or "true", tuple(value for _, value in given)


def run_from_row(row: Row) -> Run:
    """Make a Run of a row."""
    return read_row(Run, row, state=RunState(row["state"]))


class RunLists(Table):
    """Runs, as they are."""

    def get_run(self, run_id: int) -> Run | None:
        """Return one run, or None."""
        row = self._fetch_one(f"select {RUN_COLUMNS} from run where id = ?", (run_id,))
        return run_from_row(row) if row else None

    def get_active(self, sync_id: int) -> Run | None:
        """Return the run of a sync that is under way, or None."""
        row = self._fetch_one(f"select {RUN_COLUMNS} from run where sync_id = ? and finished_at is null", (sync_id,))
        return run_from_row(row) if row else None

    def list_runs(
        self,
        sync_id: int | None,
        state: str | None,
        limit: int,
        offset: int,
        project_id: int | None = None,
        between: tuple[float, float] | None = None,
    ) -> tuple[Run, ...]:
        """Return runs, newest first; ``between``: only those requested from the first time on and before the second."""
        wanted, values = _where_clause(sync_id, state, project_id, between)
        rows = self._fetch_all(
            f"select {RUN_COLUMNS} from run where {wanted} order by id desc limit ? offset ?", (*values, limit, offset)
        )
        return tuple(run_from_row(row) for row in rows)

    def latest_by_sync(self, project_id: int | None, license_code: str | None, sync_id: int | None) -> dict[int, Run]:
        """Return the last run of every such sync that has one, by its id, in one query."""
        rows = self._fetch_all(
            f"""
            select {RUN_COLUMNS} from run where id in (select last_run_id from sync
            where (?1 is null or project_id = ?1) and (?2 is null or license_code = ?2) and (?3 is null or id = ?3))
            """,
            (project_id, license_code, sync_id),
        )
        return {row["id"]: run_from_row(row) for row in rows}

    def count_runs(
        self,
        sync_id: int | None,
        state: str | None,
        project_id: int | None = None,
        between: tuple[float, float] | None = None,
    ) -> int:
        """Return how many runs there are."""
        wanted, values = _where_clause(sync_id, state, project_id, between)
        return self._fetch_int(f"select count(*) from run where {wanted}", values)

    def count_waiting(self, now: float) -> tuple[int, float | None]:
        """Return how many runs could be executed now, and since when the oldest waits."""
        row = self._fetch_one(
            """
            select count(*), min(not_before)
            from run
            where finished_at is null and state <> 'held' and lease_owner is null and (
                not_before <= :now or wait_reason is null or put_off_at > :now + :slack
                or not_before > :now + :farthest
            )
            """,
            {"now": now, "slack": CLOCK_SLACK, "farthest": WAIT_FARTHEST},
        )
        assert row is not None  # an aggregate always answers one row
        return int(row[0]), row[1]

    def count_reading(self, project_id: int, now: float) -> int:
        """Return how many runs of a project are being read from Mixpanel right now."""
        return self._fetch_int(
            """
                select count(*) from run join sync on sync.id = run.sync_id where finished_at is null
                and run.state = 'pulling' and lease_until > ? and project_id = ?
                """,
            (now, project_id),
        )

    def count_unfinished(self) -> int:
        """Return how many runs have not ended."""
        return self._fetch_int("select count(*) from run where finished_at is null")

    def unfinished_since(self, moment: float) -> int:
        """Return how many runs were under way at some time since a moment."""
        return self._fetch_int("select count(*) from run where finished_at is null or finished_at >= ?", (moment,))

    def next_due_at(self, only: int | None = None) -> float | None:
        """Return when the next run, or this one, may be worked on, at the end of its lease if it has one; None for never."""
        return self._fetch_value(  # type: ignore[no-any-return]
            """
            select min(max(not_before, ifnull(lease_until, 0)))
            from run
            where finished_at is null and state <> 'held' and (?1 is null or id = ?1)
            """,
            (only,),
        )
