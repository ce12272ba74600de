"""Answers of the service about the members of a cohort: frozen values, whose profile values are masked unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MemberStatus(StrEnum):
    """IDENTIFIED is exported, ANONYMOUS and INVALID are not; LEFT is in WebEngage, but not in the cohort any more."""

    IDENTIFIED = "identified"
    ANONYMOUS = "anonymous"
    INVALID = "invalid"
    LEFT = "left"


class MemberChange(StrEnum):
    """ADD, REMOVE or leave UNCHANGED: what the next export would do in WebEngage; NONE for who is not exported."""

    ADD = "add"
    REMOVE = "remove"
    UNCHANGED = "unchanged"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One person of a cohort's page: what they are and why, and what an export would do.

    ``in_webengage`` is None when they were never sent, as far as is known. ``values`` are profile values, masked
    unless they were asked for.
    """

    user_id: str
    status: MemberStatus
    reason: str
    in_webengage: bool | None
    change: MemberChange
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberList:
    """Everybody read of a cohort, and those who would be removed; ``rows`` holds both.

    ``read`` counts the members read, ``total`` and ``profile_total`` are Mixpanel's own counts. ``withheld`` names the
    columns of ``columns`` in which nobody has a value. ``is_contiguous``: they are the first ones. ``problem`` says why
    all pages are not exactly everybody. ``never_exported`` of the identified are on the never-export list.
    """

    rows: tuple[MemberRow, ...]
    columns: tuple[str, ...]
    withheld: tuple[str, ...]
    read: int
    total: int | None
    profile_total: int | None
    is_complete: bool
    is_contiguous: bool
    problem: str
    read_at: float
    never_exported: int

    @property
    def is_exact(self) -> bool:
        """Return whether everybody was read and the numbers add up."""
        return self.is_complete and not self.problem

    def count_status(self, status: MemberStatus) -> int:
        """Return how many people have this status."""
        return sum(1 for row in self.rows if row.status is status)

    def count_change(self, change: MemberChange) -> int:
        """Return to how many people an export would do this."""
        return sum(1 for row in self.rows if row.change is change)
