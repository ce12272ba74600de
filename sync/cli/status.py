"""The lines `status` prints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sync.model import format_utc_time
from sync.records import RunnerState, SyncView
from sync.text import count_people
from sync.views import Health, Overdue

MEGABYTE = 2**20  # bytes


def status_lines(health: Health) -> Iterator[str]:
    """Yield the runner's state, the counts, what is left, and one line for everything that needs a person."""
    yield f"The runner {_describe_runner(health)}."
    yield (
        f"{health.due} due, {len(health.held)} held, {len(health.paused)} paused, {len(health.failed)} failed, "
        f"{len(health.overdue)} overdue, {len(health.not_cleared)} not cleared, "
        f"{count_people(health.rejected)} rejected."
    )
    if health.queries:
        left = ", ".join(f"{count:,} (project {project_id})" for project_id, count in health.queries)
        yield f"Mixpanel queries left this hour: {left}."
    yield f"Free disk: {health.disk_free // MEGABYTE:,} MB."
    name = partial(_name_sync, has_several=len(health.projects) > 1)
    for sync, run in health.held:
        yield f"Held: {name(sync, sync.id, f', run {run.id}')}: {run.held_reason}"
    for sync in health.paused:
        yield f"Paused: {name(sync, sync.id)}: {sync.pause_reason}"
    for sync, reason in health.failed:
        yield f"Failed: {name(sync, sync.id)}: {reason}"
    for late in health.overdue:
        yield f"Overdue: {name(late, late.sync_id)} since {format_utc_time(late.since)}: {late.reason}."
    for sync in health.not_cleared:
        yield f"Not cleared: {name(sync, sync.id)}: {sync.clear_problem}"
    for one in health.not_notified:
        yield f"Not delivered: {one.kind} {one.id} ({one.name or one.masked_url}): {one.trouble}"


def _name_sync(sync: SyncView | Overdue, number: int, run: str = "", *, has_several: bool) -> str:
    """Return the cohort of a sync with its number, and of several projects which it is."""
    project = f", project {sync.project_id}" if has_several else ""
    return f"“{sync.cohort_name}” (sync {number}{project}{run})"


def _describe_runner(health: Health) -> str:
    if health.runner_seen_at is None:
        return "is not running"
    age = health.now - health.runner_seen_at
    return {
        RunnerState.WORKING: f"was last seen {max(0.0, age):.0f} s ago",
        RunnerState.UNKNOWN: f"was last seen {-age:.0f} s in the future: a clock was changed, so it is unknown "
        "whether it works",
        RunnerState.SILENT: f"has been silent for {age:.0f} s; check its log, or start it again",
    }[health.runner_state]
