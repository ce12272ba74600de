"""The page of one sync: its schedule, its last run, what it needs, and the buttons that change it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages.parts import badges, charts, guard_settings, notices, polling, run_actions, run_progress, run_rows
from pages.parts.badges import show_small_text
from pages.parts.formatting import escape_markdown, format_error, format_time, format_wait, localize_times, shorten_name
from pages.parts.navigation import clear_requests, open_page, set_request, show_page_link
from pages.parts.session import is_allowed, open_service
from sync.cadence import format_interval
from sync.errors import CohortSyncError
from sync.model import Mode, Run, RunState, SyncState
from sync.permissions import AccessLevel
from sync.records import SyncView
from sync.service import Service
from sync.views import Overdue
from sync.wording import describe_run_changes, describe_size

RUNS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SyncDetail:
    """A sync, its sizes after its last runs (oldest first), and since when it is late."""

    sync: SyncView
    sizes: tuple[int, ...]
    late: Overdue | None


def show_sync(sync_id: int) -> None:
    """Show one sync, kept up to date, or that there is no such sync.

    Each part is a fragment of its own, so that a part with settings (the guard, for instance) is not redrawn under
    the hands of who fills it in: put such a part between the two, without polling.
    """
    st.button("All syncs", icon=":material/arrow_back:", on_click=clear_requests, args=("sync",), type="tertiary")
    try:
        first = [_read_detail(sync_id)]  # for the first drawing only; each later one reads again
    except CohortSyncError as error:
        st.warning(format_error(error))
        return
    polling.poll(
        lambda: first.pop() if first else _read_detail(sync_id), lambda read: (read.sync.last_run,), show_detail
    )
    guard_settings.show_guard_settings(sync_id)
    polling.poll_slowly(lambda: _show_runs(sync_id))


def _read_detail(sync_id: int) -> SyncDetail:
    with open_service() as service:
        return SyncDetail(
            sync=service.syncs.get(sync_id),
            sizes=service.syncs.list_sizes(sync_id, charts.SPARK_RUNS)[::-1],
            late=next(iter(service.syncs.list_overdue(sync_id)), None),
        )


def _show_runs(sync_id: int) -> None:
    """Show the last runs of a sync."""
    with open_service() as service:
        runs = service.runs.list(sync_id, limit=RUNS_SHOWN)
    if runs:
        st.header("Last runs", anchor=False)
        run_rows.show_run_rows(runs, None)


def show_detail(detail: SyncDetail) -> None:
    """Show a sync as it is now, with the buttons that act on it."""
    sync = detail.sync
    _show_head(sync)
    _show_problems(detail)
    _show_buttons(sync)
    about, last, size = st.columns([3, 3.4, 2])
    with about:
        show_small_text("\n".join(_describe_schedule(sync)), f"about-{sync.id}")
    with last:
        _show_last_run(sync)
    with size:
        st.caption(describe_size(sync, " in WebEngage"))
        charts.show_sparkline(detail.sizes)


def _show_head(sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        badges.show_title(sync.cohort_name, "content")
        badges.show_badges(badges.sync_badge(sync), badges.MODE_BADGES[sync.requested_mode])
    badges.show_whole_name(sync.cohort_name)
    if sync.pause_reason:
        st.warning(escape_markdown(localize_times(sync.pause_reason)), icon=":material/pause_circle:")


def _show_problems(detail: SyncDetail) -> None:
    """Show since when and why a sync is late, and who still has the attribute after a failed clear."""
    late = detail.late
    if late and run_progress.is_noticed(late, time.time()):
        text = f"Overdue since {format_time(late.since)}: {localize_times(late.reason)}."
        st.warning(escape_markdown(text), icon=":material/alarm:")
    if detail.sync.clear_problem:
        st.error(escape_markdown(localize_times(detail.sync.clear_problem)), icon=":material/error:")
    if detail.sync.id_change_problem:
        st.warning(escape_markdown(detail.sync.id_change_problem), icon=":material/badge:")


def _describe_schedule(sync: SyncView) -> list[str]:
    scheduled = sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED
    return [
        _describe_next(sync),
        *([f"Refreshed {_describe_cadence(sync)}"] if scheduled else []),
        *_describe_end(sync, scheduled=scheduled),
        f"Attribute: {sync.attribute}",
        *([f"User ID: {sync.id_property}"] if sync.id_property else []),
    ]


def _describe_end(sync: SyncView, *, scheduled: bool) -> list[str]:
    """Return until when a sync is refreshed; of a finished one only an end that has come."""
    if sync.ends_at and scheduled:
        return [f"Last refresh before {format_time(sync.ends_at)}"]
    if sync.ends_at and sync.state == SyncState.FINISHED and sync.ends_at <= time.time():
        return [f"Its last day ended {format_time(sync.ends_at)}"]
    return []


def _describe_cadence(sync: SyncView) -> str:
    return sync.daily.describe() if sync.daily else format_interval(sync.interval_seconds)


def _describe_next(sync: SyncView) -> str:
    if sync.is_held:
        return "No refresh until the run below is approved or cancelled"
    if sync.resume_at:
        return f"Resumes {format_time(sync.resume_at)}"
    if sync.state == SyncState.ACTIVE and sync.next_run_at:
        return f"Next refresh {format_time(sync.next_run_at)}, {format_wait(sync.next_run_at)}"
    if sync.clear_problem:
        return "Stopped, but not cleared: clear it again, or export the cohort again"
    if sync.is_cleared:
        return "Stopped and cleared: to send people again, export the cohort again"
    return "No refresh while paused" if sync.state == SyncState.PAUSED else "No further refresh planned"


def _show_last_run(sync: SyncView) -> None:
    run = sync.last_run
    if not run:
        st.caption("Not run yet")
        return
    badge = badges.run_badge(run)
    if run.state == RunState.SUCCEEDED:
        badges.show_badges(badge, after=describe_run_changes(run))
        st.caption(f"Finished {format_time(run.finished_at or 0.0)}")
    else:
        badges.show_badges(badge, after=format_time(run.finished_at) if run.finished_at else "")
        is_said_above = sync.clear_problem or (sync.pause_reason and sync.pause_reason == run.error)
        if not is_said_above:
            run_progress.show_progress(run)


def _show_buttons(sync: SyncView) -> None:
    run = sync.last_run
    under_way = run if run and not run.state.is_final else None
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        if is_allowed(AccessLevel.MARKETER):
            _show_sync_buttons(sync, under_way)
        if under_way:
            _show_run_buttons(sync, under_way)
        show_page_link("See members", "groups", "cohorts", project=sync.project_id, cohort=sync.cohort_id)
        show_page_link("See runs", "history", "runs", sync=sync.id)
        if sync.size:
            show_page_link("Receipt", "receipt_long", "receipt", project=sync.project_id, cohort=sync.cohort_id)


def _show_sync_buttons(sync: SyncView, under_way: Run | None) -> None:
    if not under_way and sync.state != SyncState.PAUSED and not sync.is_cleared:
        _show_action_button(
            sync, "Sync now", ":material/sync:", "is being synced.", lambda service: service.syncs.refresh_now(sync.id)
        )
    if sync.state == SyncState.ACTIVE and sync.mode == Mode.DYNAMIC:
        _show_action_button(
            sync, "Pause", ":material/pause:", "is paused.", lambda service: service.syncs.pause(sync.id)
        )
        _show_dialog_button(sync, "Pause until", ":material/snooze:", "pause")
    if sync.state == SyncState.PAUSED:
        _show_action_button(
            sync, "Resume", ":material/play_arrow:", "is resumed.", lambda service: service.syncs.resume(sync.id)
        )
    if sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED:
        _show_dialog_button(sync, "Interval", ":material/schedule:", "interval")
    has_failed = sync.last_run is not None and sync.last_run.state == RunState.FAILED  # stopped, it needs nobody
    if sync.state != SyncState.FINISHED or sync.size or has_failed:
        _show_dialog_button(sync, "Clear again" if sync.clear_problem else "Stop", ":material/stop_circle:", "stop")


def _show_run_buttons(sync: SyncView, run: Run) -> None:
    label = run_progress.label_link(run, may_decide=is_allowed(AccessLevel.MARKETER))
    if st.button(
        label,
        key=f"run-{sync.id}",
        icon=":material/open_in_full:",
        type="primary" if label == run_progress.DECIDE else "tertiary",
    ):
        open_page("runs", run=run.id)
    if run.cancel_requested or not is_allowed(AccessLevel.MARKETER):
        return
    if not st.button("Cancel run", key=f"cancel-{sync.id}", icon=":material/cancel:"):
        return
    name = f"The run of {shorten_name(sync.cohort_name)}"
    notices.act_and_redraw("", lambda service: run_actions.cancel_run(service, run, name))


def _show_action_button(
    sync: SyncView, label: str, icon: str, outcome: str, action: Callable[[Service], object]
) -> None:
    if st.button(label, key=f"{label}-{sync.id}", icon=icon):
        notices.act_and_redraw(f"{shorten_name(sync.cohort_name)} {outcome}", action)


def _show_dialog_button(sync: SyncView, label: str, icon: str, request: str) -> None:
    if st.button(label, key=f"{request}-{sync.id}", icon=icon):
        set_request(request, sync.id)
        st.rerun()
