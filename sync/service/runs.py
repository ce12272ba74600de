"""Requests about runs: their history, cancel, approve, and the rows of their CSV."""

from __future__ import annotations

from collections.abc import Iterator

from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.id_property import show_id_property
from sync.model import ChangeKind, Mode, Run, RunState, SyncState, format_utc_time
from sync.permissions import AccessLevel, requires
from sync.records import NO_OPERATION, Event, ExportRow, RejectionView
from sync.service.base import ServiceState, Topic
from sync.service.guards import GuardService
from sync.service.held_people import read_held
from sync.service.requests import describe_busy
from sync.service.run_people import PeopleFilter, iterate_people, read_people
from sync.service.second_person import explain_refusal
from sync.steps import StepNumbers
from sync.store.batches import MAX_BATCHES
from sync.store.recording import Recording
from sync.text import count_people
from sync.views import RunPeople, StartedExport
from sync.wording import CANCELLED_HALF_WAY, CANCELLED_HALF_WAY_DONE, CANCELLED_UNSENT, KEPT_AFTER_STEP, RUN_STANDING


class RunService(Topic):
    """Runs: what they did, and what a person can still decide about them."""

    def __init__(self, state: ServiceState, *, guards: GuardService) -> None:
        super().__init__(state)
        self._guards = guards

    @requires(AccessLevel.VIEWER)
    def list(
        self,
        sync_id: int | None = None,
        state: RunState | None = None,
        limit: int = 25,
        offset: int = 0,
        project_id: int | None = None,
        between: tuple[float, float] | None = None,
    ) -> tuple[Run, ...]:
        """Return runs, newest first: of one sync, in one state, of one project or requested between two times when named."""
        return self._store.runs.list_runs(sync_id, state.value if state else None, limit, offset, project_id, between)

    @requires(AccessLevel.VIEWER)
    def count(
        self,
        sync_id: int | None = None,
        state: RunState | None = None,
        project_id: int | None = None,
        between: tuple[float, float] | None = None,
    ) -> int:
        """Return the number of runs of the same choice as ``list``."""
        return self._store.runs.count_runs(sync_id, state.value if state else None, project_id, between)

    @requires(AccessLevel.VIEWER)
    def get(self, run_id: int) -> Run:
        """Return one run; raise InvalidRequest when there is none."""
        found = self._store.runs.get_run(run_id)
        if found is None:
            raise InvalidRequest(f"There is no run {run_id}; look at the list of runs.")
        return found

    @requires(AccessLevel.MARKETER)
    def cancel(self, run_id: int) -> str:
        """Cancel a run: at once when nothing was sent, otherwise after what is in flight.

        A sync whose first export is cancelled, or one that made a sync go on, is stopped, or paused when people are being
        sent already: its schedule would send the others. Return a sentence that says so, and after a step of an export
        how many people keep what they were sent; empty for any other run. Raise InvalidRequest when the run has ended.
        """
        with self._store.transaction():
            run = self.get(run_id)
            if run.state.is_final:
                raise InvalidRequest(f"Run {run_id} {RUN_STANDING[run.state]}, so there is nothing to cancel.")
            self._cancel_run(run)
            kept = KEPT_AFTER_STEP.format(count_people(self.get(run_id).sent)) if _is_between_steps(run) else ""
            return f"{kept} {self._end_schedule(run)}".strip()

    @requires(AccessLevel.MARKETER)
    def cancel_alone(self, run_id: int) -> None:
        """Cancel a run as ``cancel`` does, whose sync a person just paused or stopped: that stays as it was asked for."""
        with self._store.transaction():
            run = self.get(run_id)
            if not run.state.is_final:
                self._cancel_run(run)

    def _end_schedule(self, run: Run) -> str:
        """Let nobody else be sent by the clock when an export that began a schedule is cancelled; return what was done.

        That is the first one, or one that made a stopped, cleared, paused or ended sync go on, until a run succeeded
        after it; the rest of it that a resumed sync sends, too. A sync that a person has to resume stays so. So does one
        whose dry run is cancelled before anybody let it go ahead: its next run is one, too.
        """
        sync = self._state.get_sync(run.sync_id)
        is_waiting = sync.state is SyncState.PAUSED and sync.resume_at is None
        has_gone_ahead = self._store.open_requests.has_gone_ahead(sync.id)
        is_export = run.undoes is None and not self._store.plan_history.is_completed(sync.id)
        if sync.state is SyncState.FINISHED or is_waiting or not is_export or (run.dry_run and not has_gone_ahead):
            return ""
        if not (has_gone_ahead or run.steps_sent or run.delivered):
            self._store.syncs.finish_sync(sync.id)
            self._state.add_event("Stopped: its first export was cancelled.", sync.id, run.id)
            self._state.add_audit_line("stop", f"sync {sync.id}", sync.state.value, "finished", run.id)
            return CANCELLED_UNSENT
        self._store.syncs.pause_sync(sync.id, CANCELLED_HALF_WAY)
        self._state.add_event(CANCELLED_HALF_WAY, sync.id, run.id)
        self._state.add_audit_line("pause", f"sync {sync.id}", sync.state.value, "paused", run.id)
        return CANCELLED_HALF_WAY_DONE

    def _cancel_run(self, run: Run) -> None:
        self._state.add_audit_line("cancel", f"run {run.id}", run.state.value, run_id=run.id)
        self._state.add_event("Cancel requested.", run.sync_id, run.id)
        if self._store.runs.cancel_if_unsent(run.id, self._state.now()):
            self._store.batches.delete_batches(run.id)
            self._store.staged.delete_pages(run.id)
            self._state.add_event("Cancelled before anything was sent.", run.sync_id, run.id)
        elif _is_between_steps(run):
            self._end_between_steps(run)
        else:
            self._store.runs.request_cancel(run.id)

    @requires(AccessLevel.MARKETER)
    def approve(
        self, run_id: int, always: bool = False, limits: GuardLimits | None = None, seen: str | None = None
    ) -> None:
        """Approve a held run; ``always`` also lifts the guard of its sync until it is put back.

        ``limits``: those the sync has from now on. ``seen``: the reason the person was shown. Raise InvalidRequest when
        the run is not held, is held for another reason by now, is being cancelled, needs somebody else's approval, or is
        a refresh whose sync has ended since.
        """
        with self._store.transaction():
            run = self.get(run_id)
            if run.cancel_requested:
                raise InvalidRequest(f"Run {run_id} is being cancelled, so there is nothing to approve.")
            if run.state is RunState.HELD and seen not in (None, run.held_reason):
                raise InvalidRequest(
                    f"Run {run_id} is held for something else now than you were shown; look at it again."
                )
            refusal = self.explain_refusal(run_id)
            if refusal:
                raise InvalidRequest(refusal)
            if not self._store.runs.approve_run(run_id, self._state.now()):
                raise InvalidRequest(f"Run {run_id} {RUN_STANDING[run.state]}, so there is nothing to approve.")
            if always:
                self._guards.lift(run.sync_id, run_id)
            if limits:
                self._guards.set_limits(run.sync_id, limits)
            self._state.add_audit_line(
                "approve", f"run {run_id}", run.held_reason or "", _name_approval(always, limits), run_id
            )
            more = ", now and always" if always else ", with higher limits from now on" if limits else ""
            self._state.add_event(f"Approved by a person{more}.", run.sync_id, run_id)
            if run.undoes is not None:
                self._restore_id_property(run)
                self._pause_after_undo(run)

    @requires(AccessLevel.VIEWER)
    def explain_refusal(self, run_id: int) -> str:
        """Return why the person may not approve a held run, and who may; empty when nothing speaks against it."""
        run = self.get(run_id)
        if run.state is not RunState.HELD:
            return ""
        if run_id in self._store.approvals.list_too_late(self._state.now()):
            return (
                f"The last refresh of this sync was due before {self._describe_end(run)}, so this one is not sent any "
                "more. To send it anyway, export the cohort again."
            )
        return explain_refusal(self._store, run, self.actor.name)

    def _describe_end(self, run: Run) -> str:
        return format_utc_time(self._state.get_sync(run.sync_id).ends_at or 0.0)

    @requires(AccessLevel.ADMIN)
    def cancel_too_late(self) -> None:
        """Cancel the held refreshes of syncs whose end has come, whether they were held before it or after."""
        for run_id in self._store.approvals.list_too_late(self._state.now()):
            run = self.get(run_id)
            self._state.add_event(
                f"Not sent any more: its sync ended at {self._describe_end(run)}.", run.sync_id, run_id
            )
            self.cancel(run_id)

    def _restore_id_property(self, run: Run) -> None:
        """Give a sync its former User ID property again, when the run that changed it is taken back."""
        if run.id_property_before is not None:
            self._store.syncs.set_id_property(run.sync_id, run.id_property)
            self._state.add_event(
                f"The User ID property is {show_id_property(run.id_property)} again.", run.sync_id, run.id
            )

    def _pause_after_undo(self, run: Run) -> None:
        """Pause a dynamic sync whose run is taken back: its next refresh would send the same again.

        One that is paused already, also of a one-time export, says so in its reason: resuming sends them again.
        """
        before = self._state.get_sync(run.sync_id)
        sends_again = before.mode is Mode.DYNAMIC or before.state is SyncState.PAUSED
        if before.state is SyncState.FINISHED or not sends_again:
            return
        why = f"Run {run.undoes} was taken back; check the cohort, then resume: a refresh sends what it says."
        self._store.syncs.pause_sync(run.sync_id, why)
        self._state.add_event(f"Paused: {why}", run.sync_id, run.id)
        self._state.add_audit_line("pause", f"sync {run.sync_id}", before.state.value, "paused", run.id)

    @requires(AccessLevel.MARKETER)
    def undo(self, run_id: int) -> StartedExport:
        """Queue a run that takes another one back: it plans the exact inverse and is held until it is approved.

        A run that is held after a step is cancelled first, and what it sent is taken back. Raise InvalidRequest while
        a run is under way, and when nothing that this one sent is known.
        """
        with self._store.transaction():
            run = self.get(run_id)
            if _is_between_steps(run):
                self._cancel_run(run)
            elif not run.state.is_final:
                raise InvalidRequest(f"Run {run_id} is still under way; cancel it first, then take it back.")
            self._require_id_property_of(run)
            if not any(
                "c" in block.outcomes or "f" in block.outcomes for block in self._store.batches.people_blocks(run_id)
            ):
                raise InvalidRequest(
                    f"Run {run_id} changed nobody, or what it sent is no longer kept, so nothing can be taken back."
                )
            busy = self._store.runs.get_active(run.sync_id)
            undo_id = self._store.runs.enqueue_run(run.sync_id, "undo", self._state.now(), undoes=run_id)
            if undo_id is None:
                raise InvalidRequest(describe_busy(busy or run))
            self._state.add_event(f"Taking back run {run_id} requested.", run.sync_id, undo_id)
            self._state.add_audit_line("undo", f"run {run_id}", run_id=undo_id)
        return StartedExport(run.sync_id, undo_id, True)

    def _require_id_property_of(self, run: Run) -> None:
        """Raise InvalidRequest when a run was sent by another User ID property than the sync has: nobody uses those ids."""
        now = self._state.get_sync(run.sync_id).id_property
        if now in (run.id_property, run.id_property_before):
            return
        raise InvalidRequest(
            f"Run {run.id} sent User IDs of the property {show_id_property(run.id_property)}, and this sync has "
            f"{show_id_property(now)} since; taking it back would change people by User IDs it does not use any more."
        )

    def _end_between_steps(self, run: Run) -> None:
        """End a run that is held after a step; nothing of it is on its way, so no runner is needed."""
        salt = self._store.connections.get_salt()
        recording = Recording(self._store, run.sync_id, run.id, salt)
        recording.record(lambda: None)
        outcome = recording.finish(left_out=None)
        self._store.runs.end_held_run(run.id, self._state.now(), outcome.delivered, outcome.rejected)
        self._state.add_event("Cancelled after a step; what was sent stays recorded.", run.sync_id, run.id)

    @requires(AccessLevel.VIEWER)
    def count_steps(self, run_id: int) -> StepNumbers:
        """Return how many people a run in steps has sent to, sends to next, and has left."""
        run, count = self.get(run_id), self._store.batches.count_people
        limits = (0, *run.limits, MAX_BATCHES)
        sent, end = limits[run.steps_sent], limits[min(run.steps_sent + 1, len(limits) - 1)]
        return StepNumbers(
            sent=count(run.id, 0, sent), next=count(run.id, sent, end), left=count(run.id, sent, MAX_BATCHES)
        )

    @requires(AccessLevel.VIEWER)
    def list_events(self, run_id: int) -> tuple[Event, ...]:
        """Return the events of a run, oldest first."""
        return self._store.events.list_of_run(run_id)

    @requires(AccessLevel.VIEWER)
    def list_rejections(self, run_id: int, limit: int = 1000) -> tuple[RejectionView, ...]:
        """Return who was rejected or invalid in a run, each with the reason."""
        return self._store.rejections.list(run_id, limit)

    @requires(AccessLevel.VIEWER)
    def list_people(
        self, run_id: int, wanted: PeopleFilter | None = None, limit: int = 50, offset: int = 0
    ) -> RunPeople:
        """Return one page of the people a run adds, updates, removes or could not take, with operation and outcome.

        It is also known before a held run is approved. Raise InvalidRequest when there is no such run. Ids only;
        after the retention of run details nobody is known any more.
        """
        return read_people(self._store, self.get(run_id).id, wanted or PeopleFilter(), limit, offset)

    @requires(AccessLevel.MARKETER)
    def iterate_export_rows(self, run_id: int) -> Iterator[ExportRow]:
        """Yield the rows of a run's CSV: add, update, remove; and no-op for those unchanged in the last run."""
        run = self.get(run_id)
        self._state.add_audit_line("download", f"run {run_id}", run_id=run_id)
        listed: set[str] = set()
        for row in iterate_people(self._store, run_id):
            if row.operation != NO_OPERATION:
                listed.add(row.user_id)
            yield row
        yield from self._unchanged_rows(run, listed)

    @requires(AccessLevel.MARKETER)
    def iterate_static_list(self, run_id: int) -> Iterator[str]:
        """Yield the user ids of a sync's last run that a Static List is to have: the members who are in WebEngage.

        Not who left and stays true, since WebEngage rejected that, nor who is on the never-export list of now. Raise
        InvalidRequest for another run than the last one.
        """
        run = self.get(run_id)
        sync = self._state.get_sync(run.sync_id)
        if sync.last_run_id != run_id:
            raise InvalidRequest(
                f"Who is in WebEngage now is known of run {sync.last_run_id}, the last one of this cohort; look there."
            )
        self._state.add_audit_line("download", f"run {run_id}", run_id=run_id)
        standing, held = self._store.rejections.list_active(sync.id), read_held(self._store, sync).true
        listed = self._store.safety_lists.find_never_exported(sync.license_code, held)
        yield from (
            user_id
            for user_id in held
            if user_id not in listed and standing.get(user_id, (ChangeKind.UPDATE, None))[0] == ChangeKind.UPDATE
        )

    def _unchanged_rows(self, run: Run, listed: set[str]) -> Iterator[ExportRow]:
        sync = self._state.get_sync(run.sync_id)
        if sync.last_run_id == run.id and run.state is RunState.SUCCEEDED:
            leaving = self._store.rejections.list_removals(run.sync_id)
            for user_id in self._store.snapshot.iterate_members(run.sync_id):
                if user_id not in listed and user_id not in leaving:
                    yield ExportRow(user_id, "no-op", "unchanged", "")


def _is_between_steps(run: Run) -> bool:
    """Return whether a run is held after a step, and no runner has it."""
    return run.state is RunState.HELD and run.steps_sent > 0 and not run.cancel_requested


def _name_approval(always: bool, limits: GuardLimits | None) -> str:
    if always:
        return "always"
    return "once, with new limits" if limits else "once"
