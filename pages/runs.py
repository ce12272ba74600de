"""Runs: the history of all exports and refreshes, and the details of one run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import layout, paging, polling, run_detail, run_rows
from pages.parts.badges import RUN_BADGES
from pages.parts.formatting import day_bounds, escape_markdown, format_error, tell_apart
from pages.parts.navigation import clear_requests, requested_id, requested_text, set_request
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.model import RunState
from sync.records import SyncView

PER_PAGE = 25
PAGE = "run_page"  # session key and parameter of the address: which page of the list

ANY_STATE = "Any state"

EVERY_COHORT = 0  # stands for no filter; no sync has this number


def show_one_run(run_id: int) -> None:
    """Show one run, kept up to date while it is under way, or that there is no such run."""
    st.button("All runs", icon=":material/arrow_back:", on_click=clear_requests, args=("run",), type="tertiary")
    try:
        with open_service() as service:
            service.runs.get(run_id)
    except CohortSyncError as error:
        st.warning(format_error(error))
        return
    run_detail.show_run(run_id)


def show_page() -> None:
    """Show the run that the address requests, else the history."""
    run_id = requested_id("run")
    if run_id is None:
        if asked := requested_text("run"):
            st.warning(escape_markdown(f"There is no run {asked}."))
            clear_requests("run")
        show_run_list()
    else:
        show_one_run(run_id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are listed; None leaves all."""

    project_id: int | None
    sync_id: int | None
    state: RunState | None
    between: tuple[float, float] | None

    @property
    def is_filtered(self) -> bool:
        """Return whether a filter is set."""
        return bool(self.sync_id or self.state or self.between)


def show_run_list() -> None:
    """Show the filters and the runs that match them, kept up to date."""
    st.title("Runs", anchor=False)
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        project_id = project.id if project else None
        wanted = _show_filters(project_id, service.syncs.list(project_id))
    polling.poll_slowly(lambda: _show_rows(wanted))


def _show_filters(project_id: int | None, syncs: tuple[SyncView, ...]) -> Wanted:
    problem = st.empty()
    states = {ANY_STATE: None} | {RUN_BADGES[state][0]: state for state in RunState}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox(
            "State", list(states), key="state", bind="query-params", width=220, on_change=_open_first_page
        )
        sync_id = _show_cohort_filter(syncs, problem)
        day = st.date_input(
            "Day", None, key="day", bind="query-params", format="YYYY-MM-DD", width=160, on_change=_open_first_page
        )
    between = day_bounds(day) if isinstance(day, date) else None
    return Wanted(project_id=project_id, sync_id=sync_id, state=states[state or ANY_STATE], between=between)


def _show_cohort_filter(syncs: tuple[SyncView, ...], problem: DeltaGenerator) -> int | None:
    """Show the choice of cohort, and keep it in the address under the number of its sync; say when there is none."""
    every = "Every cohort"
    names = {EVERY_COHORT: every} | tell_apart({sync.id: sync.cohort_name for sync in syncs}, every)
    requested = requested_id("sync") or EVERY_COHORT
    choices = list(names)
    if requested not in names or (requested == EVERY_COHORT and requested_text("sync")):
        problem.warning(escape_markdown(f"This project has no sync {requested_text('sync')}; these are all runs."))
        clear_requests("sync")
        requested = EVERY_COHORT
    chosen = st.selectbox(
        "Cohort",
        choices,
        index=choices.index(requested),
        width=300,
        format_func=names.__getitem__,
        key=f"cohort-{requested}",
        on_change=_open_first_page,
    )
    if chosen != requested:
        _keep_cohort_filter(chosen)
        st.rerun()
    return chosen or None


def _keep_cohort_filter(sync_id: int) -> None:
    if sync_id == EVERY_COHORT:
        clear_requests("sync")
    else:
        set_request("sync", sync_id)


def _open_first_page() -> None:
    st.session_state.pop(PAGE, None)


def _show_rows(wanted: Wanted) -> None:
    """Show one page of these runs, each one kept up to date while it is under way."""
    with open_service() as service:
        total = service.runs.count(wanted.sync_id, wanted.state, wanted.project_id, wanted.between)
        if not total:
            _explain_none(wanted)
            return
        page = paging.choose_page(PAGE, total, PER_PAGE)
        st.caption(page.describe("run"))
        names = {sync.id: sync.cohort_name for sync in service.syncs.list(wanted.project_id)}
        runs = service.runs.list(
            wanted.sync_id, wanted.state, PER_PAGE, page.start, wanted.project_id, between=wanted.between
        )
    run_rows.show_run_rows(runs, names)


def _explain_none(wanted: Wanted) -> None:
    if wanted.is_filtered:
        st.info("No run matches these filters.")
    else:
        st.info("No run yet. Every export and every refresh is listed here.")


layout.run_in_layout(show_page)
