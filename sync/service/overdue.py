"""Find late syncs, since when and why; from the syncs themselves, so that it works without a runner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sync.model import DAY, DEFAULT_INTERVAL, Run, RunState, SyncState, deadline_of
from sync.records import SyncView
from sync.store import Store
from sync.store.runs import is_leased
from sync.views import Overdue
from sync.wording import RUN_STANDING

MAX_LATE_INTERVALS = 2  # a sync late by so many of its intervals needs a person
MAX_LATE_SECONDS = 2 * DAY  # and one that is refreshed less often than once a day when it is late by this
PAUSE_LATE_SECONDS = 60.0  # seconds after its end from which a pause that has not ended needs a person
LATE_SECONDS = 60.0  # seconds; the runner reads the schedule every two, and a busy machine may be slow


def ends_by_itself(sync: SyncView, now: float) -> bool:
    """Return whether a pause ends at a time that lies ahead, or just came: then it needs nobody."""
    return sync.resume_at is not None and now <= sync.resume_at + PAUSE_LATE_SECONDS


def find_overdue(store: Store, syncs: Iterable[SyncView], now: float, *, working: bool) -> Iterator[Overdue]:
    """Yield the syncs whose time has passed; ``working``: a runner works.

    Late is a run without a lease or one that waits, and a refresh that was never queued. A run that makes
    progress is not late, however long it takes, and a held run is counted as held.
    """
    for sync in syncs:
        found = _find_lateness(store, sync, now, working)
        if found is None:
            continue
        since, reason, stuck = found
        longest = min(MAX_LATE_INTERVALS * (sync.interval_seconds or DEFAULT_INTERVAL), MAX_LATE_SECONDS)
        needs_person = stuck or now - since >= longest
        if needs_person or now - since >= LATE_SECONDS:
            yield Overdue(
                sync_id=sync.id,
                project_id=sync.project_id,
                cohort_name=sync.cohort_name,
                since=since,
                reason=reason,
                needs_person=needs_person,
            )


def _find_lateness(store: Store, sync: SyncView, now: float, working: bool) -> tuple[float, str, bool] | None:
    """Return since when and why a sync is late, and whether only a person can change it; None when it is not late."""
    run = sync.last_run
    if run is not None and not run.state.is_final:
        return None if run.state is RunState.HELD else _find_late_or_stalled_run(store, run, sync, now, working)
    if sync.state is not SyncState.ACTIVE or sync.next_run_at is None or sync.next_run_at > now:
        return None
    why = "its refresh was not queued; check the runner's log" if working else "no runner is working; start it"
    return sync.next_run_at, why, not working


def _find_late_or_stalled_run(
    store: Store, run: Run, sync: SyncView, now: float, working: bool
) -> tuple[float, str, bool] | None:
    """Return a wait counted from the last progress, whatever was logged meanwhile; past its deadline a run needs a person."""
    found = _find_late_run(store, run, now, working)
    if run.stalled_since is None:
        return found
    if found is not None:
        return min(found[0], run.stalled_since), *found[1:]
    is_past_deadline = now - run.stalled_since > deadline_of(sync.interval_seconds)
    return (run.stalled_since, f"run {run.id} makes no progress", True) if is_past_deadline else None


def _find_late_run(store: Store, run: Run, now: float, working: bool) -> tuple[float, str, bool] | None:
    wait = store.events.current_wait(run.id)
    if wait is not None:
        often = f" ({wait.times:,} times)" if wait.times > 1 else ""
        return wait.since, f"run {run.id} waits: {wait.reason}{often}", False
    if run.wait_reason is not None:
        return run.queued_at, f"run {run.id} waits: {run.wait_reason.rstrip('.')}", False
    if is_leased(run, now):
        return None
    since = max(run.queued_at, min(run.not_before, now))  # a held run is due since its approval
    if working:
        return since, f"run {run.id} {RUN_STANDING[run.state]}, and no runner has taken it", False
    return since, f"run {run.id} {RUN_STANDING[run.state]}, and no runner is working; start one", True
