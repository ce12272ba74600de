"""Reports of the service about one person, one cohort, and everything at once: frozen values without secrets.

Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.model import Mode, Run, SyncState, format_utc_time
from sync.records import Decision, HourCount, PersonEntry, PersonListing, PropertyCohort, RunnerState, SyncView
from sync.text import count_noun


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
class Person:
    """Everything stored about one person; ``history`` has the newest first."""

    user_id: str
    syncs: tuple[PersonSync, ...]
    history: tuple[PersonEntry, ...]
    lists: tuple[PersonListing, ...]
    detail_days: float
    """For how many days it is stored who was sent what."""
    known_by: tuple[PropertyCohort, ...] = ()
    """The cohorts that know people by a profile property, where another ID of the person may be stored."""

    @property
    def is_known(self) -> bool:
        """Return whether anything at all is stored about the person."""
        return bool(self.syncs or self.history or self.lists)

    @property
    def was_forgotten(self) -> bool:
        """Return whether a list still has the hash of the person, who was forgotten otherwise."""
        return any(one.forgotten for one in self.lists)


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

    ``as_of`` is later when a run changed people since and did not read, or not to its end; ``changed_since``: which one.
    ``requested_mode`` is another than ``mode`` while nobody let the export go ahead that was asked for since.

    ``accepted`` and ``unconfirmed`` are those WebEngage was sent as true; ``left_behind`` of them left the cohort, but
    WebEngage rejected their removal. ``rejected``, ``never_exported``, ``anonymous`` and ``invalid`` are members it
    does not hold as true. A run reads profiles only, so ``anonymous`` is Mixpanel's number of now: None when Mixpanel
    cannot be asked, and not ``exact`` when it is an estimate. ``approved`` and ``requested``: the last decisions about
    runs of this sync. ``remarks`` say why the numbers may not be the last word. ``listed_now`` of those in WebEngage are
    on the never-export list of now; ``may_be_listed_now`` of the list may be in WebEngage by another ID.
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
    listed_now: int = 0
    may_be_listed_now: int = 0
    changed_since: str = ""
    requested_mode: Mode = Mode.ONE_TIME

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
            (self.invalid, "with an invalid User ID"),
        )
        return tuple((number, reason) for number, reason in numbers if number)

    @property
    def sentence(self) -> str:
        """Return the receipt in words that can be quoted, with times in UTC."""
        people = count_noun(self.in_webengage, "person of", "people of")
        holds = "has" if self.in_webengage == 1 else "have"
        unconfirmed = f", {self.unconfirmed:,} of them not confirmed" if self.unconfirmed else ""
        sentences = (
            f"As of {format_utc_time(self.as_of)}, {people} “{self.cohort_name}” {holds} the attribute "
            f"“{self.attribute}” in WebEngage account {self.license_code}{unconfirmed}.",
            *self._describe_reading(),
        )
        return " ".join(filter(None, sentences))

    def _describe_reading(self) -> tuple[str, ...]:
        """Return who is not reached, and by which run the others were sent; a run that found nobody sent nobody."""
        if not self.in_webengage and self.changed_since:
            return (f"Nobody is reached: {self.changed_since}.",)
        if not self.in_webengage:
            return self._describe_missed(), f"Last read by run {self.run.id}."
        decision = self.approved or self.requested
        word = "approved" if self.approved else "requested"
        by_whom = f"; {word} by {decision.actor} (run {decision.run_id})." if decision else "."
        sent = f"Sent by run {self.run.id}{by_whom}"
        return self._describe_missed(), sent, f"Since then {self.changed_since}." if self.changed_since else ""

    def _describe_missed(self) -> str:
        missed = ", ".join(f"{number:,} {reason}" for number, reason in self.not_reached)
        unknown = "How many members are anonymous is not known." if self.anonymous is None else ""
        everybody = "No member is left out." if self.in_webengage else "It has no members."
        is_known = not unknown and not self.changed_since
        known = f"Not reached: {missed}." if missed else everybody if is_known else ""
        return f"{known} {unknown}".strip()


class AttentionKind(StrEnum):
    """Why a sync needs a person; of several reasons the first one here is shown."""

    HELD = "held"
    NOT_CLEARED = "not cleared"
    PAUSED = "paused"
    FAILED = "failed"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Attention:
    """A sync that needs a person, and why, in a sentence."""

    kind: AttentionKind
    sync: SyncView
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of everything of a project at one moment; ``syncs`` are all of its syncs, newest first.

    ``hours`` are the last 24, oldest first. ``queries_needed`` estimates what the refreshes of the next hour ask of
    Mixpanel; ``queries_for_syncs`` is how many of the limit syncs may use. ``attributes_used`` counts the account's
    attributes that cohorts own here.
    """

    now: float
    is_connected: bool
    runner_state: RunnerState
    disk_free: int
    syncs: tuple[SyncView, ...]
    attention: tuple[Attention, ...]
    hours: tuple[HourCount, ...]
    queries_used: int
    queries_left: int
    queries_needed: int
    queries_limit: int
    queries_for_syncs: int
    license_code: str | None
    attributes_used: int
    attributes_limit: int

    @property
    def standing(self) -> tuple[SyncView, ...]:
        """Return the syncs that are kept in step, so no one-time export and none that was stopped."""
        return tuple(one for one in self.syncs if one.mode is Mode.DYNAMIC and one.state is not SyncState.FINISHED)

    @property
    def starting(self) -> tuple[SyncView, ...]:
        """Return the standing syncs that have not exported anybody yet, and whose first run goes on by itself."""
        concerned = {one.sync.id for one in self.attention}
        return tuple(
            one
            for one in self.standing
            if one.id not in concerned and not one.size and not (one.last_run and one.last_run.state.is_final)
        )

    @property
    def moving(self) -> tuple[SyncView, ...]:
        """Return the syncs whose run is under way: neither ended nor held."""
        return tuple(one for one in self.syncs if one.last_run and one.last_run.is_moving)

    @property
    def upcoming(self) -> tuple[SyncView, ...]:
        """Return the syncs that are refreshed next, the first one first; one whose run is held waits."""
        return tuple(sorted((one for one in self.syncs if one.is_due_again), key=lambda one: one.next_run_at or 0.0))

    @property
    def in_webengage(self) -> int:
        """Return how many people are in WebEngage, without those whom a run has sent that is not over."""
        return sum(one.size for one in self.syncs)

    @property
    def sent_so_far(self) -> tuple[int, ...]:
        """Return how many people each run has sent that is not over; none of those that sent nobody yet."""
        runs = [one.last_run for one in self.syncs if one.last_run and not one.last_run.state.is_final]
        return tuple(run.delivered for run in runs if run.delivered)


@dataclass(frozen=True, slots=True)
class AlertPlace:
    """Where what an alert is about is mended: a page, and what its address asks for."""

    page: str
    request: str
    number: int

    @property
    def address(self) -> str:
        """Return the end of the page's address."""
        return f"{self.page}?{self.request}={self.number}"
