"""Runs: the history of all exports and refreshes, and the details of one run."""

from __future__ import annotations

from functools import partial

import streamlit as st

from pages.parts import layout, polling, run_detail, run_progress
from pages.parts.badges import RUN_BADGES, run_badge, show_badges, show_name
from pages.parts.formatting import format_error, format_plural, format_time, shorten_error
from pages.parts.navigation import clear_requests, requested_id, set_request
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.model import Run, RunState
from sync.views import SyncView

PER_PAGE = 25

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
        show_run_list()
    else:
        show_one_run(run_id)


def show_run_list() -> None:
    """Show the filters and one page of the runs that match them."""
    st.title("Runs", anchor=False)
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
        project_id = project.id if project else None
        sync_id, state = _show_filters(service.syncs.list(project_id))
        total = service.runs.count(sync_id, state, project_id)
    offset = _show_pagination(total)
    polling.poll_slowly(
        lambda: show_run_rows(*_read_runs(sync_id, state, offset, project_id), filtered=bool(sync_id or state))
    )


def _show_pagination(total: int) -> int:
    """Show the page numbers; return how many runs stand before the chosen page."""
    pages = -(-total // PER_PAGE)
    page = min(st.pagination(pages, key="run_page", bind="query-params"), pages) if pages > 1 else 1
    last = min(page * PER_PAGE, total)
    if total:
        st.caption(f"{(page - 1) * PER_PAGE + 1:,} to {last:,} of {format_plural(total, 'run')}")
    return (page - 1) * PER_PAGE


def _show_filters(syncs: tuple[SyncView, ...]) -> tuple[int | None, RunState | None]:
    states = {ANY_STATE: None} | {RUN_BADGES[state][0]: state for state in RunState}
    names = {EVERY_COHORT: "Every cohort"} | {sync.id: sync.cohort_name for sync in syncs}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox(
            "State", list(states), key="state", bind="query-params", width=240, on_change=_open_first_page
        )
        requested = requested_id("sync") or EVERY_COHORT
        choices = list(names)
        chosen = st.selectbox(
            "Cohort",
            choices,
            index=choices.index(requested) if requested in names else 0,
            width=320,
            format_func=names.__getitem__,
            key=f"cohort-{requested}",
            on_change=_open_first_page,
        )
    if chosen != requested:
        _keep_cohort_filter(chosen)
        st.rerun()
    return chosen or None, states[state or ANY_STATE]


def _keep_cohort_filter(sync_id: int) -> None:
    if sync_id == EVERY_COHORT:
        clear_requests("sync")
    else:
        set_request("sync", sync_id)


def _open_first_page() -> None:
    st.session_state.pop("run_page", None)


def _read_runs(
    sync_id: int | None, state: RunState | None, offset: int, project_id: int | None
) -> tuple[tuple[Run, ...], dict[int, str]]:
    with open_service() as service:
        names = {sync.id: sync.cohort_name for sync in service.syncs.list(project_id)}
        return service.runs.list(sync_id, state, PER_PAGE, offset, project_id), names


def _read_run(run_id: int) -> Run:
    with open_service() as service:
        return service.runs.get(run_id)


def show_run_rows(runs: tuple[Run, ...], names: dict[int, str], filtered: bool) -> None:
    """Show these runs, each one kept up to date while it is under way."""
    for run in runs:
        name = names.get(run.sync_id, f"Sync {run.sync_id}")
        polling.poll_item(run, lambda read: (read,), partial(_read_run, run.id), partial(_show_row, name))
    if not runs:
        st.info(
            "No run matches these filters."
            if filtered
            else "No run yet. Every export and every refresh is listed here."
        )


def _show_row(name: str, run: Run) -> None:
    with st.container(border=True, key=f"run-{run.id}"):
        _show_cells(name, run)


def _show_cells(name: str, run: Run) -> None:
    about, state, result, action = st.columns([3.4, 2.4, 3.8, 1], vertical_alignment="center", gap="xsmall")
    with about:
        show_name(name, f"run-{run.id}")
        st.caption(f"Run {run.id} · {format_time(run.queued_at)}" + (" · dry run" if run.dry_run else ""))
    with state:
        show_badges(run_badge(run))
    with result:
        if run.state.is_final:
            st.text(shorten_error(run_progress.describe_run(run)))
        else:
            run_progress.show_progress(run)
    with action:
        if st.button("Open", key=f"open-{run.id}", icon=":material/open_in_full:", type="tertiary"):
            set_request("run", run.id)
            st.rerun()


layout.run_in_layout(show_page)
