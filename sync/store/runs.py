"""Runs: queued by anyone, owned by one runner at a time through a lease.

Every write of a runner names its lease owner (a token made for one claim); no row, no write.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from sync.errors import LeaseLost
from sync.model import Run, RunState
from sync.process_identity import is_process_gone
from sync.store.database import Row, Table, write_transaction
from sync.store.open_requests import LEFT_OPEN

WAIT_FARTHEST = 86400.0  # seconds; nobody is put off for longer, so a later time comes from a moved clock
CLOCK_SLACK = 5.0  # seconds; processes read the clock at slightly different moments
LEASE_SECONDS = 120.0  # seconds; longer than a request's timeout plus the retry budget of 60 s
_COLUMNS = ", ".join(Run.__slots__)
_BOOLEAN_COLUMNS = ("dry_run", "approved", "cancel_requested", "planned")
# Without a reason to wait, or put off at a time still to come, only a clock set back keeps a run from being due.
_DUE = "(not_before <= :now or wait_reason is null or put_off_at > :now + :slack or not_before > :now + :farthest)"
_LEASE_FREE = "(lease_until is null or lease_until <= :now or lease_until > :now + :far)"
_CLAIMABLE = f"""select id from run where finished_at is null and (state <> 'held' or cancel_requested)
                and ({_DUE} or cancel_requested) and {_LEASE_FREE}
                and (:only is null or id = :only) and (:full = '[]' or cancel_requested or sync_id not in
                (select id from sync where license_code in (select value from json_each(:full))))"""


def _where_clause(
    sync_id: int | None, state: str | None, project_id: int | None, between: tuple[float, float] | None = None
) -> tuple[str, tuple[object, ...]]:
    """Return which runs are meant, as SQL: a condition that is not asked for must not keep an index from being used."""
    asked = (
        ("sync_id = ?", sync_id),
        ("state = ?", state),
        ("+sync_id in (select id from sync where project_id = ?)", project_id),
        ("queued_at >= ?", between and between[0]),
        ("queued_at < ?", between and between[1]),
    )  # +: read newest first, sort nothing
    given = [(sql, value) for sql, value in asked if value is not None]
    return " and ".join(sql for sql, _ in given) or "true", tuple(value for _, value in given)


def _due_values(now: float) -> dict[str, object]:
    """Return the values that _DUE names."""
    return {"now": now, "slack": CLOCK_SLACK, "farthest": WAIT_FARTHEST}


def is_leased(run: Run, now: float) -> bool:
    """Return whether a runner that is not surely gone holds the run now."""
    if run.lease_owner is None or run.lease_until is None or is_process_gone(run.lease_owner.rpartition("-")[0]):
        return False
    return now < run.lease_until <= now + 2 * LEASE_SECONDS


def run_from_row(row: Row) -> Run:
    """Make a Run of a row."""
    values = dict(zip(row.keys(), tuple(row), strict=True))
    values |= {name: bool(values[name]) for name in _BOOLEAN_COLUMNS}
    values["state"] = RunState(values["state"])
    return Run(**values)


FirstSteps = tuple[str, bytes | None]
"""What is sent first, as text, and the id hashes of those who were chosen."""


class Runs(Table):
    """The life of runs."""

    def enqueue_run(
        self,
        sync_id: int,
        purpose: str,
        now: float,
        *,
        dry_run: bool = False,
        request: str | None = None,
        first_steps: FirstSteps | None = None,
        undoes: int | None = None,
    ) -> int | None:
        """Queue a run, unless one of this sync is under way (then None); the database decides.

        A run may leave its request, purpose, dryness and steps to the next one: see LEFT_OPEN.
        """
        steps, chosen = first_steps or (None, None)
        with write_transaction(self._db):
            row = self._fetch_one(
                f"""
                insert into run
                    (sync_id, purpose, dry_run, request, queued_at, not_before, steps, step_hashes, undoes)
                select ?1, iif(?2 = 'refresh' and f.purpose = 'resync', 'resync', ?2), ?3 or ifnull(f.dry_run or f.planned, 0),
                    ifnull(?4, f.request), ?5, ?5, ifnull(?6, f.steps), iif(?6 is null, f.step_hashes, ?7), ?8
                from (select 1)
                left join (
                    select purpose, dry_run, planned, request, steps, step_hashes
                    from run
                    where id = {LEFT_OPEN} and ?2 not in ('export', 'clear', 'undo')
                ) f
                where true
                on conflict do nothing
                returning id
                """,
                (sync_id, purpose, int(dry_run), request, now, steps, chosen, undoes),
            )
            if row is None:
                return None
            self._db.execute("update sync set last_run_id = ? where id = ?", (row["id"], sync_id))
        return int(row["id"])

    def claim_run(
        self, owner: str, now: float, only: int | None = None, full_accounts: Collection[str] = ()
    ) -> Run | None:
        """Take the run that has waited longest, with a fresh lease; None when nothing can be done.

        A lease that ended, or one so far away that only a clock set back explains it, is free. A
        held run is taken only to cancel it; a run of an account in ``full_accounts`` is left to others.
        """
        sql = f"""
            update run set lease_owner = :owner, lease_until = :now + :lease, attempts = attempts + 1,
              started_at = coalesce(started_at, :now), wait_reason = null,
              state = case when state = 'held' then 'held' when planned then 'delivering' else 'pulling' end
            where id = ({_CLAIMABLE} order by not_before, id limit 1)
            returning {_COLUMNS}"""
        with write_transaction(self._db):
            row = self._db.execute(
                sql, self._claim_values(now, only, full_accounts) | {"owner": owner, "lease": LEASE_SECONDS}
            ).fetchone()
        return run_from_row(row) if row else None

    def has_claimable(self, now: float, only: int | None = None, full_accounts: Collection[str] = ()) -> bool:
        """Return whether a claim would find something: this takes no write lock, as it is asked all the time."""
        return bool(self._fetch_value(f"select exists ({_CLAIMABLE})", self._claim_values(now, only, full_accounts)))

    def _claim_values(self, now: float, only: int | None, full_accounts: Collection[str]) -> dict[str, object]:
        full = json.dumps(list(full_accounts))
        return {"far": 2 * LEASE_SECONDS, "only": only, "full": full, **_due_values(now)}

    def release_dead_leases(self) -> int:
        """Free the runs whose runner is surely gone, without waiting for their leases; tell how many."""
        owners = [row[0] for row in self._fetch_all("select lease_owner from run where lease_owner is not null")]
        gone = [owner for owner in owners if is_process_gone(owner.rpartition("-")[0])]
        return sum(
            self._execute("update run set lease_owner = null, lease_until = null where lease_owner = ?", (owner,))
            for owner in gone
        )

    def renew_lease(self, run_id: int, owner: str, now: float) -> bool:
        """Extend the lease and tell whether a cancel is wanted; LeaseLost when it is not ours."""
        with write_transaction(self._db):
            row = self._fetch_one(
                """
                update run set lease_until = ? where id = ? and lease_owner = ? and finished_at is null
                returning cancel_requested
                """,
                (now + LEASE_SECONDS, run_id, owner),
            )
        if row is None:
            raise LeaseLost(f"Run {run_id} is held by another runner now.")
        return bool(row["cancel_requested"])

    def write_run(self, run_id: int, owner: str, values: Mapping[str, object]) -> None:
        """Set columns of a run that is ours; LeaseLost when it is not."""
        self._update(run_id, owner, ", ".join(f"{name} = :{name}" for name in values), values)

    def add_counts(self, run_id: int, owner: str, **more: int) -> None:
        """Add to a run's counters; LeaseLost when it is not ours."""
        self._update(run_id, owner, ", ".join(f"{name} = {name} + :{name}" for name in more), more)

    def _update(self, run_id: int, owner: str, sets: str, values: Mapping[str, object]) -> None:
        found = self._execute(
            f"update run set {sets} where id = :run_id and lease_owner = :owner and finished_at is null",
            {**values, "run_id": run_id, "owner": owner},
        )
        if not found:
            raise LeaseLost(f"Run {run_id} is held by another runner now.")

    def note_progress(self, run_id: int, owner: str, furthest: int | None = None) -> None:
        """Forget earlier failures: a batch was confirmed, or more pages are here than ever before in this reading."""
        self._execute(
            """
            update run set attempts = 1, failures = 0, stalled_since = null, furthest = max(furthest, ifnull(?1, 0))
            where id = ?2 and lease_owner = ?3 and (?1 is null or ?1 > furthest)
            """,
            (furthest, run_id, owner),
        )

    def note_failure(self, run_id: int, owner: str, now: float, failed: bool) -> tuple[int, float]:
        """Note that a run does not get on; return the failures since its last progress, and since when it stalls."""
        with write_transaction(self._db):
            row = self._fetch_one(
                """
                update run set failures = failures + ?1, stalled_since = min(coalesce(stalled_since, ?2), ?2)
                where id = ?3 and lease_owner = ?4 and finished_at is null returning failures, stalled_since
                """,
                (int(failed), now, run_id, owner),
            )
        if row is None:
            raise LeaseLost(f"Run {run_id} is held by another runner now.")
        return int(row[0]), float(row[1])

    def release_lease(self, run_id: int, owner: str, *, is_attempt: bool = True) -> None:
        """Drop the lease and leave the run to go on where it is; nothing if it is not ours.

        ``is_attempt``: whether the claim counts as one that did not get on.
        """
        self._execute(
            """
            update run
            set lease_owner = null, lease_until = null, attempts = max(0, attempts - ?)
            where id = ? and lease_owner = ?
            """,
            (int(not is_attempt), run_id, owner),
        )

    def postpone_run(self, run_id: int, owner: str, now: float, until: float, waiting: str) -> None:
        """Put a run off without counting an attempt; ``now`` is kept, to notice a clock that was set back."""
        self.write_run(
            run_id,
            owner,
            {
                "state": "queued",
                "not_before": until,
                "put_off_at": now,
                "wait_reason": waiting,
                "lease_owner": None,
                "lease_until": None,
                "attempts": 0,
            },
        )

    def hold_for_approval(self, run_id: int, owner: str, reason: str) -> None:
        """Hold a planned run for a person's yes."""
        self.write_run(
            run_id, owner, {"state": "held", "held_reason": reason, "lease_owner": None, "lease_until": None}
        )

    def finish_run(self, run_id: int, owner: str, state: RunState, now: float, error: str | None = None) -> None:
        """End a run that is ours."""
        self.write_run(
            run_id,
            owner,
            {
                "state": state.value,
                "finished_at": now,
                "error": error,
                "wait_reason": None,
                "session_id": None,
                "lease_owner": None,
                "lease_until": None,
            },
        )

    def end_held_run(self, run_id: int, now: float, delivered: int, rejected: int) -> None:
        """Cancel a run that is held after a step, whose outcome is recorded in the same transaction."""
        self._execute(
            """
            update run
            set state = 'cancelled', finished_at = ?, delivered = ?, rejected = ?, session_id = null
            where id = ? and state = 'held'
            """,
            (now, delivered, rejected, run_id),
        )

    def set_request(self, run_id: int, request: str) -> None:
        """Change what a run that has not gone ahead is to make of its sync."""
        self._execute("update run set request = ? where id = ? and finished_at is null", (request, run_id))

    def approve_run(self, run_id: int, now: float) -> bool:
        """Let a held run go on, after a step with the next one, with its whole deadline; False when it is not held."""
        return bool(
            self._execute(
                """
                update run
                set state = 'queued', approved = 1, not_before = ?, step = steps_sent + 1, failures = 0, stalled_since = null
                where id = ? and state = 'held'
                """,
                (now, run_id),
            )
        )

    def request_cancel(self, run_id: int) -> bool:
        """Ask the holder to end a run; False when it is over already."""
        return bool(
            self._execute("update run set cancel_requested = 1 where id = ? and finished_at is null", (run_id,))
        )

    def cancel_if_unsent(self, run_id: int, now: float) -> bool:
        """End a run nobody works on and that has sent nothing; return False when a runner must end it.

        A run whose plan was dropped, to be read again, has no changes any more.
        """
        return bool(
            self._execute(
                """
                update run set state = 'cancelled', finished_at = :now, wait_reason = null,
                  lease_owner = null, lease_until = null,
                  entered = entered * planned, updated = updated * planned, exited = exited * planned
                where id = :id and finished_at is null and (lease_until is null or lease_until <= :now)
                  and not exists (select 1 from batch where run_id = run.id and state <> 'pending')
                """,
                {"now": now, "id": run_id},
            )
        )

    def get_run(self, run_id: int) -> Run | None:
        """Return one run, or None."""
        row = self._fetch_one(f"select {_COLUMNS} from run where id = ?", (run_id,))
        return run_from_row(row) if row else None

    def get_active(self, sync_id: int) -> Run | None:
        """Return the run of a sync that is under way, or None."""
        row = self._fetch_one(f"select {_COLUMNS} from run where sync_id = ? and finished_at is null", (sync_id,))
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
            f"select {_COLUMNS} from run where {wanted} order by id desc limit ? offset ?", (*values, limit, offset)
        )
        return tuple(run_from_row(row) for row in rows)

    def latest_by_sync(self, project_id: int | None, license_code: str | None) -> dict[int, Run]:
        """Return the last run of every sync that has one, by its id, in one query."""
        rows = self._fetch_all(
            f"""
            select {_COLUMNS} from run where id in (select last_run_id from sync
            where (?1 is null or project_id = ?1) and (?2 is null or license_code = ?2))
            """,
            (project_id, license_code),
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
        return int(self._fetch_value(f"select count(*) from run where {wanted}", values))

    def count_waiting(self, now: float) -> tuple[int, float | None, int]:
        """Return how many runs could be executed now, since when the oldest waits, and how many are held."""
        row = self._fetch_one(
            f"""
            select count(*) filter (where state <> 'held' and {_DUE} and lease_owner is null),
            min(not_before) filter (where state <> 'held' and {_DUE} and lease_owner is null),
            count(*) filter (where state = 'held') from run where finished_at is null
            """,
            _due_values(now),
        )
        assert row is not None  # an aggregate always answers one row
        return int(row[0]), row[1], int(row[2])

    def count_reading(self, project_id: int, now: float) -> int:
        """Return how many runs of a project are being read from Mixpanel right now."""
        return int(
            self._fetch_value(
                """
                select count(*) from run join sync on sync.id = run.sync_id where finished_at is null
                and run.state = 'pulling' and lease_until > ? and project_id = ?
                """,
                (now, project_id),
            )
        )

    def count_unfinished(self) -> int:
        """Return how many runs have not ended."""
        return int(self._fetch_value("select count(*) from run where finished_at is null"))

    def unfinished_since(self, moment: float) -> int:
        """Return how many runs were under way at some time since a moment."""
        return int(
            self._fetch_value("select count(*) from run where finished_at is null or finished_at >= ?", (moment,))
        )

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
