"""The story of one run, from the claim to its end, whatever happens on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sync import members
from sync.engine.deliver import Delivery
from sync.engine.fold import fold_run
from sync.engine.interrupts import CancelRequested, RunPostponed, ShutdownRequested
from sync.engine.lease import RunLease
from sync.engine.plan import find_differences, write_plan
from sync.engine.pull import Incomplete, Pull
from sync.engine.retry import Clock, RetryPolicy
from sync.errors import CohortSyncError, ConfigurationError, InvalidRequest, LeaseLost, RetryLater
from sync.mixpanel.client import Mixpanel
from sync.model import Account, Project, Run, RunState, Sync, SyncState, guard_reason
from sync.store import StorageUnavailable, Store, explain_error
from sync.store.rate_limits import BATCHES_A_MINUTE
from sync.vault import Vault
from sync.webengage import WebEngage

logger = logging.getLogger(__name__)
MAX_ATTEMPTS = 20  # claims without any progress after which a run is given up
STORAGE_RETRY_SECONDS = 60.0  # seconds; a full disk or a locked file is looked at again then
SHRINK_FROM_MEMBERS = 20_000  # members; after smaller pulls the freed space is not worth the copying


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a story needs besides the store."""

    open_vault: Callable[[], Vault]
    clock: Clock
    policy: RetryPolicy
    is_stopping: Callable[[], bool]
    batches_a_minute: int = BATCHES_A_MINUTE
    page_size: int | None = None


class RunExecutor:
    """One run in our hands."""

    def __init__(self, store: Store, run: Run, owner: str, context: RunContext) -> None:
        """Carry this claimed run."""
        self._store, self._run, self._owner, self._context = store, run, owner, context
        self._lease = RunLease(
            store,
            run,
            owner,
            context.clock,
            context.policy,
            context.is_stopping,
            lambda content: self._vault.seal_bytes(content),
        )

    @cached_property
    def _vault(self) -> Vault:
        """Opened when it is needed: a lost key ends the run with its reason, and a run without it can be cancelled."""
        return self._context.open_vault()

    def execute(self) -> None:
        """Bring the run to its end, or leave it so that another claim can go on."""
        try:
            self._handle_outcome()
        except LeaseLost:
            logger.warning("run %s is in other hands now", self._run.id)
        except ShutdownRequested:
            self._store.runs.release_lease(self._run.id, self._owner)
        except StorageUnavailable as problem:
            self._handle_storage_error(problem)
        else:
            self._shrink_file()

    def _shrink_file(self) -> None:
        """Give the disk back what a large pull needed."""
        if (self._run.expected_total or 0) >= SHRINK_FROM_MEMBERS:
            self._store.shrink_file()

    def _handle_outcome(self) -> None:
        try:
            self._run_steps()
        except CancelRequested:
            self._cancel_run()
        except RunPostponed as later:
            self._postpone_run(later)
        except RetryLater as busy:
            self._postpone_run(RunPostponed(busy.seconds or self._context.policy.postpone_seconds, str(busy)))
        except ConfigurationError as problem:
            self._fail_run(str(problem), pause=True)
        except CohortSyncError as problem:
            if isinstance(problem, LeaseLost):
                raise
            self._fail_run(str(problem), pause=isinstance(problem, InvalidRequest))

    def _run_steps(self) -> None:
        if self._run.attempts > MAX_ATTEMPTS:
            self._fail_run(
                f"The run was begun {MAX_ATTEMPTS} times without getting any further; look at the runner's log.",
                pause=False,
            )
            return
        self._lease.renew_now()
        sync = self._get_sync()
        if self._run.state is RunState.PULLING and not self._pull_and_plan(sync):
            return
        self._deliver_changes(sync)
        self._finish_run(RunState.SUCCEEDED, "Succeeded.")

    def _get_sync(self) -> Sync:
        found = self._store.syncs.get_sync(self._run.sync_id)
        if found is None:
            raise InvalidRequest(f"Sync {self._run.sync_id} no longer exists.")
        return found

    def _pull_and_plan(self, sync: Sync) -> bool:
        """Read and compare; True when there is leave to deliver, False when the run is held."""
        salt = members.derive_salt(self._store.connections.get_salt(), sync.mapping)
        if self._run.purpose == "clear":
            return self._plan_changes(sync, None)
        self._tell_step("Reading the cohort from Mixpanel.")
        mixpanel = self._open_mixpanel(sync)
        pull = Pull(self._lease, sync, mixpanel, salt)
        for _ in range(2):
            self._run = pull.read_all()
            if not self._run.expected_total and not self._store.staged.sum_pages(self._run.id).rows:
                self._check_still_listed(sync, mixpanel)
            try:
                return self._plan_changes(sync, pull)
            except Incomplete as problem:
                self._add_event(f"Reading the cohort again: {problem}.")
                pull.restart()
        raise CohortSyncError(f"Mixpanel's answer for “{sync.cohort_name}” does not add up; nothing was changed.")

    def _check_still_listed(self, sync: Sync, mixpanel: Mixpanel) -> None:
        """When nobody was read, make sure the cohort exists: Mixpanel may answer for a deleted one as for an empty one.

        Without a query left this is skipped; the guard holds such a run anyway.
        """
        slot = self._store.rate_limits.acquire_query(sync.project_id, self._lease.now(), later_page=False)
        if slot.id is None:
            return
        try:
            listed = {one.id for one in mixpanel.list_cohorts()}
        finally:
            self._store.rate_limits.release_query(slot, self._lease.now())
        if sync.cohort_id not in listed:
            raise ConfigurationError(
                f"Cohort “{sync.cohort_name}” ({sync.cohort_id}) is gone from Mixpanel, or no longer shared with "
                "the project; nobody was told to have left. Share it again, or stop this sync."
            )

    def _plan_changes(self, sync: Sync, pull: Pull | None) -> bool:
        """Write the plan, all or nothing: batches, counts, and whether a person must say yes."""
        with self._store.transaction():
            self._lease.renew_now()
            if self._run.purpose == "resync":
                self._mark_everyone_in_flight(sync.id)
            tally = self._store.staged.sum_pages(self._run.id)
            found = find_differences(
                self._store, sync.id, self._run.id, max(tally.rows, self._store.snapshot.count_members(sync.id))
            )
            counts = write_plan(self._store, sync, self._run, found)
            if pull is not None:
                pull.check_people(found.distinct, counts.exited)
            size = self._store.snapshot.count_members(sync.id)
            self._lease.write_run(
                planned=1,
                state="delivering",
                entered=counts.entered,
                updated=counts.updated,
                exited=counts.exited,
                unchanged=found.same,
            )
            self._add_event(f"Planned: {counts.entered:,} enter, {counts.updated:,} updated, {counts.exited:,} leave.")
            why = self._hold_reason(sync, counts.exited, size, found.distinct)
            if why:
                self._store.runs.hold_for_approval(self._run.id, self._owner, why)
                self._add_event(f"Held: {why}")
        return why is None

    def _hold_reason(self, sync: Sync, exits: int, size: int, read: int) -> str | None:
        if self._run.dry_run:
            return "Dry run: nothing is sent until a person approves."
        if self._run.purpose == "clear" or not sync.guard_enabled or self._run.approved:
            return None
        return guard_reason(exits, size, read)

    def _mark_everyone_in_flight(self, sync_id: int) -> None:
        for number in self._store.snapshot.list_chunks(sync_id):
            marks, ids = self._store.snapshot.get_chunk(sync_id, number)
            self._store.snapshot.put_chunk(
                sync_id, number, members.IN_FLIGHT_MARK * (len(marks) // members.MARK_SIZE), ids
            )

    def _deliver_changes(self, sync: Sync) -> None:
        if self._store.batches.count_unconfirmed(self._run.id):
            self._tell_step("Telling WebEngage.")
            Delivery(
                self._lease, sync, self._open_webengage(sync), self._vault, self._context.batches_a_minute
            ).send_all()

    def _open_mixpanel(self, sync: Sync) -> Mixpanel:
        found = self._store.connections.get_project(sync.project_id)
        if found is None or found.sealed is None:
            raise ConfigurationError(
                f"Mixpanel project {sync.project_id} is not connected; connect it under Integrations."
            )
        view = found.view
        return Mixpanel(
            Project(view.id, view.name, view.username, self._vault.open_text(found.sealed), view.region),
            page_size=self._context.page_size,
        )

    def _open_webengage(self, sync: Sync) -> WebEngage:
        found = self._store.connections.get_account(sync.license_code)
        if found is None or found.sealed is None:
            raise ConfigurationError(
                f"WebEngage account {sync.license_code} is not connected; connect it under Integrations."
            )
        key = self._vault.open_text(found.sealed)
        return WebEngage(Account(found.view.license_code, key, found.view.data_center))

    def _finish_run(self, state: RunState, said: str, error: str | None = None) -> None:
        """End the run and fold what it told into the snapshot, in one transaction."""
        with self._store.transaction():
            delivered, rejected = fold_run(self._store, self._run.sync_id, self._run.id)
            self._lease.write_run(delivered=delivered, rejected=rejected)
            self._store.runs.finish_run(self._run.id, self._owner, state, self._lease.now(), error)
            self._add_event(said)
            self._close_one_time(state)

    def _close_one_time(self, state: RunState) -> None:
        sync = self._get_sync()
        if state is RunState.SUCCEEDED and sync.mode.value == "one-time" and sync.state is SyncState.ACTIVE:
            self._store.syncs.finish_sync(sync.id)

    def _cancel_run(self) -> None:
        """End the run, unless the person went back on the cancel in the meantime."""
        with self._store.transaction():
            if self._store.runs.renew_lease(self._run.id, self._owner, self._lease.now()):
                self._finish_run(RunState.CANCELLED, "Cancelled.")
            else:
                self._store.runs.release_lease(self._run.id, self._owner)

    def _fail_run(self, why: str, *, pause: bool) -> None:
        with self._store.transaction():
            self._finish_run(RunState.FAILED, f"Failed: {why}", why)
            if pause and self._store.syncs.pause_sync(self._run.sync_id, why):
                self._add_event("The sync is paused until a person mends this and resumes it.")

    def _postpone_run(self, later: RunPostponed) -> None:
        now = self._lease.now()
        until = now + later.seconds
        with self._store.transaction():
            self._store.runs.postpone_run(self._run.id, self._owner, now, until, later.reason)
            self._store.events.add_wait(later.reason, now, until, self._run.sync_id, self._run.id)

    def _handle_storage_error(self, problem: StorageUnavailable) -> None:
        """A full disk or a locked file: leave everything as it is and look again in a minute."""
        why = explain_error(problem)
        logger.error("run %s: %s", self._run.id, why)
        now = self._lease.now()
        try:
            self._store.runs.postpone_run(
                self._run.id,
                self._owner,
                now,
                now + STORAGE_RETRY_SECONDS,
                why,
            )
        except (StorageUnavailable, CohortSyncError):
            logger.error("run %s: left to its lease", self._run.id)

    def _tell_step(self, message: str) -> None:
        """Add that a step begins; not when it only begins again after a wait, which is counted on its own line."""
        if self._store.events.current_wait(self._run.id) is None:
            self._add_event(message)

    def _add_event(self, message: str) -> None:
        self._store.events.add_event(message, self._lease.now(), self._run.sync_id, self._run.id)
