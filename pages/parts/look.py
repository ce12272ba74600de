"""Badges and marks that every page shows the same way, and the few rules the theme cannot express."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from sync.model import RunState, SyncState

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
[class*="st-key-numbers-"] {gap: .5rem 2.25rem;}
[class*="st-key-quiet-"] button p {position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;}
[class*="st-key-quiet-menu-"] button div[aria-hidden="true"] {display: none;}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] {padding: 3.75rem 1rem 3rem;}
}
</style>"""
SYNC_BADGES = {
    SyncState.ACTIVE: ("Synced", ":material/sync:", "green"),
    SyncState.PAUSED: ("Paused", ":material/pause_circle:", "orange"),
    SyncState.FINISHED: ("Exported once", ":material/task_alt:", "blue"),
}
RUN_BADGES = {
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


def sync_badge(state: SyncState | None) -> None:
    """Show whether a cohort is kept in step, as a word and an icon."""
    label, icon, color = SYNC_BADGES[state] if state else ("Not synced", ":material/link_off:", "gray")
    st.badge(label, icon=icon, color=color)  # type: ignore[arg-type]


def run_badge(state: RunState) -> None:
    """Show the state of a run, as a word and an icon."""
    label, icon, color = RUN_BADGES[state]
    st.badge(label, icon=icon, color=color)  # type: ignore[arg-type]


def mark(name: str) -> None:
    """Show the mark of a service."""
    st.image(ASSETS / f"{name}.png", width=44, alt="")


def plain(name: str, key: str) -> None:
    """Show a name in bold exactly as it is."""
    with st.container(key=f"name-{key}", gap=None):
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
