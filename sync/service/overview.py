"""Find out whether everything is in step, what needs a person and what comes next: what people see first."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator

from sync.model import MAX_ATTRIBUTES, SyncState
from sync.permissions import AccessLevel, requires
from sync.records import HourCount, ProjectView, RunnerState, SyncView
from sync.reports import Attention, AttentionKind, Overview
from sync.service.base import Topic
from sync.service.hourly_fit import count_queries
from sync.service.overdue import ends_by_itself, find_overdue
from sync.store.rate_limits import HOUR_SECONDS, QUERIES_AN_HOUR, SYNC_QUERIES_AN_HOUR

HOURS_SHOWN, DAYS_SHOWN = 24, 30


class OverviewService(Topic):
    """One look at everything of a project."""

    @requires(AccessLevel.VIEWER)
    def read(self, project_id: int | None = None) -> Overview:
        """Return the overview of a project, of everything when none is named; a few indexed queries, asked while people look."""
        now, store = self._state.now(), self._store
        project = next((one for one in store.connections.list_projects() if project_id in (None, one.id)), None)
        state, _, _ = self._state.read_runner_state(now)
        syncs = store.syncs.list_views(project_id)
        hours = store.run_history.count_by_hour(project_id, now, HOURS_SHOWN)
        account = project.license_code if project else None
        return Overview(
            now=now,
            is_connected=bool(project and store.connections.list_accounts()),
            runner_state=state,
            disk_free=shutil.disk_usage(self._state.settings.data_folder).free,
            syncs=syncs,
            attention=tuple(self._find_attention(syncs, now, working=state is RunnerState.WORKING)),
            hours=tuple(hours.get(ago, HourCount()) for ago in reversed(range(HOURS_SHOWN))),
            queries_used=store.rate_limits.queries_used(project.id, now) if project else 0,
            queries_left=store.rate_limits.queries_left(project.id, now) if project else 0,
            queries_needed=self._count_needed(project, syncs, now) if project else 0,
            queries_limit=QUERIES_AN_HOUR,
            queries_for_syncs=SYNC_QUERIES_AN_HOUR,
            license_code=account,
            attributes_used=store.attributes.count_cohorts(account) if account else 0,
            attributes_limit=MAX_ATTRIBUTES,
        )

    @requires(AccessLevel.VIEWER)
    def list_attention(self, project_id: int | None = None) -> tuple[Attention, ...]:
        """Return each sync of a project that needs a person, and why."""
        now = self._state.now()
        state, _, _ = self._state.read_runner_state(now)
        syncs = self._store.syncs.list_views(project_id)
        return tuple(self._find_attention(syncs, now, working=state is RunnerState.WORKING))

    @requires(AccessLevel.VIEWER)
    def list_daily_sizes(self, project_id: int | None = None) -> tuple[int, ...]:
        """Return how many people were in WebEngage on each of the last 30 days, oldest first; the last is now."""
        past = self._store.run_history.list_daily_sizes(project_id, self._state.now(), DAYS_SHOWN)
        return (*past[:-1], sum(one.size for one in self._store.syncs.list_views(project_id)))

    def _find_attention(self, syncs: tuple[SyncView, ...], now: float, *, working: bool) -> Iterator[Attention]:
        """Yield each sync that needs a person once, with the reason that is to be seen to first."""
        failed = self._store.run_history.list_failures(now)
        overdue = {one.sync_id: one for one in find_overdue(self._store, syncs, now, working=working)}
        for sync in syncs:
            late = overdue.get(sync.id)
            if sync.is_held and sync.last_run:
                yield Attention(AttentionKind.HELD, sync, sync.last_run.held_reason or "")
            elif sync.clear_failed:
                yield Attention(AttentionKind.NOT_CLEARED, sync, sync.clear_problem or "")
            elif sync.state is SyncState.PAUSED:
                if not ends_by_itself(sync, now):
                    yield Attention(AttentionKind.PAUSED, sync, sync.pause_reason or "")
            elif sync.id in failed:
                yield Attention(AttentionKind.FAILED, sync, failed[sync.id])
            elif late and late.needs_person and working:  # without a runner every sync is late, for one reason
                yield Attention(AttentionKind.OVERDUE, sync, f"{late.reason[:1].upper()}{late.reason[1:]}.")

    def _count_needed(self, project: ProjectView, syncs: tuple[SyncView, ...], now: float) -> int:
        """Return about how many queries the refreshes until in an hour take; later pages only where Mixpanel counts them."""
        pages_count = self._store.rate_limits.pages_count(project.id, now)
        return sum(
            count_refreshes(sync, now) * count_queries(sync, pages_count=pages_count)
            for sync in syncs
            if sync.project_id == project.id
        )


def count_refreshes(sync: SyncView, now: float) -> int:
    """Return how often a sync is refreshed within the next hour, a run that has yet to read included."""
    run = sync.last_run
    waits = int(run is not None and not run.state.is_final and not run.planned)
    if not sync.is_due_again or sync.next_run_at is None or not sync.interval_seconds:
        return waits
    until = min(now + HOUR_SECONDS, sync.ends_at or math.inf) - max(sync.next_run_at, now)
    return waits + (math.floor(until / sync.interval_seconds) + 1 if until >= 0 else 0)
