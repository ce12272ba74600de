"""The story of one run: where it stands, what happened, who was not taken, what to do next."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import notices, pictures, progress, refusal_advice, run_files
from pages.parts.desk import may, open_service
from pages.parts.look import number, run_badge
from pages.parts.words import count, escape, local, plural, second, short, when
from sync.access import Grade
from sync.model import Run, RunState
from sync.views import Event, Refusal, SyncView

EVENTS = 100
WAITING = "Waiting:"  # how the history begins a line about waiting for a limit
PURPOSES = {"export": "an export", "refresh": "a refresh", "retry": "another try for those rejected",
            "resync": "everybody told anew", "clear": "clearing the attribute"}
HELD_HELP = ("Nothing has been sent yet. Approve when this is what happened in Mixpanel; cancel when the cohort's rule "
             "was changed by mistake, for example. Cancelling leaves WebEngage as it is.")


def show(run_id: int) -> None:
    """Show a run, live while it is under way."""
    progress.live(lambda: progress.busy(_run(run_id)), lambda: tell(run_id))


def _run(run_id: int) -> Run:
    with open_service() as service:
        return service.run(run_id)


def tell(run_id: int) -> None:
    """Tell the story of a run as it is now; reads, and does only what a button says."""
    with open_service() as service:
        run = service.run(run_id)
        sync = service.sync(run.sync_id)
        events, refusals = service.events(run_id), service.refusals(run_id)
        past = service.runs(sync.id, RunState.SUCCEEDED, pictures.CHART_RUNS)
    _head(run, sync)
    _stand(run)
    _buttons(run)
    _numbers(run, events)
    _not_taken(run, refusals)
    if run.state == RunState.SUCCEEDED and run.purpose != "clear":
        _recipe(sync)
    if run.state.over and may(Grade.MARKETER):
        run_files.downloads(run, sync)
    pictures.changes(past)
    _timeline(events)


def _head(run: Run, sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(escape(sync.cohort_name), anchor=False, width="content")
        run_badge(run.state)
        if run.dry:
            st.badge("Dry run", icon=":material/science:", color="violet")
    st.caption(_times(run))


def _times(run: Run) -> str:
    said = [f"Run {run.id}, {PURPOSES.get(run.purpose, run.purpose)}", f"asked for {when(run.queued_at)}"]
    if run.finished_at:
        took = run.finished_at - (run.started_at or run.queued_at)
        said += [f"ended {when(run.finished_at)}", f"took {short(took)}"]
    elif run.started_at:
        said.append(f"under way for {short(time.time() - run.started_at)}")
    return " · ".join(said)


def _stand(run: Run) -> None:
    words = escape(progress.sentence(run))
    if run.state == RunState.FAILED:
        st.error(words, icon=":material/error:")
    elif run.state == RunState.HELD:
        st.warning(words, icon=":material/front_hand:")
        st.caption(HELD_HELP)
    elif run.waiting:
        st.info(words, icon=":material/hourglass_top:")
    elif not run.state.over:
        progress.draw(run)


def _buttons(run: Run) -> None:
    if run.state.over or run.cancel_wanted or not may(Grade.MARKETER):
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


def _numbers(run: Run, events: tuple[Event, ...]) -> None:
    numbers = {"Added": run.entered, "Removed": run.exited, "Updated": run.updated, "Unchanged": run.unchanged,
               "Delivered": run.delivered, "Rejected": run.rejected, "Anonymous": run.anonymous, "Invalid": run.invalid,
               "Requests": run.requests, "Waits": sum(event.what.startswith(WAITING) for event in events)}
    with st.container(horizontal=True, key="numbers-run"):
        for label, value in numbers.items():
            number(label, count(value), f"run-{label}")


def _not_taken(run: Run, refusals: tuple[Refusal, ...]) -> None:
    if not refusals:
        return
    st.header("Not taken", anchor=False)
    for reason, members in refusal_advice.grouped(refusals).items():
        with st.expander(f"{plural(len(members), 'member')}: {escape(reason)}"):
            st.markdown(f"**What to do:** {refusal_advice.advice(members[0])}")
            for one in members[: refusal_advice.SHOWN]:
                st.text(one.user_id.strip() or "(empty)")
            if len(members) > refusal_advice.SHOWN:
                st.caption(f"and {len(members) - refusal_advice.SHOWN:,} more, in the CSV of this run")
    if len(refusals) < run.rejected + run.invalid:
        st.caption(f"The first {len(refusals):,} of {run.rejected + run.invalid:,}; the CSV has them all.")


def _recipe(sync: SyncView) -> None:
    with st.container(border=True):
        st.header("Use it in WebEngage", anchor=False)
        st.markdown("Build a **Live Segment** once; it then follows this cohort by itself: Segments → Live Segments → "
                    "**+** → User → User Attribute → the name below → **is true**.")
        st.code(sync.attribute, language=None, wrap_lines=True)
        st.caption("For a **Static List** instead: Segments → Static Lists → Create → upload the file of User IDs below.")


def _timeline(events: tuple[Event, ...]) -> None:
    st.header("What happened", anchor=False)
    if len(events) > EVENTS:
        st.caption(f"The last {EVENTS} of {len(events):,} lines.")
    for event in events[-EVENTS:]:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption(second(event.at), width=130)
            st.text(local(event.what), width="stretch")
    if not events:
        st.caption("Nothing yet.")
