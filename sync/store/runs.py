"""Runs: queued by anyone, owned by one runner at a time through a lease.

Every write of a runner names its lease owner (a token made for one claim); no row, no write.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from sync.errors import LeaseLost
from sync.model import Run, RunState
from sync.process_identity import is_process_gone
from sync.store.database import Row, write_transaction
from sync.store.open_requests import OpenRequests
from sync.store.run_lists import CLOCK_SLACK, RUN_COLUMNS, WAIT_FARTHEST, RunLists, run_from_row

LEASE_SECONDS = 120.0  # seconds; longer than a request's timeout plus the retry budget of 60 s


def is_leased(run: Run, now: float) -> bool:
    """Return whether a runner that is not surely gone holds the run now."""
    if run.lease_owner is None or run.lease_until is None or is_process_gone(run.lease_owner):
        return False
    return now < run.lease_until <= now + 2 * LEASE_SECONDS


FirstSteps = tuple[str, bytes | None]
"""What is sent first, as text, and the id hashes of those who were chosen."""


class Runs(RunLists):
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

        A run may leave its request, purpose, dryness and steps to the next one: see `OpenRequests.find_left_open`.
        """
        steps, chosen = first_steps or (None, None)
        with write_transaction(self._db):
            left_open = OpenRequests(self._db).find_left_open(sync_id)
            row = self._fetch_one(
                """
                insert into run
                    (sync_id, purpose, dry_run, request, queued_at, not_before, steps, step_hashes, undoes)
                select ?1, iif(?2 = 'refresh' and f.purpose = 'resync', 'resync', ?2), ?3 or ifnull(f.dry_run or f.planned, 0),
                    ifnull(?4, f.request), ?5, ?5, ifnull(?6, f.steps), iif(?6 is null, f.step_hashes, ?7), ?8
                from (select 1)
                left join (
                    select purpose, dry_run, planned, request, steps, step_hashes
                    from run
                    where id = ?9 and ?2 not in ('export', 'clear', 'undo')
                ) f
                where true
                on conflict do nothing
                returning id
                """,
                (sync_id, purpose, int(dry_run), request, now, steps, chosen, undoes, left_open),
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
        with write_transaction(self._db):
            found = self._find_claimable(now, only, full_accounts)
            row = self._fetch_one(
                f"""
                update run
                set lease_owner = :owner, lease_until = :now + :lease, attempts = attempts + 1,
                    started_at = coalesce(started_at, :now), wait_reason = null,
                    state = case when state = 'held' then 'held' when planned then 'delivering' else 'pulling' end
                where id = :id
                returning {RUN_COLUMNS}
                """,
                {"id": found, "owner": owner, "now": now, "lease": LEASE_SECONDS},
            )
        return run_from_row(row) if row else None

    def has_claimable(self, now: float, only: int | None = None, full_accounts: Collection[str] = ()) -> bool:
        """Return whether a claim would find something: this takes no write lock, as it is asked all the time."""
        return self._find_claimable(now, only, full_accounts) is not None

    def _find_claimable(self, now: float, only: int | None, full_accounts: Collection[str]) -> int | None:
        """Return the run that has waited longest and can be claimed, or None.

        Without a reason to wait, or put off at a time still to come, only a clock set back keeps a run from being due.
        """
        found: int | None = self._fetch_value(
            """
            select id
            from run
            where finished_at is null and (state <> 'held' or cancel_requested)
                and (
                    not_before <= :now or wait_reason is null or put_off_at > :now + :slack
                    or not_before > :now + :farthest or cancel_requested
                )
                and (lease_until is null or lease_until <= :now or lease_until > :now + :far)
                and (:only is null or id = :only)
                and (:full = '[]' or cancel_requested or sync_id not in (
                    select id
                    from sync
                    where license_code in (select value from json_each(:full))
                ))
            order by not_before, id
            limit 1
            """,
            {
                "now": now,
                "slack": CLOCK_SLACK,
                "farthest": WAIT_FARTHEST,
                "far": 2 * LEASE_SECONDS,
                "only": only,
                "full": json.dumps(list(full_accounts)),
            },
        )
        return found

    def release_dead_leases(self) -> int:
        """Free the runs whose runner is surely gone, without waiting for their leases; return how many."""
        owners = [row[0] for row in self._fetch_all("select lease_owner from run where lease_owner is not null")]
        return sum(
            self._execute("update run set lease_owner = null, lease_until = null where lease_owner = ?", (owner,))
            for owner in filter(is_process_gone, owners)
        )

    def renew_lease(self, run_id: int, owner: str, now: float) -> bool:
        """Extend the lease, return whether a cancel is requested; raise LeaseLost when it is not ours."""
        row = self._update(run_id, owner, "lease_until = :until", {"until": now + LEASE_SECONDS})
        return bool(row["cancel_requested"])

    def write_run(self, run_id: int, owner: str, **values: object) -> None:
        """Set columns of a run that is ours; raise LeaseLost when it is not."""
        self._update(run_id, owner, ", ".join(f"{name} = :{name}" for name in values), values)

    def add_counts(self, run_id: int, owner: str, **more: int) -> None:
        """Add to a run's counters; raise LeaseLost when it is not ours."""
        self._update(run_id, owner, ", ".join(f"{name} = {name} + :{name}" for name in more), more)

    def _update(self, run_id: int, owner: str, sets: str, values: Mapping[str, object]) -> Row:
        with write_transaction(self._db):
            row = self._fetch_one(
                f"""
                update run
                set {sets}
                where id = :run_id and lease_owner = :owner and finished_at is null
                returning cancel_requested, failures, stalled_since
                """,
                {**values, "run_id": run_id, "owner": owner},
            )
        if row is None:
            raise LeaseLost(f"Run {run_id} is held by another runner now.")
        return row

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
        row = self._update(
            run_id,
            owner,
            "failures = failures + :failed, stalled_since = min(coalesce(stalled_since, :now), :now)",
            {"failed": int(failed), "now": now},
        )
        return row["failures"], row["stalled_since"]

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
            state="queued",
            not_before=until,
            put_off_at=now,
            wait_reason=waiting,
            lease_owner=None,
            lease_until=None,
            attempts=0,
        )

    def hold_for_approval(self, run_id: int, owner: str, reason: str) -> None:
        """Hold a planned run until a person approves it."""
        self.write_run(run_id, owner, state="held", held_reason=reason, lease_owner=None, lease_until=None)

    def finish_run(self, run_id: int, owner: str, state: RunState, now: float, error: str | None = None) -> None:
        """End a run that is ours."""
        self.write_run(
            run_id,
            owner,
            state=state.value,
            finished_at=now,
            error=error,
            wait_reason=None,
            session_id=None,
            lease_owner=None,
            lease_until=None,
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
        """Let a held run go on, after a step with the next one, with its whole deadline; return False when it is not held."""
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
        """Ask the runner that has a run to end it; return False when it is over already."""
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
