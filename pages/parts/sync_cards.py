"""The cards of the Syncs page."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import notices, progress
from pages.parts.desk import open_service
from pages.parts.look import plain, run_badge, sync_badge
from pages.parts.wishes import ask, go
from pages.parts.words import escape, every, people, result, short, when
from sync.model import Mode, RunState, SyncState
from sync.views import SyncView

PER_PAGE = 50
LABELS = {Mode.ONE_TIME: "One-time", Mode.DYNAMIC: "Dynamic"}


def show(project_id: int | None) -> None:
    """Show every sync with what can be done about it; reads, and does only what a button says."""
    with open_service() as service:
        syncs = service.syncs(project_id)
    for sync in syncs[:PER_PAGE]:
        with st.container(border=True, key=f"sync-{sync.id}"):
            _card(sync)
    if len(syncs) > PER_PAGE:
        st.caption(f"The first {PER_PAGE} of {len(syncs)} syncs; find the others in the list of cohorts.")


def _card(sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        plain(sync.cohort_name, f"sync-{sync.id}")
        sync_badge(sync.state)
    if sync.reason:
        st.warning(escape(sync.reason), icon=":material/pause_circle:")
    about, last = st.columns(2)
    with about, st.container(gap="xsmall"):
        _about(sync)
    with last, st.container(gap="xsmall"):
        _last(sync)
    _buttons(sync)


def _about(sync: SyncView) -> None:
    often = f", {every(sync.every)}" if sync.mode == Mode.DYNAMIC else ""
    st.caption(f"{LABELS[sync.mode]}{often} · {people(sync.size)} in WebEngage")
    st.caption(_next(sync))
    st.text(f"Attribute: {sync.attribute}")


def _next(sync: SyncView) -> str:
    if sync.state == SyncState.ACTIVE and sync.next_run_at:
        left = sync.next_run_at - time.time()
        return f"Next refresh {when(sync.next_run_at)}" + (f", in {short(left)}" if left > 0 else ", due now")
    return "No refresh planned while paused" if sync.state == SyncState.PAUSED else "No further refresh planned"


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
    busy = bool(sync.last_run and not sync.last_run.state.over)
    with st.container(horizontal=True):
        if not busy and sync.state != SyncState.PAUSED:
            _button(sync, "Sync now", ":material/sync:", "sync_now", "is being synced.")
        if sync.state == SyncState.ACTIVE and sync.mode == Mode.DYNAMIC:
            _button(sync, "Pause", ":material/pause:", "pause", "is paused.")
        if sync.state == SyncState.PAUSED:
            _button(sync, "Resume", ":material/play_arrow:", "resume", "goes on.")
        if sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED:
            _opening(sync, "Interval", ":material/schedule:", "interval")
        if sync.state != SyncState.FINISHED or sync.size:
            _opening(sync, "Stop", ":material/stop_circle:", "stop")
        if st.button("See runs", key=f"runs-{sync.id}", icon=":material/history:", type="tertiary"):
            go("runs", sync=sync.id)


def _button(sync: SyncView, label: str, icon: str, action: str, outcome: str) -> None:
    if st.button(label, key=f"{action}-{sync.id}", icon=icon):
        with open_service() as service:
            notices.attempt(f"{sync.cohort_name} {outcome}", getattr(service, action), sync.id)
        st.rerun()


def _opening(sync: SyncView, label: str, icon: str, wish: str) -> None:
    if st.button(label, key=f"{wish}-{sync.id}", icon=icon):
        ask(wish, sync.id)
        st.rerun()
