"""What a person can ask of syncs and runs; each wish is one short transaction, the runner does the work."""

from __future__ import annotations

from collections.abc import Iterator

from sync.errors import InvalidRequest
from sync.model import (
    DEFAULT_INTERVAL,
    MAX_ATTRIBUTES,
    MAX_INTERVAL,
    MIN_INTERVAL,
    ChangeKind,
    Mode,
    Run,
    RunState,
    Sync,
    SyncState,
    find_mapping_problem,
    suggest_attribute,
)
from sync.model import find_attribute_problem as problem_of
from sync.permissions import AccessLevel, requires
from sync.service.cohorts import LIST_PATIENCE, CohortService, exportable_in
from sync.store.syncs import ExportRequest
from sync.views import CohortView, Event, ExportRow, RejectionView, StartedExport, SyncView

OPERATIONS = {ChangeKind.ADD: "add", ChangeKind.UPDATE: "update", ChangeKind.REMOVE: "remove"}
OUTCOMES = {"pending": "not sent", "in_flight": "in doubt", "confirmed": "accepted"}


def _describe_terms(sync: Sync) -> str:
    """Write for the audit what a sync sends, to whom and how often."""
    often = f"dynamic, every {sync.interval_seconds:.0f} s" if sync.interval_seconds else sync.mode.value
    values = ", ".join(f"{source} as {target}" for source, target in sync.mapping)
    sent = f"membership and {values}" if values else "membership only"
    guard = "on" if sync.guard_enabled else "off"
    return f"{often}; account {sync.license_code}; attribute {sync.attribute}; {sent}; guard {guard}; {_describe_state(sync)}"


def _describe_state(sync: Sync) -> str:
    return f"{sync.state.value}: {sync.pause_reason}" if sync.pause_reason else sync.state.value


def _describe_busy(run: Run) -> str:
    """Write why a run that is under way cannot do what is asked for now, and what to do."""
    name = f"Run {run.id} of this cohort"
    if run.cancel_requested:
        return f"{name} is still being cancelled; ask again when it has ended."
    if run.state is RunState.HELD:
        return f"{name} is held and waits for a decision; approve or cancel it, then ask again."
    what = "a dry run, which sends nothing by itself, and is under way" if run.dry_run else "under way"
    return f"{name} is {what}; nothing was changed. Wait for its end, or cancel it, then ask again."


class SyncService(CohortService):
    """Exports, pauses, cancels and approvals; and the history."""

    @requires(AccessLevel.MARKETER)
    def start_export(
        self,
        project_id: int | None,
        cohort_id: int,
        mode: Mode,
        attribute: str | None = None,
        interval: float | None = None,
        dry_run: bool = False,
        mapping: tuple[tuple[str, str], ...] | None = None,
        license_code: str | None = None,
    ) -> StartedExport:
        """Start Sync: make or change the cohort's sync and queue a run, in one transaction.

        Pressed twice, in two tabs, by two people: one run; ``started`` tells who was first.
        ``mapping`` pairs profile properties with WebEngage attributes; None keeps what was chosen before.
        ``license_code`` is the account the person was shown; InvalidRequest when it is another one by now.
        """
        project = self._get_project(project_id).view.id
        cohort = self._get_listed_cohort(project, cohort_id)
        with self._store.transaction():
            request = self._build_request(project, cohort, mode, attribute, interval, mapping)
            if license_code not in (None, request.license_code):
                raise InvalidRequest(
                    f"This cohort would go to WebEngage account {request.license_code} now; look at it again."
                )
            known = self._store.syncs.get_sync_of_cohort(project, cohort_id)
            busy = self._store.runs.get_active(known.id) if known else None
            if known and busy:
                self._adjust_running_export(known, busy, request, dry_run)
                return StartedExport(busy.sync_id, busy.id, False)
            sync_id = self._store.syncs.save_sync(request, self._now())
            run_id = self._store.runs.enqueue_run(sync_id, "export", self._now(), dry_run=dry_run)
            if run_id is None:  # cannot be: no run was active, and the write lock is ours
                raise InvalidRequest("Another run of this cohort has just begun; look at its progress.")
            self._add_event(f"Export asked for: {mode.value}, attribute “{request.attribute}”.", sync_id, run_id)
            before, after = _describe_terms(known) if known else "", _describe_terms(self._get_sync(sync_id))
            self._add_audit_line("dry run" if dry_run else "export", f"cohort {cohort_id}", before, after, run_id)
        return StartedExport(sync_id, run_id, True)

    def _adjust_running_export(self, known: Sync, busy: Run, request: ExportRequest, dry_run: bool) -> None:
        """Take over what may change while a run is under way, the mode and the interval; InvalidRequest for the rest."""
        if busy.purpose == "clear":
            raise InvalidRequest(
                f"Run {busy.id} is telling WebEngage that everybody left this cohort; export it again afterwards."
            )
        if busy.cancel_requested:
            raise InvalidRequest(
                f"Run {busy.id} of this cohort is still being cancelled; start again when it has ended."
            )
        if dry_run != busy.dry_run or busy.state is RunState.HELD:
            raise InvalidRequest(_describe_busy(busy))
        if request.mapping not in (None, known.mapping):
            raise InvalidRequest(
                f"Run {busy.id} of this cohort is under way with other properties; cancel it, or wait for its end.",
                "mapping",
            )
        if (request.mode, request.interval_seconds) != (known.mode, known.interval_seconds):
            self._store.syncs.save_sync(request, self._now())
            self._add_audit_line(
                "change", f"sync {known.id}", _describe_terms(known), _describe_terms(self._get_sync(known.id)), busy.id
            )

    def _get_listed_cohort(self, project_id: int, cohort_id: int) -> CohortView:
        """The cohort as Mixpanel lists it right now; as last listed when Mixpanel cannot say in time.

        One query and ``LIST_PATIENCE`` seconds, whatever Mixpanel does; nothing is asked a second time.
        """
        self._open_mixpanel(self._get_project(project_id))  # a lost key is said at the click, not by the run
        return exportable_in(self.list_cohorts(project_id, fresh=True, patience=LIST_PATIENCE), cohort_id)

    def _build_request(
        self,
        project_id: int,
        cohort: CohortView,
        mode: Mode,
        attribute: str | None,
        interval: float | None,
        mapping: tuple[tuple[str, str], ...] | None,
    ) -> ExportRequest:
        known = self._store.syncs.get_sync_of_cohort(project_id, cohort.id)
        license_code = known.license_code if known else self._account_of(self._get_project(project_id).view)
        if known and self._store.connections.get_account(license_code) is None:
            raise InvalidRequest(
                f"WebEngage account {license_code}, where this cohort goes, is not connected; "
                "connect it under Integrations."
            )
        taken = self._store.syncs.taken_attributes(license_code, known.id if known else None)
        name = (
            attribute
            if attribute is not None
            else (known.attribute if known else suggest_attribute(cohort.name, taken))
        )
        problem = self.check_attribute(project_id, cohort.id, name) if known else problem_of(name, taken)
        if problem:
            raise InvalidRequest(problem, "attribute")
        if not known and len(taken) >= MAX_ATTRIBUTES:
            raise InvalidRequest(
                f"WebEngage account {license_code} already has {len(taken)} cohort attributes, and WebEngage holds "
                f"{MAX_ATTRIBUTES} of this type; the next would be dropped without a word. Use another account."
            )
        targets = [target for _, target in mapping or ()]
        for target in targets:
            if targets.count(target) > 1:
                raise InvalidRequest(
                    f"Two properties go to “{target}”, and only one of them could arrive; choose one.", "mapping"
                )
            if target == name or find_mapping_problem(target):
                raise InvalidRequest(
                    find_mapping_problem(target) or f"“{target}” is the cohort's own attribute.", "mapping"
                )
        if interval is not None and mode is not Mode.DYNAMIC:
            raise InvalidRequest("A one-time export is never refreshed, so it has no interval.", "every")
        if interval is not None and not MIN_INTERVAL <= interval <= MAX_INTERVAL:
            raise InvalidRequest("A cohort is refreshed at least every 30 days and at most every 5 minutes.", "every")
        beat = (interval or DEFAULT_INTERVAL) if mode is Mode.DYNAMIC else None
        return ExportRequest(project_id, cohort.id, cohort.name, license_code, name, mode, beat, mapping)

    @requires(AccessLevel.VIEWER)
    def list_syncs(self, project_id: int | None = None) -> tuple[SyncView, ...]:
        """The syncs, newest first."""
        return self._store.syncs.list_views(project_id)

    @requires(AccessLevel.VIEWER)
    def get_sync(self, sync_id: int) -> SyncView:
        """One sync; InvalidRequest when there is none."""
        self._get_sync(sync_id)
        return self._store.syncs.list_views(sync_id=sync_id)[0]

    @requires(AccessLevel.MARKETER)
    def sync_now(self, sync_id: int) -> StartedExport:
        """Refresh a sync at once; a run that has yet to read the cohort counts as that.

        Refused while a run is under way that read it before, or that will send nothing by itself.
        """
        with self._store.transaction():
            busy = self._store.runs.get_active(sync_id)
            if busy and self._reads_and_sends(busy):
                return StartedExport(sync_id, busy.id, False)
            return self._start_run(sync_id, "refresh")

    def _reads_and_sends(self, run: Run) -> bool:
        ends = run.dry_run or run.cancel_requested or run.purpose == "clear"
        return not (ends or run.state is RunState.HELD or self._store.runs.is_planned(run.id))

    def _start_run(self, sync_id: int, purpose: str) -> StartedExport:
        """Queue a run of a sync; InvalidRequest when it is paused or another run is under way."""
        if self._get_sync(sync_id).state is SyncState.PAUSED:
            raise InvalidRequest("This sync is paused; resume it first.")
        busy = self._store.runs.get_active(sync_id)
        run_id = self._store.runs.enqueue_run(sync_id, purpose, self._now())
        if run_id is None:
            raise InvalidRequest(
                _describe_busy(busy) if busy else "Another run of this sync has just begun; look at its progress."
            )
        self._add_event("Refresh asked for.", sync_id, run_id)
        self._add_audit_line(purpose, f"sync {sync_id}", run_id=run_id)
        return StartedExport(sync_id, run_id, True)

    @requires(AccessLevel.MARKETER)
    def retry_rejected(self, sync_id: int) -> StartedExport:
        """Try everyone rejected once more, with a new reading of the cohort; Refused while a run is under way."""
        with self._store.transaction():
            self._store.batches.deactivate_rejections(self._get_sync(sync_id).id)
            return self._start_run(sync_id, "retry")

    @requires(AccessLevel.MARKETER)
    def resync(self, sync_id: int) -> StartedExport:
        """Send every member again, whatever was sent before; Refused while a run is under way."""
        with self._store.transaction():
            return self._start_run(sync_id, "resync")

    @requires(AccessLevel.MARKETER)
    def pause(self, sync_id: int) -> None:
        """Stop refreshing, and end a run under way after what is in flight."""
        with self._store.transaction():
            before = self._get_sync(sync_id)
            if not self._store.syncs.pause_sync(sync_id, "Paused by a person."):
                raise InvalidRequest("This sync is finished, so there is nothing to pause.")
            self._add_event("Paused by a person.", sync_id)
            self._add_audit_line("pause", f"sync {sync_id}", _describe_state(before), "paused")
            active = self._store.runs.get_active(sync_id)
            if active:
                self._cancel_run(active)

    @requires(AccessLevel.MARKETER)
    def resume(self, sync_id: int) -> None:
        """Go on: the next beat comes as before, and what a failure or pause left open runs now."""
        with self._store.transaction():
            sync = self._get_sync(sync_id)
            if sync.state is not SyncState.PAUSED:
                raise InvalidRequest(f"This sync is {sync.state.value}, so there is nothing to resume.")
            self._store.syncs.resume_sync(sync, self._now())
            if self._store.runs.enqueue_run(sync_id, "refresh", self._now()) is None:
                self._store.runs.withdraw_cancel(sync_id)  # the run the pause was to end has not ended yet: it goes on
            self._add_event("Resumed by a person.", sync_id)
            self._add_audit_line("resume", f"sync {sync_id}", _describe_state(sync), "active")

    @requires(AccessLevel.MARKETER)
    def stop(self, sync_id: int, clear: bool = False) -> StartedExport | None:
        """Never refresh again; with ``clear`` everyone exported is told ``false`` first."""
        with self._store.transaction():
            sync = self._get_sync(sync_id)
            active = self._store.runs.get_active(sync_id)
            if active and clear:
                raise InvalidRequest("A run is under way; cancel it first, then stop and clear.")
            if active:
                self._cancel_run(active)
            self._store.syncs.finish_sync(sync.id)
            self._add_event("Stopped by a person" + (", clearing WebEngage." if clear else "."), sync_id)
            run_id = self._store.runs.enqueue_run(sync_id, "clear", self._now()) if clear else None
            self._add_audit_line(
                "stop and clear" if clear else "stop", f"sync {sync_id}", sync.state.value, "finished", run_id
            )
        return StartedExport(sync_id, run_id, True) if run_id else None

    @requires(AccessLevel.MARKETER)
    def change_interval(self, sync_id: int, seconds: float) -> None:
        """Refresh a dynamic sync this often from now on."""
        if not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
            raise InvalidRequest("A cohort is refreshed at least every 30 days and at most every 5 minutes.", "every")
        if self._get_sync(sync_id).mode is not Mode.DYNAMIC:
            raise InvalidRequest("A one-time export is never refreshed, so it has no interval.", "every")
        with self._store.transaction():
            before = self._get_sync(sync_id)
            if before.state is SyncState.FINISHED:
                raise InvalidRequest("This sync is finished, so it has no interval; export the cohort again.", "every")
            self._store.syncs.set_interval(sync_id, seconds, self._now())
            self._add_audit_line(
                "change interval", f"sync {sync_id}", _describe_terms(before), _describe_terms(self._get_sync(sync_id))
            )

    @requires(AccessLevel.VIEWER)
    def list_runs(
        self,
        sync_id: int | None = None,
        state: RunState | None = None,
        limit: int = 25,
        offset: int = 0,
        project_id: int | None = None,
    ) -> tuple[Run, ...]:
        """Runs, newest first."""
        return self._store.runs.list_runs(sync_id, state.value if state else None, limit, offset, project_id)

    @requires(AccessLevel.VIEWER)
    def count_runs(
        self, sync_id: int | None = None, state: RunState | None = None, project_id: int | None = None
    ) -> int:
        """How many runs there are."""
        return self._store.runs.count_runs(sync_id, state.value if state else None, project_id)

    @requires(AccessLevel.VIEWER)
    def list_sizes(self, sync_id: int, limit: int) -> tuple[int, ...]:
        """How many people WebEngage held after each of a sync's last successful runs, newest first."""
        return self._store.runs.list_sizes(sync_id, limit)

    @requires(AccessLevel.VIEWER)
    def get_run(self, run_id: int) -> Run:
        """One run; InvalidRequest when there is none."""
        found = self._store.runs.get_run(run_id)
        if found is None:
            raise InvalidRequest(f"There is no run {run_id}; look at the list of runs.")
        return found

    @requires(AccessLevel.MARKETER)
    def cancel(self, run_id: int) -> None:
        """End a run: at once when nothing was sent, otherwise after what is in flight."""
        with self._store.transaction():
            run = self.get_run(run_id)
            if run.state.is_final:
                raise InvalidRequest(f"Run {run_id} has already {run.state.value}.")
            self._cancel_run(run)

    def _cancel_run(self, run: Run) -> None:
        self._add_audit_line("cancel", f"run {run.id}", run.state.value, run_id=run.id)
        self._add_event("Cancel asked for.", run.sync_id, run.id)
        if self._store.runs.cancel_if_unsent(run.id, self._now()):
            self._store.batches.delete_batches(run.id)
            self._store.staged.delete_pages(run.id)
            self._add_event("Cancelled before anything was sent.", run.sync_id, run.id)
        else:
            self._store.runs.request_cancel(run.id)

    @requires(AccessLevel.MARKETER)
    def approve(self, run_id: int, always: bool = False) -> None:
        """Say yes to a held run; ``always`` lifts the guard of its sync for good."""
        with self._store.transaction():
            run = self.get_run(run_id)
            if run.cancel_requested:
                raise InvalidRequest(f"Run {run_id} is being cancelled, so there is nothing to approve.")
            if not self._store.runs.approve_run(run_id, self._now()):
                raise InvalidRequest(f"Run {run_id} is {run.state.value}, so there is nothing to approve.")
            if always:
                self._lift_guard(run)
            self._add_audit_line(
                "approve", f"run {run_id}", run.held_reason or "", "always" if always else "once", run_id
            )
            self._add_event("Approved by a person" + (", now and always." if always else "."), run.sync_id, run_id)

    def _lift_guard(self, run: Run) -> None:
        before = self._get_sync(run.sync_id)
        self._store.syncs.disable_guard(before.id)
        self._add_audit_line(
            "guard", f"sync {before.id}", _describe_terms(before), _describe_terms(self._get_sync(before.id)), run.id
        )

    @requires(AccessLevel.VIEWER)
    def list_events(self, run_id: int) -> tuple[Event, ...]:
        """A run's story, oldest first."""
        return self._store.events.list_of_run(run_id)

    @requires(AccessLevel.VIEWER)
    def list_rejections(self, run_id: int, limit: int = 1000) -> tuple[RejectionView, ...]:
        """Who was not taken in a run, with the reason."""
        return self._store.batches.list_rejections(run_id, limit)

    @requires(AccessLevel.MARKETER)
    def iterate_export_rows(self, run_id: int) -> Iterator[ExportRow]:
        """A run's people for the CSV: add, update, remove; and no-op for those unchanged in the last run."""
        run = self.get_run(run_id)
        self._add_audit_line("download", f"run {run_id}", run_id=run_id)
        rejections = {one.user_id: one for one in self.list_rejections(run_id, 1_000_000)}
        told: set[str] = set()
        for user_id, kind, state in self._store.batches.iterate_members(run_id, run.sync_id):
            told.add(user_id)
            one = rejections.pop(user_id, None)
            yield ExportRow(
                user_id, OPERATIONS[kind], one.outcome if one else OUTCOMES[state], one.reason if one else ""
            )
        for one in rejections.values():
            yield ExportRow(one.user_id, "none", one.outcome, one.reason)
        yield from self._unchanged_rows(run, told)

    def _unchanged_rows(self, run: Run, told: set[str]) -> Iterator[ExportRow]:
        sync: Sync = self._get_sync(run.sync_id)
        if sync.last_run_id == run.id and run.state is RunState.SUCCEEDED:
            for user_id in self._store.snapshot.iterate_members(run.sync_id):
                if user_id not in told:
                    yield ExportRow(user_id, "no-op", "unchanged", "")
