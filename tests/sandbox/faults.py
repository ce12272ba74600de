"""Faults that can be set: on which requests, when, and how often."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MIXPANEL = "mixpanel"
WEBENGAGE = "webengage"
OTHER_READ_KINDS = frozenset({"another_session", "another_total", "another_page_size"})
"""A later page that belongs to another read than page 0."""
LATER_PAGE_KINDS = frozenset({"expired_session", "duplicate_ids", "displaced"}) | OTHER_READ_KINDS
PAGE_KINDS = frozenset({"empty_page", "short_page", "wrong_total", "integer_ids", "null_session"}) | LATER_PAGE_KINDS
WIRE_KINDS = frozenset(
    {"status", "slow", "late", "stall", "reset", "vanish", "html", "garbled", "truncated", "says_error"}
)
POISON = "poison"
PERSON_FAILS = "person_fails"
PERSON_KINDS = frozenset({POISON, PERSON_FAILS})
NO_PROFILE_ANY_MORE = "no profile"  # the body of duplicate_ids and displaced: who is repeated has none by then
FAILS_WITH = 500  # the status of person_fails unless it names another
KINDS = PAGE_KINDS | WIRE_KINDS | PERSON_KINDS


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong for the requests it matches."""

    kind: str
    api: str = ""
    """mixpanel, webengage, or empty for both."""
    path: str = ""
    """A part of the path; empty matches all."""
    times: int = 1
    """How many requests it spoils; 0 is for ever, which is what a probability means unless a number is given."""
    after: int = 0
    """How many matching requests pass before it."""
    probability: float = 1.0
    seed: int = 0
    page: int | None = None
    """Only this engage page."""
    code: int | None = None
    body: Any = None
    """Text as it is, or a value sent as JSON; for duplicate_ids and displaced, the properties of those who are repeated."""
    content_type: str | None = None
    retry_after: float | str | None = None
    ms: float = 1000.0
    """How much later, for slow and late; late answers with what was so when it was asked, or with ``code``."""
    seconds: float = 30.0
    """How long the silence, for stall."""
    by: int = 7
    """How far off, for wrong_total, another_total and another_page_size; how many, for duplicate_ids and displaced."""
    user_ids: tuple[str, ...] = ()
    """Who is rejected, for poison; whose every request fails with ``code``, for person_fails."""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Fault:
        """Read a fault from JSON; an unknown kind or field is refused."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown or values.get("kind") not in KINDS:
            raise ValueError(f"Not a fault: kind is one of {sorted(KINDS)}; unknown fields: {sorted(unknown)}.")
        if values.get("api", "") not in ("", MIXPANEL, WEBENGAGE):
            raise ValueError(f"api is {MIXPANEL}, {WEBENGAGE} or left out.")
        times = values.get("times", 0 if "probability" in values else 1)
        return cls(**{**values, "times": times, "user_ids": tuple(values.get("user_ids", ()))})

    def concerns(self, api: str, path: str, page: int) -> bool:
        """Return whether this fault is about such a request."""
        if self.api not in ("", api) or self.path not in path:
            return False
        if self.kind in PAGE_KINDS and not path.endswith("/engage"):
            return False
        if self.kind in LATER_PAGE_KINDS and page == 0:
            return False
        return self.page is None or (self.page == page and path.endswith("/engage"))


@dataclass
class Armed:
    """A fault waiting for its requests."""

    fault: Fault
    passed: int = 0
    struck: int = 0
    draw: random.Random = field(default_factory=random.Random)

    def strikes(self) -> bool:
        """Decide for one matching request, and count it."""
        if self.passed < self.fault.after:
            self.passed += 1
            return False
        if self.fault.probability < 1 and self.draw.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True

    @property
    def spent(self) -> bool:
        """Return whether it has done all it was to do."""
        return 0 < self.fault.times <= self.struck


class Faults:
    """The faults in force, first come first served."""

    def __init__(self) -> None:
        self.armed: list[Armed] = []
        self.poison: set[str] = set()
        self.failing: dict[str, int] = {}
        """People who fail every request they are in, and with which status."""

    def arm(self, fault: Fault) -> None:
        """Put a fault in force."""
        if fault.kind == POISON:
            self.poison.update(fault.user_ids)
            return
        if fault.kind == PERSON_FAILS:
            self.failing |= dict.fromkeys(fault.user_ids, fault.code or FAILS_WITH)
            return
        self.armed.append(Armed(fault, draw=random.Random(fault.seed)))

    def clear(self) -> None:
        """Let everything work again."""
        self.armed.clear()
        self.poison.clear()
        self.failing.clear()

    def take(self, api: str, path: str, page: int) -> Fault | None:
        """Return the fault that strikes this request, if any."""
        for armed in self.armed:
            if armed.fault.concerns(api, path, page) and armed.strikes():
                if armed.spent:
                    self.armed.remove(armed)
                return armed.fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Return the faults still in force, and how often each struck."""
        rows = [asdict(armed.fault) | {"struck": armed.struck} for armed in self.armed]
        rows += [{"kind": POISON, "user_ids": sorted(self.poison)}] if self.poison else []
        return rows + [
            {"kind": PERSON_FAILS, "user_ids": [user_id], "code": code} for user_id, code in self.failing.items()
        ]
