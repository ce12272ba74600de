"""The story of one run: where it stands, what happened, who was not taken, what to do next."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts import look, notices, pictures, progress, refusal_advice, run_files
from pages.parts.desk import may, open_service
from pages.parts.look import number
from pages.parts.words import count, escape, local, plural, second, short, when
from sync.access import Grade
from sync.model import Run, RunState
from sync.views import Event, Refusal, SyncView

EVENTS = 100
FEW = 1000  # people not taken that are sorted at every look
WAITING = "Waiting:"  # how the history begins a line about waiting for a limit
PURPOSES = {
    "export": "an export",
    "refresh": "a refresh",
    "retry": "another try for those rejected",
    "resync": "everybody told anew",
    "clear": "clearing the attribute",
}
HELD_HELP = (
    "Nothing has been sent yet. Approve when this is what happened in Mixpanel; cancel when the cohort's rule "
    "was changed by mistake, for example. Cancelling leaves WebEngage as it is."
)

HELD_LOOK_ONLY = "Nothing has been sent yet. A marketer decides here whether it is."


@dataclass(frozen=True, slots=True)
class Story:
    """What is told of a run at one moment."""

    run: Run
    sync: SyncView
    events: tuple[Event, ...]
    refusals: tuple[Refusal, ...]
    past: tuple[Run, ...]


def show(run_id: int) -> None:
    """Show a run, live while it is under way."""
    progress.live(lambda: _read(run_id), lambda story: (story.run,), tell)


def _read(run_id: int) -> Story:
    with open_service() as service:
        run = service.run(run_id)
        many = run.rejected + run.invalid > FEW and progress.busy(run)  # sorted by reason when the run is over
        return Story(
            run,
            service.sync(run.sync_id),
            service.events(run_id),
            () if many else service.refusals(run_id),
            service.runs(run.sync_id, RunState.SUCCEEDED, pictures.CHART_RUNS),
        )


def tell(story: Story) -> None:
    """Tell the story of a run as it is now; reads, and does only what a button says."""
    run, sync = story.run, story.sync
    _head(run, sync)
    _stand(run)
    _buttons(run)
    _numbers(run, story.events)
    _not_taken(run, story.refusals)
    if run.state == RunState.SUCCEEDED and run.purpose != "clear":
        _recipe(sync)
    if run.state.over and may(Grade.MARKETER):
        run_files.downloads(run, sync)
    pictures.changes(story.past)
    _timeline(story.events)


def _head(run: Run, sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(escape(sync.cohort_name), anchor=False, width="content")
        look.badges(look.run_badge(run), *([look.DRY] if run.dry else []))
    st.caption(_times(run))


def _times(run: Run) -> str:
    said = [f"Run {run.id}, {PURPOSES.get(run.purpose, run.purpose)}", f"asked for {when(run.queued_at)}"]
    if run.finished_at:
        took = run.finished_at - (run.started_at or run.queued_at)
        said += [f"ended {when(run.finished_at)}", f"took {short(took) if took >= 1 else 'less than a second'}"]
    elif run.started_at and run.state != RunState.HELD:
        said.append(f"under way for {short(time.time() - run.started_at)}")
    return " · ".join(said)


def _stand(run: Run) -> None:
    words = escape(progress.sentence(run))
    if run.state == RunState.FAILED:
        st.error(words, icon=":material/error:")
    elif run.state == RunState.HELD:
        st.warning(words, icon=":material/front_hand:")
        st.caption(HELD_HELP if may(Grade.MARKETER) else HELD_LOOK_ONLY)
    elif run.state == RunState.CANCELLED:
        st.info(words, icon=":material/cancel:")
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
    done = run.state == RunState.SUCCEEDED  # until then nobody is said to be added who is only planned
    plan = ("Added", "Removed", "Updated") if done else ("To add", "To remove", "To update")
    numbers = dict(zip(plan, (run.entered, run.exited, run.updated), strict=True))
    numbers |= {
        "Unchanged": run.unchanged,
        "Delivered": run.delivered,
        "Rejected": run.rejected,
        "Devices only": run.anonymous,
        "Invalid": run.invalid,
        "Requests": run.requests,
        "Waits": sum(event.times for event in events if event.what.startswith(WAITING)),
    }
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
        st.markdown(
            "Build a **Live Segment** once; it then follows this cohort by itself: Segments → Live Segments → "
            "**+** → User → User Attribute → the name below → **is true**."
        )
        st.code(sync.attribute, language=None, wrap_lines=True)
        st.caption(
            "For a **Static List** instead: Segments → Static Lists → Create → upload the file of User IDs below."
        )


def _timeline(events: tuple[Event, ...]) -> None:
    st.header("What happened", anchor=False)
    if len(events) > EVENTS:
        st.caption(f"The last {EVENTS} of {len(events):,} lines.")
    for event in events[-EVENTS:]:
        with st.container(horizontal=True, gap="small", wrap=False):
            st.caption(second(event.at), width=112)
            st.text(local(event.what), width="stretch")
    if not events:
        st.caption("Nothing yet.")
