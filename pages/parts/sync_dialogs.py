"""The dialogs of the Syncs page: stop a sync, change its interval, pause it until a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta

import streamlit as st

from pages.parts import cadence_fields, notices
from pages.parts.badges import show_name
from pages.parts.dialog_buttons import show_dialog_buttons
from pages.parts.formatting import format_error, format_time, shorten_name, viewer_zone
from pages.parts.navigation import clear_requests
from pages.parts.session import open_service
from sync.cadence import format_interval
from sync.errors import CohortSyncError
from sync.model import DAY, INTERVAL_CHOICES, parse_interval, write_interval
from sync.records import SyncView
from sync.service import Service
from sync.text import count_people

KEEP_CHOICE, CLEAR_CHOICE = "Keep them in WebEngage", "Clear them: set the attribute to false for everyone"
OTHER_INTERVAL = 0.0
SHOWN = "_interval_shown"  # session key: of which sync, and its interval, time of day and end when the dialog opened


def _close_dialog() -> None:
    clear_requests("stop", "interval", "pause")
    st.session_state.pop(SHOWN, None)


def close_left_dialog() -> None:
    """Forget what a dialog showed where the address asks for none, since its page was left: it is of before."""
    if "interval" not in st.query_params:
        st.session_state.pop(SHOWN, None)


@st.dialog("Stop this sync?", on_dismiss=_close_dialog)
def show_stop_dialog(sync: SyncView) -> None:
    """Ask what should happen to the people already exported, and stop the sync."""
    show_name(shorten_name(sync.cohort_name), "stop")
    with open_service() as service:
        people = service.members.count_held(sync.id)
    there = f"This sync has {count_people(people)} in WebEngage." if people else "It has nobody in WebEngage."
    st.markdown(f"The cohort will not be refreshed any more. {there}")
    is_cleared = bool(people or sync.clear_problem) and _choose_clear(sync)
    cleared = " The people exported before are being cleared." if is_cleared else ""
    _show_decision(
        "Stop",
        lambda service: service.syncs.stop(sync.id, clear=is_cleared),
        f"{shorten_name(sync.cohort_name)} is stopped.{cleared}",
    )


def _choose_clear(sync: SyncView) -> bool:
    """Ask what should happen to the people already exported; return whether they are cleared."""
    choice = st.radio(
        "What should happen to them?",
        [KEEP_CHOICE, CLEAR_CHOICE],
        index=1 if sync.clear_problem else 0,  # who clears again does not want to keep them
        key="stop-choice",
        captions=[
            "Segments built on the attribute keep their people, but are not updated any more.",
            "Segments built on the attribute become empty. Profiles stay; only this attribute changes.",
        ],
    )
    return choice == CLEAR_CHOICE


@st.dialog("Change interval", on_dismiss=_close_dialog)
def show_interval_dialog(sync: SyncView) -> None:
    """Ask how often a dynamic sync is refreshed, and change it."""
    show_name(shorten_name(sync.cohort_name), "interval")
    shown = st.session_state.get(SHOWN)
    if not shown or shown[0] != sync.id:  # its fields keep what they were drawn with, whatever is stored since
        shown = st.session_state[SHOWN] = sync.id, (sync.interval_seconds, sync.daily, sync.ends_at)
    choices = (*INTERVAL_CHOICES, OTHER_INTERVAL, cadence_fields.AT_TIME_OF_DAY)
    known = sync.interval_seconds if sync.interval_seconds in INTERVAL_CHOICES else OTHER_INTERVAL
    if sync.daily:
        known = cadence_fields.AT_TIME_OF_DAY
    chosen = st.radio(
        "Refresh",
        choices,
        index=choices.index(known),
        key="interval-choice",
        format_func=_describe_choice,
    )
    text, daily = "", None
    if not chosen:
        own = write_interval(sync.interval_seconds) if sync.interval_seconds and not sync.daily else ""
        text = st.text_input("Interval", own, placeholder="45m, 3h or 1d", key="interval-own") or ""
    if chosen == cadence_fields.AT_TIME_OF_DAY:
        daily, chosen = cadence_fields.choose_time_of_day("interval", sync.daily), DAY
    ends_at = cadence_fields.choose_end("interval", sync.ends_at, daily)
    if chosen:
        with open_service() as service:
            cadence_fields.show_fit(service, sync.project_id, sync.cohort_id, chosen, daily)
    _show_decision(
        "Save",
        lambda service: service.syncs.change_interval(
            sync.id, chosen or _parse_seconds(text), daily, ends_at, shown=shown[1]
        ),
        f"The interval of {shorten_name(sync.cohort_name)} is changed.",
    )


def _describe_choice(seconds: float) -> str:
    if seconds == cadence_fields.AT_TIME_OF_DAY:
        return cadence_fields.TIME_OF_DAY_LABEL
    return format_interval(seconds).capitalize() if seconds else "Another interval"


@st.dialog("Pause until", on_dismiss=_close_dialog)
def show_pause_dialog(sync: SyncView) -> None:
    """Ask until when a dynamic sync is not refreshed, and pause it."""
    show_name(shorten_name(sync.cohort_name), "pause")
    zone = viewer_zone()
    tomorrow = datetime.now(zone).date() + timedelta(days=1)
    with st.container(horizontal=True):
        day = st.date_input("Day", tomorrow, key="pause-day", format="YYYY-MM-DD", width=180) or tomorrow
        at = st.time_input("Time", time(8), key="pause-time", width=120) or time(8)
    st.caption(f"Time zone: {zone.key}. It is refreshed then, and goes on as before.")
    until = datetime.combine(day, at, zone).timestamp()
    _show_decision(
        "Pause",
        lambda service: service.syncs.pause(sync.id, until),
        f"{shorten_name(sync.cohort_name)} is paused until {format_time(until)}.",
    )


def _parse_seconds(text: str) -> float:
    if not text.strip():
        raise CohortSyncError("Type an interval, such as 45m, 3h or 1d.")
    try:
        return parse_interval(text)
    except ValueError as error:
        raise CohortSyncError(str(error)) from error


def _show_decision(label: str, action: Callable[[Service], object], done: str) -> None:
    """Show Cancel and a confirm button; when confirmed, call the action, keep ``done`` as a message, and close the dialog.

    The message comes first: a newer click may interrupt whatever follows the action.
    """
    problem = st.empty()
    if not show_dialog_buttons("sync", label, _close_dialog):
        return
    try:
        with open_service() as service:
            action(service)
    except CohortSyncError as error:
        problem.error(format_error(error))
        return
    notices.flash_success(done)
    _close_dialog()
    st.rerun()
