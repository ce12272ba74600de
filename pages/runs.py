"""Runs: the history of every export, and the story of one."""

from __future__ import annotations

from functools import partial

import streamlit as st

from pages.parts import layout, polling, run_detail, run_progress
from pages.parts.badges import RUN_BADGES, run_badge, show_badges, show_name
from pages.parts.formatting import escape_markdown, format_error, format_plural, format_time, shorten_error
from pages.parts.navigation import clear_requests, requested_id, set_request
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.model import Run, RunState
from sync.views import SyncView

PER_PAGE = 25

ANY_STATE = "Any state"

EVERY_COHORT = 0


def show_one_run(run_id: int) -> None:
    """Show one run, live while it is under way."""
    st.button("All runs", icon=":material/arrow_back:", on_click=clear_requests, args=("run",), type="tertiary")
    try:
        with open_service() as service:
            service.get_run(run_id)
    except CohortSyncError as error:
        st.warning(format_error(error))
        return
    run_detail.show_run(run_id)


def show_page() -> None:
    """Show the run the address names, or the history."""
    wanted = requested_id("run")
    if wanted is None:
        show_run_list()
    else:
        show_one_run(wanted)


def show_run_list() -> None:
    """Show the runs that were asked for."""
    st.title("Runs", anchor=False)
    with open_service() as service:
        project = layout.chosen_project(service.list_projects())
        project_id = project.id if project else None
        sync_id, state = _show_filters(service.list_syncs(project_id))
        total = service.count_runs(sync_id, state, project_id)
    offset = _page_offset(total)
    polling.poll_slowly(
        lambda: show_rows(*_read_runs(sync_id, state, offset, project_id), filtered=bool(sync_id or state))
    )


def _page_offset(total: int) -> int:
    pages = -(-total // PER_PAGE)
    page = min(st.pagination(pages, key="run_page", bind="query-params"), pages) if pages > 1 else 1
    last = min(page * PER_PAGE, total)
    if total:
        st.caption(f"{(page - 1) * PER_PAGE + 1:,} to {last:,} of {format_plural(total, 'run')}")
    return (page - 1) * PER_PAGE


def _show_filters(syncs: tuple[SyncView, ...]) -> tuple[int | None, RunState | None]:
    states = {ANY_STATE: None} | {RUN_BADGES[state][0]: state for state in RunState}
    names = {EVERY_COHORT: "Every cohort"} | {sync.id: escape_markdown(sync.cohort_name) for sync in syncs}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox("State", list(states), key="state", bind="query-params", width=240, on_change=_first_page)
        wanted = requested_id("sync") or EVERY_COHORT
        choices = list(names)
        chosen = st.selectbox(
            "Cohort",
            choices,
            index=choices.index(wanted) if wanted in names else 0,
            width=320,
            format_func=names.__getitem__,
            key=f"cohort-{wanted}",
            on_change=_first_page,
        )
    if chosen != wanted:
        set_request("sync", chosen) if chosen else clear_requests("sync")
        st.rerun()
    return chosen or None, states[state or ANY_STATE]


def _first_page() -> None:
    st.session_state.pop("run_page", None)


def _read_runs(
    sync_id: int | None, state: RunState | None, offset: int, project_id: int | None
) -> tuple[tuple[Run, ...], dict[int, str]]:
    with open_service() as service:
        names = {sync.id: sync.cohort_name for sync in service.list_syncs(project_id)}
        return service.list_runs(sync_id, state, PER_PAGE, offset, project_id), names


def _read_one(run_id: int) -> Run:
    with open_service() as service:
        return service.get_run(run_id)


def show_rows(runs: tuple[Run, ...], names: dict[int, str], filtered: bool) -> None:
    """Show one page of the history, each run followed while it moves; reads only."""
    for run in runs:
        name = names.get(run.sync_id, f"Sync {run.sync_id}")
        polling.poll_item(run, lambda one: (one,), partial(_read_one, run.id), partial(_show_row, name))
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
