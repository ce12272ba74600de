"""The story of one run: where it stands, what happened, who was not taken, what to do next."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts import badges, charts, downloads, notices, polling, run_progress
from pages.parts.badges import show_number
from pages.parts.formatting import (
    escape_markdown,
    format_count,
    format_duration_short,
    format_plural,
    format_time,
    format_timestamp,
    localize_times,
)
from pages.parts.session import is_allowed, open_service
from sync.model import USER_ID_MAX, Run, RunState
from sync.permissions import AccessLevel
from sync.views import Event, RejectionView, SyncView

EVENTS_SHOWN = 100
SORTED_WHILE_MOVING = 1000  # people not taken that are sorted at every look
WAITING_PREFIX = "Waiting:"  # how the history begins a line about waiting for a limit
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

MEMBERS_SHOWN = 20

EMPTY_ID_ADVICE = "Give these profiles a user id in Mixpanel ($distinct_id); an empty one cannot be matched."

LONG_ID_ADVICE = f"Shorten these user ids to {USER_ID_MAX} characters in Mixpanel, and in your app."

REJECTED_ADVICE = (
    "WebEngage did not accept these people. Correct what it names in their Mixpanel profiles; the next sync "
    "sends them again."
)


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What is told of a run at one moment."""

    run: Run
    sync: SyncView
    events: tuple[Event, ...]
    rejections: tuple[RejectionView, ...]
    recent_runs: tuple[Run, ...]


def show_run(run_id: int) -> None:
    """Show a run, live while it is under way."""
    polling.poll(lambda: _read_detail(run_id), lambda story: (story.run,), show_detail)


def _read_detail(run_id: int) -> RunDetail:
    with open_service() as service:
        run = service.get_run(run_id)
        many = run.rejected + run.invalid > SORTED_WHILE_MOVING and run_progress.is_moving(
            run
        )  # sorted by reason when the run is over
        return RunDetail(
            run,
            service.get_sync(run.sync_id),
            service.list_events(run_id),
            () if many else service.list_rejections(run_id),
            service.list_runs(run.sync_id, RunState.SUCCEEDED, charts.CHART_RUNS),
        )


def show_detail(story: RunDetail) -> None:
    """Tell the story of a run as it is now; reads, and does only what a button says."""
    run, sync = story.run, story.sync
    _show_head(run, sync)
    _show_state(run)
    _show_buttons(run)
    _show_numbers(run, story.events)
    _show_rejections(run, story.rejections)
    if run.state == RunState.SUCCEEDED and run.purpose != "clear":
        _show_recipe(sync)
    if run.state.is_final and is_allowed(AccessLevel.MARKETER):
        downloads.show_downloads(run, sync)
    charts.show_changes(story.recent_runs)
    _show_timeline(story.events)


def _show_head(run: Run, sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(escape_markdown(sync.cohort_name), anchor=False, width="content")
        badges.show_badges(badges.run_badge(run), *([badges.DRY_RUN] if run.dry_run else []))
    st.caption(_describe_times(run))


def _describe_times(run: Run) -> str:
    said = [f"Run {run.id}, {PURPOSES.get(run.purpose, run.purpose)}", f"asked for {format_time(run.queued_at)}"]
    if run.finished_at:
        took = run.finished_at - (run.started_at or run.queued_at)
        said += [
            f"ended {format_time(run.finished_at)}",
            f"took {format_duration_short(took) if took >= 1 else 'less than a second'}",
        ]
    elif run.started_at and run.state != RunState.HELD:
        said.append(f"under way for {format_duration_short(time.time() - run.started_at)}")
    return " · ".join(said)


def _show_state(run: Run) -> None:
    words = escape_markdown(run_progress.describe_run(run))
    if run.state == RunState.FAILED:
        st.error(words, icon=":material/error:")
    elif run.state == RunState.HELD:
        st.warning(words, icon=":material/front_hand:")
        st.caption(HELD_HELP if is_allowed(AccessLevel.MARKETER) else HELD_LOOK_ONLY)
    elif run.state == RunState.CANCELLED:
        st.info(words, icon=":material/cancel:")
    elif run.wait_reason:
        st.info(words, icon=":material/hourglass_top:")
    elif not run.state.is_final:
        run_progress.show_progress(run)


def _show_buttons(run: Run) -> None:
    if run.state.is_final or run.cancel_requested or not is_allowed(AccessLevel.MARKETER):
        return
    with st.container(horizontal=True):
        if run.state == RunState.HELD:
            _action_button(run, "Approve", "Approved: it is being sent.", "approve", primary=True)
            if not run.dry_run:
                _action_button(
                    run, "Always approve for this sync", "Approved, now and in future.", "approve", always=True
                )
        _action_button(run, "Cancel run", "The run is being cancelled.", "cancel")


def _action_button(run: Run, label: str, done: str, action: str, primary: bool = False, **options: bool) -> None:
    if st.button(label, key=f"{action}-{run.id}-{len(options)}", type="primary" if primary else "secondary"):
        with open_service() as service:
            notices.try_action(done, getattr(service, action), run.id, **options)
        st.rerun()


def _show_numbers(run: Run, events: tuple[Event, ...]) -> None:
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
        "Waits": sum(event.times for event in events if event.message.startswith(WAITING_PREFIX)),
    }
    with st.container(horizontal=True, key="numbers-run"):
        for label, value in numbers.items():
            show_number(label, format_count(value), f"run-{label}")


def _show_rejections(run: Run, rejections: tuple[RejectionView, ...]) -> None:
    if not rejections:
        return
    st.header("Not taken", anchor=False)
    for reason, members in group_by_reason(rejections).items():
        with st.expander(f"{format_plural(len(members), 'member')}: {escape_markdown(reason)}"):
            st.markdown(f"**What to do:** {rejection_advice(members[0])}")
            for one in members[:MEMBERS_SHOWN]:
                st.text(one.user_id.strip() or "(empty)")
            if len(members) > MEMBERS_SHOWN:
                st.caption(f"and {len(members) - MEMBERS_SHOWN:,} more, in the CSV of this run")
    if len(rejections) < run.rejected + run.invalid:
        st.caption(f"The first {len(rejections):,} of {run.rejected + run.invalid:,}; the CSV has them all.")


def _show_recipe(sync: SyncView) -> None:
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


def _show_timeline(events: tuple[Event, ...]) -> None:
    st.header("What happened", anchor=False)
    if len(events) > EVENTS_SHOWN:
        st.caption(f"The last {EVENTS_SHOWN} of {len(events):,} lines.")
    for event in events[-EVENTS_SHOWN:]:
        with st.container(horizontal=True, gap="small", wrap=False):
            st.caption(format_timestamp(event.at), width=112)
            st.text(localize_times(event.message), width="stretch")
    if not events:
        st.caption("Nothing yet.")


def group_by_reason(rejections: tuple[RejectionView, ...]) -> dict[str, list[RejectionView]]:
    """Put members with the same reason together, the largest group first."""
    groups: dict[str, list[RejectionView]] = {}
    for one in rejections:
        groups.setdefault(one.reason, []).append(one)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def rejection_advice(one: RejectionView) -> str:
    """Tell what a person can do about a member that was not taken."""
    if not one.user_id.strip():
        return EMPTY_ID_ADVICE
    return LONG_ID_ADVICE if len(one.user_id) > USER_ID_MAX else REJECTED_ADVICE
