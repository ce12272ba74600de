"""Overview, the page people open first: is everything in step, what needs a person, what comes next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import streamlit as st

from pages.parts import badges, charts, layout, notices, polling, run_progress
from pages.parts.badges import show_badges, show_name
from pages.parts.formatting import (
    escape_markdown,
    format_count,
    format_time,
    format_wait,
    localize_times,
    shorten_error,
    shorten_name,
    to_local_datetime,
)
from pages.parts.navigation import open_page, show_page_link
from pages.parts.session import is_allowed, open_service
from sync.model import DAY, RunState
from sync.permissions import AccessLevel
from sync.records import RunnerState, SyncView
from sync.reports import Attention, AttentionKind, Overview
from sync.service import Service
from sync.text import count_noun, count_people
from sync.views import DISK_LOW_BYTES
from sync.wording import NEEDS_PERSON

ROWS_SHOWN = 5  # of each list; the pages Syncs and Runs have them all
PAST_SECONDS = 600.0  # between two reads of the past days
REFUSED_QUERIES = "Mixpanel refuses more queries for now. Other programs that query this project share its limit."
GOOD, MOVING, CONCERN, PROBLEM = "good", "moving", "concern", "problem"
ATTENTION_BADGES: dict[AttentionKind, badges.Badge] = {
    AttentionKind.HELD: badges.RUN_BADGES[RunState.HELD],
    AttentionKind.NOT_CLEARED: badges.NOT_CLEARED,
    AttentionKind.PAUSED: badges.PAUSED,
    AttentionKind.FAILED: badges.RUN_BADGES[RunState.FAILED],
    AttentionKind.OVERDUE: badges.OVERDUE,
}


def show_page() -> None:
    """Show the overview of the chosen project, kept up to date."""
    st.title("Overview", anchor=False)
    with open_service() as service:
        project = layout.chosen_project(service.connections.list_projects())
    project_id = project.id if project else None

    def read() -> Overview:
        with open_service() as service:
            return service.overview.read(project_id)

    past = _PastDays(project_id)

    def draw(seen: Overview) -> None:
        show_overview(seen)
        _show_people(seen, past.read())

    polling.poll(read, lambda seen: (sync.last_run for sync in seen.syncs), draw)


class _PastDays:
    """How many people were in WebEngage on past days, read again after a while; the number of now changes meanwhile."""

    def __init__(self, project_id: int | None) -> None:
        """Begin without any number."""
        self._project_id, self._read_at = project_id, -math.inf
        self._sizes: tuple[int, ...] = ()

    def read(self) -> tuple[int, ...]:
        """Return the number of each of the last days but today, oldest first."""
        if time.monotonic() - self._read_at > PAST_SECONDS:
            with open_service() as service:
                self._sizes = service.overview.list_daily_sizes(self._project_id)[:-1]
            self._read_at = time.monotonic()
        return self._sizes


def show_overview(seen: Overview) -> None:
    """Show the sentence that says whether everything is in step, and below it why."""
    if not seen.syncs:
        _show_first_step(seen)
        return
    may_mend = is_allowed(AccessLevel.MARKETER)  # asked once: each answer reads the sign-in settings again
    who = "you" if may_mend else "a marketer"
    _show_sentence(*summarize(seen, who))
    _show_attention(seen.attention, who, may_mend=may_mend)
    _show_moving(seen.moving)
    for parts in ((_show_upcoming, _show_last_day), (_show_queries, _show_attributes)):
        for column, show_part in zip(st.columns(2, gap="medium"), parts, strict=True):
            with column:
                show_part(seen)


def _show_first_step(seen: Overview) -> None:
    """Lead to what comes before the first sync."""
    if seen.is_connected:
        st.info("Nothing has been exported yet. Choose a cohort and export it to WebEngage.", icon=":material/groups:")
        page, label = "cohorts", "Go to Cohorts"
    else:
        st.info("Connect Mixpanel and WebEngage; then export your first cohort.", icon=":material/extension:")
        page, label = "integrations", "Go to Integrations"
    if st.button(label, type="primary", icon=":material/arrow_forward:"):
        open_page(page)


def summarize(seen: Overview, who: str = "you") -> tuple[str, str]:
    """Return how things stand, GOOD, MOVING, CONCERN or PROBLEM, and the sentence that says so; ``who`` can mend it."""
    needs = f"{count_noun(len(seen.attention), 'sync needs', 'syncs need')} {who}" if seen.attention else ""
    also = f" {needs}, too." if needs else ""
    if seen.runner_state in (RunnerState.NONE, RunnerState.SILENT):
        return PROBLEM, f"{layout.NO_RUNNER}{also}"
    if seen.disk_free < DISK_LOW_BYTES:
        return PROBLEM, f"The disk is almost full. Free some space, or the next runs fail.{also}"
    if seen.runner_state == RunnerState.UNKNOWN:
        return CONCERN, f"{layout.RUNNER_UNKNOWN}{also}"
    if needs:
        return CONCERN, needs
    return _summarize_steps(len(seen.standing), len(seen.starting))


def _summarize_steps(standing: int, starting: int) -> tuple[str, str]:
    if not standing:
        return GOOD, "Nothing needs you. No cohort is kept in step; what was exported once stays as it was."
    if starting:
        begun = f"{count_noun(starting, 'sync is', 'syncs are')} being exported for the first time"
        settled = standing - starting
        are = "is" if settled == 1 else "are"
        return MOVING, f"{settled} of {standing} syncs {are} in step; {begun}" if settled else begun
    return GOOD, "The only sync is in step" if standing == 1 else f"All {standing} syncs are in step"


def _show_sentence(state: str, text: str) -> None:
    show, icon = {
        GOOD: (st.success, ":material/check_circle:"),
        MOVING: (st.info, ":material/sync:"),
        CONCERN: (st.warning, ":material/front_hand:"),
        PROBLEM: (st.error, ":material/error:"),
    }[state]
    with st.container(key=f"overview-{state}"):
        show(escape_markdown(text), icon=icon)


def _show_attention(attention: tuple[Attention, ...], who: str, *, may_mend: bool) -> None:
    if not attention:
        return
    st.header(f"Needs {who}", anchor=False)
    for one in attention[:ROWS_SHOWN]:
        with st.container(border=True, key=f"attention-{one.sync.id}", gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                show_name(shorten_name(one.sync.cohort_name), f"attention-{one.sync.id}", width="content")
                show_badges(ATTENTION_BADGES[one.kind])
            st.text(localize_times(shorten_error(one.reason)))
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                if may_mend:
                    _show_mending(one)
                show_page_link("Open sync", "open_in_full", "syncs", sync=one.sync.id)
    if len(attention) > ROWS_SHOWN:
        show_page_link(f"See all {len(attention)}", "arrow_forward", "syncs", show_syncs=NEEDS_PERSON)


def _show_mending(one: Attention) -> None:
    """Show the button that mends what a sync needs a person for."""
    sync, run = one.sync, one.sync.last_run
    if one.kind == AttentionKind.PAUSED:
        _show_action(sync, "Resume", ":material/play_arrow:", "is resumed.", lambda here: here.syncs.resume(sync.id))
    elif one.kind == AttentionKind.FAILED and not sync.is_cleared:
        _show_action(
            sync, "Sync now", ":material/sync:", "is being synced.", lambda here: here.syncs.refresh_now(sync.id)
        )
    elif one.kind == AttentionKind.NOT_CLEARED:
        if st.button("Clear again", key=f"mend-{sync.id}", icon=":material/stop_circle:", type="primary"):
            open_page("syncs", sync=sync.id, stop=sync.id)
    elif run:
        label = "Decide" if one.kind == AttentionKind.HELD else "See run"
        if st.button(label, key=f"mend-{sync.id}", icon=":material/open_in_full:", type="primary"):
            open_page("runs", run=run.id)


def _show_action(sync: SyncView, label: str, icon: str, outcome: str, act: Callable[[Service], object]) -> None:
    if st.button(label, key=f"mend-{sync.id}", icon=icon, type="primary"):
        notices.act_and_redraw(f"{shorten_name(sync.cohort_name)} {outcome}", act)


def _show_moving(moving: tuple[SyncView, ...]) -> None:
    if not moving:
        return
    st.header("Now", anchor=False)
    for sync in moving[:ROWS_SHOWN]:
        run = sync.last_run
        if run is None:
            continue
        with st.container(horizontal=True, vertical_alignment="center", key=f"moving-{sync.id}"):
            with st.container(width=280, gap=None):
                show_name(shorten_name(sync.cohort_name), f"moving-{sync.id}")
                show_badges(badges.run_badge(run))
            with st.container(width="stretch"):
                run_progress.show_progress(run)
            show_page_link("See progress", "open_in_full", "runs", run=run.id)
    if len(moving) > ROWS_SHOWN:
        st.caption(f"{len(moving) - ROWS_SHOWN} more on the Runs page.")


def _show_upcoming(seen: Overview) -> None:
    st.header("Next", anchor=False)
    upcoming = seen.upcoming
    with st.container(gap="xsmall"):
        for sync in upcoming[:ROWS_SHOWN]:
            with st.container(horizontal=True, gap="small", wrap=False, key=f"still-next-{sync.id}"):
                st.caption(format_wait(sync.next_run_at or 0.0), width=96)
                st.text(shorten_name(sync.cohort_name), width="stretch")
    if not upcoming:
        st.caption("No refresh is planned.")
    elif len(upcoming) > ROWS_SHOWN:
        st.caption(f"{len(upcoming) - ROWS_SHOWN} more on the Syncs page.")


def _show_last_day(seen: Overview) -> None:
    st.header("Last 24 hours", anchor=False)
    charts.show_hours_strip(seen.hours)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption(f"since {format_time(seen.now - DAY)}", width="content")
        st.caption("now", width="content")
    st.caption(describe_last_day(seen))


def describe_last_day(seen: Overview) -> str:
    """Return how many runs ended in the last 24 hours, how, and what they changed."""
    runs = (
        (sum(hour.succeeded for hour in seen.hours), "succeeded"),
        (sum(hour.failed for hour in seen.hours), "failed"),
        (sum(hour.cancelled for hour in seen.hours), "cancelled"),
    )
    people = (
        (sum(hour.added for hour in seen.hours), "added"),
        (sum(hour.removed for hour in seen.hours), "removed"),
        (sum(hour.sent_half_way for hour in seen.hours), "sent by runs that ended half-way"),
    )
    ended = ", ".join(f"{count_noun(number, 'run')} {word}" for number, word in runs if number)
    changed = ", ".join(f"{count_people(number)} {word}" for number, word in people if number)
    return f"{ended}; {changed or 'nobody added or removed'}." if ended else "No run ended."


def _show_queries(seen: Overview) -> None:
    st.header("Mixpanel queries", anchor=False)
    used = f"{seen.queries_used} of {seen.queries_limit} used in the last hour"
    st.progress(min(1.0, seen.queries_used / seen.queries_limit), text=used)
    if seen.is_connected and not seen.queries_left and seen.queries_used < seen.queries_limit:
        st.caption(REFUSED_QUERIES)
    if seen.queries_needed > seen.queries_for_syncs:
        st.warning(
            f"The refreshes of the next hour need about {seen.queries_needed}, but syncs may use "
            f"{seen.queries_for_syncs}. Some will wait; choose longer intervals.",
            icon=":material/speed:",
        )
    else:
        needed = f"need about {seen.queries_needed}" if seen.queries_needed else "need none"
        st.caption(f"The refreshes of the next hour {needed}.")


def _show_attributes(seen: Overview) -> None:
    st.header("WebEngage attributes", anchor=False)
    used = f"{seen.attributes_used} of {seen.attributes_limit} belong to cohorts exported here"
    st.progress(min(1.0, seen.attributes_used / seen.attributes_limit), text=used)
    account = f"Account {seen.license_code}. " if seen.license_code else ""
    st.caption(escape_markdown(f"{account}Each exported cohort needs one, and keeps it."))


def _show_people(seen: Overview, past: tuple[int, ...]) -> None:
    """Show how many people were in WebEngage over the last days and are now, once anybody was."""
    sizes = (*past, seen.in_webengage)
    if not any(sizes):
        return
    st.header("People in WebEngage", anchor=False)
    charts.show_people_chart(sizes)
    first = to_local_datetime(time.time() - (len(sizes) - 1) * DAY).strftime("%-d %b")
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption(f"{first}: {format_count(sizes[0])}", width="content")
        st.caption(f"now: {format_count(sizes[-1])}", width="content")
    if sent := seen.sent_so_far:
        runs = "a run that has" if len(sent) == 1 else f"{len(sent)} runs that have"
        st.caption(f"Not counted yet: {count_people(sum(sent))} sent so far by {runs} not ended.")
    st.caption("One person in two cohorts counts twice.")


layout.run_in_layout(show_page)
