"""Syncs: every exported cohort, its schedule, its last run, and the buttons that change it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from pages.parts import badges, charts, guard_settings, layout, notices, polling, run_progress, sync_dialogs
from pages.parts.badges import show_name, show_small_text
from pages.parts.formatting import (
    escape_markdown,
    format_changes,
    format_duration_short,
    format_interval,
    format_people,
    format_plural,
    format_time,
    localize_times,
)
from pages.parts.navigation import clear_requests, open_page, requested_id, set_request
from pages.parts.session import is_allowed, open_service
from sync.model import Mode, Run, RunState, SyncState
from sync.permissions import AccessLevel
from sync.service import Service
from sync.views import Overdue, SyncView

PER_PAGE = 10  # a card has twenty elements, and every poll redraws all of them


def open_requested_dialog(syncs: tuple[SyncView, ...]) -> None:
    """Open the dialog that the address requests, if any."""
    for request, open_dialog in (
        ("stop", sync_dialogs.show_stop_dialog),
        ("interval", sync_dialogs.show_interval_dialog),
        (guard_settings.REQUEST, guard_settings.show_guard_dialog),
    ):
        found = next((sync for sync in syncs if sync.id == requested_id(request)), None)
        if found:
            open_dialog(found)
            return
        clear_requests(request)


def show_page() -> None:
    """Show the syncs of the project, kept up to date."""
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        syncs = service.syncs.list(project.id if project else None)
    st.title("Syncs", anchor=False)
    show_sync_cards(project.id if project else None, len(syncs))
    open_requested_dialog(syncs)


@dataclass(frozen=True, slots=True)
class Card:
    """Content of one card: the sync, its sizes after its last runs (oldest first), and since when it is late."""

    sync: SyncView
    sizes: tuple[int, ...]
    late: Overdue | None


def show_sync_cards(project_id: int | None, sync_count: int) -> None:
    """Show one page of the syncs, kept up to date."""
    pages = -(-sync_count // PER_PAGE)
    page = min(st.pagination(pages, key="sync_page", bind="query-params"), pages) if pages > 1 else 1
    if pages > 1:
        st.caption(
            f"{(page - 1) * PER_PAGE + 1} to {min(page * PER_PAGE, sync_count)} of {format_plural(sync_count, 'sync')}"
        )
    polling.poll_slowly(lambda: show_cards(_read_cards(project_id, page)))


def _read_cards(project_id: int | None, page: int) -> tuple[Card, ...]:
    with open_service() as service:
        syncs = service.syncs.list(project_id)[(page - 1) * PER_PAGE : page * PER_PAGE]
        overdue = {one.sync_id: one for one in service.syncs.list_overdue()}
        return tuple(
            Card(sync=sync, sizes=service.syncs.list_sizes(sync.id, charts.SPARK_RUNS)[::-1], late=overdue.get(sync.id))
            for sync in syncs
        )


def _read_card(sync_id: int) -> Card:
    with open_service() as service:
        return Card(
            sync=service.syncs.get(sync_id),
            sizes=service.syncs.list_sizes(sync_id, charts.SPARK_RUNS)[::-1],
            late=next(iter(service.syncs.list_overdue(sync_id)), None),
        )


def show_cards(cards: tuple[Card, ...]) -> None:
    """Show these cards, each one kept up to date while its run is under way."""
    for card in cards:
        polling.poll_item(card, lambda read: (read.sync.last_run,), partial(_read_card, card.sync.id), _show_card)
    if not cards:
        st.info("Nothing is exported yet. Choose a cohort and click “Export to WebEngage”.")
        if st.button("Go to Cohorts", type="primary"):
            open_page("cohorts")


def _show_card(card: Card) -> None:
    sync = card.sync
    with st.container(border=True, key=f"sync-{sync.id}"):
        _show_head(sync)
        _show_problems(card)
        about, last, size = st.columns([3, 3.4, 2])
        with about:
            show_small_text("\n".join(_describe_schedule(sync)), f"about-{sync.id}")
        with last:
            _show_last_run(sync)
        with size:
            during = " before this run" if run_progress.is_moving(sync.last_run) else ""
            st.caption(f"{format_people(sync.size)} in WebEngage{during}")
            charts.show_sparkline(card.sizes)
        _show_buttons(sync)


def _show_head(sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        show_name(sync.cohort_name, f"sync-{sync.id}", width="content")
        badges.show_badges(badges.sync_badge(sync), badges.MODE_BADGES[sync.mode])
    if sync.pause_reason:
        st.warning(escape_markdown(localize_times(sync.pause_reason)), icon=":material/pause_circle:")


def _show_problems(card: Card) -> None:
    """Show since when and why a sync is late, and who still has the attribute after a failed clear."""
    late = card.late
    if late and late.needs_person and time.time() - late.since >= run_progress.LATE_SECONDS:
        text = f"Overdue since {format_time(late.since)}: {localize_times(late.reason)}."
        st.warning(escape_markdown(text), icon=":material/alarm:")
    if card.sync.clear_problem:
        st.error(escape_markdown(localize_times(card.sync.clear_problem)), icon=":material/error:")


def _describe_schedule(sync: SyncView) -> list[str]:
    scheduled = sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED
    return [
        _describe_next(sync),
        *([f"Refreshed {format_interval(sync.interval_seconds)}"] if scheduled else []),
        f"Attribute: {sync.attribute}",
    ]


def _describe_next(sync: SyncView) -> str:
    if sync.state == SyncState.ACTIVE and sync.next_run_at:
        left = sync.next_run_at - time.time()
        return f"Next refresh {format_time(sync.next_run_at)}, " + (
            f"in {format_duration_short(left)}" if left > 0 else "due now"
        )
    return "No refresh while paused" if sync.state == SyncState.PAUSED else "No further refresh planned"


def _show_last_run(sync: SyncView) -> None:
    run = sync.last_run
    if not run:
        st.caption("Not run yet")
        return
    badge = badges.run_badge(run)
    if run.state == RunState.SUCCEEDED:
        badges.show_badges(badge, after=format_changes(run))
        st.caption(
            f"Finished {format_time(run.finished_at or 0.0)}"
            + (f" · {run.rejected:,} rejected" if run.rejected else "")
        )
    else:
        badges.show_badges(badge, after=format_time(run.finished_at) if run.finished_at else "")
        if not sync.pause_reason or sync.pause_reason != run.error:  # already shown above as the reason of the pause
            run_progress.show_progress(run)


def _show_buttons(sync: SyncView) -> None:
    run = sync.last_run
    under_way = run if run and not run.state.is_final else None
    with st.container(horizontal=True, gap="xsmall"):
        if is_allowed(AccessLevel.MARKETER):
            _show_sync_buttons(sync, under_way)
        if under_way:
            _show_run_buttons(sync, under_way)
        _show_dialog_button(sync, "Guards", ":material/gpp_good:", guard_settings.REQUEST)
        if st.button("See runs", key=f"runs-{sync.id}", icon=":material/history:", type="tertiary"):
            open_page("runs", sync=sync.id)


def _show_sync_buttons(sync: SyncView, under_way: Run | None) -> None:
    if not under_way and sync.state != SyncState.PAUSED:
        _show_action_button(
            sync, "Sync now", ":material/sync:", "is being synced.", lambda service: service.syncs.refresh_now(sync.id)
        )
    if sync.state == SyncState.ACTIVE and sync.mode == Mode.DYNAMIC:
        _show_action_button(
            sync, "Pause", ":material/pause:", "is paused.", lambda service: service.syncs.pause(sync.id)
        )
    if sync.state == SyncState.PAUSED:
        _show_action_button(
            sync, "Resume", ":material/play_arrow:", "is resumed.", lambda service: service.syncs.resume(sync.id)
        )
    if sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED:
        _show_dialog_button(sync, "Interval", ":material/schedule:", "interval")
    if sync.state != SyncState.FINISHED or sync.size:
        _show_dialog_button(sync, "Stop", ":material/stop_circle:", "stop")


def _show_run_buttons(sync: SyncView, run: Run) -> None:
    can_decide = run.state == RunState.HELD and is_allowed(AccessLevel.MARKETER)
    label, button_type = ("Decide", "primary") if can_decide else ("See progress", "tertiary")
    if st.button(label, key=f"run-{sync.id}", icon=":material/open_in_full:", type=button_type):  # type: ignore[arg-type]
        open_page("runs", run=run.id)
    if run.cancel_requested or not is_allowed(AccessLevel.MARKETER):
        return
    if not st.button("Cancel run", key=f"cancel-{sync.id}", icon=":material/cancel:"):
        return
    with open_service() as service:
        notices.try_action(f"The run of {sync.cohort_name} is being cancelled.", service.runs.cancel, run.id)
    st.rerun()


def _show_action_button(
    sync: SyncView, label: str, icon: str, outcome: str, action: Callable[[Service], object]
) -> None:
    if st.button(label, key=f"{label}-{sync.id}", icon=icon):
        with open_service() as service:
            notices.try_action(f"{sync.cohort_name} {outcome}", action, service)
        st.rerun()


def _show_dialog_button(sync: SyncView, label: str, icon: str, request: str) -> None:
    if st.button(label, key=f"{request}-{sync.id}", icon=icon):
        set_request(request, sync.id)
        st.rerun()


layout.run_in_layout(show_page)
