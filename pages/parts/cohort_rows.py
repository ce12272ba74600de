"""The list of cohorts: search, filter, order, rows with live state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import notices, progress
from pages.parts.desk import open_service
from pages.parts.look import plain, sync_badge
from pages.parts.wishes import ask, go
from pages.parts.words import count, day, escape, sought
from sync.service import Service
from sync.views import CohortView, ProjectView, SyncView

PER_PAGE = 25
EVERY_STATE, SYNCED, NOT_SYNCED = "All", "Synced", "Not synced"
ORDERS: dict[str, tuple[Callable[[CohortView], Any], bool]] = {
    "Name": (lambda cohort: cohort.name.casefold(), False),
    "Most people": (lambda cohort: cohort.count or 0, True),
    "Newest": (lambda cohort: cohort.created, True),
}
GROUP_REASON = "Groups (companies, for example) have no users, so this cohort cannot be exported."
VIEW, EXPORT, REFRESH, RUNS = "View members", "Export to WebEngage", "Refresh count", "See runs"


def show(service: Service, project: ProjectView, cohorts: Sequence[CohortView]) -> None:
    """Show the rows that were asked for, with their state kept up to date."""
    found = _filtered(cohorts)
    if not found:
        st.info("No cohort matches." if cohorts else "Mixpanel lists no cohort in this project yet.")
        return
    slots = {cohort.id: _row(project, cohort) for cohort in _paged(found)}
    syncs = service.syncs(project.id)
    every = progress.seconds_between_looks([sync.last_run for sync in syncs])
    st.fragment(run_every=every)(_states)(project.id, slots)


def _filtered(cohorts: Sequence[CohortView]) -> list[CohortView]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("Search cohorts", key="q", type="search", live=True, bind="query-params",
                             placeholder="Search by name or description", on_change=_first_page, width=320)
        state = st.segmented_control("Show", [EVERY_STATE, SYNCED, NOT_SYNCED], default=EVERY_STATE, required=True,
                                     key="show", bind="query-params", on_change=_first_page)
        order = st.selectbox("Sort by", list(ORDERS), key="sort", bind="query-params", width=160)
    wanted = {EVERY_STATE: (True, False), SYNCED: (True,), NOT_SYNCED: (False,)}[state or EVERY_STATE]
    key, backwards = ORDERS[order or "Name"]
    found = [cohort for cohort in cohorts if sought(cohort, text or "") and bool(cohort.sync_id) in wanted]
    return sorted(found, key=key, reverse=backwards)


def _first_page() -> None:
    st.session_state.pop("cohorts_page", None)


def _paged(found: list[CohortView]) -> list[CohortView]:
    pages = -(-len(found) // PER_PAGE)
    if pages < 2:
        return found
    page = min(st.pagination(pages, key="cohorts_page", bind="query-params"), pages)
    return found[(page - 1) * PER_PAGE : page * PER_PAGE]


def _row(project: ProjectView, cohort: CohortView) -> DeltaGenerator:
    """Show one cohort; the answer is the place where its state is written."""
    with st.container(border=True, key=f"row-{cohort.id}"):
        about, people, state, actions = st.columns([4, 1.2, 2.6, 3.6], vertical_alignment="center")
        with about:
            plain(cohort.name, f"cohort-{cohort.id}")
            st.caption(escape(cohort.description or "No description"))
        with people, st.container(gap=None):
            st.text(count(cohort.count))
            st.caption(f"created {escape(day(cohort.created))}" if cohort.created else "people")
        slot = state.empty()
        with actions:
            _actions(project, cohort)
    return slot


def _actions(project: ProjectView, cohort: CohortView) -> None:
    if cohort.group:
        st.caption(GROUP_REASON)
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.button("Export", key=f"export-{cohort.id}", icon=":material/send:", on_click=ask,
                  args=("export", cohort.id), help="Export to WebEngage")
        st.button("Members", key=f"view-{cohort.id}", icon=":material/visibility:", on_click=ask,
                  args=("view", cohort.id), help="View members")
        with st.container(key=f"menu-{cohort.id}", width="content"):
            choice = st.menu_button(f"Actions for {escape(cohort.name)}", [VIEW, EXPORT, REFRESH, RUNS],
                                    key=f"actions-{cohort.id}", icon=":material/more_horiz:", type="tertiary")
    if choice:
        _chosen(project, cohort, choice)


def _chosen(project: ProjectView, cohort: CohortView, choice: str) -> None:
    if choice in (VIEW, EXPORT):
        ask("view" if choice == VIEW else "export", cohort.id)
    elif choice == REFRESH:
        refresh(project.id, cohort)
    else:
        see_runs(cohort)
    st.rerun()


def refresh(project_id: int, cohort: CohortView) -> None:
    """Ask Mixpanel for a cohort's count again."""
    with open_service() as service:
        number = notices.attempt("", service.refresh_count, project_id, cohort.id)
    if number is not None:
        notices.tell(f"{cohort.name} has {int(number):,} members now.")


def see_runs(cohort: CohortView) -> None:
    """Open the runs of a cohort, or say that there are none."""
    if cohort.sync_id is not None:
        go("runs", sync=cohort.sync_id)
    notices.tell(f"{cohort.name} was never exported, so it has no runs yet.")


def _states(project_id: int, slots: dict[int, DeltaGenerator]) -> None:
    """Write the state of every row again: one short look, nothing is done."""
    with open_service() as service:
        syncs = {sync.cohort_id: sync for sync in service.syncs(project_id)}
    for cohort_id, slot in slots.items():
        with slot.container(gap="xsmall"):
            _state(syncs.get(cohort_id))


def _state(sync: SyncView | None) -> None:
    sync_badge(sync.state if sync else None)
    if sync and sync.last_run and not sync.last_run.state.over:
        progress.draw(sync.last_run)
    elif sync and sync.reason:
        st.caption(escape(sync.reason))
    elif sync and sync.last_run:
        st.caption(f"Last export: {escape(progress.sentence(sync.last_run))}")
