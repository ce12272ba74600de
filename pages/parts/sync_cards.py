"""The cards of the Syncs page."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import notices, pictures, progress
from pages.parts.desk import may, open_service
from pages.parts.look import plain, run_badge, small, sync_badge
from pages.parts.wishes import ask, go
from pages.parts.words import escape, every, local, people, result, short, when
from sync.access import Grade
from sync.model import Mode, Run, RunState, SyncState
from sync.views import SyncView

PER_PAGE = 25
LABELS = {Mode.ONE_TIME: ("One-time", ":material/looks_one:"), Mode.DYNAMIC: ("Dynamic", ":material/autorenew:")}
Past = dict[int, tuple[Run, ...]]


def show(project_id: int | None, number: int) -> None:
    """Show one page of the syncs, live; ``number`` is how many there are now."""
    pages = -(-number // PER_PAGE)
    page = min(st.pagination(pages, key="sync_page", bind="query-params"), pages) if pages > 1 else 1
    progress.live(lambda: any(progress.busy(sync.last_run) for sync in _read(project_id, page)[0]),
                  lambda: cards(*_read(project_id, page)))


def _read(project_id: int | None, page: int) -> tuple[tuple[SyncView, ...], Past]:
    with open_service() as service:
        syncs = service.syncs(project_id)[(page - 1) * PER_PAGE : page * PER_PAGE]
        return syncs, {sync.id: service.runs(sync.id, RunState.SUCCEEDED, pictures.SPARK_RUNS) for sync in syncs}


def cards(syncs: tuple[SyncView, ...], past: Past) -> None:
    """Show these syncs with what can be done about them; reads, and does only what a button says."""
    for sync in syncs:
        with st.container(border=True, key=f"sync-{sync.id}"):
            _card(sync, past[sync.id])
    if not syncs:
        st.info("Nothing is exported yet. Choose a cohort and click “Export to WebEngage”.")
        if st.button("Go to Cohorts", type="primary"):
            go("cohorts")


def _card(sync: SyncView, past: tuple[Run, ...]) -> None:
    label, icon = LABELS[sync.mode]
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="content"):
            plain(sync.cohort_name, f"sync-{sync.id}")
        sync_badge(sync.state)
        st.badge(label, icon=icon, color="violet")
    if sync.reason:
        st.warning(escape(local(sync.reason)), icon=":material/pause_circle:")
    about, last, size = st.columns([3, 3.4, 2])
    with about, st.container(gap="xsmall"):
        _about(sync)
    with last, st.container(gap="xsmall"):
        _last(sync)
    with size, st.container(gap="xsmall"):
        during = " before this run" if progress.busy(sync.last_run) else ""
        st.caption(f"{people(sync.size)} in WebEngage{during}")
        pictures.spark(pictures.sizes(past))
    _buttons(sync)


def _about(sync: SyncView) -> None:
    st.caption(_next(sync))
    if sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED:
        st.caption(f"Refreshed {every(sync.every)}")
    small(f"Attribute: {sync.attribute}", f"attribute-{sync.id}")


def _next(sync: SyncView) -> str:
    if sync.state == SyncState.ACTIVE and sync.next_run_at:
        left = sync.next_run_at - time.time()
        return f":material/schedule: Next refresh {when(sync.next_run_at)}, " + (
            f"in {short(left)}" if left > 0 else "due now")
    return "No refresh while paused" if sync.state == SyncState.PAUSED else "No further refresh planned"


def _last(sync: SyncView) -> None:
    run = sync.last_run
    if not run:
        st.caption("Not run yet")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        run_badge(run.state)
        if run.state == RunState.SUCCEEDED:
            st.text(result(run), width="content")
    if run.state != RunState.SUCCEEDED:
        progress.draw(run)
    elif run.finished_at:
        st.caption(f"Last result {when(run.finished_at)}" + (f" · {run.rejected:,} rejected" if run.rejected else ""))


def _buttons(sync: SyncView) -> None:
    run = sync.last_run
    under_way = run if run and not run.state.over else None
    with st.container(horizontal=True, gap="xsmall"):
        if may(Grade.MARKETER):
            _sync_buttons(sync, under_way)
        if under_way:
            _run_buttons(sync, under_way)
        if st.button("See runs", key=f"runs-{sync.id}", icon=":material/history:", type="tertiary"):
            go("runs", sync=sync.id)


def _sync_buttons(sync: SyncView, under_way: Run | None) -> None:
    if not under_way and sync.state != SyncState.PAUSED:
        _button(sync, "Sync now", ":material/sync:", "sync_now", "is being synced.")
    if sync.state == SyncState.ACTIVE and sync.mode == Mode.DYNAMIC:
        _button(sync, "Pause", ":material/pause:", "pause", "is paused.")
    if sync.state == SyncState.PAUSED:
        _button(sync, "Resume", ":material/play_arrow:", "resume", "goes on.")
    if sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED:
        _opening(sync, "Interval", ":material/schedule:", "interval")
    if sync.state != SyncState.FINISHED or sync.size:
        _opening(sync, "Stop", ":material/stop_circle:", "stop")


def _run_buttons(sync: SyncView, run: Run) -> None:
    label, kind = ("Decide", "primary") if run.state == RunState.HELD else ("See progress", "tertiary")
    if st.button(label, key=f"run-{sync.id}", icon=":material/open_in_full:", type=kind):  # type: ignore[arg-type]
        go("runs", run=run.id)
    if run.cancel_wanted or not may(Grade.MARKETER):
        return
    if not st.button("Cancel run", key=f"cancel-{sync.id}", icon=":material/cancel:"):
        return
    with open_service() as service:
        notices.attempt(f"The run of {sync.cohort_name} is being cancelled.", service.cancel, run.id)
    st.rerun()


def _button(sync: SyncView, label: str, icon: str, action: str, outcome: str) -> None:
    if st.button(label, key=f"{action}-{sync.id}", icon=icon):
        with open_service() as service:
            notices.attempt(f"{sync.cohort_name} {outcome}", getattr(service, action), sync.id)
        st.rerun()


def _opening(sync: SyncView, label: str, icon: str, wish: str) -> None:
    if st.button(label, key=f"{wish}-{sync.id}", icon=icon):
        ask(wish, sync.id)
        st.rerun()
