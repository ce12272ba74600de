"""Readings the sandbox can take where the documentation leaves something open, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from .odd import LISTED

PAGE_SIZE = 1000  # Mixpanel docs, engage query: the page_size of the example reply
QUERIES_PER_HOUR = 60  # Mixpanel docs, Query API rate limits
CONCURRENT_QUERIES = 5  # Mixpanel docs, Query API rate limits
BULK_PER_MINUTE = 500  # WebEngage docs, REST API rate limits
SESSION_SECONDS = 3600.0  # nobody could say how long an engage session lives; an hour is a guess

CHOICES: dict[str, tuple[object, ...]] = {
    "bare_shape": ("rotate", "missing", "null", "empty"),
    "role_shape": ("object", "string"),
    "bad_credentials": (401, 400),
    "unknown_cohort": (404, 400, 200),
    "behind_last": (200, 400, 404),
    "unknown_license": (404, 400),
    "queued_status": (201, 200),
    "untold": ("nothing", "page_size", "total", "page_size and total"),
    "empty_projection": ("none", "all"),
    "total": ("match", "page"),
    "member_order": ("kept", "shuffled"),
    "paging": ("stable", "unstable"),
    "refusals": ("plain", "quoting"),
}


@dataclass(frozen=True)
class Settings:
    """Every reading and limit that can be changed while the sandbox runs."""

    latency: float = 0.0
    """Milliseconds every API request takes."""
    drift: float = 0.0
    """Seconds between small changes of every cohort; 0 is never."""
    page_size: int = PAGE_SIZE
    count_pages: bool = False
    """Whether a page above 0 counts as a query (nobody could confirm either)."""
    queries_per_hour: int = QUERIES_PER_HOUR
    concurrent: int = CONCURRENT_QUERIES
    bulk_per_minute: int = BULK_PER_MINUTE
    bulk_seconds: float = 60.0
    """How long WebEngage's minute is; a shorter one lets a drill meet the limit in a second."""
    session_seconds: float = SESSION_SECONDS
    bare_shape: str = "rotate"
    """How a member without a profile looks: $properties missing, null or {}."""
    total_on_later_pages: bool = True
    untold: str = "nothing"
    """What no page says of itself: its page_size, the total, or both."""
    null_session_at_end: bool = False
    """Whether the last page's session_id is null, as some clients expect."""
    total: str = "match"
    """What a page's total counts: the whole match, or the members on that page only."""
    member_order: str = "kept"
    """Whether the order of a cohort's members is the same in every session."""
    paging: str = "stable"
    """Whether every member of a session of several pages is listed once; or one not at all and another twice."""
    odd_cohorts: str = ""
    """Odd rows at the head of the list of cohorts: names of ``odd.LISTED`` with spaces between."""
    classified: str = ""
    """Profile properties, with spaces between, whose values only some service accounts are sent."""
    refusals: str = "plain"
    """Whether WebEngage's refusal of a person quotes the values sent about them."""
    empty_projection: str = "none"
    """What output_properties=[] returns: none of the properties, or all."""
    role_shape: str = "object"
    bad_credentials: int = 401
    unknown_cohort: int = 404
    """404, 400, or 200 with nobody in it."""
    behind_last: int = 200
    """How a page behind the last one is answered: 200 with nobody on it, 400 or 404 (not documented)."""
    unknown_license: int = 404
    queued_status: int = 201
    retry_after: float | str | None = None
    """Retry-After on every 429: seconds, or "date:SECONDS" for an HTTP date."""

    def changed(self, values: dict[str, Any]) -> Settings:
        """Return these settings with some changed; an unknown name or value is refused."""
        for name, value in values.items():
            _check(name, value)
        return replace(self, **values)


NAMES = frozenset(field.name for field in fields(Settings))


def _check(name: str, value: object) -> None:
    if name not in NAMES:
        raise ValueError(f"There is no setting {name!r}; there are {', '.join(sorted(NAMES))}.")
    if name == "odd_cohorts" and not set(str(value).split()) <= set(LISTED):
        raise ValueError(f"odd_cohorts are names out of {', '.join(LISTED)}, not {value!r}.")
    allowed = CHOICES.get(name)
    if allowed and value not in allowed:
        raise ValueError(f"{name} is one of {allowed}, not {value!r}.")
