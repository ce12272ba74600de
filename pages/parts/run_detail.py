"""The page of one run: its state, its numbers, rejected and invalid people, what happened."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts import badges, charts, downloads, notices, polling, run_actions, run_people, run_progress
from pages.parts.badges import show_number
from pages.parts.formatting import (
    escape_markdown,
    format_count,
    format_duration_short,
    format_time,
    format_timestamp,
    localize_times,
)
from pages.parts.navigation import show_page_link
from pages.parts.session import is_allowed, open_service
from sync import wording
from sync.guards import GuardLimits
from sync.model import USER_ID_MAX, Eligibility, Run, RunState
from sync.permissions import AccessLevel
from sync.records import Event, RejectionView, SyncView
from sync.text import count_noun, count_people

EVENTS_SHOWN = 100
MAX_GROUPED_WHILE_MOVING = 1000  # rejected and invalid people that are grouped at every poll of an unfinished run
WAITING_PREFIX = "Waiting:"  # of an event about waiting for a limit
PURPOSES = {
    "export": "an export",
    "refresh": "a refresh",
    "retry": "a retry of rejected people",
    "resync": "sending everyone again",
    "clear": "clearing the attribute",
    "undo": "taking back run {}",
}
HELD_HELP = (
    "Nothing has been sent yet. Everybody it would add and remove is listed below. Approve the run if these changes "
    "are right. Cancel it if they are not, for example "
    "because the cohort's rule was changed by mistake. Cancelling leaves WebEngage unchanged."
)

HELD_HELP_FOR_VIEWERS = "A marketer can approve or cancel this run here."

MEMBERS_SHOWN = 20

EMPTY_ID_ADVICE = "Give these profiles a User ID in Mixpanel ($distinct_id); WebEngage cannot match an empty one."

NO_ID_VALUE_ADVICE = (
    "Give these profiles a value in the property that is the User ID, or choose another one when you export the cohort. "
    "They are listed by distinct_id."
)

LONG_ID_ADVICE = f"Shorten these User IDs to {USER_ID_MAX} characters in Mixpanel, and in your app."

REJECTED_ADVICE = (
    "WebEngage rejected these people. Correct the reason above in their Mixpanel profiles, then press "
    "*Try rejected people again*. A refresh tries only those again whose properties sent to WebEngage have changed."
)


NOT_CLEARED_ADVICE = (
    "WebEngage rejected setting these people to false, so they are still true there. Correct the reason above, then "
    "clear the sync again: *Clear again* on its page."
)


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything the page of a run shows, read at one moment."""

    run: Run
    sync: SyncView
    events: tuple[Event, ...]
    rejections: tuple[RejectionView, ...]


def show_run(run_id: int) -> None:
    """Show a run, kept up to date while it is under way or held.

    The people and the files are drawn once for each stage, because a redraw changes the addresses of downloads, and a
    click in between would fail. When a run gets to another stage on the open page, the whole page is rerun; it has no
    dialogs.
    """
    detail = _read_detail(run_id)
    if detail.run.state.is_final:
        show_detail(detail)
    else:
        first = [detail]  # for the first drawing only; each later one reads again
        polling.poll(
            lambda: first.pop() if first else _read_same_stage(detail.run), lambda read: (read.run,), show_detail
        )
    run_people.show_people(detail.run, detail.sync)
    if detail.run.state.is_final:
        _show_history(run_id)
    else:
        polling.poll_slowly(lambda: _show_history(run_id))


def _read_same_stage(drawn: Run) -> RunDetail:
    detail = _read_detail(drawn.id)
    if (detail.run.state.is_final, detail.run.state, detail.run.planned) != (False, drawn.state, drawn.planned):
        polling.redraw_page()
    return detail


def _read_detail(run_id: int) -> RunDetail:
    with open_service() as service:
        run = service.runs.get(run_id)
        too_many = run.rejected + run.invalid > MAX_GROUPED_WHILE_MOVING and run.is_moving
        return RunDetail(
            run=run,
            sync=service.syncs.get(run.sync_id),
            events=service.runs.list_events(run_id),
            rejections=() if too_many else service.runs.list_rejections(run_id),
        )


def show_detail(detail: RunDetail) -> None:
    """Show a run as it is now, with the buttons that act on it."""
    run, sync = detail.run, detail.sync
    _show_head(run, sync)
    _show_state(run)
    if run.state == RunState.HELD and run.steps_sent:
        run_actions.show_what_to_look_at(run, sync)
    _show_numbers(run, detail.events)
    _show_buttons(run)
    _show_rejections(run, sync, detail.rejections)
    if run.state == RunState.SUCCEEDED and run.purpose not in ("clear", "undo"):
        _show_instructions(run, sync)


def _show_history(run_id: int) -> None:
    """Show what happened in a run, and what the last refreshes of its sync changed."""
    with open_service() as service:
        events = service.runs.list_events(run_id)
        recent = service.runs.list(service.runs.get(run_id).sync_id, RunState.SUCCEEDED, charts.CHART_RUNS)
    charts.show_changes_chart(recent)
    _show_timeline(events)


def _show_head(run: Run, sync: SyncView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        badges.show_title(sync.cohort_name, "content")
        badges.show_badges(badges.run_badge(run), *([badges.DRY_RUN] if run.dry_run else []))
    badges.show_whole_name(sync.cohort_name)
    with st.container(horizontal=True, vertical_alignment="center", key="links-run"):
        st.caption(_describe_times(run), width="content")
        show_page_link("Open sync", "", "syncs", sync=sync.id)
        show_page_link("See members", "", "cohorts", project=sync.project_id, cohort=sync.cohort_id)
    st.caption(escape_markdown(f"Sets “{sync.attribute}” in WebEngage account {sync.license_code}"))


def _describe_times(run: Run) -> str:
    parts = [
        f"Run {run.id}, {PURPOSES[run.purpose].format(run.undoes)}",
        f"requested {format_time(run.queued_at)}",
    ]
    if run.finished_at:
        took = run.finished_at - (run.started_at or run.queued_at)
        parts += [
            f"finished {format_time(run.finished_at)}",
            f"took {format_duration_short(took) if took >= 1 else 'less than a second'}",
        ]
    elif run.started_at and run.state != RunState.HELD:
        parts.append(f"running for {format_duration_short(time.time() - run.started_at)}")
    return " · ".join(parts)


def _show_state(run: Run) -> None:
    text = escape_markdown(run_progress.describe_run(run))
    if run.state == RunState.FAILED:
        st.error(text, icon=":material/error:")
    elif run.state == RunState.HELD:
        st.warning(text, icon=":material/front_hand:")
        help_text = run_actions.describe_held_help(run) or HELD_HELP
        st.caption(help_text if is_allowed(AccessLevel.MARKETER) else HELD_HELP_FOR_VIEWERS)
    elif run.state == RunState.CANCELLED:
        st.info(text, icon=":material/cancel:")
    elif run.wait_reason:
        st.info(text, icon=":material/hourglass_top:")
    elif not run.state.is_final:
        run_progress.show_progress(run)


def _show_buttons(run: Run) -> None:
    if (run.cancel_requested and not run.state.is_final) or not is_allowed(AccessLevel.MARKETER):
        return
    if run.state.is_final:
        if run.sent:
            run_actions.show_take_back_button(run)
        return
    refusal = _show_refusal(run)
    with st.container(horizontal=True):
        if run.state == RunState.HELD:
            _show_approve_buttons(run, may_approve=not refusal)
            run_actions.note_shown_reason(run)
        if st.button("Cancel run", key=f"cancel-{run.id}"):
            notices.act_and_redraw("", lambda service: run_actions.cancel_run(service, run))


def _show_refusal(run: Run) -> str:
    """Show and return why this person may not approve a held run, and who may; empty when they may."""
    with open_service() as service:
        refusal = service.runs.explain_refusal(run.id)
    if refusal:
        st.info(escape_markdown(refusal), icon=":material/group:")
    return refusal


def _show_approve_buttons(run: Run, *, may_approve: bool) -> None:
    if run.steps_sent:
        run_actions.show_step_buttons(run, may_approve=may_approve)
        return
    if not may_approve:
        return
    if run.undoes is not None:
        if st.button(f"Take back run {run.undoes}", key=f"approve-{run.id}", type="primary"):
            run_actions.approve_run(run, f"Run {run.undoes} is being taken back.")
        return
    if st.button("Approve", key=f"approve-{run.id}", type="primary"):
        run_actions.approve_run(run, "Approved. The run is being sent.")
    with open_service() as service:
        limits, now = service.guards.suggest_limits(run), service.guards.get(run.sync_id).limits
    if limits and not run.dry_run:
        _show_limit_buttons(run, limits, _name_raised(limits, now))


def _name_raised(limits: GuardLimits, now: GuardLimits) -> str:
    """Return which limits are raised from those of now, and to how many people."""
    added, removed = format_count(limits.add_people), format_count(limits.remove_people)
    if limits.add_people != now.add_people and limits.remove_people != now.remove_people:
        return f"the limits to {added} added and {removed} removed"
    return f"the limit to {added if limits.add_people != now.add_people else removed}"


def _show_limit_buttons(run: Run, limits: GuardLimits, raised: str) -> None:
    """Offer to let as many people pass from now on, or any number: the limits of the sync are what holds the run."""
    if st.button(f"Approve and raise {raised}", key=f"approve-raise-{run.id}"):
        run_actions.approve_run(
            run,
            f"Approved. From now on a run of this sync may add {limits.add_people:,} and remove "
            f"{count_people(limits.remove_people)}.",
            limits=limits,
        )
    if st.button("Always approve for this sync", key=f"approve-always-{run.id}"):
        run_actions.approve_run(
            run,
            "Approved. The guard of this sync is lifted, until somebody puts it back on the page of the sync.",
            always=True,
        )


def _show_numbers(run: Run, events: tuple[Event, ...]) -> None:
    waits = sum(event.times for event in events if event.message.startswith(WAITING_PREFIX))
    numbers = wording.list_outlook(run) | wording.list_counts(run, waits)
    if not numbers:
        return
    with st.container(horizontal=True, key="numbers-run"):
        for label, value in numbers.items():
            show_number(label, format_count(value), f"run-{label}")


def _show_rejections(run: Run, sync: SyncView, rejections: tuple[RejectionView, ...]) -> None:
    if not rejections:
        return
    st.header("Rejected and invalid", anchor=False)
    for reason, members in group_by_reason(rejections).items():
        with st.expander(f"{count_noun(len(members), 'member')}: {escape_markdown(reason)}"):
            st.markdown(f"**What to do:** {choose_advice(members[0], run.purpose)}")
            for one in members[:MEMBERS_SHOWN]:
                st.text(one.user_id.strip() or "(empty)")
            if len(members) > MEMBERS_SHOWN:
                st.caption(f"and {len(members) - MEMBERS_SHOWN:,} more in the CSV of this run")
    if len(rejections) < run.rejected + run.invalid:
        st.caption(
            f"The first {len(rejections):,} of {run.rejected + run.invalid:,}. The CSV of this run has them all."
        )
    if run.rejected and run.state.is_final and not sync.is_cleared and is_allowed(AccessLevel.MARKETER):
        run_actions.show_retry_button(run)


def _show_instructions(run: Run, sync: SyncView) -> None:
    """Show how to use the cohort in WebEngage; the file for a Static List is that of the last run."""
    with st.container(border=True):
        st.header("Use it in WebEngage", anchor=False)
        st.markdown(
            "Build a **Live Segment** once. It then follows this cohort by itself: Segments → Live Segments → "
            "**+** → User → User Attribute → the name below → **is true**."
        )
        st.code(sync.attribute, language=None, wrap_lines=True)
        if downloads.has_static_list(run, sync):
            st.caption(
                "For a **Static List** instead: Segments → Static Lists → **+** → Create Using CSV File → "
                "upload the file of User IDs below."
            )


def _show_timeline(events: tuple[Event, ...]) -> None:
    st.header("What happened", anchor=False)
    if len(events) > EVENTS_SHOWN:
        st.caption(f"The last {EVENTS_SHOWN} of {len(events):,} lines.")
    for place, event in enumerate(events[-EVENTS_SHOWN:]):
        with st.container(horizontal=True, gap="small", wrap=False, key=f"still-event-{place}"):
            st.caption(format_timestamp(event.at), width=112)
            st.text(localize_times(event.message), width="stretch")
    if not events:
        st.caption("Nothing yet.")


def group_by_reason(rejections: tuple[RejectionView, ...]) -> dict[str, list[RejectionView]]:
    """Return the members grouped by reason, the largest group first."""
    groups: dict[str, list[RejectionView]] = {}
    for one in rejections:
        groups.setdefault(one.reason, []).append(one)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def choose_advice(one: RejectionView, purpose: str) -> str:
    """Return what a person can do about a rejected or invalid member of a run for this purpose."""
    if purpose == "clear":
        return NOT_CLEARED_ADVICE
    if one.reason == Eligibility.NO_ID_VALUE:
        return NO_ID_VALUE_ADVICE
    if not one.user_id.strip():
        return EMPTY_ID_ADVICE
    return LONG_ID_ADVICE if one.reason == Eligibility.LONG_ID else REJECTED_ADVICE
