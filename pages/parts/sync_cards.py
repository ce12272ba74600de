"""The cards of the Syncs page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import streamlit as st

from pages.parts import look, notices, pictures, progress
from pages.parts.desk import may, open_service
from pages.parts.look import plain, small
from pages.parts.wishes import ask, go
from pages.parts.words import escape, every, local, people, plural, result, short, when
from sync.access import Grade
from sync.model import Mode, Run, RunState, SyncState
from sync.views import Overdue, SyncView

PER_PAGE = 10  # a card has twenty elements, and every look draws them all again


@dataclass(frozen=True, slots=True)
class Card:
    """What one card shows: the sync, its size over its last runs, and since when it is late."""

    sync: SyncView
    sizes: tuple[int, ...]
    late: Overdue | None


def show(project_id: int | None, number: int) -> None:
    """Show one page of the syncs, live; ``number`` is how many there are now."""
    pages = -(-number // PER_PAGE)
    page = min(st.pagination(pages, key="sync_page", bind="query-params"), pages) if pages > 1 else 1
    if pages > 1:
        st.caption(f"{(page - 1) * PER_PAGE + 1} to {min(page * PER_PAGE, number)} of {plural(number, 'sync')}")
    progress.slowly(lambda: cards(_read(project_id, page)))


def _read(project_id: int | None, page: int) -> tuple[Card, ...]:
    with open_service() as service:
        syncs = service.syncs(project_id)[(page - 1) * PER_PAGE : page * PER_PAGE]
        late = {one.sync_id: one for one in service.overdue()}
        return tuple(
            Card(sync=sync, sizes=service.sizes(sync.id, pictures.SPARK_RUNS)[::-1], late=late.get(sync.id))
            for sync in syncs
        )


def _read_one(sync_id: int) -> Card:
    with open_service() as service:
        return Card(
            sync=service.sync(sync_id),
            sizes=service.sizes(sync_id, pictures.SPARK_RUNS)[::-1],
            late=next(iter(service.overdue(sync_id)), None),
        )


def cards(seen: tuple[Card, ...]) -> None:
    """Show these syncs with what can be done about them, each followed while its run moves."""
    for one in seen:
        progress.follow(one, lambda card: (card.sync.last_run,), partial(_read_one, one.sync.id), _card)
    if not seen:
        st.info("Nothing is exported yet. Choose a cohort and click “Export to WebEngage”.")
        if st.button("Go to Cohorts", type="primary"):
            go("cohorts")


def _card(card: Card) -> None:
    """Show one sync; reads, and does only what a button says."""
    sync = card.sync
    with st.container(border=True, key=f"sync-{sync.id}"):
        _head(sync)
        _problems(card)
        about, last, size = st.columns([3, 3.4, 2])
        with about:
            small("\n".join(_about(sync)), f"about-{sync.id}")
        with last:
            _last(sync)
        with size:
            during = " before this run" if progress.busy(sync.last_run) else ""
            st.caption(f"{people(sync.size)} in WebEngage{during}")
            pictures.spark(card.sizes)
        _buttons(sync)


def _head(sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        plain(sync.cohort_name, f"sync-{sync.id}", width="content")
        look.badges(look.sync_badge(sync), look.MODES[sync.mode])
    if sync.reason:
        st.warning(escape(local(sync.reason)), icon=":material/pause_circle:")


def _problems(card: Card) -> None:
    """Say since when and why a sync is late, and who is still true after a clear that did not succeed."""
    late = card.late
    if late and late.needs_person and time.time() - late.since >= progress.LATE:
        said = f"Overdue since {when(late.since)}: {local(late.reason)}."
        st.warning(escape(said), icon=":material/alarm:")
    if card.sync.clear_problem:
        st.error(escape(local(card.sync.clear_problem)), icon=":material/error:")


def _about(sync: SyncView) -> list[str]:
    paced = sync.mode == Mode.DYNAMIC and sync.state != SyncState.FINISHED
    return [_next(sync), *([f"Refreshed {every(sync.every)}"] if paced else []), f"Attribute: {sync.attribute}"]


def _next(sync: SyncView) -> str:
    if sync.state == SyncState.ACTIVE and sync.next_run_at:
        left = sync.next_run_at - time.time()
        return f"Next refresh {when(sync.next_run_at)}, " + (f"in {short(left)}" if left > 0 else "due now")
    return "No refresh while paused" if sync.state == SyncState.PAUSED else "No further refresh planned"


def _last(sync: SyncView) -> None:
    run = sync.last_run
    if not run:
        st.caption("Not run yet")
        return
    badge = look.run_badge(run)
    if run.state == RunState.SUCCEEDED:
        look.badges(badge, after=result(run))
        st.caption(
            f"Last result {when(run.finished_at or 0.0)}" + (f" · {run.rejected:,} rejected" if run.rejected else "")
        )
    else:
        look.badges(badge, after=when(run.finished_at) if run.finished_at else "")
        if not sync.reason or sync.reason != run.error:  # the reason of a pause stands above
            progress.draw(run)


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
    decides = run.state == RunState.HELD and may(Grade.MARKETER)
    label, kind = ("Decide", "primary") if decides else ("See progress", "tertiary")
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
