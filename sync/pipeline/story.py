"""The story of one run, from the claim to its end, whatever happens on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sync import members
from sync.errors import CohortSyncError, FixSettings, LeaseLost, Refused, Wait
from sync.mixpanel import Mixpanel
from sync.model import Account, Project, Run, RunState, Sync, SyncState, too_many_leave
from sync.pipeline.deliver import Delivery
from sync.pipeline.ends import CancelWanted, Clock, Policy, Snooze, StopWanted
from sync.pipeline.fold import fold
from sync.pipeline.holder import Holder
from sync.pipeline.plan import differences, write_plan
from sync.pipeline.pull import Incomplete, Pull
from sync.store import StorageTrouble, Store, explain
from sync.store.meters import BATCHES_A_MINUTE
from sync.vault import Vault
from sync.webengage import WebEngage

logger = logging.getLogger(__name__)
ATTEMPTS = 20  # claims without any progress after which a run is given up
STORAGE_SNOOZE = 60.0  # seconds; a full disk or a locked file is looked at again then
SHRINK_FROM = 20_000  # members; after smaller pulls the freed space is not worth the copying


@dataclass(frozen=True, slots=True)
class Tools:
    """What a story needs besides the store."""

    open_vault: Callable[[], Vault]
    clock: Clock
    policy: Policy
    stopping: Callable[[], bool]
    a_minute: int = BATCHES_A_MINUTE
    page_size: int | None = None


class Story:
    """One run in our hands."""

    def __init__(self, store: Store, run: Run, owner: str, tools: Tools) -> None:
        """Carry this claimed run."""
        self._store, self._run, self._owner, self._tools = store, run, owner, tools
        self._holder = Holder(
            store,
            run,
            owner,
            tools.clock,
            tools.policy,
            tools.stopping,
            lambda content: self._vault.seal_bytes(content),
        )

    @cached_property
    def _vault(self) -> Vault:
        """Opened when it is needed: a lost key ends the run with its reason, and a run without it can be cancelled."""
        return self._tools.open_vault()

    def carry(self) -> None:
        """Bring the run to its end, or leave it so that another claim can go on."""
        try:
            self._chapters()
        except LeaseLost:
            logger.warning("run %s is in other hands now", self._run.id)
        except StopWanted:
            self._store.runs.let_go(self._run.id, self._owner)
        except StorageTrouble as problem:
            self._storage_trouble(problem)
        else:
            self._tidy()

    def _tidy(self) -> None:
        """Give the disk back what a large pull needed."""
        if (self._run.expected or 0) >= SHRINK_FROM:
            self._store.shrink()

    def _chapters(self) -> None:
        try:
            self._work()
        except CancelWanted:
            self._cancel()
        except Snooze as later:
            self._snooze(later)
        except Wait as busy:
            self._snooze(Snooze(busy.seconds or self._tools.policy.snooze, str(busy)))
        except FixSettings as problem:
            self._fail(str(problem), pause=True)
        except CohortSyncError as problem:
            if isinstance(problem, LeaseLost):
                raise
            self._fail(str(problem), pause=isinstance(problem, Refused))

    def _work(self) -> None:
        if self._run.attempts > ATTEMPTS:
            self._fail(
                f"The run was begun {ATTEMPTS} times without getting any further; look at the runner's log.",
                pause=False,
            )
            return
        self._holder.hold_now()
        sync = self._sync()
        if self._run.state is RunState.PULLING and not self._pull_and_plan(sync):
            return
        self._deliver(sync)
        self._end(RunState.SUCCEEDED, "Succeeded.")

    def _sync(self) -> Sync:
        found = self._store.syncs.get(self._run.sync_id)
        if found is None:
            raise Refused(f"Sync {self._run.sync_id} no longer exists.")
        return found

    def _pull_and_plan(self, sync: Sync) -> bool:
        """Read and compare; True when there is leave to deliver, False when the run is held."""
        salt = members.salt_for(self._store.connections.salt(), sync.mapping)
        if self._run.purpose == "clear":
            return self._plan(sync, None)
        self._tell_step("Reading the cohort from Mixpanel.")
        mixpanel = self._mixpanel(sync)
        pull = Pull(self._holder, sync, mixpanel, salt)
        for _ in range(2):
            self._run = pull.carry()
            if not self._run.expected and not self._store.staged.tally(self._run.id).rows:
                self._still_listed(sync, mixpanel)
            try:
                return self._plan(sync, pull)
            except Incomplete as problem:
                self._tell(f"Reading the cohort again: {problem}.")
                pull.begin_anew()
        raise CohortSyncError(f"Mixpanel's answer for “{sync.cohort_name}” does not add up; nothing was changed.")

    def _still_listed(self, sync: Sync, mixpanel: Mixpanel) -> None:
        """When nobody was read, make sure the cohort exists: Mixpanel may answer for a deleted one as for an empty one.

        Without a query left this is skipped; the guard holds such a run anyway.
        """
        ticket = self._store.meters.take_query(sync.project_id, self._holder.now(), later_page=False)
        if ticket.id is None:
            return
        try:
            listed = {one.id for one in mixpanel.cohorts()}
        finally:
            self._store.meters.landed(ticket, self._holder.now())
        if sync.cohort_id not in listed:
            raise FixSettings(
                f"Cohort “{sync.cohort_name}” ({sync.cohort_id}) is gone from Mixpanel, or no longer shared with "
                "the project; nobody was told to have left. Share it again, or stop this sync."
            )

    def _plan(self, sync: Sync, pull: Pull | None) -> bool:
        """Write the plan, all or nothing: batches, counts, and whether a person must say yes."""
        with self._store.transaction():
            self._holder.hold_now()
            if self._run.purpose == "resync":
                self._doubt_everyone(sync.id)
            tally = self._store.staged.tally(self._run.id)
            found = differences(self._store, sync.id, self._run.id, max(tally.rows, self._store.snapshot.size(sync.id)))
            counts = write_plan(self._store, sync, self._run, found)
            if pull is not None:
                pull.check_people(found.distinct, counts.exited)
            size = self._store.snapshot.size(sync.id)
            self._holder.write(
                planned=1,
                state="delivering",
                entered=counts.entered,
                updated=counts.updated,
                exited=counts.exited,
                unchanged=found.same,
            )
            self._tell(f"Planned: {counts.entered:,} enter, {counts.updated:,} updated, {counts.exited:,} leave.")
            why = self._hold_reason(sync, counts.exited, size, found.distinct)
            if why:
                self._store.runs.park(self._run.id, self._owner, why)
                self._tell(f"Held: {why}")
        return why is None

    def _hold_reason(self, sync: Sync, exits: int, size: int, read: int) -> str | None:
        if self._run.dry:
            return "Dry run: nothing is sent until a person approves."
        if self._run.purpose == "clear" or not sync.guard or self._run.approved:
            return None
        return too_many_leave(exits, size, read)

    def _doubt_everyone(self, sync_id: int) -> None:
        for number in self._store.snapshot.chunks(sync_id):
            marks, ids = self._store.snapshot.chunk(sync_id, number)
            self._store.snapshot.put(sync_id, number, members.IN_DOUBT * (len(marks) // members.MARK_SIZE), ids)

    def _deliver(self, sync: Sync) -> None:
        if self._store.batches.left(self._run.id):
            self._tell_step("Telling WebEngage.")
            Delivery(self._holder, sync, self._webengage(sync), self._vault, self._tools.a_minute).carry()

    def _mixpanel(self, sync: Sync) -> Mixpanel:
        found = self._store.connections.project(sync.project_id)
        if found is None or found.sealed is None:
            raise FixSettings(f"Mixpanel project {sync.project_id} is not connected; connect it under Integrations.")
        view = found.view
        return Mixpanel(
            Project(view.id, view.name, view.username, self._vault.open_sealed(found.sealed), view.region),
            page_size=self._tools.page_size,
        )

    def _webengage(self, sync: Sync) -> WebEngage:
        found = self._store.connections.account(sync.license_code)
        if found is None or found.sealed is None:
            raise FixSettings(f"WebEngage account {sync.license_code} is not connected; connect it under Integrations.")
        key = self._vault.open_sealed(found.sealed)
        return WebEngage(Account(found.view.license_code, key, found.view.data_center))

    def _end(self, state: RunState, said: str, error: str | None = None) -> None:
        """End the run and fold what it told into the snapshot, in one transaction."""
        with self._store.transaction():
            delivered, rejected = fold(self._store, self._run.sync_id, self._run.id)
            self._holder.write(delivered=delivered, rejected=rejected)
            self._store.runs.finish(self._run.id, self._owner, state, self._holder.now(), error)
            self._tell(said)
            self._close_one_time(state)

    def _close_one_time(self, state: RunState) -> None:
        sync = self._sync()
        if state is RunState.SUCCEEDED and sync.mode.value == "one-time" and sync.state is SyncState.ACTIVE:
            self._store.syncs.end(sync.id)

    def _cancel(self) -> None:
        """End the run, unless the person went back on the cancel in the meantime."""
        with self._store.transaction():
            if self._store.runs.hold(self._run.id, self._owner, self._holder.now()):
                self._end(RunState.CANCELLED, "Cancelled.")
            else:
                self._store.runs.let_go(self._run.id, self._owner)

    def _fail(self, why: str, *, pause: bool) -> None:
        with self._store.transaction():
            self._end(RunState.FAILED, f"Failed: {why}", why)
            if pause and self._store.syncs.pause(self._run.sync_id, why):
                self._tell("The sync is paused until a person mends this and resumes it.")

    def _snooze(self, later: Snooze) -> None:
        now = self._holder.now()
        until = now + later.seconds
        with self._store.transaction():
            self._store.runs.snooze(self._run.id, self._owner, now, until, later.why)
            self._store.history.add_wait(later.why, now, until, self._run.sync_id, self._run.id)

    def _storage_trouble(self, problem: StorageTrouble) -> None:
        """A full disk or a locked file: leave everything as it is and look again in a minute."""
        why = explain(problem)
        logger.error("run %s: %s", self._run.id, why)
        now = self._holder.now()
        try:
            self._store.runs.snooze(
                self._run.id,
                self._owner,
                now,
                now + STORAGE_SNOOZE,
                why,
            )
        except (StorageTrouble, CohortSyncError):
            logger.error("run %s: left to its lease", self._run.id)

    def _tell_step(self, what: str) -> None:
        """Add that a step begins; not when it only begins again after a wait, which is counted on its own line."""
        if self._store.history.current_wait(self._run.id) is None:
            self._tell(what)

    def _tell(self, what: str) -> None:
        self._store.history.tell(what, self._holder.now(), self._run.sync_id, self._run.id)
