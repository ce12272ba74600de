"""The life's own record of each cohort, to compare with what WebEngage and the database say.

Nothing here looks at how the engine works: it only remembers who was in a cohort when a run read it, which terms a
person asked for and approved, and who cannot be known any more because a person had them forgotten or restored a backup.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sync.cadence import DailyTime
from sync.model import Mode, Run, RunState, Sync
from sync.store.export_requests import Request
from tests.drill.invariants import hold
from tests.drill.user_ids import both_ids, user_ids

Terms = tuple[Mode, float | None, DailyTime | None, float | None, tuple[tuple[str, str], ...], str]


def terms_of(sync: Sync) -> Terms:
    """Return what a request may ask of a sync."""
    return sync.mode, sync.interval_seconds, sync.daily, sync.ends_at, sync.mapping, sync.id_property


@dataclass
class CohortBook:
    """One cohort: who is in it, who ever left, and what its runs read."""

    id: int
    name: str
    members: dict[str, str] = field(default_factory=dict)
    """User id and the plan of each member."""
    is_deleted: bool = False
    ever_left: set[str] = field(default_factory=set)
    may_be_false: set[str] = field(default_factory=set)
    """On top of those: named in an approved plan, or cleared."""
    strangers: set[str] = field(default_factory=set)
    """True in WebEngage without our knowing: forgotten, or from after a backup that was restored."""
    read: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    """By run: the cohorts it may have read."""
    forgotten_during: dict[int, set[str]] = field(default_factory=dict)
    planned_at: dict[int, float | None] = field(default_factory=dict)
    listed: dict[int, set[str]] = field(default_factory=dict)
    """By run: who was on the never-export list when it was planned."""
    listed_since_plan: set[str] = field(default_factory=set)
    """Put on that list since the last plan: nobody knows whether they are true already."""

    def note_reading(self, run: Run, never: Iterable[str] = ()) -> None:
        """Remember what a run may have read, after a runner worked; cohort and lists stood still meanwhile."""
        if run.purpose == "clear":
            self.read[run.id] = [{}]
            return
        if run.undoes is not None:
            self.read.setdefault(run.id, [])
            if run.planned_at != self.planned_at.get(run.id):
                self.listed[run.id] = set(never)
                self.planned_at[run.id] = run.planned_at
            return
        former, planned_before = self.read.setdefault(run.id, []), self.planned_at.get(run.id)
        if run.planned_at != planned_before:
            if planned_before is not None:  # a plan grown old: the cohort was read again
                former.clear()
            self.forgotten_during[run.id] = set()
            self.listed[run.id], self.listed_since_plan = set(never), set()
            former.append(dict(self.members))
        elif run.state is RunState.PULLING or (run.state is RunState.QUEUED and run.staged):
            former.append(dict(self.members))
        self.planned_at[run.id] = run.planned_at

    def certain(self, run: Run) -> set[str]:
        """Return the User IDs of who was in whichever cohort the run read."""
        return set.intersection(*(user_ids(one, run.id_property) for one in self.read[run.id]))

    def possible(self, run: Run) -> set[str]:
        """Return the User IDs of who was in one of them."""
        return set.union(*(user_ids(one, run.id_property) for one in self.read[run.id]))

    def judge(self, run: Run, held_true: set[str], snapshot: set[str], rejected: set[str]) -> None:
        """After a success WebEngage and the snapshot hold who was read, less those rejected with a reason."""
        barred = self.listed.get(run.id, set())
        excused = rejected | self.forgotten_during.get(run.id, set()) | both_ids(barred) | self.listed_since_plan
        # By the distinct_id the list finds those who were read: nobody knows whose value a stranger on it has.
        listed = barred | user_ids(barred.intersection(*map(set, self.read[run.id])), run.id_property)
        mailed = (listed & held_true) - rejected - self.strangers
        hold(
            not mailed,
            f"run {run.id} of {self.name}: true in WebEngage, on the never-export list: {sorted(mailed)[:5]}",
        )
        stored = listed & snapshot - rejected
        hold(
            not stored, f"run {run.id} of {self.name}: in the snapshot, on the never-export list: {sorted(stored)[:5]}"
        )
        missing = self.certain(run) - held_true - excused
        hold(not missing, f"run {run.id} of {self.name}: not true in WebEngage: {sorted(missing)[:5]}")
        wrong = held_true - self.possible(run) - rejected - self.strangers
        hold(not wrong, f"run {run.id} of {self.name}: true in WebEngage, not in the cohort: {sorted(wrong)[:5]}")
        lost = self.certain(run) - snapshot - excused
        hold(not lost, f"run {run.id} of {self.name}: not in the snapshot: {sorted(lost)[:5]}")
        kept = snapshot - self.possible(run) - rejected
        hold(not kept, f"run {run.id} of {self.name}: still in the snapshot: {sorted(kept)[:5]}")
        self.strangers -= snapshot


@dataclass
class RequestBook:
    """Which terms each sync has by what a person asked for and approved."""

    terms: dict[int, Terms] = field(default_factory=dict)
    asked: dict[int, Request] = field(default_factory=dict)
    """By run: the request it carries."""
    left_open: dict[int, Request] = field(default_factory=dict)
    """By sync: what an ended run leaves to the next one, which may begin and end while nobody looks."""
    ahead: dict[int, int] = field(default_factory=dict)
    """By sync: the last run that went ahead."""
    cleared: dict[int, int] = field(default_factory=dict)
    """By sync: the last run that cleared it; what went ahead before, or was left open, counts for nothing after it."""
    needs_approval: set[int] = field(default_factory=set)
    approved: set[int] = field(default_factory=set)

    def note_run(self, run: Run) -> None:
        """Follow a run: what it carries, whether it was held, and whether its request went ahead."""
        carried = Request.parse(run.request)
        if run.state is RunState.HELD or run.dry_run:
            self.needs_approval.add(run.id)
        ahead, cleared = self.ahead.get(run.sync_id, 0), self.cleared.get(run.sync_id, 0)
        is_news, has_gone_ahead = run.id > max(ahead, cleared), ahead > cleared
        if is_news and run.purpose == "clear":
            self.cleared[run.sync_id] = run.id
            self.left_open.pop(run.sync_id, None)
        if carried:
            self.asked[run.id] = carried
            is_left = not has_gone_ahead or (run.state is RunState.FAILED and not run.planned)
            if is_news and not is_left:
                self.left_open.pop(run.sync_id, None)  # this run went on with it, and cancelled leaves it to nobody
            elif is_news and run.state.is_final:
                self.left_open[run.sync_id] = carried
            return
        request = self.asked.pop(run.id, None)
        if is_news and run.purpose == "undo" and has_gone_ahead:
            self.left_open.pop(run.sync_id, None)  # only the very next run goes on with it, and this never does
        if is_news and run.planned and run.purpose not in ("clear", "undo"):
            request = request or self.left_open.get(run.sync_id)
            self.left_open.pop(run.sync_id, None)
            self.ahead[run.sync_id] = run.id
        if request is None:
            return
        allowed = run.id in self.approved or run.id not in self.needs_approval
        hold(allowed, f"run {run.id} took its request over though nobody approved it")
        if run.sync_id in self.terms:
            *_, mapping, id_property = self.terms[run.sync_id]
            mapping = mapping if request.mapping is None else request.mapping
            id_property = id_property if request.id_property is None else request.id_property
            self.terms[run.sync_id] = (*request.terms, mapping, id_property)

    def restore_id_property(self, run: Run) -> None:
        """Follow a take-back of a change of the User ID property that was approved."""
        if run.sync_id in self.terms:
            self.terms[run.sync_id] = (*self.terms[run.sync_id][:-1], run.id_property)

    def judge(self, sync: Sync) -> None:
        """Check that the sync is as what went ahead asked, and as nothing else."""
        known = self.terms.setdefault(sync.id, terms_of(sync))
        hold(known == terms_of(sync), f"sync {sync.id} is {terms_of(sync)}; approved was {known}")

    def restart(self) -> None:
        """Begin again after a restore; a run it brings along keeps its number, and that somebody approved it."""
        for one in (
            self.terms,
            self.asked,
            self.left_open,
            self.ahead,
            self.cleared,
            self.needs_approval,
        ):
            one.clear()
