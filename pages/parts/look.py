"""Badges, marks and pictures that every page shows the same way."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.parts.words import count
from sync.model import RunState, SyncState
from sync.views import Preview

ASSETS = Path(__file__).resolve().parents[2] / "assets"
STYLE = """<style>
[class*="st-key-name-"] [data-testid="stText"] {font-weight: 600;}
[class*="st-key-menu-"] button p {position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;}
[data-testid="stText"] {font-family: inherit; overflow-wrap: anywhere; white-space: pre-wrap;}
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {color: inherit; opacity: .82;}
[data-testid="stMainBlockContainer"] {max-width: 68rem; padding-top: 3.5rem;}
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
BAR = (("#4b51c4", "identified"), ("#b06a00", "anonymous"), ("#b3263a", "invalid"))


def style() -> None:
    """Apply the few rules the theme cannot express; no data is in them."""
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
    st.image(ASSETS / f"{name}.png", width=48, alt="")


def plain(name: str, key: str) -> None:
    """Show a name in bold exactly as it is."""
    with st.container(key=f"name-{key}", gap=None):
        st.text(name)


def bar(preview: Preview) -> None:
    """Picture who goes and who does not as one bar."""
    numbers = (preview.identified, preview.anonymous, preview.invalid)
    legend = ", ".join(f"{count(n)} {word}" for n, (_, word) in zip(numbers, BAR, strict=True))
    st.image(bar_svg(numbers), width="stretch", alt=f"Of {count(preview.total)} members: {legend}")


def bar_svg(numbers: tuple[int, ...]) -> str:
    """Draw the bar: lengths only, nothing that came from an API."""
    whole, left, parts = max(1, sum(numbers)), 0.0, []
    for number, (color, _) in zip(numbers, BAR, strict=True):
        width = 1000 * number / whole
        parts.append(f'<rect x="{left:.2f}" width="{width:.2f}" height="16" fill="{color}"/>')
        left += width
    frame = '<clipPath id="r"><rect width="1000" height="16" rx="8"/></clipPath>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 16" width="1000" height="16">{frame}'
            f'<g clip-path="url(#r)"><rect width="1000" height="16" fill="#8d90a6"/>{"".join(parts)}</g></svg>')
