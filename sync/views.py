"""What people are shown: plain frozen values that pages and the CLI read, never rows or secrets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.model import Eligibility, Mode, Role, Run, RunState, SyncState


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A connected Mixpanel project; ``tail`` is the last four characters of the secret."""

    id: int
    name: str
    username: str
    region: str
    role: Role
    role_note: str
    checked_at: float
    secret_last4: str
    license_code: str | None = None
    """The WebEngage account new exports go to; None until it is chosen."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """A connected WebEngage account; ``tail`` is the last four characters of the API key."""

    license_code: str
    data_center: str
    checked_at: float
    secret_last4: str
    projects: tuple[int, ...] = ()
    """The connected projects whose new exports go there."""


@dataclass(frozen=True, slots=True)
class CohortView:
    """A cohort in the list, with the state of its sync when it has one."""

    id: int
    name: str
    description: str
    count: int | None
    created: str
    group: bool
    sync_id: int | None
    sync_state: SyncState | None
    mode: Mode | None


@dataclass(frozen=True, slots=True)
class CohortList:
    """The cohorts of a project as last read; ``problem`` says why they could not be read anew.

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
    """Who would go to WebEngage.

    ``exact`` is False when page 0 is not the whole: then devices and invalid ids beyond it are
    estimated by their share. ``entering`` and ``leaving`` count against what was exported before,
    when both are known exactly. ``properties`` names the profile properties seen, never a value.
    """

    cohort_id: int
    cohort_name: str
    total: int
    identified: int
    anonymous: int
    invalid: int
    exact: bool
    sample: tuple[Sample, ...]
    exported_before: int
    read_at: float
    requests: int
    seconds: float
    queries_left: int
    to_add: int | None = None
    to_remove: int | None = None
    properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """How a cohort would be exported: the attribute, and whether it is already permanent."""

    attribute: str
    permanent: bool
    mode: Mode
    interval_seconds: float
    license_code: str | None
    mapping: tuple[tuple[str, str], ...] = ()
    account_problem: str = ""
    """Why there is no account to export to, in one sentence; empty when there is one."""


@dataclass(frozen=True, slots=True)
class StartedExport:
    """The answer to Start Sync; ``started`` is False when the run was already under way."""

    sync_id: int
    run_id: int
    started: bool


@dataclass(frozen=True, slots=True)
class SyncView:
    """A sync with its last run; ``size`` is how many people WebEngage may hold as true."""

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
    next_run_at: float | None
    size: int
    last_run: Run | None

    @property
    def clear_problem(self) -> str | None:
        """Return who is still true in WebEngage after a clear that did not succeed, why, and what to do; else None."""
        run = self.last_run
        ended = run is not None and run.purpose == "clear" and run.state in (RunState.FAILED, RunState.CANCELLED)
        if run is None or not ended or not self.size or self.state is not SyncState.FINISHED:
            return None
        why = f"clearing failed: {run.error}" if run.error else "clearing was cancelled."
        return (
            f"{self.size:,} {'person' if self.size == 1 else 'people'} still true in WebEngage; {why} "
            "To clear them, press Stop on the Syncs page and choose to clear, "
            f"or run: python -m sync stop {self.id} --clear"
        )

    @property
    def clear_failed(self) -> bool:
        """Return whether a clear ended in a failure and people are still true; a cancelled clear was a decision."""
        return self.clear_problem is not None and self.last_run is not None and self.last_run.state is RunState.FAILED


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history; a repeated wait is one line that began at ``at`` and happened ``times`` times."""

    at: float
    sync_id: int | None
    run_id: int | None
    message: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class WaitView:
    """What a run has been waiting for since it last moved: since when, how often, and the last reason."""

    since: float
    times: int
    reason: str


class RunnerState(StrEnum):
    """What heartbeats say about the runner; unknown: dated in the future, since a clock was moved."""

    WORKING = "working"
    UNKNOWN = "unknown"
    SILENT = "silent"
    NONE = "not running"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of one runner, and what it says."""

    runner: str
    seen_at: float
    state: RunnerState


@dataclass(frozen=True, slots=True)
class Overdue:
    """A sync whose time has passed: since when, why, and whether only a person can change that."""

    sync_id: int
    cohort_name: str
    since: float
    reason: str
    needs_person: bool


@dataclass(frozen=True, slots=True)
class RejectionView:
    """A member that was not taken: invalid (never sent) or rejected by WebEngage, with the reason."""

    user_id: str
    kind: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One line of a run's CSV: what was told about one person, and how it went."""

    user_id: str
    operation: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what, and what it changed; secrets appear as fingerprints only."""

    at: float
    actor: str
    action: str
    target: str
    before: str
    after: str
    run_id: int | None


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """In how many places a person was, and how many runs under way may still name them."""

    places: int
    runs_under_way: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the companion process works, and what needs a person."""

    runner_state: RunnerState
    runner_seen_at: float | None
    runners: int
    due: int
    oldest_due: float | None
    held: int
    paused: tuple[SyncView, ...]
    failed: tuple[SyncView, ...]
    queries: tuple[tuple[int, int], ...]
    rejected: int
    disk_free: int
    now: float
    overdue: tuple[Overdue, ...] = ()
    not_cleared: tuple[SyncView, ...] = ()

    @property
    def is_runner_alive(self) -> bool:
        """Whether a runner was seen lately."""
        return self.runner_state is RunnerState.WORKING

    @property
    def syncs_that_need_a_person(self) -> int:
        """Return how many syncs need a person because they are late, or because a clear failed."""
        return sum(one.needs_person for one in self.overdue) + len(self.not_cleared)

    @property
    def needs_attention(self) -> bool:
        """Whether something waits for somebody."""
        return bool(
            self.paused
            or self.failed
            or self.held
            or (self.due and not self.is_runner_alive)
            or self.syncs_that_need_a_person
            or self.disk_free < DISK_LOW_BYTES
        )


DISK_LOW_BYTES = 200 * 2**20  # bytes; a pull of a million members needs about half of it
RUNNER_SILENT_SECONDS = 30.0  # seconds without a sign of life after which a runner is taken for gone
