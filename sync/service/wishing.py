"""What a person can ask of syncs and runs; each wish is one short transaction, the runner does the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sync.access import Grade, needs
from sync.errors import Refused
from sync.model import (
    ATTRIBUTES_MOST,
    EVERY_MAX,
    EVERY_MIN,
    TWO_HOURS,
    Kind,
    Mode,
    Run,
    RunState,
    Sync,
    SyncState,
    attribute_for,
    mapping_problem,
)
from sync.model import attribute_problem as problem_of
from sync.service.browsing import LIST_PATIENCE, Browsing, exportable_in
from sync.store.syncs import Request, Wish
from sync.views import CohortView, Event, ExportRow, Refusal, Started, SyncView

OPERATIONS = {Kind.ENTER: "add", Kind.UPDATE: "update", Kind.EXIT: "remove"}
OUTCOMES = {"pending": "not sent", "in_flight": "in doubt", "confirmed": "accepted", "rejected": "rejected"}


def _terms(sync: Sync) -> str:
    """Write for the audit what a sync sends, to whom and how often."""
    often = f"dynamic, every {sync.every:.0f} s" if sync.every else sync.mode.value
    values = ", ".join(f"{source} as {target}" for source, target in sync.mapping)
    sent = f"membership and {values}" if values else "membership only"
    guard = "on" if sync.guard else "off"
    return f"{often}; account {sync.license_code}; attribute {sync.attribute}; {sent}; guard {guard}; {_state(sync)}"


def _state(sync: Sync) -> str:
    return f"{sync.state.value}: {sync.reason}" if sync.reason else sync.state.value


def _busy(run: Run) -> str:
    """Write why a run that is under way cannot do what is asked for now, and what to do."""
    name = f"Run {run.id} of this cohort"
    if run.cancel_wanted:
        return f"{name} is still being cancelled; ask again when it has ended."
    if run.state is RunState.HELD:
        return f"{name} is held and waits for a decision; approve or cancel it, then ask again."
    what = "a dry run, which sends nothing by itself, and is under way" if run.dry else "under way"
    return f"{name} is {what}; nothing was changed. Wait for its end, or cancel it, then ask again."


class Wishing(Browsing):
    """Exports, pauses, cancels and approvals; and the history."""

    @needs(Grade.MARKETER)
    def export(
        self,
        project_id: int | None,
        cohort_id: int,
        mode: Mode,
        attribute: str | None = None,
        every: float | None = None,
        dry: bool = False,
        mapping: tuple[tuple[str, str], ...] | None = None,
        license_code: str | None = None,
    ) -> Started:
        """Start Sync: make or change the cohort's sync and queue a run, in one transaction.

        Pressed twice, in two tabs, by two people: one run; ``started`` tells who was first.
        ``mapping`` pairs profile properties with WebEngage attributes; None keeps what was chosen before.
        ``license_code`` is the account the person was shown; Refused when it is another one by now.
        """
        project = self._sealed_project(project_id).view.id
        cohort = self._still_there(project, cohort_id)
        with self._store.transaction():
            wish = self._wish(project, cohort, mode, attribute, every, mapping)
            if license_code not in (None, wish.license_code):
                raise Refused(f"This cohort would go to WebEngage account {wish.license_code} now; look at it again.")
            request = Request(wish.mode, wish.every, wish.mapping)
            known = self._store.syncs.of_cohort(project, cohort_id)
            busy = self._store.runs.active(known.id) if known else None
            if known and busy:
                self._adjust(known, busy, request, dry)
                return Started(busy.sync_id, busy.id, False)
            sync_id = known.id if known else self._create(wish, dry)
            run_id = self._store.runs.enqueue(sync_id, "export", self._now(), dry=dry, request=request.dump())
            if run_id is None:  # cannot be: no run was active, and the write lock is ours
                raise Refused("Another run of this cohort has just begun; look at its progress.")
            self._tell(f"Export asked for: {mode.value}, attribute “{wish.attribute}”.", sync_id, run_id)
            before, after = _terms(known) if known else "", _terms(request.apply(self._sync(sync_id)))
            self._audit("dry run" if dry else "export", f"cohort {cohort_id}", before, after, run_id)
        return Started(sync_id, run_id, True)

    def _create(self, wish: Wish, dry: bool) -> int:
        """Make the cohort's sync; after a dry run nothing is repeated before somebody approves it."""
        sync_id = self._store.syncs.create(wish, self._now(), active=not dry)
        self._store.attributes.claim(wish.license_code, sync_id, wish.attribute, () if dry else wish.mapping or ())
        return sync_id

    def _adjust(self, known: Sync, busy: Run, request: Request, dry: bool) -> None:
        """Change what may change while a run is under way, the mode and the interval; Refused for the rest."""
        if busy.purpose == "clear":
            raise Refused(
                f"Run {busy.id} is telling WebEngage that everybody left this cohort; export it again afterwards."
            )
        if busy.cancel_wanted:
            raise Refused(f"Run {busy.id} of this cohort is still being cancelled; start again when it has ended.")
        if dry != busy.dry or busy.state is RunState.HELD:
            raise Refused(_busy(busy))
        before = Request.parse(busy.request)
        serving = before.apply(known) if before else known
        if request.mapping not in (None, serving.mapping):
            raise Refused(
                f"Run {busy.id} of this cohort is under way with other properties; cancel it, or wait for its end.",
                "mapping",
            )
        if (request.mode, request.every) == (serving.mode, serving.every) and (
            before or known.state is SyncState.ACTIVE
        ):
            return
        if busy.state is RunState.DELIVERING and not before:  # the plan went ahead already
            self._store.syncs.take_over(known.id, request, self._now())
        else:
            kept = before.mapping if before else None
            self._store.runs.set_request(busy.id, replace(request, mapping=kept).dump())
        self._audit("change", f"sync {known.id}", _terms(serving), _terms(request.apply(serving)), busy.id)

    def _still_there(self, project_id: int, cohort_id: int) -> CohortView:
        """The cohort as Mixpanel lists it right now; as last listed when Mixpanel cannot say in time.

        One query and ``LIST_PATIENCE`` seconds, whatever Mixpanel does; nothing is asked a second time.
        """
        self._mixpanel(self._sealed_project(project_id))  # a lost key is said at the click, not by the run
        return exportable_in(self.cohorts(project_id, fresh=True, patience=LIST_PATIENCE), cohort_id)

    def _wish(
        self,
        project_id: int,
        cohort: CohortView,
        mode: Mode,
        attribute: str | None,
        every: float | None,
        mapping: tuple[tuple[str, str], ...] | None,
    ) -> Wish:
        known = self._store.syncs.of_cohort(project_id, cohort.id)
        license_code = known.license_code if known else self._account_of(self._sealed_project(project_id).view)
        if known and self._store.connections.account(license_code) is None:
            raise Refused(
                f"WebEngage account {license_code}, where this cohort goes, is not connected; "
                "connect it under Integrations."
            )
        taken = self._store.attributes.taken(license_code)
        name = attribute if attribute is not None else (known.attribute if known else attribute_for(cohort.name, taken))
        trouble = self.attribute_problem(project_id, cohort.id, name) if known else problem_of(name, frozenset())
        if trouble:
            raise Refused(trouble, "attribute")
        cohorts = self._store.attributes.count(license_code)
        if not known and cohorts >= ATTRIBUTES_MOST:
            raise Refused(
                f"WebEngage account {license_code} already has {cohorts} cohort attributes, and WebEngage holds "
                f"{ATTRIBUTES_MOST} of this type; the next would be dropped without a word. Use another account."
            )
        self._check_mapping(mapping or ())
        found = self._store.attributes.problem(license_code, known.id if known else None, name, mapping or ())
        if found:
            raise Refused(found[1], found[0])
        if every is not None and mode is not Mode.DYNAMIC:
            raise Refused("A one-time export is never refreshed, so it has no interval.", "every")
        if every is not None and not EVERY_MIN <= every <= EVERY_MAX:
            raise Refused("A cohort is refreshed at least every 30 days and at most every 5 minutes.", "every")
        beat = (every or TWO_HOURS) if mode is Mode.DYNAMIC else None
        return Wish(project_id, cohort.id, cohort.name, license_code, name, mode, beat, mapping)

    def _check_mapping(self, mapping: tuple[tuple[str, str], ...]) -> None:
        """Refuse what could not arrive: two properties for one attribute, one property twice, a reserved name."""
        for places, what in ((0, "is sent to two attributes; choose one"), (1, "would get two properties; choose one")):
            names = [pair[places].casefold() if places else pair[places] for pair in mapping]
            for pair, name in zip(mapping, names, strict=True):
                if names.count(name) > 1:
                    raise Refused(f"“{pair[places]}” {what}.", "mapping")
        for _, target in mapping:
            trouble = mapping_problem(target)
            if trouble:
                raise Refused(trouble, "mapping")

    @needs(Grade.VIEWER)
    def syncs(self, project_id: int | None = None) -> tuple[SyncView, ...]:
        """The syncs, newest first."""
        return self._store.syncs.views(project_id)

    @needs(Grade.VIEWER)
    def sync(self, sync_id: int) -> SyncView:
        """One sync; Refused when there is none."""
        self._sync(sync_id)
        return self._store.syncs.views(sync_id=sync_id)[0]

    @needs(Grade.MARKETER)
    def sync_now(self, sync_id: int) -> Started:
        """Refresh a sync at once; a run that has yet to read the cohort counts as that.

        Refused while a run is under way that read it before, or that will send nothing by itself.
        """
        with self._store.transaction():
            busy = self._store.runs.active(sync_id)
            if busy and self._reads_and_sends(busy):
                return Started(sync_id, busy.id, False)
            return self._begin(sync_id, "refresh")

    def _reads_and_sends(self, run: Run) -> bool:
        ends = run.dry or run.cancel_wanted or run.purpose == "clear"
        return not (ends or run.state is RunState.HELD or run.planned)

    def _begin(self, sync_id: int, purpose: str) -> Started:
        """Queue a run of a sync; Refused when it is paused or another run is under way."""
        if self._sync(sync_id).state is SyncState.PAUSED:
            raise Refused("This sync is paused; resume it first.")
        busy = self._store.runs.active(sync_id)
        run_id = self._store.runs.enqueue(sync_id, purpose, self._now())
        if run_id is None:
            raise Refused(_busy(busy) if busy else "Another run of this sync has just begun; look at its progress.")
        self._tell("Refresh asked for.", sync_id, run_id)
        self._audit(purpose, f"sync {sync_id}", run_id=run_id)
        return Started(sync_id, run_id, True)

    @needs(Grade.MARKETER)
    def retry_rejected(self, sync_id: int) -> Started:
        """Try everyone rejected once more, with a new reading of the cohort; Refused while a run is under way."""
        with self._store.transaction():
            self._store.rejections.forgive(self._sync(sync_id).id)
            return self._begin(sync_id, "retry")

    @needs(Grade.MARKETER)
    def resync(self, sync_id: int) -> Started:
        """Send every member again, whatever was sent before; Refused while a run is under way."""
        with self._store.transaction():
            return self._begin(sync_id, "resync")

    @needs(Grade.MARKETER)
    def pause(self, sync_id: int) -> None:
        """Stop refreshing, and end a run under way after what is in flight."""
        with self._store.transaction():
            before = self._sync(sync_id)
            if not self._store.syncs.pause(sync_id, "Paused by a person."):
                raise Refused("This sync is finished, so there is nothing to pause.")
            self._tell("Paused by a person.", sync_id)
            self._audit("pause", f"sync {sync_id}", _state(before), "paused")
            active = self._store.runs.active(sync_id)
            if active:
                self._cancel(active)

    @needs(Grade.MARKETER)
    def resume(self, sync_id: int) -> None:
        """Go on: the next beat comes as before, and what a failure or pause left open runs now."""
        with self._store.transaction():
            sync = self._sync(sync_id)
            if sync.state is not SyncState.PAUSED:
                raise Refused(f"This sync is {sync.state.value}, so there is nothing to resume.")
            self._store.syncs.resume(sync, self._now())
            if self._store.runs.enqueue(sync_id, "refresh", self._now()) is None:
                self._store.runs.keep(sync_id)  # the run the pause was to end has not ended yet: it goes on
            self._tell("Resumed by a person.", sync_id)
            self._audit("resume", f"sync {sync_id}", _state(sync), "active")

    @needs(Grade.MARKETER)
    def stop(self, sync_id: int, clear: bool = False) -> Started | None:
        """Never refresh again; with ``clear`` everyone exported is told ``false`` first."""
        with self._store.transaction():
            sync = self._sync(sync_id)
            active = self._store.runs.active(sync_id)
            if active and clear:
                raise Refused("A run is under way; cancel it first, then stop and clear.")
            if active:
                self._cancel(active)
            self._store.syncs.end(sync.id)
            self._tell("Stopped by a person" + (", clearing WebEngage." if clear else "."), sync_id)
            run_id = self._store.runs.enqueue(sync_id, "clear", self._now()) if clear else None
            self._audit("stop and clear" if clear else "stop", f"sync {sync_id}", sync.state.value, "finished", run_id)
        return Started(sync_id, run_id, True) if run_id else None

    @needs(Grade.MARKETER)
    def change_interval(self, sync_id: int, seconds: float) -> None:
        """Refresh a dynamic sync this often from now on."""
        if not EVERY_MIN <= seconds <= EVERY_MAX:
            raise Refused("A cohort is refreshed at least every 30 days and at most every 5 minutes.", "every")
        if self._sync(sync_id).mode is not Mode.DYNAMIC:
            raise Refused("A one-time export is never refreshed, so it has no interval.", "every")
        with self._store.transaction():
            before = self._sync(sync_id)
            if before.state is SyncState.FINISHED:
                raise Refused("This sync is finished, so it has no interval; export the cohort again.", "every")
            self._store.syncs.set_interval(sync_id, seconds, self._now())
            self._audit("change interval", f"sync {sync_id}", _terms(before), _terms(self._sync(sync_id)))

    @needs(Grade.VIEWER)
    def runs(
        self,
        sync_id: int | None = None,
        state: RunState | None = None,
        limit: int = 25,
        offset: int = 0,
        project_id: int | None = None,
    ) -> tuple[Run, ...]:
        """Runs, newest first."""
        return self._store.runs.list(sync_id, state.value if state else None, limit, offset, project_id)

    @needs(Grade.VIEWER)
    def count_runs(
        self, sync_id: int | None = None, state: RunState | None = None, project_id: int | None = None
    ) -> int:
        """How many runs there are."""
        return self._store.runs.total(sync_id, state.value if state else None, project_id)

    @needs(Grade.VIEWER)
    def sizes(self, sync_id: int, limit: int) -> tuple[int, ...]:
        """How many people WebEngage held after each of a sync's last successful runs, newest first."""
        return self._store.runs.sizes(sync_id, limit)

    @needs(Grade.VIEWER)
    def run(self, run_id: int) -> Run:
        """One run; Refused when there is none."""
        found = self._store.runs.get(run_id)
        if found is None:
            raise Refused(f"There is no run {run_id}; look at the list of runs.")
        return found

    @needs(Grade.MARKETER)
    def cancel(self, run_id: int) -> None:
        """End a run: at once when nothing was sent, otherwise after what is in flight."""
        with self._store.transaction():
            run = self.run(run_id)
            if run.state.over:
                raise Refused(f"Run {run_id} has already {run.state.value}.")
            self._cancel(run)

    def _cancel(self, run: Run) -> None:
        self._audit("cancel", f"run {run.id}", run.state.value, run_id=run.id)
        self._tell("Cancel asked for.", run.sync_id, run.id)
        if self._store.runs.cancel_untouched(run.id, self._now()):
            self._store.batches.clear(run.id)
            self._store.staged.clear(run.id)
            self._tell("Cancelled before anything was sent.", run.sync_id, run.id)
        else:
            self._store.runs.want_cancel(run.id)

    @needs(Grade.MARKETER)
    def approve(self, run_id: int, always: bool = False) -> None:
        """Say yes to a held run; ``always`` lifts the guard of its sync for good."""
        with self._store.transaction():
            run = self.run(run_id)
            if run.cancel_wanted:
                raise Refused(f"Run {run_id} is being cancelled, so there is nothing to approve.")
            if not self._store.runs.approve(run_id, self._now()):
                raise Refused(f"Run {run_id} is {run.state.value}, so there is nothing to approve.")
            if always:
                self._lift_guard(run)
            self._audit("approve", f"run {run_id}", run.held_reason or "", "always" if always else "once", run_id)
            self._tell("Approved by a person" + (", now and always." if always else "."), run.sync_id, run_id)

    def _lift_guard(self, run: Run) -> None:
        before = self._sync(run.sync_id)
        self._store.syncs.set_guard(before.id, False)
        self._audit("guard", f"sync {before.id}", _terms(before), _terms(self._sync(before.id)), run.id)

    @needs(Grade.MARKETER)
    def put_guard_back(self, sync_id: int) -> None:
        """Hold this sync again when unusually many people would leave."""
        with self._store.transaction():
            before = self._sync(sync_id)
            self._store.syncs.set_guard(before.id, True)
            self._audit("guard", f"sync {before.id}", _terms(before), _terms(self._sync(before.id)))

    @needs(Grade.VIEWER)
    def events(self, run_id: int) -> tuple[Event, ...]:
        """A run's story, oldest first."""
        return self._store.history.of_run(run_id)

    @needs(Grade.VIEWER)
    def refusals(self, run_id: int, limit: int = 1000) -> tuple[Refusal, ...]:
        """Who was not taken in a run, with the reason."""
        return self._store.rejections.list(run_id, limit)

    @needs(Grade.MARKETER)
    def export_rows(self, run_id: int) -> Iterator[ExportRow]:
        """A run's people for the CSV: add, update, remove; and no-op for those unchanged in the last run."""
        run = self.run(run_id)
        self._audit("download", f"run {run_id}", run_id=run_id)
        refused = {one.user_id: one for one in self.refusals(run_id, 1_000_000)}
        told: set[str] = set()
        for user_id, kind, state in self._store.batches.people(run_id):
            told.add(user_id)
            one = refused.pop(user_id, None)
            yield ExportRow(
                user_id, OPERATIONS[kind], one.outcome if one else OUTCOMES[state], one.reason if one else ""
            )
        for one in refused.values():
            yield ExportRow(one.user_id, "none", one.outcome, one.reason)
        yield from self._unchanged(run, told)

    def _unchanged(self, run: Run, told: set[str]) -> Iterator[ExportRow]:
        sync: Sync = self._sync(run.sync_id)
        if sync.last_run_id == run.id and run.state is RunState.SUCCEEDED:
            leaving = {
                user_id
                for user_id, (kind, _) in self._store.rejections.active(run.sync_id).items()
                if kind == Kind.EXIT
            }
            for user_id in self._store.snapshot.people(run.sync_id):
                if user_id not in told and user_id not in leaving:
                    yield ExportRow(user_id, "no-op", "unchanged", "")
