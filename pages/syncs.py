"""Syncs: every exported cohort with its state, its next and its last result, and the page of one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import badges, layout, paging, polling, rows, run_progress, sync_detail, sync_dialogs
from pages.parts.formatting import escape_markdown, format_wait, shorten_error, shorten_name
from pages.parts.navigation import clear_requests, open_page, requested_id, requested_text
from pages.parts.session import is_allowed, open_service
from sync.model import RunState, SyncState
from sync.permissions import AccessLevel
from sync.records import SyncView
from sync.text import count_people
from sync.wording import NEEDS_PERSON, describe_run_changes, describe_size, name_sync_state

PER_PAGE = 25
PAGE = "sync_page"  # session key and parameter of the address: which page of the list
AFTER_APPROVAL = "Once approved"
LOOK_ONLY = "You can view this page; changing a sync needs a marketer. Ask an admin of Cohort Sync."
DIALOGS = {
    "stop": sync_dialogs.show_stop_dialog,
    "interval": sync_dialogs.show_interval_dialog,
    "pause": sync_dialogs.show_pause_dialog,
}
SHOW = "show_syncs"  # session key and parameter of the address: which syncs are shown
EVERY_SYNC = "All syncs"
COLUMNS = ("Cohort", "State", "Next", "Last result", "People")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hold what is searched for, in small letters, and which state is chosen."""

    text: str = ""
    state: str = EVERY_SYNC


def open_requested_dialog(syncs: tuple[SyncView, ...], problem: DeltaGenerator) -> None:
    """Open the dialog that the address requests, if any; a viewer, who may not do it, sees that at the top instead."""
    if not is_allowed(AccessLevel.MARKETER):
        if any(request in st.query_params for request in DIALOGS):
            problem.warning(LOOK_ONLY)
        clear_requests(*DIALOGS)
        return
    for request, open_dialog in DIALOGS.items():
        found = next((sync for sync in syncs if sync.id == requested_id(request)), None)
        if found:
            open_dialog(found)
            return
        if asked := requested_text(request):
            problem.warning(escape_markdown(f"This project has no sync {asked}."))
        clear_requests(request)


def show_page() -> None:
    """Show the sync that the address requests, else all of them, kept up to date."""
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        syncs = service.syncs.list(project.id if project else None)
    problem = st.empty()  # at the top: below 25 rows nobody would see it
    sync_id = requested_id("sync")
    if sync_id is None:
        if asked := requested_text("sync"):
            problem.warning(escape_markdown(f"There is no sync {asked}."))
            clear_requests("sync")
        st.title("Syncs", anchor=False)
        show_sync_rows(project.id if project else None)
    else:
        sync_detail.show_sync(sync_id)
    open_requested_dialog(syncs, problem)


def show_sync_rows(project_id: int | None) -> None:
    """Show the search, the filter and the syncs that pass them, kept up to date."""
    with open_service() as service:
        exist = bool(service.syncs.list(project_id))
    wanted = _show_filters() if exist else Wanted()
    polling.poll_slowly(lambda: _show_rows(project_id, wanted))


def _show_filters() -> Wanted:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = paging.show_search("Search syncs", "sync_q", "Search by cohort or attribute", PAGE)
        state = st.selectbox(
            "Show",
            [EVERY_SYNC, NEEDS_PERSON, *badges.SYNC_BADGES],
            key=SHOW,
            bind="query-params",
            width=220,
            on_change=paging.open_first_page,
            args=(PAGE,),
            label_visibility="collapsed",
        )
    return Wanted(text=text, state=state or EVERY_SYNC)


def _find_syncs(project_id: int | None, wanted: Wanted) -> tuple[SyncView, ...]:
    """Return the syncs that pass the search and the filter, the newest first."""
    with open_service() as service:
        syncs = (
            tuple(one.sync for one in service.overview.list_attention(project_id))
            if wanted.state == NEEDS_PERSON
            else service.syncs.list(project_id)
        )
    return tuple(
        sync
        for sync in syncs
        if wanted.text in f"{sync.cohort_name} {sync.attribute}".casefold()
        and wanted.state in (EVERY_SYNC, NEEDS_PERSON, name_sync_state(sync))
    )


def _show_rows(project_id: int | None, wanted: Wanted) -> None:
    """Show one page of these syncs, each one kept up to date while its run is under way."""
    found = _find_syncs(project_id, wanted)
    if not found:
        _explain_none(wanted, is_connected=project_id is not None)
        return
    page = paging.choose_page(PAGE, len(found), PER_PAGE)
    if len(found) > PER_PAGE:
        st.caption(page.describe("sync"))
    with open_service() as service:
        late = {one.sync_id for one in service.syncs.list_overdue() if run_progress.is_noticed(one, time.time())}
    with st.container(key="rows-syncs"):
        rows.show_headings("syncs", COLUMNS)
        for sync in found[page.start : page.end]:
            show = partial(_show_row, sync.id in late)
            polling.poll_item(sync, lambda read: (read.last_run,), partial(_read_sync, sync.id), show)


def _explain_none(wanted: Wanted, *, is_connected: bool) -> None:
    if wanted.text:
        st.info("No sync matches. The Cohorts page has the cohorts that are not exported yet.")
    elif wanted.state == NEEDS_PERSON:
        st.success("No sync needs attention.", icon=":material/check_circle:")
    elif wanted.state != EVERY_SYNC:
        st.info("No sync is in this state now.")
    elif not is_connected:
        st.info("Nothing has been exported yet. Connect Mixpanel and WebEngage first.")
        if st.button("Go to Integrations", type="primary"):
            open_page("integrations")
    else:
        st.info("Nothing has been exported yet. Open the Cohorts page and choose “Export” beside a cohort.")
        if st.button("Go to Cohorts", type="primary"):
            open_page("cohorts")


def _read_sync(sync_id: int) -> SyncView:
    with open_service() as service:
        return service.syncs.get(sync_id)


def _show_row(late: bool, sync: SyncView) -> None:
    with rows.place_row(f"sync-{sync.id}"):
        if rows.show_opener(shorten_name(sync.cohort_name), f"open-{sync.id}"):
            open_page("syncs", sync=sync.id)
        marks = [badges.sync_badge(sync), *([badges.OVERDUE] if late else []), badges.MODE_BADGES[sync.requested_mode]]
        badges.show_badges(*marks)
        st.caption(_describe_next(sync))
        _show_result(sync)
        st.caption(describe_size(sync))


def _describe_next(sync: SyncView) -> str:
    if sync.is_held:
        return AFTER_APPROVAL
    if sync.state != SyncState.ACTIVE or sync.next_run_at is None:
        return "No refresh"
    return format_wait(sync.next_run_at)


def _show_result(sync: SyncView) -> None:
    run = sync.last_run
    if run is None:
        st.caption("Not run yet")
    elif sync.clear_problem:
        badges.show_badges(badges.run_badge(run), after=f"{count_people(sync.size)} still true in WebEngage")
    elif run.state == RunState.SUCCEEDED:
        badges.show_badges(badges.run_badge(run), after=describe_run_changes(run))
    elif sync.is_held:  # its state says that it needs approval
        run_progress.show_progress(run)
    elif run.state.is_final:
        badges.show_badges(badges.run_badge(run), after=shorten_error(run_progress.describe_run(run)))
    else:
        with st.container(gap=None):
            badges.show_badges(badges.run_badge(run))
            run_progress.show_progress(run)


layout.run_in_layout(show_page)
