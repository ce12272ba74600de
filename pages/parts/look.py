"""Badges and marks that every page shows the same way, and the few rules the theme cannot express."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import streamlit as st

from pages.parts.words import escape
from sync.model import Mode, Run, RunState, SyncState
from sync.views import SyncView

ASSETS = Path(__file__).resolve().parents[2] / "assets"
# Containers are keyed by what they are: name-… is bold, quiet-… shows icons whose words only screen readers get.
STYLE = """<style>
[data-testid="stMainBlockContainer"] {max-width: 74rem; padding: 4rem 2.25rem 4rem;}
[data-testid="stText"] {font-family: inherit; overflow-wrap: anywhere; white-space: pre-wrap;}
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {color: inherit; opacity: .82;
  overflow-wrap: break-word;}
[data-testid="stElementToolbar"] {display: none;}
[class*="st-key-name-"] [data-testid="stText"] {font-weight: 650;}
[class*="st-key-big-"] [data-testid="stText"] {font-size: 1.35rem; font-weight: 650; line-height: 1.3;}
[class*="st-key-small-"] [data-testid="stText"] {font-size: .875rem;}
[class*="st-key-numbers-"] {display: grid; gap: .5rem;}
.st-key-numbers-run {grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr));}
.st-key-numbers-preview {grid-template-columns: repeat(auto-fill, minmax(8.75rem, 1fr));}
[class*="st-key-quiet-"] button p {position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;}
[class*="st-key-quiet-menu-"] button div[aria-hidden="true"] {display: none;}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] {padding: 3.75rem 1rem 3rem;}
}
</style>"""
Badge = tuple[str, str, str]
NOT_SYNCED: Badge = ("Not synced", ":material/link_off:", "gray")
NOT_YET: Badge = ("Nothing exported yet", ":material/hourglass_empty:", "gray")
SYNCED: Badge = ("Synced", ":material/sync:", "green")
PAUSED: Badge = ("Paused", ":material/pause_circle:", "orange")
STOPPED: Badge = ("Stopped", ":material/stop_circle:", "gray")
NOT_CLEARED: Badge = ("Not cleared", ":material/error:", "red")
ONCE: Badge = ("Exported once", ":material/task_alt:", "blue")
WAITING: Badge = ("Waiting", ":material/hourglass_top:", "gray")
DRY: Badge = ("Dry run", ":material/science:", "violet")
MODES: dict[Mode, Badge] = {
    Mode.ONE_TIME: ("One-time", ":material/looks_one:", "violet"),
    Mode.DYNAMIC: ("Dynamic", ":material/autorenew:", "violet"),
}
RUN_BADGES: dict[RunState, Badge] = {
    RunState.QUEUED: ("Queued", ":material/schedule:", "gray"),
    RunState.PULLING: ("Reading Mixpanel", ":material/download:", "blue"),
    RunState.HELD: ("Waiting for your yes", ":material/front_hand:", "orange"),
    RunState.DELIVERING: ("Sending to WebEngage", ":material/upload:", "blue"),
    RunState.SUCCEEDED: ("Succeeded", ":material/check_circle:", "green"),
    RunState.FAILED: ("Failed", ":material/error:", "red"),
    RunState.CANCELLED: ("Cancelled", ":material/cancel:", "gray"),
}


def style() -> None:
    """Apply the rules; no data is in them."""
    st.html(STYLE)


def badges(*shown: Badge, after: str = "") -> None:
    """Show badges side by side, each with its icon and its word, and text after them."""
    marks = " ".join(f":{color}-badge[{icon} {word}]" for word, icon, color in shown)
    st.markdown(f"{marks} {escape(after)}" if after else marks, width="content")


def sync_badge(sync: SyncView | None) -> Badge:
    """Say whether a cohort is kept in step; nobody is told that it is before anything went."""
    if sync is None:
        return NOT_SYNCED
    if sync.state == SyncState.PAUSED:
        return PAUSED
    if sync.clear_problem:
        return NOT_CLEARED
    if sync.state == SyncState.FINISHED:
        stopped = sync.mode == Mode.DYNAMIC or (sync.last_run and sync.last_run.purpose == "clear")
        return STOPPED if stopped else ONCE
    went = sync.size or (sync.last_run and sync.last_run.state == RunState.SUCCEEDED)
    return SYNCED if went else NOT_YET


def run_badge(run: Run) -> Badge:
    """Say where a run is; one that a limit put back into the queue waits, and says so."""
    return WAITING if run.state == RunState.QUEUED and run.waiting else RUN_BADGES[run.state]


def mark(name: str) -> None:
    """Show the mark of a service."""
    st.image(ASSETS / f"{name}.png", width=44, alt="")


def plain(name: str, key: str, width: Literal["stretch", "content"] = "stretch") -> None:
    """Show a name in bold exactly as it is."""
    with st.container(key=f"name-{key}", gap=None, width=width):
        st.text(name)


def small(text: str, key: str) -> None:
    """Show text of an API or a person in small print, exactly as it is."""
    with st.container(key=f"small-{key}", gap=None):
        st.text(text)


def number(label: str, value: str, key: str) -> None:
    """Show one number under its label."""
    with st.container(gap=None, width="content", key=f"big-{key}"):
        st.caption(label)
        st.text(value)
