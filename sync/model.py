"""The values of Cohort Sync, and the decisions that depend on their arguments only.

Times are seconds since 1970, UTC. Limits are the vendors', with the page that states them.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sync.cadence import DailyTime
from sync.guards import GuardLimits

USER_ID_MAX = 100  # characters; WebEngage docs, "User ID"
MAX_ATTRIBUTES = 25  # Boolean attributes an account may have; WebEngage docs, custom attributes
USUAL_PAGE_SIZE = 1000  # members a page; Mixpanel docs, Query API "engage"
BATCH_SIZE = 25  # users a bulk call; WebEngage docs, bulk-users
BATCHES_A_MINUTE = 490  # below WebEngage's 500 (WebEngage docs, bulk-users), so jitter cannot exceed it
DEVICE_PREFIX = "$device:"  # begins an id Mixpanel gave to a device that never signed in; Mixpanel docs
MISSING_VALUES = ("<null>", "<undefined>")  # seen in real Mixpanel replies
DEFAULT_INTERVAL = 7200.0  # seconds; how often Mixpanel's own cohort sync refreshes
INTERVAL_CHOICES = (1800.0, 3600.0, DEFAULT_INTERVAL, 21600.0, 43200.0, 86400.0)  # seconds; what people are offered
MIN_INTERVAL, MAX_INTERVAL = 300.0, 30 * 86400.0  # seconds; the shortest and longest interval a person may choose
MAX_QUOTED = 60  # characters of a wrong input that an error quotes
DAY = 86400.0  # seconds without progress after which a run that nothing repeats is given up
SHORTEST_DEADLINE = 7200.0  # seconds; Mixpanel's window is an hour, so a shorter deadline would not outlast one wait
DEADLINE_INTERVALS = 2  # a dynamic sync's run is given up when two refreshes could have replaced it
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # units of an interval


class Mode(StrEnum):
    """Export once, or refresh at an interval."""

    ONE_TIME = "one-time"
    DYNAMIC = "dynamic"


class SyncState(StrEnum):
    """ACTIVE: refreshed; PAUSED: waits for a person, with a reason; FINISHED: never refreshed again."""

    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"


class RunState(StrEnum):
    """QUEUED, PULLING, (HELD), DELIVERING, then SUCCEEDED, FAILED or CANCELLED."""

    QUEUED = "queued"
    PULLING = "pulling"
    HELD = "held"
    DELIVERING = "delivering"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether this run has ended."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class ChangeKind(StrEnum):
    """The change to one member in WebEngage: attribute true for ADD and UPDATE, false for REMOVE."""

    ADD = "add"
    UPDATE = "update"
    REMOVE = "remove"


class Eligibility(StrEnum):
    """The answer whether a member is sent to WebEngage, and if not, why."""

    IDENTIFIED = "identified"
    NO_PROFILE = "no profile"
    DEVICE_ONLY = "device only"
    EMPTY_ID = "empty id"
    LONG_ID = "id over 100 characters"
    ODD_ID = "id that is no text and no whole number"
    NO_ID_VALUE = "no value in the User ID property"
    NEVER_EXPORT = "on the never-export list"

    @property
    def is_anonymous(self) -> bool:
        """Return whether Mixpanel does not know who this is."""
        return self in (Eligibility.NO_PROFILE, Eligibility.DEVICE_ONLY)

    @property
    def is_invalid(self) -> bool:
        """Return whether WebEngage could not accept this id; such a member is counted, never altered."""
        return self in (Eligibility.EMPTY_ID, Eligibility.LONG_ID, Eligibility.ODD_ID, Eligibility.NO_ID_VALUE)


class Role(StrEnum):
    """The service account's rights in the project, as Mixpanel answers."""

    ADMIN = "admin"
    BELOW_ADMIN = "below admin"
    UNVERIFIED = "not verified"


@dataclass(frozen=True, slots=True)
class Project:
    """A Mixpanel project with its service account; the open secret is in memory only."""

    id: int
    username: str
    secret: str = field(repr=False)
    region: str


@dataclass(frozen=True, slots=True)
class Account:
    """A WebEngage account, the destination of cohorts; the open key is in memory only."""

    license_code: str
    api_key: str = field(repr=False)
    data_center: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort as Mixpanel lists it; ``count`` is Mixpanel's last count and may be out of date."""

    id: int
    name: str
    description: str = ""
    count: int | None = None
    created: str = ""
    group: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a page: the id as text, its eligibility, the values of the properties asked for in their order.

    ``id`` is empty when the property chosen for it gives none, ``distinct_id`` when the row has no readable one.
    ``has_profile`` is None when Mixpanel sent an empty one: that is a person without any of the properties asked for, or
    nobody known.
    """

    id: str
    eligibility: Eligibility
    values: tuple[Any, ...] = ()
    distinct_id: str = ""
    has_profile: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a cohort's members as Mixpanel sent it; ``size`` is what the page names as its size, if it does.

    ``properties`` names those seen, the most frequent first.
    """

    number: int
    size: int | None
    session_id: str | None
    total: int | None
    members: tuple[Member, ...]
    properties: tuple[str, ...] = ()

    @property
    def known_total(self) -> int | None:
        """Return how many members the first page says there are, None when more than it says may follow.

        A total as large as a full page may count that page only (Mixpanel's reference does not say which it is).
        """
        if len(self.members) < (1 if self.size is None else self.size):
            return len(self.members) if self.total is None else self.total
        return None if self.total == len(self.members) else self.total


@dataclass(frozen=True, slots=True)
class Columns:
    """A page of members side by side, for runs: one list of ids, one of values, everyone else apart.

    ``size`` is what the page names as its size, if it does. ``values`` holds each one's mapped values as a JSON
    array, or is empty when nothing is mapped. Of a page that ``is_cut`` they are of its unknown chunks only, in order.
    When a profile property is the User ID, ``distinct_ids`` says whose member each id is: two members may have one.
    """

    number: int
    size: int | None
    session_id: str | None
    total: int | None
    rows: int
    ids: list[str]
    values: list[bytes]
    others: list[Member]
    is_cut: bool = False
    distinct_ids: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Return whether another page may follow; a page that does not name its size is full unless it is empty."""
        return self.rows >= self.size if self.size is not None else self.rows > 0


@dataclass(frozen=True, slots=True)
class Change:
    """One member's difference between the cohort and what was sent to WebEngage."""

    user_id: str
    kind: ChangeKind
    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Sync:
    """A cohort that is exported to WebEngage, and on which terms.

    Refreshed at ``daily`` when it is set, else at the interval; not after ``ends_at``; ``resume_at`` ends its pause.
    ``forms``: how the values of mapped attributes are written, as the register of attributes says. ``id_property``: the
    profile property that is the User ID, empty for the distinct_id.
    """

    id: int
    project_id: int
    cohort_id: int
    cohort_name: str
    license_code: str
    attribute: str
    mode: Mode
    state: SyncState
    pause_reason: str | None
    interval_seconds: float | None
    schedule_anchor: float
    next_run_at: float | None
    last_run_id: int | None
    guard_enabled: bool
    limits: GuardLimits
    mapping: tuple[tuple[str, str], ...]
    forms: tuple[tuple[str, str], ...] = ()
    daily: DailyTime | None = None
    ends_at: float | None = None
    resume_at: float | None = None
    id_property: str = ""

    def find_next_run(self, now: float) -> float | None:
        """Return the first time after now on the sync's schedule; None when it has none."""
        if self.daily is not None:
            return self.daily.find_next(now)
        if self.interval_seconds is None:
            return None
        return next_scheduled_at(self.schedule_anchor, self.interval_seconds, now)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a sync. ``entered``, ``updated`` and ``exited`` count the planned changes of each kind.

    As planned: ``size_before`` people were exported before, ``identified`` different people of ``members_read``
    members are identified, ``never_exported`` of these are on the never-export list, and ``removed_by_list`` of
    ``exited`` leave because they are on it. ``undoes``: the run it takes back. In steps: ``step`` may be sent, counted
    from 1, and ``steps_sent`` were. ``id_property`` was the User ID in its plan, ``id_property_before`` the one that this
    plan changes, None when it changes none; ``doubles``: so many more members than different User IDs. ``unconfirmed``:
    people it had sent when it ended, of whom WebEngage's answer was not received, besides the ``delivered`` ones.
    """

    id: int
    sync_id: int
    state: RunState
    purpose: str
    dry_run: bool
    queued_at: float
    started_at: float | None
    finished_at: float | None
    not_before: float
    wait_reason: str | None
    held_reason: str | None
    approved: bool
    cancel_requested: bool
    attempts: int
    session_id: str | None
    page_size: int | None
    expected_total: int | None
    staged: int
    entered: int
    updated: int
    exited: int
    delivered: int
    rejected: int
    invalid: int
    anonymous: int
    unchanged: int
    requests: int
    error: str | None
    lease_owner: str | None
    lease_until: float | None
    failures: int
    stalled_since: float | None
    reading: int
    furthest: int
    planned: bool
    planned_at: float | None
    request: str | None
    size_before: int | None
    identified: int | None
    members_read: int | None
    never_exported: int
    removed_by_list: int
    list_version: int | None
    undoes: int | None = None
    steps: str | None = None
    step_limits: str | None = None
    step: int = 1
    steps_sent: int = 0
    id_property: str = ""
    id_property_before: str | None = None
    doubles: int = 0
    unconfirmed: int = 0

    @property
    def limits(self) -> tuple[int, ...]:
        """Return the batch at which each step ends but for the last one, once the run is planned."""
        return tuple(json.loads(self.step_limits)) if self.step_limits else ()

    @property
    def is_in_steps(self) -> bool:
        """Return whether more is held back after the step that may be sent now."""
        return self.step <= len(self.limits)

    @property
    def is_moving(self) -> bool:
        """Return whether it changes by itself: it has neither ended nor waits for an approval."""
        return not self.state.is_final and self.state is not RunState.HELD

    @property
    def sent(self) -> int:
        """Return of how many people it has ended with that WebEngage took, or may have taken, what was sent."""
        return self.delivered + self.unconfirmed

    @property
    def change_count(self) -> int:
        """Return how many people this run adds, updates or removes."""
        return self.entered + self.updated + self.exited


def classify_member(user_id: str, has_profile: bool) -> Eligibility:
    """Return whether a member is sent to WebEngage, and if not, why.

    Who has no profile is anonymous whatever the id is, as Mixpanel's totals count them.
    """
    if user_id.startswith(DEVICE_PREFIX):
        return Eligibility.DEVICE_ONLY
    if not has_profile:
        return Eligibility.NO_PROFILE
    if not user_id.strip():
        return Eligibility.EMPTY_ID
    return Eligibility.LONG_ID if len(user_id) > USER_ID_MAX else Eligibility.IDENTIFIED


def next_scheduled_at(anchor: float, interval_seconds: float, now: float) -> float:
    """Return the first time after ``now`` on the schedule of the anchor; missed times are merged into one."""
    return anchor + (math.floor((now - anchor) / interval_seconds) + 1) * interval_seconds


def deadline_of(interval_seconds: float | None) -> float:
    """Return after how many seconds without progress a run of a sync with this interval is given up."""
    return max(DEADLINE_INTERVALS * interval_seconds, SHORTEST_DEADLINE) if interval_seconds else DAY


def parse_interval(text: str) -> float:
    """Parse an interval such as ``2h``, ``30m``, ``1d`` or ``7200s`` into seconds; raise ValueError otherwise."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*([smhd])\s*", text)
    if not found:
        raise ValueError(f"“{text}” is not an interval such as 2h, 30m or 1d.")
    seconds = float(int(found[1]) * UNIT_SECONDS[found[2]])
    if not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        raise ValueError(f"“{text}” must lie between 5 minutes and 30 days.")
    return seconds


def write_interval(seconds: float) -> str:
    """Return an interval as ``parse_interval`` reads it, such as 2h."""
    for unit in "dhm":
        if seconds % UNIT_SECONDS[unit] == 0:
            return f"{seconds / UNIT_SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"


def format_utc_time(at: float) -> str:
    """Format seconds since 1970 for a sentence, in UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
