"""Format names, numbers, times and durations for the pages; the only place that escapes Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from time import time as current_time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from sync.text import count_noun, show_text

MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&\"'=@/])")
# A colon that may start ":name:", not one in a time of day.
ICON_START = re.compile(r":(?=[\w+-])(?!(?<=\d\d:)\d\d(?!\d))")
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
API_ANSWER = re.compile(r"^(?:Mixpanel|WebEngage) was [^“]* answered \d+ “.*”[:;] (?=\S)")
LINK_START = re.compile(r"(https?:)(?=//)|(www)(?=\.)", re.IGNORECASE)
MAIL_SIGN = re.compile(r"(?<=[-.+\w])@(?=[-\w]+\.)")  # the sign in what would become a link that writes to somebody
WORD_JOINER = "\u2060"  # invisible; prevents Streamlit from turning ":name:" into an icon, and an address into a link
NAME_BEGINNING, NAME_GAP, NAME_END = 34, " … ", 22  # characters of a long name that a row shows


def escape_markdown(text: str) -> str:
    """Return text of an API or a person so that Streamlit's Markdown shows it unchanged, on one line."""
    flat = ICON_START.sub(":" + WORD_JOINER, " ".join(text.split()))
    flat = LINK_START.sub(rf"\g<0>{WORD_JOINER}", flat)  # a link in a name of others could lead anywhere
    flat = MAIL_SIGN.sub(f"{WORD_JOINER}@", flat)
    return MARKDOWN.sub(r"\\\1", flat)


def shorten_name(name: str) -> str:
    """Return the name of a cohort for a row of a list: a long one without its middle.

    Names that begin alike, as those of one team do, mostly differ at their end; the page that a row opens has all of it.
    """
    flat = " ".join(name.split())
    if len(flat) <= NAME_BEGINNING + NAME_END + len(NAME_GAP):
        return flat
    return f"{flat[:NAME_BEGINNING].rstrip()}{NAME_GAP}{flat[-NAME_END:].lstrip()}"


def tell_apart(names: Mapping[int, str], *others: str) -> dict[int, str]:
    """Return names by their numbers as the labels of a choice: those that occur twice, or among ``others``, with their number.

    Streamlit knows an option by its label alone: of two cohorts with one name the wrong one would be chosen.
    """
    labels = dict(names)
    while True:
        counts = Counter(map(_as_read, [*labels.values(), *others]))
        twice = [number for number, label in labels.items() if counts[_as_read(label)] > 1]
        if not twice:
            return labels
        labels |= {number: f"{labels[number]} ({number})" for number in twice}


def _as_read(name: str) -> str:
    """Return a name so that two that a person cannot tell apart are equal: accents may be written in two ways."""
    return unicodedata.normalize("NFC", show_text(name))


def format_count(number: int | None) -> str:
    """Format a count of people; None, which Mixpanel may send, becomes a dash."""
    return "—" if number is None else f"{number:,}"


def format_queries(pages: int, left: int) -> str:
    """Format what reading so many pages may use of the ``left`` queries of this hour, or that it may be more than those."""
    if pages <= left:
        least = "" if pages == 1 else "up to "
        return f"{least}{pages:,} of the {count_noun(left, 'Mixpanel query', 'Mixpanel queries')} left this hour"
    if not left:
        return f"up to {count_noun(pages, 'Mixpanel query', 'Mixpanel queries')}, but none is left this hour"
    wanted = count_noun(pages, "Mixpanel query", "Mixpanel queries")
    return f"up to {wanted}, but only {count_noun(left, 'is', 'are')} left this hour"


def format_duration_short(seconds: float) -> str:
    """Format a duration in seconds in a few characters."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole < 86400 else count_noun(whole // 86400, "day")


def format_wait(until: float) -> str:
    """Format how long it is until a time: "in 5 min", or "due now" once it has come."""
    left = until - current_time()
    return f"in {format_duration_short(left)}" if left > 0 else "due now"


def viewer_zone() -> ZoneInfo:
    """Return the viewer's time zone, UTC when the browser names none."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def to_local_datetime(at: float) -> datetime:
    """Return seconds since 1970 as a datetime in the viewer's time zone, else in UTC."""
    return datetime.fromtimestamp(at, viewer_zone())


def day_bounds(day: date) -> tuple[float, float]:
    """Return when a day begins and ends in the viewer's time zone, in seconds since 1970."""
    first = datetime.combine(day, time(), viewer_zone())
    return first.timestamp(), datetime.combine(day + timedelta(days=1), time(), viewer_zone()).timestamp()


def format_time(at: float) -> str:
    """Format a time in the viewer's time zone: today without the day, else with it."""
    then = to_local_datetime(at)
    today = datetime.now(then.tzinfo).date()
    if then.date() == today:
        return then.strftime("%H:%M")
    if then.date() == today + timedelta(days=1):
        return then.strftime("tomorrow %H:%M")
    return then.strftime("%-d %b %Y, %H:%M")


def format_full_time(at: float) -> str:
    """Format a time for paper: always with the day and the name of the viewer's time zone."""
    return to_local_datetime(at).strftime("%-d %b %Y, %H:%M %Z")


def shorten_error(text: str) -> str:
    """Return what to do about an error, without what the API answered; the run's own page shows all of it."""
    answer = API_ANSWER.match(text)
    advice = text[answer.end() :] if answer else ""
    return advice[:1].upper() + advice[1:] if advice else text


def localize_times(text: str, form: Callable[[float], str] = format_time) -> str:
    """Return a sentence of the service with its UTC times in the viewer's time zone."""
    return UTC_TIME.sub(
        lambda found: form(datetime.strptime(found[0], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC).timestamp()),
        text,
    )


def format_error(error: object) -> str:
    """Format an error, or a sentence of the service, for Markdown, with times in the viewer's time zone."""
    return escape_markdown(localize_times(str(error)))


def format_timestamp(at: float) -> str:
    """Format a time to the second, for a timeline."""
    return to_local_datetime(at).strftime("%-d %b %H:%M:%S")


def format_day(created: str) -> str:
    """Format the day a cohort was created; text that is no date is returned as it is."""
    try:
        return datetime.fromisoformat(created).strftime("%-d %b %Y")
    except ValueError:
        return created
