"""The history of runs with its filters, all of them in the address."""

from __future__ import annotations

from functools import partial

import streamlit as st

from pages.parts import frame, progress
from pages.parts.desk import open_service
from pages.parts.look import RUN_BADGES, badges, plain, run_badge
from pages.parts.wishes import ask, asked, drop
from pages.parts.words import advice, escape, plural, when
from sync.model import Run, RunState
from sync.views import SyncView

PER_PAGE = 25
ANY = "Any state"
EVERY_COHORT = 0


def show() -> None:
    """Show the runs that were asked for."""
    st.title("Runs", anchor=False)
    with open_service() as service:
        project = frame.chosen(service.projects())
        project_id = project.id if project else None
        sync_id, state = _filters(service.syncs(project_id))
        total = service.count_runs(sync_id, state, project_id)
    offset = _offset(total)
    progress.slowly(lambda: rows(*_read(sync_id, state, offset, project_id), filtered=bool(sync_id or state)))


def _offset(total: int) -> int:
    pages = -(-total // PER_PAGE)
    page = min(st.pagination(pages, key="run_page", bind="query-params"), pages) if pages > 1 else 1
    last = min(page * PER_PAGE, total)
    if total:
        st.caption(f"{(page - 1) * PER_PAGE + 1:,} to {last:,} of {plural(total, 'run')}")
    return (page - 1) * PER_PAGE


def _filters(syncs: tuple[SyncView, ...]) -> tuple[int | None, RunState | None]:
    states = {ANY: None} | {RUN_BADGES[state][0]: state for state in RunState}
    names = {EVERY_COHORT: "Every cohort"} | {sync.id: escape(sync.cohort_name) for sync in syncs}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = st.selectbox("State", list(states), key="state", bind="query-params", width=240, on_change=_first_page)
        wanted = asked("sync") or EVERY_COHORT
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
        ask("sync", chosen) if chosen else drop("sync")
        st.rerun()
    return chosen or None, states[state or ANY]


def _first_page() -> None:
    st.session_state.pop("run_page", None)


def _read(
    sync_id: int | None, state: RunState | None, offset: int, project_id: int | None
) -> tuple[tuple[Run, ...], dict[int, str]]:
    with open_service() as service:
        names = {sync.id: sync.cohort_name for sync in service.syncs(project_id)}
        return service.runs(sync_id, state, PER_PAGE, offset, project_id), names


def _read_one(run_id: int) -> Run:
    with open_service() as service:
        return service.run(run_id)


def rows(runs: tuple[Run, ...], names: dict[int, str], filtered: bool) -> None:
    """Show one page of the history, each run followed while it moves; reads only."""
    for run in runs:
        name = names.get(run.sync_id, f"Sync {run.sync_id}")
        progress.follow(run, lambda one: (one,), partial(_read_one, run.id), partial(_row, name))
    if not runs:
        st.info(
            "No run matches these filters."
            if filtered
            else "No run yet. Every export and every refresh is listed here."
        )


def _row(name: str, run: Run) -> None:
    with st.container(border=True, key=f"run-{run.id}"):
        _cells(name, run)


def _cells(name: str, run: Run) -> None:
    about, state, result, action = st.columns([3.4, 2.4, 3.8, 1], vertical_alignment="center", gap="xsmall")
    with about:
        plain(name, f"run-{run.id}")
        st.caption(f"Run {run.id} · {when(run.queued_at)}" + (" · dry run" if run.dry else ""))
    with state:
        badges(run_badge(run))
    with result:
        if run.state.over:
            st.text(advice(progress.sentence(run)))
        else:
            progress.draw(run)
    with action:
        if st.button("Open", key=f"open-{run.id}", icon=":material/open_in_full:", type="tertiary"):
            ask("run", run.id)
            st.rerun()
