"""Rows the store returns: frozen, without secrets, read by the service, the pages and the command line.

Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sync.cadence import DailyTime
from sync.model import Mode, Role, Run, RunState, SyncState
from sync.text import count_people

NO_OPERATION = "none"  # of a person of whom nothing was to be sent: an invalid id
OUTCOMES = {"p": "not sent", "f": "unconfirmed", "c": "accepted", "r": "rejected"}  # of a change, by the letter stored
RUNNER_SILENT_SECONDS = 30.0  # seconds without a heartbeat after which a runner counts as gone


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A connected Mixpanel project; ``secret_last4`` is the end of the secret, empty when the secret is short."""

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
    """A connected WebEngage account; ``secret_last4`` is the end of the API key, empty when the key is short."""

    license_code: str
    data_center: str
    checked_at: float
    secret_last4: str
    projects: tuple[int, ...] = ()
    """The connected projects whose new exports go there."""


@dataclass(frozen=True, slots=True)
class ListedPerson:
    """A person on the never-export list of an account: a label that shows only the ends of the id, and who added it.

    ``key`` names the entry, to take it off without knowing the id.
    """

    key: str
    label: str
    note: str
    added_by: str
    added_at: float


@dataclass(frozen=True, slots=True)
class Tripwire:
    """A person who must not be in a cohort, or in any of the project when ``cohort_id`` is None."""

    id: int
    cohort_id: int | None
    label: str
    note: str
    added_by: str
    added_at: float


@dataclass(frozen=True, slots=True)
class PropertyCohort:
    """A synced cohort whose people are known by a profile property, the User ID, and not by the distinct_id."""

    sync_id: int
    cohort_name: str
    id_property: str


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
class SyncView:
    """A sync with its last run; ``size`` counts the people whose attribute may be true in WebEngage.

    ``next_run_at``: its next refresh, of a paused one the end of its pause; None when there is none before its end.
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
    next_run_at: float | None
    size: int
    last_run: Run | None
    daily: DailyTime | None = None
    ends_at: float | None = None
    resume_at: float | None = None
    id_property: str = ""
    """The profile property that is the User ID; empty: the distinct_id."""
    is_cleared: bool = False
    """Whether it was stopped to clear it, and no export was asked for since: nothing else sends anybody again."""
    requested_mode: Mode = Mode.ONE_TIME
    """The mode that was asked for; of a first export that nobody let go to everybody yet it is in its run only."""
    last_success: str | None = None
    """What the last run that succeeded was for, while nobody is in WebEngage; else None, and when none succeeded."""

    @property
    def is_held(self) -> bool:
        """Return whether its latest run waits for a person's approval; one that is being cancelled does not."""
        return self.last_run is not None and self.last_run.state is RunState.HELD and not self.last_run.cancel_requested

    @property
    def is_sending(self) -> bool:
        """Return whether a run sends its people now; ``size`` counts them when it has ended."""
        return self.last_run is not None and self.last_run.state is RunState.DELIVERING

    @property
    def is_due_again(self) -> bool:
        """Return whether it is refreshed at its next time by itself; not while a run of it is held."""
        return self.state is SyncState.ACTIVE and self.next_run_at is not None and not self.is_held

    @property
    def clear_problem(self) -> str | None:
        """Return how many are still true in WebEngage after a clear, why, and what to do; None when nobody is."""
        run = self.last_run
        ended = run is not None and run.purpose == "clear" and run.state.is_final
        if run is None or not ended or not self.size or self.state is not SyncState.FINISHED:
            return None
        why = f"clearing failed: {run.error}" if run.error else "clearing was cancelled."
        if run.state is RunState.SUCCEEDED:
            if not run.rejected:
                return None
            why = f"it rejected setting them to false (see run {run.id})."
        return (
            f"{count_people(self.size)} still true in WebEngage; {why} To clear them, press “Clear again” on the page of "
            f"sync {self.id}."
        )

    @property
    def id_change_problem(self) -> str | None:
        """Return that the last run did not finish changing the User ID property, and what to do; else None."""
        run = self.last_run
        ended = run is not None and run.state in (RunState.FAILED, RunState.CANCELLED)
        if run is None or not ended or run.id_property_before is None or run.id_property != self.id_property:
            return None
        return (
            f"Run {run.id} changed the User ID property and did not end: people may still be true under their old User "
            "ID. The next run sets them to false."
        )

    @property
    def clear_failed(self) -> bool:
        """Return whether a clear failed and people are still true; a cancelled one was a decision, a rejection is no failure."""
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
    """The wait of a run since its last progress: since when, how often, and the last reason."""

    since: float
    times: int
    reason: str


class RunnerState(StrEnum):
    """The state of the runner by its heartbeats; UNKNOWN: the newest is in the future, since a clock was moved."""

    WORKING = "working"
    UNKNOWN = "unknown"
    SILENT = "silent"
    NONE = "not running"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of one runner, and the state its age shows."""

    runner: str
    seen_at: float
    state: RunnerState


@dataclass(frozen=True, slots=True)
class RejectionView:
    """A member not taken: invalid (never sent) or rejected by WebEngage, with the reason."""

    user_id: str
    kind: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One line of a run's CSV: what was sent about one person, and the outcome."""

    user_id: str
    operation: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class PersonEntry:
    """One thing a run had to do with a person; ``at`` is when the run ended, or was planned when it is under way.

    ``operation`` and ``outcome`` are those of ExportRow. ``ended`` is False while the run is under way.
    """

    at: float
    run_id: int
    sync_id: int
    operation: str
    outcome: str
    reason: str
    ended: bool


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
    forgotten: bool
    """Whether the person was forgotten here since: what they were sent before is not known any more."""

    @property
    def cohorts(self) -> str:
        """Return in which cohorts a tripwire holds a run; those of another project may have the same names."""
        return f"{self.cohort_name or 'any cohort'} of project {self.project_id}"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about a run, as the audit log has it."""

    run_id: int
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class HourCount:
    """The runs that ended within one hour, by their state, and the people added and removed by those that succeeded.

    ``sent_half_way``: whom the other ones had sent when they ended, also those WebEngage did not answer for.
    """

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    added: int = 0
    removed: int = 0
    sent_half_way: int = 0


@dataclass(frozen=True, slots=True)
class Recipient:
    """An address alerts go to, or a webhook; ``failing_since`` and ``problem``: since the last message went through."""

    id: int
    kind: str
    name: str
    masked_url: str
    created_at: float
    failing_since: float | None
    problem: str | None
    undelivered: int = 0
    """Messages that were given up and not sent again by hand."""

    @property
    def trouble(self) -> str:
        """Return what is wrong with it, in one sentence; empty when messages go through."""
        if self.problem:
            return self.problem
        if not self.undelivered:
            return ""
        messages = "message was" if self.undelivered == 1 else "messages were"
        return f"{self.undelivered} {messages} given up; send or discard what was not delivered."


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one recipient; ``key`` tells a receiver which it is, also when it is sent twice."""

    id: int
    recipient_id: int
    key: str
    topic: str
    title: str
    body: str
    created_at: float
    attempts: int = 0
    first_tried_at: float | None = None
    delivered_at: float | None = None
    failed_at: float | None = None
    problem: str | None = None

    @property
    def state(self) -> str:
        """Return what became of it, in the words of pages and commands."""
        return "delivered" if self.delivered_at else "given up" if self.failed_at else "waiting"


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """A state that somebody should know of, from its beginning to its end; one for each ``key``.

    ``is_restless``: it had ended shortly before; ``calm_since`` is since when such a state is not there.
    """

    key: str
    kind: str
    title: str
    body: str
    began_at: float
    is_restless: bool = False
    calm_since: float | None = None


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit log: an actor, an action and its effect; secrets appear as fingerprints only."""

    at: float
    actor: str
    action: str
    target: str
    before: str
    after: str
    run_id: int | None


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The outcome of a restore: cohorts first exported after the backup that were kept, and those whose syncs were paused.

    ``cancelled``: the runs that were unfinished in the backup, which the next runner cancels.

    ``forgotten``: people who were forgotten after the backup, of whom nobody knows whether they are in it;
    ``forgotten_again``: those who were in it, and are not any more. ``set_aside``: the names of the files of a database
    that could not be opened.
    """

    kept: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    cancelled: tuple[int, ...] = ()
    forgotten: int = 0
    forgotten_again: int = 0
    set_aside: tuple[str, ...] = ()
