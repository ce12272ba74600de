"""The history of runs with its filters."""

from __future__ import annotations

import streamlit as st

from pages.parts.desk import open_service
from pages.parts.look import RUN_BADGES, plain, run_badge
from pages.parts.progress import SLOW, sentence
from pages.parts.wishes import ask, drop
from pages.parts.words import escape, when
from sync.model import Run, RunState

PER_PAGE = 25
ANY = "Any state"


def show(sync_id: int | None) -> None:
    """Show the runs that were asked for."""
    st.title("Runs")
    state = _filters(sync_id)
    with open_service() as service:
        total = service.count_runs(sync_id=sync_id, state=state)
    if not total:
        st.info("No run yet. Every export and every refresh is listed here."
                if not (sync_id or state) else "No run matches these filters.")
        return
    pages = -(-total // PER_PAGE)
    page = min(st.pagination(pages, key="runs_page", bind="query-params"), pages) if pages > 1 else 1
    st.fragment(run_every=SLOW)(rows)(sync_id, state, (page - 1) * PER_PAGE)


def _filters(sync_id: int | None) -> RunState | None:
    states = {ANY: None} | {RUN_BADGES[state][0]: state for state in RunState}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("State", list(states), key="state", bind="query-params", width=240,
                              on_change=_first_page)
        if sync_id is not None:
            with open_service() as service:
                name = service.sync(sync_id).cohort_name
            st.button(f"Only {escape(name)}", icon=":material/close:", key="every-sync", on_click=drop,
                      args=("sync",), help="Show the runs of every cohort")
    return states[chosen or ANY]


def _first_page() -> None:
    st.session_state.pop("runs_page", None)


def rows(sync_id: int | None, state: RunState | None, offset: int) -> None:
    """Show one page of the history; reads only."""
    with open_service() as service:
        runs = service.runs(sync_id=sync_id, state=state, limit=PER_PAGE, offset=offset)
        names = {sync.id: sync.cohort_name for sync in service.syncs()}
    for run in runs:
        with st.container(border=True, key=f"run-{run.id}"):
            _row(run, names.get(run.sync_id, f"Sync {run.sync_id}"))


def _row(run: Run, name: str) -> None:
    about, state, result, action = st.columns([3, 2.4, 3.6, 1], vertical_alignment="center")
    with about, st.container(gap=None):
        plain(name, f"run-{run.id}")
        st.caption(f"Run {run.id} · {when(run.queued_at)}" + (" · dry run" if run.dry else ""))
    with state:
        run_badge(run.state)
    with result:
        st.text(sentence(run))
    with action:
        if st.button("Open", key=f"open-{run.id}"):
            ask("run", run.id)
            st.rerun()
