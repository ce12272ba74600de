"""How the pages write names, numbers, moments and spans; the one place that escapes Markdown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from sync.model import Run
from sync.views import CohortView

MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&\"'=@/])")
ICON = re.compile(r":(?=[\w+-])(?!(?<=\d\d:)\d\d(?!\d))")  # where ":name:" may begin; a time of day cannot
UTC_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
JOINER = "\u2060"  # invisible; keeps ":name:" from becoming an icon after unescaping
SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def escape(text: str) -> str:
    """Write text of an API or a person so that Streamlit's Markdown shows it as it is."""
    flat = ICON.sub(":" + JOINER, " ".join(text.split()))
    return MARKDOWN.sub(r"\\\1", flat)


def count(number: int | None) -> str:
    """Write a number of people; Mixpanel does not always say one."""
    return "—" if number is None else f"{number:,}"


def people(number: int) -> str:
    """Write a number with its noun."""
    return "1 person" if number == 1 else f"{number:,} people"


def plural(number: int, noun: str, several: str = "") -> str:
    """Write a number with its noun; most take an s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def span(seconds: float) -> str:
    """Write a duration in its largest fitting unit."""
    for size, noun in SPANS:
        if seconds >= size * (1 if size == 1 else 1.5) or seconds == size:
            return plural(round(seconds / size), noun)
    return "1 second"


def every(seconds: float | None) -> str:
    """Write an interval: every two hours is the usual one."""
    if seconds is None:
        return "once"
    for size, noun in SPANS:
        if seconds % size == 0 and seconds >= size:
            number = int(seconds // size)
            return f"every {noun}" if number == 1 else f"every {number} {noun}s"
    return f"every {span(seconds)}"


def ago(at: float, now: float) -> str:
    """Write how long ago something was."""
    return "just now" if now - at < 1 else f"{short(now - at)} ago"


def short(seconds: float) -> str:
    """Write a duration in a few characters."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole < 86400 else plural(whole // 86400, "day")


def moment(at: float) -> datetime:
    """Turn seconds since 1970 into the viewer's own clock."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return datetime.fromtimestamp(at, zone)


def when(at: float) -> str:
    """Write a moment: the time alone today, else the day as well."""
    then = moment(at)
    today = datetime.now(then.tzinfo).date()
    if then.date() == today:
        return then.strftime("%H:%M")
    if then.date() == today + timedelta(days=1):
        return then.strftime("tomorrow %H:%M")
    return then.strftime("%-d %b %Y, %H:%M")


def advice(text: str) -> str:
    """Shorten what went wrong to what can be done about it; a run's own page has it all."""
    _, answered, rest = text.partition("”: ")
    return rest[:1].upper() + rest[1:] if answered else text


def local(text: str) -> str:
    """Rewrite the moments of a sentence, which the service writes in UTC, in the viewer's own clock."""
    return UTC_MOMENT.sub(
        lambda found: when(datetime.strptime(found[0], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC).timestamp()), text
    )


def trouble(error: object) -> str:
    """Write what was refused or failed, its moments in the viewer's own clock, ready for Markdown."""
    return escape(local(str(error)))


def second(at: float) -> str:
    """Write a moment to the second, for a timeline."""
    return moment(at).strftime("%-d %b %H:%M:%S")


def day(created: str) -> str:
    """Write the day Mixpanel says a cohort was made, or what Mixpanel said."""
    try:
        return datetime.fromisoformat(created).strftime("%-d %b %Y")
    except ValueError:
        return created


def result(run: Run) -> str:
    """Write what a run changed: who came, who left."""
    told = f"+{run.entered:,} −{run.exited:,}"
    return told + (f", {run.updated:,} updated" if run.updated else "")


def sought(cohort: CohortView, text: str) -> bool:
    """Whether a cohort's name or description has the text looked for."""
    return text.casefold() in f"{cohort.name} {cohort.description}".casefold()
