"""The execution of one claimed run, whatever happens on the way."""

from __future__ import annotations

import logging
from dataclasses import replace

from sync.engine.approval import (
    build_plan_columns,
    describe_plan,
    dump_limits,
    explain_late_tripwires,
    explain_step,
    find_hold_reason,
    is_stale,
)
from sync.engine.clients import check_still_listed, is_connection_replaced, open_mixpanel, open_webengage
from sync.engine.delivery import Delivery
from sync.engine.doubles import count_in_both
from sync.engine.lease import RunContext, RunLease
from sync.engine.planning import Plan, Planner
from sync.engine.proof import explain_unproven, find_reading_problem, may_lack_people
from sync.engine.reading import OTHERS_KEPT, Reader
from sync.engine.retry import AccountAtFault, CancelRequested, Postpone, ShutdownRequested, TripwireFound
from sync.engine.undo import UndoPlanner, explain_pause
from sync.errors import CohortSyncError, ConfigurationError, InvalidRequest, LeaseLost, RetryLater
from sync.model import Run, RunState, Sync, SyncState, deadline_of, format_utc_time
from sync.store import Store
from sync.store.export_requests import Request
from sync.store.plan_history import join_hashes
from sync.store.recording import Recording, find_left_out
from sync.store.sqlite_errors import StorageUnavailable, explain_error
from sync.store.staged import PagesOutdated, Tally

logger = logging.getLogger(__name__)
MAX_CLAIMS = 20  # without any progress, after which a run is given up: each process that claims it dies
MAX_OWN_ERRORS = 3  # claims without progress after which an error of our own fails the run
STORAGE_PAUSE_SECONDS = 60.0  # a full disk or a locked file is looked at again then
SHRINK_FROM = 20_000  # members; after smaller readings the freed space is not worth the copying


class ReadAgain(Exception):
    """The first reading does not prove who is in the cohort; the plan it made is dropped."""


class RunExecutor:
    """Executes one claimed run."""

    def __init__(self, store: Store, run: Run, owner: str, context: RunContext) -> None:
        self._store, self._run, self._owner = store, run, owner
        self._lease = RunLease(store, run, owner, context)

    def execute(self) -> None:
        """Bring the run to its end, or leave it so that another claim can go on."""
        try:
            self._handle_outcome()
        except LeaseLost:
            logger.warning("run %s is in other hands now", self._run.id)
        except ShutdownRequested:
            self._store.runs.release_lease(self._run.id, self._owner, is_attempt=False)  # the run is not to blame
        except StorageUnavailable as problem:
            self._handle_storage_error(problem)
        except Exception as error:  # even the end failed: it is tried again when the lease ends, and is late until then
            self._store.runs.note_failure(self._run.id, self._owner, self._lease.now(), True)
            why = f"its end could not be recorded ({type(error).__name__}); look at the runner's log"
            self._lease.write(wait_reason=why)
            raise
        else:
            if (self._run.expected_total or 0) >= SHRINK_FROM:
                self._store.maintenance.shrink_file()

    def _handle_outcome(self) -> None:
        try:
            self._run_steps()
        except CancelRequested:
            self._end(self._record_sent(), RunState.CANCELLED, "Cancelled.")
        except Postpone as later:
            self._postpone(later)
        except RetryLater as busy:
            self._postpone(Postpone(busy.seconds, str(busy), failed=not busy.limit))
        except (StorageUnavailable, LeaseLost, ShutdownRequested):
            raise
        except CohortSyncError as problem:
            if isinstance(problem, ConfigurationError) and is_connection_replaced(self._lease):
                self._postpone(Postpone(None, "the connection was replaced meanwhile; it goes on with the new one"))
                return
            self._fail(
                str(problem),
                pause=isinstance(problem, ConfigurationError | InvalidRequest | AccountAtFault),
                blame_account=isinstance(problem, AccountAtFault),
            )
        except Exception as error:
            self._handle_own_error(error)

    def _run_steps(self) -> None:
        """Read, plan and send from where the run stands, until it ends or is held; raise what keeps it from that."""
        if self._run.attempts > MAX_CLAIMS:
            why = f"The run was started {MAX_CLAIMS} times without getting any further; look at the runner's log."
            raise CohortSyncError(why)
        self._lease.renew()
        sync = self._load_sync()
        if self._run.state is RunState.DELIVERING and is_stale(self._store, self._run, sync, self._lease.now()):
            if self._run.steps_sent or self._store.batches.any_sent(self._run.id):
                self._replace_by_new_run(sync)
                return
            self._begin_again()
        if self._run.state is RunState.PULLING:
            if not self._read_and_plan(sync):
                return
            sync = self._load_sync()
        try:
            self._deliver(sync)
        except TripwireFound as found:
            self._hold_for_tripwires(found)
            return
        if self._run.is_in_steps:
            self._hold_after_step(sync)
        else:
            self._end(self._record_sent(), RunState.SUCCEEDED, "Succeeded.")

    def _load_sync(self) -> Sync:
        """Return the sync of now with the request of this run applied, which people change while it reads.

        Raise InvalidRequest when it no longer exists.
        """
        found = self._store.syncs.get_sync(self._run.sync_id)
        current = self._store.runs.get_run(self._run.id)
        if found is None or current is None:
            raise InvalidRequest(f"Sync {self._run.sync_id} no longer exists.")
        self._run = self._lease.run = replace(self._run, request=current.request)
        request = Request.parse(current.request)
        return request.apply(found) if request else found

    def _replace_by_new_run(self, sync: Sync) -> None:
        """End a run whose rest is too old to be sent; a new one reads again and is held, since its plan is new."""
        recording = self._record_sent()
        with self._store.transaction():
            self._lease.renew()
            self._end(recording, RunState.CANCELLED, "The rest of the plan is too old to be sent as it is.")
            run_id = self._store.runs.enqueue_run(
                sync.id, "export", self._lease.now(), dry_run=True, request=self._run.request
            )
            self._store.events.add_event(
                f"Reads the cohort again, as the rest of run {self._run.id} was too old to be sent.",
                self._lease.now(),
                sync.id,
                run_id,
            )

    def _hold_after_step(self, sync: Sync) -> None:
        """Hold the run, since everything of this step was answered. Killed before: held when it is claimed again."""
        with self._store.transaction():
            self._lease.renew()
            self._lease.write(steps_sent=self._run.step)
            limit = self._run.limits[self._run.step - 1]
            reason = explain_step(
                sync,
                sent=self._store.batches.count_people(self._run.id, 0, limit),
                left=self._store.batches.count_people(self._run.id, limit),
            )
            self._hold(reason)

    def _hold_for_tripwires(self, found: TripwireFound) -> None:
        """Hold a run that has more to send; approved, it goes on with these people in the cohort."""
        with self._store.transaction():
            self._lease.renew()
            known = self._store.plan_history.list_tripped(self._run.id)
            self._lease.write(tripped=join_hashes(known | found.labels.keys()))
            current = self._store.runs.get_run(self._run.id) or self._run
            self._hold(explain_late_tripwires(current, found.reason))

    def _hold(self, reason: str) -> None:
        self._store.runs.hold_for_approval(self._run.id, self._owner, reason)
        self._add_event(f"Held: {reason}")

    def _begin_again(self) -> None:
        """Read and plan again; the plan that a person approved stays aside, to be compared with the new one."""
        with self._store.transaction():
            self._lease.renew()
            if self._run.approved:
                self._store.batches.set_aside(self._run.id)
            self._restart_reading(1)
            self._lease.write(planned=0, state="pulling")
            self._add_event("The plan is too old to be sent as it is, so the cohort is read again.")
        self._run = replace(self._run, state=RunState.PULLING)

    def _restart_reading(self, number: int) -> None:
        """Begin a reading from its first page; the second one leaves the first one's pages."""
        with self._store.transaction():
            self._lease.write(reading=number, session_id=None, page_size=None, expected_total=None, furthest=0)
            if number == 1:
                self._store.staged.delete_pages(self._run.id)
        self._run = self._lease.run = replace(
            self._run, reading=number, session_id=None, page_size=None, expected_total=None, furthest=0
        )

    def _read_and_plan(self, sync: Sync) -> bool:
        """Read and compare; True when the plan goes ahead, False when the run is held."""
        if self._run.purpose == "resync":
            with self._store.transaction():
                self._lease.renew()
                self._store.snapshot.unconfirm(sync.id)
        if self._run.purpose == "clear":
            return self._settle_plan(sync, self._plan(sync), None)
        if self._run.undoes is not None:
            return self._settle_plan(sync, UndoPlanner(self._lease, sync, self._run.undoes).write(), None)
        self._add_step("Reading the cohort from Mixpanel.")
        mixpanel = open_mixpanel(self._lease, sync)
        is_exact = False
        while True:
            reader = Reader(self._lease, sync, mixpanel, is_exact=is_exact)
            self._run = self._lease.run = reader.read()
            if not self._sum_pages().rows:
                check_still_listed(self._lease, sync, mixpanel)
            try:
                plan, problem = self._plan_proven(sync, reader.repeated_others)
                return self._settle_plan(sync, plan, problem)
            except ReadAgain as why:
                self._add_event(f"Reading the cohort again: {why}.")
                self._restart_reading(2)
            except PagesOutdated:
                # Somebody was forgotten meanwhile, or was taken by chance for somebody who was sent; or another export
                # chose how values are written.
                self._add_event("What the pages were compared with has changed, so the cohort is read again.")
                self._restart_reading(1)
                is_exact, sync = True, self._load_sync()

    def _sum_pages(self) -> Tally:
        return self._store.staged.sum_pages(self._run.id, self._run.reading)

    def _plan_proven(self, sync: Sync, repeated: int | None) -> tuple[Plan, str | None]:
        """Plan, and return why the readings do not prove it, or None.

        After two readings only who is missing from both leaves; who is in is said by the second one if it adds up to
        the total, by both otherwise.
        """
        tally = self._sum_pages()
        plan = self._plan(sync)
        in_both = 0
        if 0 < tally.others <= OTHERS_KEPT and any(plan.counts):
            in_both = count_in_both(self._store, self._run, sync)
        problem = find_reading_problem(tally, plan.members, (repeated or 0) + in_both)
        unproven = explain_unproven(tally, problem, repeated)
        if self._run.reading == 1:
            lacks_people = may_lack_people(tally, Request.parse(self._run.request), sum(plan.counts))
            if problem or lacks_people or (unproven and plan.leaving):
                raise ReadAgain(unproven)
            return plan, None
        if problem is None and not unproven:
            return plan, None
        plan = self._plan(sync, believe_last=False)
        if problem is None and tally.says_nothing and tally.full_then_empty and plan.leaving:
            # Some 1 in 1,000 cohorts ends so; so does one that is cut off by mistake each time.
            problem = f"Mixpanel said no total and ended with an empty page after {tally.rows:,} members"
        if problem is None:
            return plan, None
        if tally.rows == tally.total and not plan.leaving:
            return plan, None  # somebody is listed twice each time, and nobody would leave
        return plan, f"{problem}, twice; {plan.leaving:,} would be removed"

    def _plan(self, sync: Sync, *, believe_last: bool = True) -> Plan:
        return Planner(self._lease, sync, believe_last=believe_last).write()

    def _settle_plan(self, sync: Sync, plan: Plan, problem: str | None) -> bool:
        """Note that the run is planned: it goes ahead and the sync takes its request over, or it is held.

        Limits, guard and request count as they are now: a person may have changed them while the cohort was read.
        """
        tally, size = self._sum_pages(), self._store.snapshot.count_members(sync.id)
        with self._store.transaction():
            self._lease.renew()
            planned_for, sync = sync, self._load_sync()
            if self._run.purpose not in ("clear", "undo") and sync.forms != planned_for.forms:
                raise PagesOutdated
            reason = find_hold_reason(self._store, self._run, sync, plan, problem, size=size, read=tally.rows)
            self._lease.write(
                planned=1,
                planned_at=self._lease.now(),
                state="delivering",
                approved=int(self._run.approved and reason is None),
                **build_plan_columns(self._store, self._run, sync, plan, size=size, members=tally.rows),
            )
            self._run = replace(self._run, step_limits=dump_limits(plan))
            self._store.batches.drop_aside(self._run.id)
            self._store.rejections.forgive_removals(plan.returned, sync_id=sync.id)
            if sum(plan.counts):
                self._store.staged.strip(self._run.id)
                self._store.staged.add_others(self._run.id, plan.kept_out)
            self._lease.note_progress()
            for line in describe_plan(plan):
                self._add_event(line)
            if reason:
                self._hold(reason)
            else:
                self._take_over(sync)
        return reason is None

    def _take_over(self, sync: Sync) -> None:
        """Let the sync take over the request of its run, since the plan goes ahead; in steps, only with the last one."""
        self._store.attributes.claim(sync.license_code, sync.id, sync.attribute, sync.mapping, sync.forms)
        if self._run.is_in_steps:
            return
        request = Request.parse(self._run.request)
        if request:
            self._store.syncs.take_over(sync.id, request, self._lease.now())
        self._lease.write(request=None)
        self._run = replace(self._run, request=None)

    def _deliver(self, sync: Sync) -> None:
        if self._run.request:
            with self._store.transaction():
                self._lease.renew()
                self._take_over(self._load_sync())
        if self._store.batches.count_unconfirmed(self._run.id):
            self._add_step("Sending to WebEngage.")
            Delivery(self._lease, sync, open_webengage(self._lease, sync)).send_all()

    def _record_sent(self) -> Recording:
        """Record in the snapshot what the run sent, before it ends; killed in between, the next claim does it again."""
        current = self._store.runs.get_run(self._run.id) or self._run
        recording = Recording(self._store, current.sync_id, current.id, self._lease.salt)
        if current.planned:  # what a plan that was dropped, or not completed, wrote is no plan
            recording.record(lambda: self._store.runs.renew_lease(self._run.id, self._owner, self._lease.now()))
        return recording

    def _end(self, recording: Recording, state: RunState, event: str, error: str | None = None) -> None:
        """End the run and finish the recording, all or nothing; a one-time sync that succeeded is finished with it."""
        with self._store.transaction():
            current = self._store.runs.get_run(self._run.id) or self._run
            if not current.planned:
                self._lease.write(entered=0, updated=0, exited=0)
            outcome = recording.finish(find_left_out(self._store, current) if state is RunState.SUCCEEDED else None)
            self._lease.write(**outcome.counts)
            self._store.runs.finish_run(self._run.id, self._owner, state, self._lease.now(), error)
            self._add_event(event)
            sync = self._store.syncs.get_sync(self._run.sync_id)
            is_one_time = sync is not None and sync.interval_seconds is None and sync.state is SyncState.ACTIVE
            if is_one_time and state is RunState.SUCCEEDED:
                self._store.syncs.finish_sync(self._run.sync_id)

    def _fail(self, why: str, *, pause: bool, blame_account: bool = False) -> None:
        """Record what was sent and fail the run; killed in between, the next claim goes on with the run."""
        if blame_account:
            with self._store.transaction():
                self._store.rejections.drop(self._run.id)
                self._store.batches.unconfirm(self._run.id)  # nobody was taken: answered batches were refused ones
        recording = self._record_sent()
        with self._store.transaction():
            self._end(recording, RunState.FAILED, f"Failed: {why}", why)
            reason = explain_pause(self._run, why)
            pause = pause and (self._run.approved or not self._run.dry_run)  # otherwise the sync stays as it is
            if (pause or reason != why) and self._store.syncs.pause_sync(self._run.sync_id, reason):
                self._add_event("The sync is paused until a person corrects this and resumes it.")

    def _postpone(self, later: Postpone) -> None:
        """Put the run off, or give it up when it made no progress until its deadline."""
        now = self._lease.now()
        failures, since = self._store.runs.note_failure(self._run.id, self._owner, now, later.failed)
        sync = self._store.syncs.get_sync(self._run.sync_id)
        if sync and now - since > deadline_of(sync.interval_seconds):
            self._fail(f"No progress since {format_utc_time(since)}: {later.reason}", pause=False)
            return
        pause = self._lease.policy.postponement(failures)
        until = now + (pause if later.seconds is None else max(later.seconds, pause if later.failed else 0.0))
        with self._store.transaction():
            self._store.runs.postpone_run(self._run.id, self._owner, now, until, later.reason)
            self._store.events.add_wait(later.reason, now, until, self._run.sync_id, self._run.id)

    def _handle_own_error(self, error: Exception) -> None:
        """Retry after an error of our own a little later; fail the run at the third one."""
        logger.exception("run %s: unexpected", self._run.id)
        current = self._store.runs.get_run(self._run.id)
        if current and current.attempts < MAX_OWN_ERRORS:
            now = self._lease.now()
            until = now + self._lease.policy.postponement(1)
            self._lease.write(not_before=until, put_off_at=now, state="queued", wait_reason="an unexpected error")
            self._store.runs.release_lease(self._run.id, self._owner)
            return
        self._fail(
            f"An unexpected error ({type(error).__name__}) ended the run; look at the runner's log.", pause=False
        )

    def _handle_storage_error(self, problem: StorageUnavailable) -> None:
        """Leave everything as it is and look again in a minute."""
        why, now = explain_error(problem), self._lease.now()
        logger.error("run %s: %s", self._run.id, why)
        try:
            self._store.runs.postpone_run(self._run.id, self._owner, now, now + STORAGE_PAUSE_SECONDS, why)
        except (StorageUnavailable, CohortSyncError):
            logger.error("run %s: left to its lease", self._run.id)

    def _add_step(self, what: str) -> None:
        """Add that a step begins; not when it only begins again after a wait, which is counted on its own line."""
        if self._store.events.current_wait(self._run.id) is None:
            self._add_event(what)

    def _add_event(self, what: str) -> None:
        self._store.events.add_event(what, self._lease.now(), self._run.sync_id, self._run.id)
