"""The list of cohorts: search, filter, order, rows with live state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices, paging, polling, run_progress
from pages.parts.badges import run_badge, show_badges, show_name, sync_badge
from pages.parts.export_draft import request_export
from pages.parts.formatting import (
    escape_markdown,
    format_count,
    format_day,
    format_time,
    localize_times,
    shorten_error,
    shorten_name,
)
from pages.parts.navigation import open_page, set_request, show_page_link
from pages.parts.session import is_allowed, open_service
from sync.model import Run, RunState
from sync.permissions import AccessLevel
from sync.records import CohortView, ProjectView, SyncView
from sync.service import Service

PER_PAGE = 25
PAGE = "cohort_page"  # session key and parameter of the address: which page of the list
EVERY_STATE, WITH_SYNC, NOT_SYNCED = "All cohorts", "With a sync", "Not synced"
ORDERS: dict[str, tuple[Callable[[CohortView], Any], bool]] = {
    "Name A to Z": (lambda cohort: cohort.name.casefold(), False),
    "Name Z to A": (lambda cohort: cohort.name.casefold(), True),
    "Most people": (lambda cohort: cohort.count or 0, True),
    "Fewest people": (lambda cohort: cohort.count or 0, False),
    "Newest": (lambda cohort: cohort.created, True),
    "Oldest": (lambda cohort: cohort.created, False),
}
HEADINGS = {  # each with the order its first click asks for, and its second one
    "Name": ("Name A to Z", "Name Z to A"),
    "Members": ("Most people", "Fewest people"),
    "Created": ("Newest", "Oldest"),
}
SORT = "sort"  # session key and parameter of the address: the chosen order
NO_COHORT = "Mixpanel lists no cohort in this project yet. Saving cohorts needs a paid plan of Mixpanel."
SHARE_HINT = (
    "Not listed? Share the cohort with your project in Mixpanel: open the cohort's ⋯ menu there, choose "
    "Share, and give the whole project access. Then press Refresh list."
)
GROUP_REASON = "A cohort of groups, not of people, so it cannot be exported."
VIEW, EXPORT, REFRESH, RUNS = "View members", "Export to WebEngage", "Refresh count", "See runs"


def show_cohort_rows(project: ProjectView, cohorts: Sequence[CohortView]) -> None:
    """Show the rows that were asked for, with their state kept up to date."""
    found = _filter_cohorts(cohorts)
    if not found:
        st.info("No cohort matches." if cohorts else NO_COHORT)
        st.caption(SHARE_HINT)
        return
    table = st.container(gap=None, key="table-cohorts")
    shown = _page_of(found)  # the page numbers stand below the table
    with table:
        _show_headings()
        may_export = is_allowed(AccessLevel.MARKETER)  # once for all rows: it reads how sign-in is configured
        rows = {cohort.id: _show_row(project, cohort, may_export=may_export) for cohort in shown}
    slots = {cohort_id: slot for cohort_id, slot in rows.items() if slot}
    polling.poll(
        lambda: _read_syncs(project.id),
        lambda syncs: (sync.last_run for sync in syncs),
        lambda syncs: _show_states(syncs, slots, may_decide=may_export),
    )


def _read_syncs(project_id: int) -> tuple[SyncView, ...]:
    with open_service() as service:
        return service.syncs.list(project_id)


def _filter_cohorts(cohorts: Sequence[CohortView]) -> list[CohortView]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = paging.show_search("Search cohorts", "q", "Search by name or description", PAGE)
        state = st.selectbox(
            "Show",
            [EVERY_STATE, WITH_SYNC, NOT_SYNCED],
            key="show",
            bind="query-params",
            width=160,
            on_change=paging.open_first_page,
            args=(PAGE,),
            label_visibility="collapsed",
        )
        order = st.selectbox(
            "Sort by", list(ORDERS), key=SORT, bind="query-params", width=170, label_visibility="collapsed"
        )
    wanted = {EVERY_STATE: (True, False), WITH_SYNC: (True,), NOT_SYNCED: (False,)}[state or EVERY_STATE]
    key, backwards = ORDERS[order or next(iter(ORDERS))]
    found = [
        cohort
        for cohort in cohorts
        if text in f"{cohort.name} {cohort.description}".casefold() and bool(cohort.sync_id) in wanted
    ]
    return sorted(found, key=key, reverse=backwards)


def _page_of(found: list[CohortView]) -> list[CohortView]:
    page = paging.choose_page(PAGE, len(found), PER_PAGE)
    if len(found) > PER_PAGE:
        st.caption(page.describe("cohort"))
    return found[page.start : page.end]


def _show_headings() -> None:
    """Show the names of the columns; a click on one sorts by it, a second click the other way round."""
    chosen = st.session_state.get(SORT) or next(iter(ORDERS))
    with st.container(key="headings-cohorts", horizontal=True):
        for heading, orders in HEADINGS.items():
            _show_heading(heading, orders, chosen)
        st.caption("Sync and last result")


def _show_heading(heading: str, orders: tuple[str, str], chosen: str) -> None:
    is_first = chosen == orders[0]
    icons = {orders[0]: ":material/arrow_downward:", orders[1]: ":material/arrow_upward:"}
    st.button(
        heading,
        key=f"sort-{heading}",
        icon=icons.get(chosen),
        icon_position="right",
        type="tertiary",
        on_click=_sort_by,
        args=(orders[1] if is_first else orders[0],),
    )


def _sort_by(order: str) -> None:
    st.session_state[SORT] = order


def _show_row(project: ProjectView, cohort: CohortView, *, may_export: bool) -> DeltaGenerator | None:
    """Show one cohort; the answer is the place where its state is written, None when it cannot have one.

    The style sheet places these cells by their order, without a column around each, which browsers draw slowly.
    """
    with st.container(key=f"row-{'one-' if cohort.count == 1 else ''}{cohort.id}", horizontal=True):
        _show_name(project, cohort)
        if cohort.count is None:
            st.caption("—")  # a phone, which writes "members" after a number, leaves it out
        else:
            st.text(format_count(cohort.count))
        st.text(format_day(cohort.created) or "—")
        if cohort.group:
            st.caption(GROUP_REASON)
            return None
        slot = st.empty()
        _show_actions(project, cohort, may_export=may_export)
    return slot


def _show_name(project: ProjectView, cohort: CohortView) -> None:
    """Show the name as the way to the cohort's members, and the description; groups have no members to show."""
    if cohort.group:
        show_name(shorten_name(cohort.name), f"cohort-{cohort.id}")
    else:
        label = escape_markdown(shorten_name(cohort.name))
        show_page_link(label, "", "cohorts", project=project.id, cohort=cohort.id)  # it may be opened in another tab
    st.text(cohort.description or "No description")


def _show_actions(project: ProjectView, cohort: CohortView, *, may_export: bool) -> None:
    name, number = escape_markdown(cohort.name), cohort.id
    if may_export:
        st.button("Export", key=f"export-{number}", icon=":material/send:", on_click=request_export, args=(number,))
    choice = st.menu_button(
        f"Actions for {name}",
        [VIEW, *([EXPORT] if may_export else []), REFRESH, RUNS],
        key=f"quiet-menu-{number}",
        icon=":material/more_horiz:",
        type="tertiary",
    )
    if choice:
        _act_on_choice(project, cohort, choice)


def _act_on_choice(project: ProjectView, cohort: CohortView, choice: str) -> None:
    if choice == VIEW:
        set_request("cohort", cohort.id)
    elif choice == EXPORT:
        request_export(cohort.id)
    elif choice == REFRESH:
        refresh_count(project.id, cohort)
    else:
        see_runs(cohort)
    st.rerun()


def refresh_count(project_id: int, cohort: CohortView) -> None:
    """Ask Mixpanel for a cohort's count again, by a new preview (two queries)."""

    def count(service: Service) -> str:
        members = service.cohorts.preview(project_id, cohort.id, fresh=True).total
        return f"{shorten_name(cohort.name)} has {members:,} members now."

    notices.try_action("", count)


def see_runs(cohort: CohortView) -> None:
    """Open the runs of a cohort, or say that there are none."""
    if cohort.sync_id is not None:
        open_page("runs", sync=cohort.sync_id)
    notices.flash_success(f"{shorten_name(cohort.name)} was never exported, so it has no runs yet.")


def _show_states(syncs: Sequence[SyncView], slots: dict[int, DeltaGenerator], *, may_decide: bool) -> None:
    """Write the state of every row again: one short look, nothing is done."""
    known = {sync.cohort_id: sync for sync in syncs}
    for cohort_id, slot in slots.items():
        sync = known.get(cohort_id)
        run = sync.last_run if sync else None
        if run and not run.state.is_final:
            with slot.container(gap="xsmall"):
                _show_run(run, may_decide=may_decide)
        else:
            with slot:
                show_badges(sync_badge(sync), after=_describe_state(sync, run))


def _show_run(run: Run, *, may_decide: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        show_badges(run_badge(run))
        show_page_link(run_progress.label_link(run, may_decide=may_decide), "open_in_full", "runs", run=run.id)
    run_progress.show_progress(run)


def _describe_state(sync: SyncView | None, run: Run | None) -> str:
    """Return why a sync does not go on, or what its last export did, in a line or two."""
    if sync and sync.pause_reason:
        return shorten_error(localize_times(sync.pause_reason))
    if sync and sync.clear_problem:
        return localize_times(sync.clear_problem)
    return _last_export(sync, run) if sync and run else ""


def _last_export(sync: SyncView, run: Run) -> str:
    text = (
        f"Last export: {run_progress.describe_run(run)}"
        if run.state == RunState.SUCCEEDED
        else shorten_error(run_progress.describe_run(run))
    )
    return f"{text.rstrip('.')} · next {format_time(sync.next_run_at)}" if sync.next_run_at else text
