"""Answers of the service to pages and commands that are no rows of the store: without secrets, times in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.cadence import DailyTime
from sync.guards import GuardLimits
from sync.model import Eligibility, Mode, Run
from sync.records import CohortView, ExportRow, PropertyCohort, Recipient, RunnerState, SyncView
from sync.text import count_noun

DISK_LOW_BYTES = 200 * 2**20  # bytes; reading a million members needs about half of it

MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CohortList:
    """The cohorts of a project as last read; ``problem`` is why reading them again failed, or None.

    ``left_out`` says how many rows of the list could not be shown; empty when none.
    """

    cohorts: tuple[CohortView, ...]
    read_at: float
    problem: str | None
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One member in a preview: the id and why it will or will not go; never a profile value."""

    id: str
    eligibility: Eligibility


@dataclass(frozen=True, slots=True)
class Preview:
    """The members an export would send, counted, and what sending them takes.

    ``exact`` is False when page 0 is not the whole: then devices and invalid ids beyond it are estimated by their
    share, and where Mixpanel does not say how many members there are, ``is_least``, only its people count. ``to_add``
    and ``to_remove`` compare with what was exported before, and are None unless both sides are known exactly.
    ``properties`` names the profile properties seen, never a value. ``never_exported`` of the identified are on the
    never-export list. ``requests`` and ``seconds`` are what sending takes at the pace that is set, at most when it
    ``may_take_less``: only the run finds out who is to be sent again. ``id_property`` is the User ID, empty for the
    distinct_id; ``invalid`` then counts who has no usable value in it, and ``doubles`` how many more of those read are
    identified than have different ones.
    """

    cohort_id: int
    cohort_name: str
    total: int
    identified: int
    anonymous: int
    invalid: int
    exact: bool
    sample: tuple[Sample, ...]
    read_at: float
    exported_before: int = 0
    requests: int = 0
    seconds: float = 0.0
    queries_left: int = 0
    never_exported: int = 0
    to_add: int | None = None
    to_remove: int | None = None
    properties: tuple[str, ...] = ()
    id_property: str = ""
    doubles: int = 0
    is_least: bool = False
    may_take_less: bool = False

    @property
    def people(self) -> int:
        """Return how many different people would be sent."""
        return max(0, self.identified - self.never_exported - self.doubles)

    @property
    def requests_a_minute(self) -> int:
        """Return the pace at which ``requests`` take ``seconds``; 0 when nobody is to be sent."""
        return round(self.requests * MINUTE_SECONDS / self.seconds) if self.seconds else 0

    @property
    def qualifier(self) -> str:
        """Return what stands before a number: nothing, “about ” or “at least ”."""
        return "" if self.exact else "at least " if self.is_least else "about "


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
    unless they were asked for. ``user_id`` is empty when the property that is the User ID gives none.
    """

    user_id: str
    status: MemberStatus
    reason: str
    in_webengage: bool | None
    change: MemberChange
    values: tuple[str, ...]
    distinct_id: str = ""
    is_unsure: bool = False
    """Whether they were sent something to which WebEngage's answer was not received."""


@dataclass(frozen=True, slots=True)
class MemberList:
    """Everybody read of a cohort, and those who would be removed; ``rows`` holds both.

    ``read`` counts the members read, ``total`` and ``profile_total`` are Mixpanel's own counts. ``empty_columns`` names the
    columns of ``columns`` in which nobody has a value. ``is_contiguous``: they are
    the first ones. ``problem`` says why all pages are not exactly everybody.
    ``never_exported`` of the identified are on the never-export list. ``exported``: for how many people the attribute may
    be true in WebEngage now, None when the cohort was never exported.
    """

    rows: tuple[MemberRow, ...]
    columns: tuple[str, ...]
    empty_columns: tuple[str, ...]
    read: int
    total: int | None
    profile_total: int | None
    is_complete: bool
    is_contiguous: bool
    problem: str
    read_at: float
    never_exported: int
    id_property: str = ""
    exported: int | None = None
    unsure: int = 0
    """How many of those exported are not confirmed."""

    @property
    def doubles(self) -> int:
        """Return how many more members are identified than have different User IDs."""
        going = [row.user_id for row in self.rows if row.status is MemberStatus.IDENTIFIED]
        return len(going) - len(set(going))

    @property
    def is_exact(self) -> bool:
        """Return whether everybody was read and the numbers add up."""
        return self.is_complete and not self.problem

    def count_status(self, status: MemberStatus) -> int:
        """Return how many people have this status."""
        return sum(1 for row in self.rows if row.status is status)

    def count_change(self, change: MemberChange) -> int:
        """Return to how many people an export would do this; two members with one User ID are one."""
        return len({row.user_id for row in self.rows if row.change is change})


@dataclass(frozen=True, slots=True)
class PeopleCount:
    """The number of people of a run with one operation and one outcome."""

    operation: str
    outcome: str
    people: int


@dataclass(frozen=True, slots=True)
class RunPeople:
    """One page of the people of a run: ``matching`` counts those the filters leave.

    ``counts`` are of everybody whose id was searched for, whatever the operation and outcome: what each filter would leave.
    """

    rows: tuple[ExportRow, ...]
    matching: int
    counts: tuple[PeopleCount, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The terms a cohort would be exported on; ``account_problem`` says why there is no account it can be exported to."""

    attribute: str
    permanent: bool
    mode: Mode
    interval_seconds: float
    license_code: str | None
    mapping: tuple[tuple[str, str], ...] = ()
    forms: tuple[tuple[str, str], ...] = ()
    account_problem: str = ""
    daily: DailyTime | None = None
    ends_at: float | None = None
    id_property: str = ""
    last_halt: int = 0
    """Which line of the audit log last stopped, paused, cancelled or took back an export of the cohort; 0 for none."""


@dataclass(frozen=True, slots=True)
class StartedExport:
    """The answer to Start Sync; ``started`` is False when a run was already under way."""

    sync_id: int
    run_id: int
    started: bool


@dataclass(frozen=True, slots=True)
class Overdue:
    """A late sync: since when, why, and whether only a person can change that."""

    sync_id: int
    project_id: int
    cohort_name: str
    since: float
    reason: str
    needs_person: bool


@dataclass(frozen=True, slots=True)
class AddedPeople:
    """The number of people added to a list, and of those who were on it already."""

    added: int
    already_there: int


@dataclass(frozen=True, slots=True)
class NeverExported(AddedPeople):
    """People put on a never-export list; ``stay_true``: cohorts that no refresh takes them out of by itself.

    ``may_stay_true``: such cohorts, known by a profile property, in which they may be by another ID.
    """

    stay_true: tuple[str, ...] = ()
    may_stay_true: tuple[PropertyCohort, ...] = ()


@dataclass(frozen=True, slots=True)
class GuardTrial:
    """The number of the last runs of a sync, and of those that certain limits would have held."""

    held: int
    runs: int


@dataclass(frozen=True, slots=True)
class GuardView:
    """The guard of a sync; not ``enabled``: lifted by a person, so that its limits hold nothing."""

    sync_id: int
    enabled: bool
    limits: GuardLimits
    trial: GuardTrial


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """The number of places a person was removed from, and of runs under way that may still name them."""

    places: int
    runs_under_way: int
    kept_on_lists: int = 0
    """On how many never-export lists and tripwires the person stays, by the hash alone."""
    known_by: tuple[PropertyCohort, ...] = ()
    """The cohorts that know people by a profile property, where another ID of the person may be stored."""
    stay_true: tuple[str, ...] = ()
    """The cohorts for which WebEngage held true, or may have: no run can set that to false any more."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the runner, and what needs a person."""

    runner_state: RunnerState
    runner_seen_at: float | None
    runners: int
    due: int
    oldest_due: float | None
    held: tuple[tuple[SyncView, Run], ...]
    paused: tuple[SyncView, ...]
    failed: tuple[tuple[SyncView, str], ...]
    """With the run that waits, and with why the last run that ended failed."""
    queries: tuple[tuple[int, int], ...]
    rejected: int
    disk_free: int
    now: float
    overdue: tuple[Overdue, ...] = ()
    not_cleared: tuple[SyncView, ...] = ()
    not_notified: tuple[Recipient, ...] = ()
    """Addresses and webhooks that a message could not be delivered to."""

    @property
    def projects(self) -> frozenset[int]:
        """Return the numbers of the connected projects, and of those of the syncs that are named here."""
        syncs = {one.project_id for one in (*self.paused, *self.not_cleared)}
        syncs |= {one.project_id for one, _ in self.held} | {one.project_id for one, _ in self.failed}
        return frozenset(syncs | {one.project_id for one in self.overdue} | {one for one, _ in self.queries})

    @property
    def is_runner_alive(self) -> bool:
        """Return whether a runner sent a heartbeat within the last 30 seconds."""
        return self.runner_state is RunnerState.WORKING

    @property
    def problems(self) -> tuple[str, ...]:
        """Return why the service itself does not do its work, one sentence each; what only waits for a person is none."""
        late = sum(one.needs_person for one in self.overdue)
        found = {
            f"No runner is working (state: {self.runner_state.value}).": not self.is_runner_alive,
            f"Overdue syncs: {late}.": late,
            f"Less than {DISK_LOW_BYTES // 2**20} MB of disk are free.": self.disk_free < DISK_LOW_BYTES,
        }
        return tuple(sentence for sentence, is_so in found.items() if is_so)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return what waits for a person, a few words each."""
        late = sum(one.needs_person for one in self.overdue)
        found = {
            count_noun(len(self.held), "held run"): self.held,
            count_noun(len(self.paused), "paused sync"): self.paused,
            count_noun(len(self.failed), "failed sync"): self.failed,
            count_noun(late, "overdue sync"): late,
            count_noun(len(self.not_cleared), "clear that failed", "clears that failed"): self.not_cleared,
            "alerts that were not delivered": self.not_notified,
            "the runner, which is not working": self.due and not self.is_runner_alive,
            "the disk, which is nearly full": self.disk_free < DISK_LOW_BYTES,
        }
        return tuple(words for words, is_so in found.items() if is_so)

    @property
    def needs_attention(self) -> bool:
        """Return whether something waits for a person: then `status` exits with 1."""
        return bool(self.tasks)
