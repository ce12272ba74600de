"""Badges, names and numbers that look the same on every page, and the style sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import streamlit as st

from pages.parts.formatting import escape_markdown, shorten_name
from sync import wording
from sync.model import Mode, Run, RunState
from sync.records import SyncView
from sync.wording import MODE_WORDS, RUN_STATE_WORDS

ASSETS = Path(__file__).resolve().parents[2] / "assets"
STYLE = Path(__file__).with_name("style.css")
Badge = tuple[str, str, str]
NOT_CLEARED: Badge = (wording.NOT_CLEARED, ":material/error:", "red")
PAUSED: Badge = (wording.PAUSED, ":material/pause_circle:", "orange")
OVERDUE: Badge = ("Overdue", ":material/alarm:", "orange")
WAITING: Badge = (wording.WAITING, ":material/hourglass_top:", "gray")
DRY_RUN: Badge = ("Dry run", ":material/science:", "violet")
MODE_BADGES: dict[Mode, Badge] = {
    Mode.ONE_TIME: (MODE_WORDS[Mode.ONE_TIME], ":material/looks_one:", "violet"),
    Mode.DYNAMIC: (MODE_WORDS[Mode.DYNAMIC], ":material/autorenew:", "violet"),
}
RUN_BADGES: dict[RunState, Badge] = {
    RunState.QUEUED: (RUN_STATE_WORDS[RunState.QUEUED], ":material/schedule:", "gray"),
    RunState.PULLING: (RUN_STATE_WORDS[RunState.PULLING], ":material/download:", "blue"),
    RunState.HELD: (RUN_STATE_WORDS[RunState.HELD], ":material/front_hand:", "orange"),
    RunState.DELIVERING: (RUN_STATE_WORDS[RunState.DELIVERING], ":material/upload:", "blue"),
    RunState.SUCCEEDED: (RUN_STATE_WORDS[RunState.SUCCEEDED], ":material/check_circle:", "green"),
    RunState.FAILED: (RUN_STATE_WORDS[RunState.FAILED], ":material/error:", "red"),
    RunState.CANCELLED: (RUN_STATE_WORDS[RunState.CANCELLED], ":material/cancel:", "gray"),
}
SYNC_BADGES: dict[str, Badge] = {
    badge[0]: badge
    for badge in (
        RUN_BADGES[RunState.HELD],
        PAUSED,
        NOT_CLEARED,
        (wording.NOT_SYNCED, ":material/link_off:", "gray"),
        (wording.NOTHING_EXPORTED, ":material/hourglass_empty:", "gray"),
        (wording.NOBODY_THERE, ":material/group_off:", "gray"),
        (wording.BEING_EXPORTED, ":material/upload:", "blue"),
        (wording.SYNCED, ":material/sync:", "green"),
        (wording.STOPPED, ":material/stop_circle:", "gray"),
        (wording.EXPORTED_ONCE, ":material/task_alt:", "blue"),
    )
}


def show_badges(*badges: Badge, after: str = "") -> None:
    """Show badges side by side, each with an icon and a label, followed by text."""
    marks = " ".join(f":{color}-badge[{icon} {label}]" for label, icon, color in badges)
    st.markdown(f"{marks} {escape_markdown(after)}" if after else marks, width="content")


def sync_badge(sync: SyncView | None) -> Badge:
    """Return the badge of a cohort's sync."""
    return SYNC_BADGES[wording.name_sync_state(sync)]


def run_badge(run: Run) -> Badge:
    """Return the badge of a run; a run that a limit put back into the queue is "Waiting"."""
    return WAITING if wording.name_run_state(run) == wording.WAITING else RUN_BADGES[run.state]


def show_name(name: str, key: str, width: Literal["stretch", "content"] = "stretch") -> None:
    """Show a name in bold, without interpreting Markdown in it."""
    with st.container(key=f"name-{key}", gap=None, width=width):
        st.text(name)


def show_title(name: str, width: Literal["stretch", "content"] = "stretch") -> None:
    """Show the name of a cohort as the title of its page; a long one, which would fill a phone, without its middle."""
    st.title(escape_markdown(shorten_name(name)), anchor=False, width=width)


def show_whole_name(name: str, key: str = "page") -> None:
    """Show the whole of a name in small letters when the title above leaves out its middle."""
    if shorten_name(name) != " ".join(name.split()):
        show_small_text(name, f"whole-name-{key}")


def show_small_text(text: str, key: str) -> None:
    """Show text of an API or a person in a small font, without interpreting Markdown in it."""
    with st.container(key=f"small-{key}", gap=None):
        st.text(text)


def show_number(label: str, value: str, key: str) -> None:
    """Show one number under its label."""
    with st.container(gap=None, width="content", key=f"big-{key}"):
        st.caption(label)
        st.text(value)
