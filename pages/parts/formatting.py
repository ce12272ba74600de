"""How the pages write names, numbers, moments and spans; the one place that escapes Markdown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from sync.model import Run
from sync.views import CohortView

MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&\"'=@/])")
ICON_START = re.compile(r":(?=[\w+-])(?!(?<=\d\d:)\d\d(?!\d))")  # where ":name:" may begin; a time of day cannot
UTC_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
WORD_JOINER = "\u2060"  # invisible; keeps ":name:" from becoming an icon after unescaping
TIME_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def escape_markdown(text: str) -> str:
    """Write text of an API or a person so that Streamlit's Markdown shows it as it is."""
    flat = ICON_START.sub(":" + WORD_JOINER, " ".join(text.split()))
    return MARKDOWN.sub(r"\\\1", flat)


def format_count(number: int | None) -> str:
    """Write a number of people; Mixpanel does not always say one."""
    return "—" if number is None else f"{number:,}"


def format_people(number: int) -> str:
    """Write a number with its noun."""
    return "1 person" if number == 1 else f"{number:,} people"


def format_plural(number: int, noun: str, several: str = "") -> str:
    """Write a number with its noun; most take an s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Write a duration in its largest fitting unit."""
    for size, noun in TIME_UNITS:
        if seconds >= size * (1 if size == 1 else 1.5) or seconds == size:
            return format_plural(round(seconds / size), noun)
    return "1 second"


def format_interval(seconds: float | None) -> str:
    """Write an interval: every two hours is the usual one."""
    if seconds is None:
        return "once"
    for size, noun in TIME_UNITS:
        if seconds % size == 0 and seconds >= size:
            number = int(seconds // size)
            return f"every {noun}" if number == 1 else f"every {number} {noun}s"
    return f"every {format_duration(seconds)}"


def format_age(at: float, now: float) -> str:
    """Write how long ago something was."""
    return "just now" if now - at < 1 else f"{format_duration_short(now - at)} ago"


def format_duration_short(seconds: float) -> str:
    """Write a duration in a few characters."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole < 86400 else format_plural(whole // 86400, "day")


def local_datetime(at: float) -> datetime:
    """Turn seconds since 1970 into the viewer's own clock."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return datetime.fromtimestamp(at, zone)


def format_time(at: float) -> str:
    """Write a moment: the time alone today, else the day as well."""
    then = local_datetime(at)
    today = datetime.now(then.tzinfo).date()
    if then.date() == today:
        return then.strftime("%H:%M")
    if then.date() == today + timedelta(days=1):
        return then.strftime("tomorrow %H:%M")
    return then.strftime("%-d %b %Y, %H:%M")


def shorten_error(text: str) -> str:
    """Shorten what went wrong to what can be done about it; a run's own page has it all."""
    _, answered, rest = text.partition("”: ")
    return rest[:1].upper() + rest[1:] if answered else text


def localize_times(text: str) -> str:
    """Rewrite the moments of a sentence, which the service writes in UTC, in the viewer's own clock."""
    return UTC_MOMENT.sub(
        lambda found: format_time(datetime.strptime(found[0], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC).timestamp()),
        text,
    )


def format_error(error: object) -> str:
    """Write what was refused or failed, its moments in the viewer's own clock, ready for Markdown."""
    return escape_markdown(localize_times(str(error)))


def format_timestamp(at: float) -> str:
    """Write a moment to the second, for a timeline."""
    return local_datetime(at).strftime("%-d %b %H:%M:%S")


def format_day(created: str) -> str:
    """Write the day Mixpanel says a cohort was made, or what Mixpanel said."""
    try:
        return datetime.fromisoformat(created).strftime("%-d %b %Y")
    except ValueError:
        return created


def format_changes(run: Run) -> str:
    """Write what a run changed: who came, who left."""
    told = f"+{run.entered:,} −{run.exited:,}"
    return told + (f", {run.updated:,} updated" if run.updated else "")


def matches(cohort: CohortView, text: str) -> bool:
    """Whether a cohort's name or description has the text looked for."""
    return text.casefold() in f"{cohort.name} {cohort.description}".casefold()
