"""Requests about guards: from how many people on the runs of a sync are held."""

from __future__ import annotations

from sync.errors import InvalidRequest
from sync.guards import GuardLimits
from sync.model import Run, Sync
from sync.permissions import AccessLevel, requires
from sync.service.base import Topic
from sync.service.held_people import count_held
from sync.service.requests import describe_terms
from sync.views import GuardTrial, GuardView

TRIAL_RUNS = 40  # earlier runs that new limits are tried on


class GuardService(Topic):
    """The guard of each sync: its limits, and whether it is lifted."""

    @requires(AccessLevel.VIEWER)
    def get(self, sync_id: int) -> GuardView:
        """Return the guard of a sync, with how many of its last runs the limits would have held."""
        sync = self._state.get_sync(sync_id)
        return GuardView(
            sync_id=sync.id,
            enabled=sync.guard_enabled,
            limits=sync.limits,
            trial=self.try_limits(sync.id, sync.limits),
        )

    @requires(AccessLevel.VIEWER)
    def is_first_export(self, sync_id: int) -> bool:
        """Return whether an export asked for now is judged as a first one: by its preview, not by whom it adds."""
        sync = self._state.get_sync(sync_id)
        return not (self._store.plan_history.find_last_reading(sync.id) and count_held(self._store, sync))

    @requires(AccessLevel.VIEWER)
    def try_limits(self, sync_id: int, limits: GuardLimits) -> GuardTrial:
        """Return how many of the last runs of a sync these limits would have held; nothing is changed."""
        numbers = self._store.plan_history.list_numbers(self._state.get_sync(sync_id).id, TRIAL_RUNS)
        held = sum(
            (limits.has_too_many_added(one.added, one.size) and not one.is_first)
            or limits.has_too_many_removed(one.removed, one.size)
            for one in numbers
        )
        return GuardTrial(held=held, runs=len(numbers))

    @requires(AccessLevel.MARKETER)
    def set_limits(self, sync_id: int, limits: GuardLimits) -> None:
        """Set from how many people on the runs of a sync are held; raise InvalidRequest for limits nobody can mean."""
        problem = limits.find_problem()
        if problem:
            raise InvalidRequest(problem)
        with self._store.transaction():
            before = self._state.get_sync(sync_id)
            self._store.syncs.set_limits(before.id, limits)
            self._note_change(before)

    @requires(AccessLevel.MARKETER)
    def put_back(self, sync_id: int) -> None:
        """Hold this sync again when a run exceeds its limits."""
        self._set_guard(sync_id, True)

    @requires(AccessLevel.MARKETER)
    def lift(self, sync_id: int, run_id: int | None = None) -> None:
        """Hold this sync no more for its limits, until the guard is put back; a run for which nobody was read is held."""
        self._set_guard(sync_id, False, run_id)

    def _set_guard(self, sync_id: int, on: bool, run_id: int | None = None) -> None:
        with self._store.transaction():
            before = self._state.get_sync(sync_id)
            self._store.syncs.set_guard(before.id, on)
            self._note_change(before, run_id)

    def _note_change(self, before: Sync, run_id: int | None = None) -> None:
        after = self._state.get_sync(before.id)
        if after != before:
            self._state.add_audit_line(
                "guard", f"sync {before.id}", describe_terms(before), describe_terms(after), run_id=run_id
            )

    @requires(AccessLevel.VIEWER)
    def suggest_limits(self, run: Run) -> GuardLimits | None:
        """Return the limits of a held run's sync, raised so far that they let this run pass.

        None when the limits are not what holds it.
        """
        sync, size = self._state.get_sync(run.sync_id), run.size_before or 0
        if not self._is_judged_by_limits(run, sync):
            return None
        limits = sync.limits
        removed = run.exited - run.removed_by_list
        is_first = self._store.plan_history.is_first(run, size)
        too_many_added = not is_first and limits.has_too_many_added(run.entered, size)
        too_many_removed = limits.has_too_many_removed(removed, size)
        if not (too_many_added or too_many_removed):
            return None
        return GuardLimits(
            add_share=limits.add_share,
            add_people=run.entered if too_many_added else limits.add_people,
            remove_share=limits.remove_share,
            remove_people=removed if too_many_removed else limits.remove_people,
        )

    def _is_judged_by_limits(self, run: Run, sync: Sync) -> bool:
        """Return whether limits can be what holds a run: not for a take-back, another User ID, or after an approval."""
        is_of_cohort = run.undoes is None and run.id_property_before is None
        return sync.guard_enabled and is_of_cohort and self._store.approvals.find_last_time(run.id) is None
