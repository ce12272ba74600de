"""The pictures: a bar of who goes, the size over time, what each run changed. Only numbers are drawn.

The colours are mid-tones that stand out by 3:1 on the light and on the dark background alike. A
picture never stands alone: its numbers are beside it as text.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.parts.formatting import format_count
from sync.model import Run
from sync.views import Preview

INDIGO, AMBER, RED, GREEN, GRAY = "#6a70e6", "#b87a1e", "#d0455a", "#1f9d63", "#84879e"
ELIGIBILITY_COLORS = ((INDIGO, "identified"), (AMBER, "anonymous"), (RED, "invalid"))
CHANGE_COLORS = ((GREEN, "added"), (INDIGO, "updated"), (RED, "removed"))
SPARK_RUNS, CHART_RUNS = 24, 20  # runs drawn: more are too thin to tell apart


def show_eligibility_bar(preview: Preview) -> None:
    """Picture who goes and who does not as one bar, with its legend."""
    numbers = (preview.identified, preview.anonymous, preview.invalid)
    told = ", ".join(f"{format_count(n)} {word}" for n, (_, word) in zip(numbers, ELIGIBILITY_COLORS, strict=True))
    st.image(draw_bar(numbers), width="stretch", alt=f"Of {format_count(preview.total)} members: {told}")


def draw_bar(numbers: Sequence[int]) -> str:
    """Draw shares of a whole side by side."""
    whole, left, parts = max(1, sum(numbers)), 0.0, []
    for number, (color, _) in zip(numbers, ELIGIBILITY_COLORS, strict=True):
        width = 1000 * number / whole
        parts.append(_svg_rect(left, 0, width, 16, color))
        left += width
    inside = "".join([_svg_rect(0, 0, 1000, 16, GRAY), *parts])
    return _svg_document(
        1000,
        16,
        f'<clipPath id="r"><rect width="1000" height="16" rx="8"/></clipPath><g clip-path="url(#r)">{inside}</g>',
    )


def show_sparkline(numbers: Sequence[int]) -> None:
    """Picture the size of a sync over its last runs; nothing to see with fewer than two."""
    if len(numbers) > 1:
        st.image(
            draw_sparkline(numbers),
            width=180,
            alt=f"Size over the last {len(numbers)} runs: from {format_count(numbers[0])} to {format_count(numbers[-1])}",
        )


def draw_sparkline(numbers: Sequence[int]) -> str:
    """Draw a line through numbers, the last one marked."""
    low, high = min(numbers), max(numbers)
    step, tall = 172 / (len(numbers) - 1), 26 / (high - low or 1)
    points = [(4 + n * step, 31 - (number - low) * tall) for n, number in enumerate(numbers)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return _svg_document(
        180,
        36,
        f'<polyline points="{line}" fill="none" stroke="{INDIGO}" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{INDIGO}"/>',
    )


def show_changes(runs: Sequence[Run]) -> None:
    """Picture what the last refreshes of a sync changed, oldest first; the first export would dwarf them."""
    shown = [run for run in runs if run.purpose != "export"][:CHART_RUNS][::-1]
    if len(shown) < 2:
        return
    st.header("The last refreshes of this cohort", anchor=False)
    told = "; ".join(
        f"run {run.id}: {run.entered:,} added, {run.updated:,} updated, {run.exited:,} removed" for run in shown
    )
    st.image(draw_changes(shown), width="stretch", alt=told)
    with st.container(horizontal=True, gap="small"):
        for (_, word), color in zip(CHANGE_COLORS, ("green", "blue", "red"), strict=True):
            st.badge(word, color=color, icon=":material/square:")  # type: ignore[arg-type]
        st.caption(f"Run {shown[0].id} to run {shown[-1].id}; the largest changed {largest_change(shown):,} people")


def largest_change(runs: Sequence[Run]) -> int:
    """Tell the largest number of people one run changed."""
    return max(run.change_count for run in runs)


def draw_changes(runs: Sequence[Run]) -> str:
    """Draw a column for each run: added and updated above the line, removed below it."""
    most = max(1, *(max(run.entered + run.updated, run.exited) for run in runs))
    wide, parts = 1000 / len(runs), [_svg_rect(0, 89.5, 1000, 1, GRAY)]
    for n, run in enumerate(runs):
        x, width = n * wide + wide * 0.18, min(wide * 0.64, 60)
        added, updated, removed = (80 * number / most for number in (run.entered, run.updated, run.exited))
        parts += [
            _svg_rect(x, 89 - added, width, added, GREEN),
            _svg_rect(x, 89 - added - updated, width, updated, INDIGO),
            _svg_rect(x, 91, width, removed, RED),
        ]
    return _svg_document(1000, 180, "".join(parts))


def _svg_rect(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{color}"/>'


def _svg_document(width: int, height: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"{inside}</svg>"
    )
