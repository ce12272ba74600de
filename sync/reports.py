"""Reports of the service about one person and about one cohort: frozen values without secrets.

Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.model import Mode, Run, format_utc_time
from sync.records import Decision, PersonEntry, PersonOnList

__all__ = [
    "Decision",
    "Overlap",
    "Person",
    "PersonEntry",
    "PersonListing",
    "PersonOnList",
    "PersonSync",
    "Presence",
    "Receipt",
]


class Presence(StrEnum):
    """Name what WebEngage holds of a person for the attribute of a sync, as far as is known here."""

    SENT_TRUE = "true"
    SENT_FALSE = "false"
    UNCONFIRMED = "unconfirmed"
    NEVER_SENT = "never sent"


@dataclass(frozen=True, slots=True)
class PersonSync:
    """A sync that has to do with a person: what WebEngage holds, since when, and why they were not taken.

    ``since`` is when WebEngage accepted the last change, None when that is no longer stored. ``not_taken`` is the
    reason of a rejection that still stands, or of an invalid id; empty when there is none.
    """

    sync_id: int
    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    presence: Presence
    since: float | None
    not_taken: str

    @property
    def in_webengage(self) -> bool | None:
        """Return whether WebEngage was sent true, None when that is not known or they were never sent."""
        return {Presence.SENT_TRUE: True, Presence.SENT_FALSE: False}.get(self.presence)


@dataclass(frozen=True, slots=True)
class PersonListing:
    """A list a person is on: the never-export list of an account, or a tripwire (``cohort_name`` None: any cohort)."""

    kind: str
    license_code: str | None
    project_id: int | None
    cohort_id: int | None
    cohort_name: str | None
    note: str
    added_by: str
    added_at: float


@dataclass(frozen=True, slots=True)
class Person:
    """Everything stored about one person; ``history`` has the newest first."""

    user_id: str
    syncs: tuple[PersonSync, ...]
    history: tuple[PersonEntry, ...]
    lists: tuple[PersonListing, ...]
    detail_days: float
    """For how many days it is stored who was sent what."""

    @property
    def is_known(self) -> bool:
        """Return whether anything at all is stored about the person."""
        return bool(self.syncs or self.history or self.lists)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The number of people two synced cohorts share in WebEngage; ``size`` is how many the other one has."""

    sync_id: int
    cohort_id: int
    cohort_name: str
    size: int
    shared: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Count whom a campaign to a cohort reaches: people counted once each, as of the last run that read the cohort.

    ``accepted`` and ``unconfirmed`` are those WebEngage was sent as true; ``left_behind`` of them left the cohort, but
    WebEngage rejected their removal. ``rejected``, ``never_exported``, ``anonymous`` and ``invalid`` are members it
    does not hold as true. A run reads profiles only, so ``anonymous`` is Mixpanel's number of now: None when Mixpanel
    cannot be asked, and not ``exact`` when it is an estimate. ``approved`` and ``requested``: the last decisions about
    runs of this sync. ``remarks`` say why the numbers may not be the last word.
    """

    sync_id: int
    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    mode: Mode
    run: Run
    as_of: float
    accepted: int
    unconfirmed: int
    left_behind: int
    rejected: int
    never_exported: int
    anonymous: int | None
    invalid: int
    exact: bool
    approved: Decision | None
    requested: Decision | None
    remarks: tuple[str, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def in_webengage(self) -> int:
        """Return for how many people the attribute may be true in WebEngage."""
        return self.accepted + self.unconfirmed

    @property
    def not_reached(self) -> tuple[tuple[int, str], ...]:
        """Return how many members are not reached, and why, without the zeros."""
        anonymous = "anonymous" if self.exact else "anonymous (estimated)"
        numbers = (
            (self.rejected, "rejected by WebEngage"),
            (self.never_exported, "on the never-export list"),
            (self.anonymous or 0, anonymous),
            (self.invalid, "with an invalid user ID"),
        )
        return tuple((number, reason) for number, reason in numbers if number)

    @property
    def sentence(self) -> str:
        """Return the receipt in words that can be quoted, with times in UTC."""
        people = "1 person of" if self.in_webengage == 1 else f"{self.in_webengage:,} people of"
        holds = "has" if self.in_webengage == 1 else "have"
        unconfirmed = f", {self.unconfirmed:,} of them not confirmed" if self.unconfirmed else ""
        missed = ", ".join(f"{number:,} {reason}" for number, reason in self.not_reached)
        decision = self.approved or self.requested
        word = "approved" if self.approved else "asked for"
        return " ".join(
            (
                f"As of {format_utc_time(self.as_of)}, {people} “{self.cohort_name}” {holds} the attribute "
                f"“{self.attribute}” in WebEngage account {self.license_code}{unconfirmed}.",
                f"Not reached: {missed}." if missed else "No member is left out.",
                f"Sent by run {self.run.id}"
                + (f"; {word} by {decision.actor} (run {decision.run_id})." if decision else "."),
            )
        )
