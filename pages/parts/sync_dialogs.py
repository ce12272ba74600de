"""The questions of the Syncs page: how to stop, and how often to refresh."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts import notices
from pages.parts.desk import open_service
from pages.parts.look import plain
from pages.parts.wishes import drop
from pages.parts.words import every, people, trouble
from sync.errors import CohortSyncError
from sync.model import TWO_HOURS, parse_every
from sync.service import Service
from sync.views import SyncView

KEEP, CLEAR = "Keep the people in WebEngage", "Clear them: the attribute becomes false for everyone"
OWN = 0.0
CHOICES = (1800.0, 3600.0, TWO_HOURS, 21600.0, 86400.0, OWN)


def _closed() -> None:
    drop("stop", "interval")


@st.dialog("Stop this sync?", on_dismiss=_closed)
def stop(sync: SyncView) -> None:
    """Ask what becomes of the people already exported."""
    plain(sync.cohort_name, "stop")
    st.markdown(f"No refresh happens after this. WebEngage knows {people(sync.size)} from this sync.")
    choice = st.radio(
        "What becomes of them?",
        [KEEP, CLEAR],
        key="stop-choice",
        captions=[
            "Segments built on the attribute keep their people, and slowly grow out of date.",
            "Segments built on the attribute become empty. Profiles stay; only this attribute changes.",
        ],
    )
    if _confirmed("Stop", lambda service: service.stop(sync.id, clear=choice == CLEAR)):
        notices.tell(
            f"{sync.cohort_name} is stopped"
            + (", and the people exported before are being cleared." if choice == CLEAR else ".")
        )
        st.rerun()


@st.dialog("How often?", on_dismiss=_closed)
def interval(sync: SyncView) -> None:
    """Ask how often a dynamic sync is refreshed."""
    plain(sync.cohort_name, "interval")
    index = CHOICES.index(sync.every) if sync.every in CHOICES else len(CHOICES) - 1
    chosen = st.radio(
        "Refresh",
        CHOICES,
        index=index,
        key="interval-choice",
        format_func=lambda seconds: every(seconds).capitalize() if seconds else "Another interval",
    )
    text = ""
    if not chosen:
        text = st.text_input("Interval", placeholder="45m, 3h or 1d", key="interval-own") or ""
    if _confirmed("Save", lambda service: service.change_interval(sync.id, chosen or _seconds(text))):
        notices.tell(f"{sync.cohort_name} has its new interval.")
        st.rerun()


def _seconds(text: str) -> float:
    try:
        return parse_every(text)
    except ValueError as error:
        raise CohortSyncError(str(error)) from error


def _confirmed(label: str, action: Callable[[Service], object]) -> bool:
    """Draw Cancel and the answer; do it, or say why not. Whether it was done."""
    problem = st.empty()
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.button("Cancel", key="sync-cancel")
        sure = st.button(label, key="sync-sure", type="primary")
    if cancel:
        _closed()
        st.rerun()
    if not sure:
        return False
    try:
        with open_service() as service:
            action(service)
    except CohortSyncError as error:
        problem.error(trouble(error))
        return False
    _closed()
    return True
