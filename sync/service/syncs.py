"""Requests about syncs: start, pause, stop, change; each is one short transaction, and the runner does the work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sync.cadence import DailyTime
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import DAY, Mode, Run, RunState, Sync, SyncState, format_utc_time
from sync.permissions import AccessLevel, requires
from sync.records import CohortView, RunnerState, SyncView
from sync.service.base import CONNECT_AGAIN, ServiceState, Topic, name_cohort
from sync.service.cohorts import LIST_PATIENCE, CohortService, exportable_in
from sync.service.overdue import find_overdue
from sync.service.requests import (
    CADENCE_CHANGED,
    HALTED_MEANWHILE,
    Cadence,
    ExportRequests,
    check_cadence,
    choose_interval,
    describe_busy,
    describe_state,
    describe_terms,
)
from sync.service.runs import RunService
from sync.steps import Steps
from sync.store.export_requests import ExportRequest, Request
from sync.store.plan_history import join_people
from sync.store.runs import FirstSteps
from sync.views import Overdue, StartedExport


class SyncService(Topic):
    """Syncs: what is exported, how often, and when."""

    def __init__(self, state: ServiceState, *, cohorts: CohortService, runs: RunService) -> None:
        super().__init__(state)
        self._cohorts = cohorts
        self._runs = runs
        self._requests = ExportRequests(state, cohorts=cohorts)

    @requires(AccessLevel.MARKETER)
    def start_export(self, project_id: int | None, cohort_id: int, terms: ExportTerms) -> StartedExport:
        """Start Sync: create or change the cohort's sync and queue a run, in one transaction.

        Pressed twice, in two tabs, by two people: one run; ``started`` is true for the first. Raise InvalidRequest for
        terms that cannot be, when the cohort goes to another account than the person was shown, and when somebody
        stopped, paused, cancelled or took back its export since. A first export of over a fifth more people than were
        previewed is held.
        """
        check_cadence(terms.mode, terms.interval, terms.daily, terms.ends_at, self._state.now())
        first_steps = self._make_steps(terms.steps, terms.chosen)
        project = self._state.get_project(project_id).id
        shown = self._requests.find_last_halt(project, cohort_id) if terms.last_halt is None else terms.last_halt
        cohort = self._get_listed_cohort(project, cohort_id)
        with self._store.transaction():
            if shown != self._requests.find_last_halt(project, cohort_id):
                raise InvalidRequest(HALTED_MEANWHILE)
            export = self._requests.build_request(project, cohort, terms)
            request = export.terms
            known = self._store.syncs.get_sync_of_cohort(project, cohort_id)
            busy = self._store.runs.get_active(known.id) if known else None
            if known and busy:
                self._adjust_running_export(known, busy, request, terms.dry_run, first_steps)
                return StartedExport(busy.sync_id, busy.id, False)
            sync_id = known.id if known else self._create(export, is_tried=terms.dry_run or first_steps is not None)
            run_id = self._store.runs.enqueue_run(
                sync_id,
                "export",
                self._state.now(),
                dry_run=terms.dry_run,
                request=request.dump(),
                first_steps=first_steps,
            )
            if run_id is None:  # cannot be: no run was active, and the write lock is ours
                raise InvalidRequest("Another run of this cohort has just started; look at its progress.")
            self._note_export(export, known, request.apply(self._state.get_sync(sync_id)), run_id, terms.dry_run)
        return StartedExport(sync_id, run_id, True)

    def _note_export(self, export: ExportRequest, before: Sync | None, after: Sync, run_id: int, dry_run: bool) -> None:
        """Write the request into the history and the audit log."""
        mode, attribute = export.terms.mode.value, export.attribute
        self._state.add_event(f"Export requested: {mode}, attribute “{attribute}”.", after.id, run_id)
        terms = describe_terms(before) if before else "", describe_terms(after)
        self._state.add_audit_line(
            "dry run" if dry_run else "export", name_cohort(export.project_id, export.cohort_id), *terms, run_id
        )

    def _make_steps(self, steps: Steps | None, chosen: Iterable[str]) -> FirstSteps | None:
        """Return the first steps as a run holds them; raise InvalidRequest for steps nobody can mean."""
        people, hashes = join_people(chosen, self._store.connections.get_salt())
        if people:
            steps = replace(steps or Steps(), chosen=people)
        problem = steps.find_problem() if steps else None
        if problem:
            raise InvalidRequest(problem, "steps")
        return (steps.dump(), hashes) if steps else None

    def _create(self, request: ExportRequest, *, is_tried: bool) -> int:
        """Create the cohort's sync, return its id; nothing is refreshed before somebody approves what was only tried."""
        sync_id = self._store.syncs.create(request, self._state.now(), active=not is_tried)
        self._store.attributes.claim(
            request.license_code, sync_id, request.attribute, () if is_tried else request.terms.mapping or ()
        )
        return sync_id

    def _adjust_running_export(
        self, known: Sync, busy: Run, request: Request, dry_run: bool, first_steps: FirstSteps | None
    ) -> None:
        """Change what may change while a run is under way, the mode and the interval; raise InvalidRequest for the rest."""
        if busy.purpose == "clear":
            raise InvalidRequest(f"Run {busy.id} is clearing this cohort in WebEngage; export it again afterwards.")
        if busy.cancel_requested:
            raise InvalidRequest(
                f"Run {busy.id} of this cohort is still being cancelled; start again when it has ended."
            )
        if busy.purpose == "undo" or dry_run != busy.dry_run or busy.state is RunState.HELD:
            raise InvalidRequest(describe_busy(busy))
        if first_steps != self._store.plan_history.find_first_steps(busy.id):
            raise InvalidRequest(describe_busy(busy))
        before = Request.parse(busy.request)
        serving = before.apply(known) if before else known
        if request.mapping is not None and (request.mapping, request.forms) != (serving.mapping, serving.forms):
            raise InvalidRequest(
                f"Run {busy.id} of this cohort is under way with other properties; cancel it, or wait for its end.",
                "mapping",
            )
        if request.id_property not in (None, serving.id_property):
            raise InvalidRequest(
                f"Run {busy.id} of this cohort is under way with another User ID property; cancel it, or wait for its end.",
                "id_property",
            )
        if request.terms == (serving.mode, serving.interval_seconds, serving.daily, serving.ends_at) and (
            before or known.state is SyncState.ACTIVE
        ):
            return
        if busy.planned and not before:  # the plan went ahead already, also when the run is put off while it sends
            self._store.syncs.take_over(known.id, request, self._state.now())
        else:
            kept = before or request
            changed = replace(request, mapping=kept.mapping, forms=kept.forms, id_property=kept.id_property)
            self._store.runs.set_request(busy.id, changed.dump())
        self._state.add_audit_line(
            "change", f"sync {known.id}", describe_terms(serving), describe_terms(request.apply(serving)), busy.id
        )

    def _get_listed_cohort(self, project_id: int, cohort_id: int) -> CohortView:
        """Return the cohort as Mixpanel lists it now; as last listed when Mixpanel does not answer in time.

        One query and at most ``LIST_PATIENCE`` seconds, whatever Mixpanel does; nothing is asked a second time.
        """
        # raises at the click, not in the run, when the key is lost
        self._state.open_mixpanel(project_id)
        return exportable_in(self._cohorts.list(project_id, fresh=True, patience=LIST_PATIENCE), cohort_id)

    @requires(AccessLevel.VIEWER)
    def list(self, project_id: int | None = None) -> tuple[SyncView, ...]:
        """Return the syncs, newest first."""
        return self._store.syncs.list_views(project_id)

    @requires(AccessLevel.VIEWER)
    def get(self, sync_id: int) -> SyncView:
        """Return one sync; raise InvalidRequest when there is none."""
        self._state.get_sync(sync_id)
        return self._store.syncs.list_views(sync_id=sync_id)[0]

    @requires(AccessLevel.MARKETER)
    def refresh_now(self, sync_id: int) -> StartedExport:
        """Refresh a sync at once; a run that has yet to read the cohort counts as that.

        Raise InvalidRequest while a run is under way that read it before, or that will send nothing by itself, and when
        the sync was stopped and cleared. One that was only stopped is refreshed this once.
        """
        with self._store.transaction():
            busy = self._store.runs.get_active(sync_id)
            if busy and self._reads_and_sends(busy):
                return StartedExport(sync_id, busy.id, False)
            return self._start_run(sync_id, "refresh")

    def _reads_and_sends(self, run: Run) -> bool:
        ends = run.dry_run or run.steps or run.cancel_requested or run.purpose in ("clear", "undo")
        return not (ends or run.state is RunState.HELD or run.planned)

    def _start_run(self, sync_id: int, purpose: str) -> StartedExport:
        """Queue a run of a sync; raise InvalidRequest when it is paused or cleared, or another run is under way."""
        sync = self._state.get_sync(sync_id)
        if sync.state is SyncState.PAUSED:
            raise InvalidRequest("This sync is paused; resume it first.")
        self._state.require_connections(sync)
        busy = self._store.runs.get_active(sync_id)
        if busy is None and self.get(sync_id).is_cleared:
            raise InvalidRequest(
                "This sync was stopped and cleared, and this would send everybody to WebEngage again; to do that, "
                f"export cohort {sync.cohort_id} again."
            )
        run_id = self._store.runs.enqueue_run(sync_id, purpose, self._state.now())
        if run_id is None:
            raise InvalidRequest(
                describe_busy(busy) if busy else "Another run of this sync has just started; look at its progress."
            )
        self._state.add_event("Refresh requested.", sync_id, run_id)
        self._state.add_audit_line(purpose, f"sync {sync_id}", run_id=run_id)
        return StartedExport(sync_id, run_id, True)

    @requires(AccessLevel.MARKETER)
    def retry_rejected(self, sync_id: int) -> StartedExport:
        """Try everyone rejected once more, with a new reading of the cohort.

        Raise InvalidRequest while a run is under way, and when the sync was stopped and cleared.
        """
        with self._store.transaction():
            self._store.rejections.forgive(self._state.get_sync(sync_id).id)
            return self._start_run(sync_id, "retry")

    @requires(AccessLevel.MARKETER)
    def resync(self, sync_id: int) -> StartedExport:
        """Send every member again, whatever was sent before.

        Raise InvalidRequest while a run is under way, and when the sync was stopped and cleared.
        """
        with self._store.transaction():
            return self._start_run(sync_id, "resync")

    @requires(AccessLevel.MARKETER)
    def pause(self, sync_id: int, until: float | None = None) -> None:
        """Stop refreshing, for good or until a time, and end a run under way after what is in flight.

        Raise InvalidRequest when the sync is finished, and for a time when it could not go on then: it has no schedule,
        or is not connected.
        """
        reason = "Paused by a person." if until is None else f"Paused by a person until {format_utc_time(until)}."
        with self._store.transaction():
            before = self._state.get_sync(sync_id)
            if until is not None and (before.mode is not Mode.DYNAMIC or until <= self._state.now()):
                raise InvalidRequest(
                    "Only a dynamic sync can be paused until a time, and that must lie ahead.", "until"
                )
            if until is not None:
                self._state.require_connections(before)
            is_same = before.state is SyncState.PAUSED and before.resume_at is None and until is None
            kept = before.pause_reason if is_same else None  # that of a failure says what to mend
            if not self._store.syncs.pause_sync(sync_id, kept or reason, until):
                raise InvalidRequest("This sync is finished, so there is nothing to pause.")
            self._state.add_event(reason, sync_id)
            after = describe_state(self._state.get_sync(sync_id)) if until else "paused"
            self._state.add_audit_line("pause", f"sync {sync_id}", describe_state(before), after)
            active = self._store.runs.get_active(sync_id)
            if active:
                self._runs.cancel_alone(active.id)

    @requires(AccessLevel.MARKETER)
    def resume(self, sync_id: int) -> None:
        """Resume a paused sync: its schedule stays, and what a failure or pause left open runs now.

        Raise InvalidRequest when it is not paused, is exported once and its run is still being cancelled, or its time
        zone is not known here.
        """
        with self._store.transaction():
            sync = self._state.get_sync(sync_id)
            if sync.state is not SyncState.PAUSED:
                raise InvalidRequest(f"This sync is {sync.state.value}, so there is nothing to resume.")
            problem = _find_zone_problem(sync, self._state.now())
            if problem:
                raise InvalidRequest(problem)
            self._state.require_connections(sync)
            run_id = self._resume(sync, "Resumed by a person.")
            self._state.add_audit_line("resume", f"sync {sync_id}", describe_state(sync), "active", run_id)

    def _resume(self, sync: Sync, event: str) -> int | None:
        """Resume a sync and refresh it now, or when a run being cancelled has ended; return the run that was queued."""
        busy, now = self._store.runs.get_active(sync.id), self._state.now()
        is_ending = busy is not None and busy.cancel_requested
        if busy and is_ending and sync.mode is not Mode.DYNAMIC:
            raise InvalidRequest(f"Run {busy.id} of this cohort is still being cancelled; resume when it has ended.")
        self._store.syncs.resume_sync(sync, now, due_now=is_ending)
        run_id = None if is_ending else self._store.runs.enqueue_run(sync.id, "refresh", now)
        self._state.add_event(event, sync.id, run_id)
        return run_id

    @requires(AccessLevel.MARKETER)
    def stop(self, sync_id: int, clear: bool = False) -> StartedExport | None:
        """Finish a sync; with ``clear``, return the run that sends ``false`` for everyone exported."""
        with self._store.transaction():
            sync = self._state.get_sync(sync_id)
            active = self._store.runs.get_active(sync_id)
            if active and clear:
                raise InvalidRequest("A run is under way; cancel it first, then stop and clear.")
            if clear:
                self._state.require_connections(sync)
            self._store.syncs.finish_sync(sync.id)
            if active:
                self._runs.cancel_alone(active.id)
            self._state.add_event("Stopped by a person" + (", clearing WebEngage." if clear else "."), sync_id)
            run_id = self._store.runs.enqueue_run(sync_id, "clear", self._state.now()) if clear else None
            self._state.add_audit_line(
                "stop and clear" if clear else "stop", f"sync {sync_id}", sync.state.value, "finished", run_id
            )
        return StartedExport(sync_id, run_id, True) if run_id else None

    @requires(AccessLevel.MARKETER)
    def change_interval(
        self,
        sync_id: int,
        seconds: float,
        daily: DailyTime | None = None,
        ends_at: float | None = None,
        shown: Cadence | None = None,
    ) -> None:
        """Refresh a dynamic sync this often from now on, or at a time of day, until ``ends_at`` or with None for ever.

        ``shown``: what the person was shown. Raise InvalidRequest when somebody changed that since.
        """
        seconds = DAY if daily else seconds
        check_cadence(Mode.DYNAMIC, seconds, daily, ends_at, self._state.now())
        choose_interval(self._state.get_sync(sync_id).mode, seconds)
        with self._store.transaction():
            before = self._state.get_sync(sync_id)
            if before.state is SyncState.FINISHED:
                raise InvalidRequest("This sync is finished, so it has no interval; export the cohort again.", "every")
            if shown not in (None, (before.interval_seconds, before.daily, before.ends_at)):
                raise InvalidRequest(CADENCE_CHANGED)
            self._store.syncs.set_cadence(sync_id, seconds, daily, ends_at, self._state.now())
            self._store.open_requests.set_cadence(sync_id, seconds, daily, ends_at)
            self._state.add_audit_line(
                "change interval",
                f"sync {sync_id}",
                describe_terms(before),
                describe_terms(self._state.get_sync(sync_id)),
            )

    @requires(AccessLevel.VIEWER)
    def list_sizes(self, sync_id: int, limit: int) -> tuple[int, ...]:
        """Return how many people WebEngage held after each of a sync's last successful runs, newest first."""
        return self._store.run_history.list_sizes(sync_id, limit)

    @requires(AccessLevel.VIEWER)
    def list_overdue(self, sync_id: int | None = None) -> tuple[Overdue, ...]:
        """Return the late syncs (or the one named, if it is late), each with since when and why."""
        now = self._state.now()
        working = self._state.read_runner_state(now)[0] is RunnerState.WORKING
        return tuple(find_overdue(self._store, self._store.syncs.list_views(sync_id=sync_id), now, working=working))

    @requires(AccessLevel.ADMIN)
    def queue_due(self) -> int:
        """Queue a run for every dynamic sync whose time has come, and end pauses and syncs whose time is over.

        A refresh that nobody approved until the end of its sync, or that is held later, is cancelled. Return the number
        of runs. All or nothing.
        """
        now = self._state.now()
        if not (self._store.syncs.list_due(now) or self._store.approvals.list_too_late(now)):
            return 0
        with self._store.transaction():  # read again inside: one may have been paused in between
            queued = sum(self._queue_sync(sync, now) for sync in self._store.syncs.list_due(now))
            self._runs.cancel_too_late()
            return queued

    def _queue_sync(self, sync: Sync, now: float) -> bool:
        if sync.ends_at is not None and sync.ends_at <= now:
            self._store.syncs.finish_sync(sync.id)
            self._state.add_event(
                f"Finished: its last refresh was due before {format_utc_time(sync.ends_at)}.", sync.id
            )
            return False
        problem, is_pause_over = _find_zone_problem(sync, now), sync.resume_at is not None and sync.resume_at <= now
        if not problem and is_pause_over and (missing := self._state.find_disconnected(sync)):
            problem = f"{missing} {CONNECT_AGAIN}"
        if problem:  # a person is needed to go on; the other syncs are refreshed all the same
            self._store.syncs.pause_sync(sync.id, problem)
            self._state.add_event(f"Paused: {problem}", sync.id)
            return False
        if is_pause_over:
            return self._resume(sync, "Resumed: its pause was to end now.") is not None
        # A time farther away than the interval means that the clock was set back: only the schedule moves.
        is_due = sync.next_run_at is not None and sync.next_run_at <= now
        run_id = self._store.runs.enqueue_run(sync.id, "refresh", now) if is_due else None
        self._store.syncs.advance_schedule(sync, now)
        if run_id is not None:
            self._state.add_event("The refresh is due.", sync.id, run_id)
        return run_id is not None


def _find_zone_problem(sync: Sync, now: float) -> str:
    """Return that this machine does not know the time zone of a sync; empty when it does, or when there is none."""
    try:
        sync.find_next_run(now)
    except ValueError as problem:
        return str(problem)
    return ""
