"""The story of one run: where it stands, what happened, who was not taken, what to do next."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import notices, progress, refusal_advice, run_files
from pages.parts.desk import open_service
from pages.parts.look import plain, run_badge
from pages.parts.words import count, escape, plural, second, short, when
from sync.model import Run, RunState
from sync.views import Event, Refusal, SyncView

EVENTS = 100


def show(run_id: int) -> None:
    """Show a run; while it is under way this is looked at again every two seconds."""
    with open_service() as service:
        run = service.run(run_id)
        sync = service.sync(run.sync_id)
        events, refusals = service.events(run_id), service.refusals(run_id)
    _head(run, sync)
    _stand(run)
    _buttons(run)
    _numbers(run)
    _not_taken(run, refusals)
    if run.state == RunState.SUCCEEDED and not run.dry:
        _recipe(run, sync)
    if run.state.over:
        run_files.downloads(run, sync)
    _timeline(events)


def _head(run: Run, sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(f"Run {run.id}", anchor=False, width="content")
        run_badge(run.state)
        if run.dry:
            st.badge("Dry run", icon=":material/science:", color="violet")
    plain(sync.cohort_name, "run-cohort")
    st.caption(_times(run))


def _times(run: Run) -> str:
    said = [f"Asked for {when(run.queued_at)}"]
    if run.finished_at:
        took = run.finished_at - (run.started_at or run.queued_at)
        said += [f"ended {when(run.finished_at)}", f"took {short(took)}"]
    elif run.started_at:
        said.append(f"under way for {short(time.time() - run.started_at)}")
    return " · ".join([*said, f"{plural(run.requests, 'request')} to WebEngage"])


def _stand(run: Run) -> None:
    words = escape(progress.sentence(run))
    if run.state == RunState.FAILED:
        st.error(words, icon=":material/error:")
    elif run.state == RunState.HELD:
        st.warning(words, icon=":material/front_hand:")
    elif run.waiting:
        st.info(words, icon=":material/hourglass_top:")
    elif not run.state.over:
        progress.draw(run)


def _buttons(run: Run) -> None:
    if run.state.over or run.cancel_wanted:
        return
    with st.container(horizontal=True):
        if run.state == RunState.HELD:
            _button(run, "Approve", "Approved: it is being sent.", "approve", primary=True)
            if not run.dry:
                _button(run, "Always approve for this sync", "Approved, now and in future.", "approve", always=True)
        _button(run, "Cancel run", "The run is being cancelled.", "cancel")


def _button(run: Run, label: str, done: str, action: str, primary: bool = False, **options: bool) -> None:
    if st.button(label, key=f"{action}-{run.id}-{len(options)}", type="primary" if primary else "secondary"):
        with open_service() as service:
            notices.attempt(done, getattr(service, action), run.id, **options)
        st.rerun()


def _numbers(run: Run) -> None:
    numbers = {"Added": run.entered, "Removed": run.exited, "Updated": run.updated, "Unchanged": run.unchanged,
               "Anonymous": run.anonymous, "Invalid": run.invalid, "Rejected": run.rejected}
    with st.container(horizontal=True, gap="large", key="run-numbers"):
        for label, number in numbers.items():
            with st.container(gap=None, width="content"):
                st.caption(label)
                st.markdown(f"##### {count(number)}")


def _not_taken(run: Run, refusals: tuple[Refusal, ...]) -> None:
    if not refusals:
        return
    st.subheader("Not taken", anchor=False)
    for reason, members in refusal_advice.grouped(refusals).items():
        with st.expander(f"{plural(len(members), 'member')}: {escape(reason)}"):
            st.markdown(f"**What to do:** {refusal_advice.advice(members[0])}")
            for one in members[: refusal_advice.SHOWN]:
                st.text(one.user_id.strip() or "(empty)")
            if len(members) > refusal_advice.SHOWN:
                st.caption(f"and {len(members) - refusal_advice.SHOWN:,} more, in the CSV of this run")
    if len(refusals) < run.rejected + run.invalid:
        st.caption(f"The first {len(refusals):,} of {run.rejected + run.invalid:,}; the CSV has them all.")


def _recipe(run: Run, sync: SyncView) -> None:
    st.subheader("Use it in WebEngage", anchor=False)
    st.markdown("Build a **Live Segment** once; it then follows this cohort by itself:")
    st.markdown("Segments → Live Segments → **+** → User → User Attribute → the name below → **is true**")
    st.code(sync.attribute, language=None, wrap_lines=True)


def _timeline(events: tuple[Event, ...]) -> None:
    st.subheader("What happened", anchor=False)
    for event in events[-EVENTS:]:
        with st.container(horizontal=True):
            st.caption(second(event.at), width=120)
            st.text(event.what, width="stretch")
    if not events:
        st.caption("Nothing yet.")
