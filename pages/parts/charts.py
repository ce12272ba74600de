"""Charts as SVG images: members by eligibility, size over time, changes per run, hours and days of the overview.

The colours are mid-tones with a contrast of at least 3:1 on both the light and the dark background.
Every chart has its numbers beside it as text.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.parts.formatting import escape_markdown, format_count, shorten_name, tell_apart
from sync.model import Run
from sync.records import HourCount
from sync.reports import Overlap
from sync.text import count_people

INDIGO, AMBER, RED, GREEN, GRAY = "#6a70e6", "#b87a1e", "#d0455a", "#1f9d63", "#84879e"
ELIGIBILITY_COLORS = (
    (INDIGO, "identified"),
    (GRAY, "on the never-export list"),
    (AMBER, "anonymous"),
    (RED, "invalid"),
)
CHANGE_COLORS = ((GREEN, "added"), (INDIGO, "updated"), (RED, "removed"))
SPARK_RUNS, CHART_RUNS = 24, 20  # runs drawn; more would be too thin to distinguish


def show_bar(numbers: Sequence[int], total: int) -> None:
    """Show how many members are exported, on the never-export list, anonymous and invalid, as one bar."""
    parts = ", ".join(f"{format_count(n)} {word}" for n, (_, word) in zip(numbers, ELIGIBILITY_COLORS, strict=True))
    st.image(draw_bar(numbers), width="stretch", alt=f"Of {format_count(total)} members: {parts}")


def draw_bar(numbers: Sequence[int]) -> str:
    """Return the SVG of a bar whose parts are proportional to the numbers."""
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
    """Show the size of a sync over its last runs; show nothing for fewer than two."""
    if len(numbers) > 1:
        st.image(
            draw_sparkline(numbers),
            width=180,
            alt=f"Size over the last {len(numbers)} runs: from {format_count(numbers[0])} to {format_count(numbers[-1])}",
        )


def draw_sparkline(numbers: Sequence[int]) -> str:
    """Return the SVG of a line through at least two numbers, with a dot on the last one."""
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


def show_changes_chart(runs: Sequence[Run]) -> None:
    """Show what the last refreshes of a sync changed, oldest first.

    The first export is left out: next to it, the refreshes would be too small to see.
    """
    shown = [run for run in runs if run.purpose != "export"][:CHART_RUNS][::-1]
    if len(shown) < 2:
        return
    st.header("Last refreshes of this cohort", anchor=False)
    largest = max(run.change_count for run in shown)
    if not largest:
        st.caption(f"None of the last {len(shown)} changed anybody.")
        return
    summary = "; ".join(
        f"run {run.id}: {run.entered:,} added, {run.updated:,} updated, {run.exited:,} removed" for run in shown
    )
    st.image(draw_changes(shown), width="stretch", alt=summary)
    with st.container(horizontal=True, gap="small"):
        for (_, word), color in zip(CHANGE_COLORS, ("green", "blue", "red"), strict=True):
            st.badge(word, color=color, icon=":material/square:")  # type: ignore[arg-type]
        st.caption(f"Run {shown[0].id} to run {shown[-1].id}; the largest changed {count_people(largest)}")


def draw_changes(runs: Sequence[Run]) -> str:
    """Return the SVG with a column for each run: added and updated above the line, removed below it."""
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


def show_overlaps(overlaps: Sequence[Overlap], people: int) -> None:
    """Show how many of so many people each other cohort has, too: a bar and the number for each."""
    names = tell_apart({one.sync_id: shorten_name(one.cohort_name) for one in overlaps})
    for one in overlaps:
        share = f"{100 * one.shared / max(1, people):.0f} %"
        name, bar, number = st.columns([2.4, 4, 2.6], vertical_alignment="center", gap="small")
        name.markdown(escape_markdown(names[one.sync_id]))
        bar.image(draw_share(one.shared, people), width="stretch", alt=f"{share} shared")
        number.caption(f"{format_count(one.shared)} in both, {share}; {format_count(one.size)} in that one")


def draw_share(part: int, whole: int) -> str:
    """Return the SVG of a bar that is filled as far as the part is of the whole."""
    return _svg_document(
        500,
        14,
        _svg_rect(0, 0, 500, 14, GRAY).replace("/>", ' fill-opacity="0.3"/>')
        + _svg_rect(0, 0, 500 * min(part, whole) / max(1, whole), 14, INDIGO),
    )


def show_hours_strip(hours: Sequence[HourCount]) -> None:
    """Show how the runs of each hour ended, oldest first: a low bar for no run, a full one for a failure."""
    failed = [len(hours) - place for place, hour in enumerate(hours) if hour.failed]
    summary = f"Runs failed {', '.join(f'{ago} h ago' for ago in failed)}" if failed else "No run failed"
    st.image(draw_hours(hours), width="stretch", alt=f"The last {len(hours)} hours. {summary}.")


def draw_hours(hours: Sequence[HourCount]) -> str:
    """Return the SVG with a bar for each hour; the height says the same as the colour.

    An hour with a failure is as high as the chart, and red as far down as its share of failed runs.
    """
    wide, parts = 472 / len(hours), []
    for place, hour in enumerate(hours):
        height, color = 6.0, GRAY
        if hour.succeeded:
            height, color = 32.0, GREEN
        elif hour.cancelled:
            height, color = 14.0, AMBER
        x, width = 4 + place * wide + 2, wide - 4
        if hour.failed:
            height = 48 - _failed_height(hour)
            parts.append(_svg_rect(x, 8, width, 48 - height, RED))
        parts.append(_svg_rect(x, 56 - height, width, height, color))
    return _svg_document(480, 60, "".join(parts))


def _failed_height(hour: HourCount) -> float:
    """Return how much of an hour's bar of 48 is red: a few failures of many are still seen."""
    ended = hour.failed + hour.succeeded + hour.cancelled
    return max(10.0, 48.0 * hour.failed / ended)


def show_people_chart(numbers: Sequence[int]) -> None:
    """Show how many people were in WebEngage on each day, oldest first."""
    first, last = format_count(numbers[0]), format_count(numbers[-1])
    text = f"People in WebEngage over {len(numbers)} days: from {first} to {last}, at most {format_count(max(numbers))}"
    st.image(draw_area(numbers), width="stretch", alt=text)


def draw_area(numbers: Sequence[int]) -> str:
    """Return the SVG of an area from zero through at least two numbers, with a dot on the last one."""
    most, step = max(1, *numbers), 980 / (len(numbers) - 1)
    points = [(8 + n * step, 140 - 130 * number / most) for n, number in enumerate(numbers)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return _svg_document(
        1000,
        150,
        f'<polygon points="8,140 {line} {x:.1f},140" fill="{INDIGO}" fill-opacity="0.18"/>'
        f'<polyline points="{line}" fill="none" stroke="{INDIGO}" stroke-width="3"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{INDIGO}"/>' + _svg_rect(0, 141, 1000, 1, GRAY),
    )


def _svg_rect(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{color}"/>'


def _svg_document(width: int, height: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"{inside}</svg>"
    )
