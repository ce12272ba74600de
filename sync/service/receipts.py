"""A receipt of a cohort before a campaign: whom it reaches, as of when, by which run, and who approved it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sync.errors import CohortSyncError, InvalidRequest
from sync.model import ChangeKind, Run, RunState, SyncState, format_utc_time
from sync.permissions import AccessLevel, requires
from sync.records import PropertyCohort, SyncView
from sync.reports import Overlap, Receipt
from sync.service.cohorts import CohortTopic
from sync.service.listed_people import ListedPeople, find_listed, find_tripped, list_known_by
from sync.text import count_noun, count_people
from sync.views import Preview
from sync.wording import RUN_STANDING, describe_run_changes, explain_listed, explain_tripped


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The people of a snapshot, and of the members who are not in it."""

    size: int
    unconfirmed: int
    left_behind: int
    rejected: int


class ReceiptService(CohortTopic):
    """Receipts of synced cohorts."""

    @requires(AccessLevel.VIEWER)
    def read(self, project_id: int | None, cohort_id: int, compared: Collection[int] | None = None) -> Receipt:
        """Return the receipt of a cohort; ``compared`` are the syncs whose people are compared, None for all others.

        Mixpanel is asked for what a run does not read, the anonymous, unless there is a preview of the last ten
        minutes: two queries. Raise InvalidRequest when the cohort was never exported. Comparing takes about half a
        second of CPU for each pair of cohorts with a million members.
        """
        project = self._state.get_project(project_id).id
        sync = self._find_sync(project, cohort_id)
        preview, problem = self._read_preview(project, cohort_id)
        with self._store.reading():
            sync = self._find_sync(project, cohort_id)
            run = self._find_run(sync)
            later = self._store.run_history.list_later(sync.id, run.id)
            changed = next((one for one in later if one.state.is_final and one.delivered + one.unconfirmed), None)
            numbers = self._count(sync, run)
            listed = find_listed(self._store, sync, self._store.safety_lists.load_never_export(sync.license_code))
            others = [one for one in self._list_others(sync) if compared is None or one.id in compared]
            return Receipt(
                sync_id=sync.id,
                project_id=project,
                cohort_id=cohort_id,
                cohort_name=sync.cohort_name,
                license_code=sync.license_code,
                attribute=sync.attribute,
                mode=sync.mode,
                requested_mode=sync.requested_mode,
                run=run,
                as_of=(changed and changed.finished_at) or run.planned_at or run.finished_at or run.queued_at,
                changed_since="" if changed is None else _describe_change(changed),
                accepted=numbers.size - numbers.unconfirmed,
                unconfirmed=numbers.unconfirmed,
                left_behind=numbers.left_behind,
                rejected=numbers.rejected,
                never_exported=run.never_exported,
                anonymous=preview.anonymous if preview else None,
                invalid=preview.invalid if preview and preview.exact else run.invalid,
                exact=preview is not None and preview.exact,
                approved=self._store.approvals.find_approval(sync.id, run.id),
                requested=self._store.approvals.find_request(sync.id, run.id),
                listed_now=listed.known,
                may_be_listed_now=listed.unsure,
                remarks=(*self._list_since(sync, run, listed), *_list_remarks(sync, run, preview, problem)),
                overlaps=tuple(self._compare(sync, one) for one in others),
            )

    @requires(AccessLevel.VIEWER)
    def count_overlaps(self, sync_id: int, compared: Collection[int]) -> tuple[Overlap, ...]:
        """Return how many people a sync shares with each of these syncs of the same account, the largest first."""
        with self._store.reading():
            sync = self._store.syncs.list_views(sync_id=self._state.get_sync(sync_id).id)[0]
            return tuple(self._compare(sync, one) for one in self._list_others(sync) if one.id in compared)

    @requires(AccessLevel.VIEWER)
    def list_comparable(self, sync_id: int) -> tuple[SyncView, ...]:
        """Return the other syncs of the same account that have people in WebEngage, the largest first."""
        return tuple(self._list_others(self._store.syncs.list_views(sync_id=self._state.get_sync(sync_id).id)[0]))

    def _find_sync(self, project_id: int, cohort_id: int) -> SyncView:
        found = self._store.syncs.get_sync_of_cohort(project_id, cohort_id)
        if found is None:
            raise InvalidRequest(
                f"Cohort {cohort_id} was never exported to WebEngage, so there is no receipt; export it first."
            )
        return self._store.syncs.list_views(sync_id=found.id)[0]

    def _find_run(self, sync: SyncView) -> Run:
        """Return the last run that read the cohort and succeeded; raise InvalidRequest when there is none."""
        run = self._store.plan_history.find_last_reading(sync.id)
        if run is None:
            raise InvalidRequest(
                f"No run of “{sync.cohort_name}” has succeeded yet, so there is no receipt. {self._describe_attempt(sync)}"
            )
        return run

    def _describe_attempt(self, sync: SyncView) -> str:
        """Return what the last run of a sync came to of which none succeeded, and who is in WebEngage all the same."""
        last = sync.last_run
        if last is None:
            return "Look at its runs."
        if last.state is RunState.HELD:
            return f"Run {last.id}: {last.held_reason}"
        if not last.state.is_final:
            return f"Run {last.id} {RUN_STANDING[last.state]}; look again when it has ended."
        changes = describe_run_changes(last)
        people = count_noun(sync.size, "person is", "people are") if sync.size else "Nobody is"
        unsure = self._store.snapshot.count_unconfirmed(sync.id)
        unconfirmed = f", {unsure:,} of them not confirmed" if unsure else ""
        return (
            f"Run {last.id} {RUN_STANDING[last.state]}{f': {changes}' if changes else ''}. "
            f"{people} in WebEngage{unconfirmed}."
        )

    def _read_preview(self, project_id: int, cohort_id: int) -> tuple[Preview | None, str]:
        """Return the cohort as Mixpanel has it now, else None and why Mixpanel cannot be asked."""
        try:
            return self._cohorts.preview(project_id, cohort_id), ""
        except CohortSyncError as problem:
            return None, str(problem)

    def _count(self, sync: SyncView, run: Run) -> _Numbers:
        """Count the people of the snapshot, and who stands rejected: members of the last reading who are not in it.

        A rejection also stands for people who left the cohort since, and for people whose earlier values WebEngage
        took. Neither is counted: at most as many are rejected as the reading had more than the snapshot has. Runs of
        earlier versions did not note how many that were.
        """
        size = self._store.snapshot.count_members(sync.id)
        kinds = [kind for kind, _ in self._store.rejections.list_active(sync.id).values()]
        left_behind = min(kinds.count(ChangeKind.REMOVE), size)
        standing = len(kinds) - kinds.count(ChangeKind.REMOVE)
        identified = run.identified if run.identified is not None else size + standing + run.never_exported
        missing = max(0, identified - run.never_exported - (size - left_behind))
        return _Numbers(
            size=size,
            unconfirmed=self._store.snapshot.count_unconfirmed(sync.id),
            left_behind=left_behind,
            rejected=min(standing, missing),
        )

    def _list_since(self, sync: SyncView, run: Run, listed: ListedPeople) -> Iterator[str]:
        """Yield what the lists of now, and the runs after the one of the receipt, mean for its numbers, a sentence each."""
        tripped, known_by = find_tripped(self._store, sync), list_known_by(self._store, [sync])
        cohort = next(iter(known_by), PropertyCohort(sync.id, sync.cohort_name, ""))
        yield from explain_listed(cohort, listed.known, listed.unsure, is_due_again=sync.is_due_again)
        yield from explain_tripped(cohort, tripped.known, tripped.unsure)
        for later in self._store.run_history.list_later(sync.id, run.id):
            yield f"Run {later.id} {_describe_later_run(later)}"

    def _list_others(self, sync: SyncView) -> list[SyncView]:
        found = self._store.syncs.list_views(license_code=sync.license_code)
        return sorted((one for one in found if one.size and one.id != sync.id), key=lambda one: -one.size)

    def _compare(self, sync: SyncView, other: SyncView) -> Overlap:
        return Overlap(
            sync_id=other.id,
            cohort_id=other.cohort_id,
            cohort_name=other.cohort_name,
            size=other.size,
            shared=self._store.snapshot.count_shared(sync.id, other.id),
        )


def _list_remarks(sync: SyncView, run: Run, preview: Preview | None, problem: str) -> Iterator[str]:
    """Yield why the numbers may not be the last word, a sentence each."""
    if sync.state is SyncState.PAUSED:
        yield "The sync is paused, so the cohort of today may be another one."
    now = preview.identified - preview.doubles if preview and preview.exact else None
    if preview and now is not None and run.identified is not None and now != run.identified:
        yield (
            f"At {format_utc_time(preview.read_at)} Mixpanel has {count_noun(now, 'identified member')}, the run read "
            f"{run.identified:,}; {_advise_newest(sync)} if the campaign needs the newest."
        )
    if problem:
        yield f"The anonymous members could not be counted: {problem}"


def _advise_newest(sync: SyncView) -> str:
    """Return what a person does to have the cohort of now in WebEngage; a sync that is held or paused is not refreshed."""
    if sync.is_held and sync.last_run:
        return f"decide about run {sync.last_run.id}"
    if sync.state is SyncState.PAUSED:
        return "resume the sync"
    return "export it once more" if sync.is_cleared else "sync once more"


def _describe_change(changed: Run) -> str:
    """Return what the last run did that came after the last reading and changed people."""
    people = count_people(changed.sent)
    if changed.purpose == "undo":
        return f"run {changed.id} took back run {changed.undoes}"
    if changed.purpose == "clear":
        return f"run {changed.id} set {people} to false"
    return f"run {changed.id} sent {people} and {'was cancelled' if changed.state is RunState.CANCELLED else 'failed'}"


def _describe_unfinished(run: Run) -> str:
    """Return what a run under way means for the numbers of a receipt."""
    if run.delivered:
        return f"it has sent {count_people(run.delivered)} so far, and these numbers are those before it"
    if run.state is RunState.HELD:
        return "it waits for approval and has sent nobody yet"
    if run.started_at is None:
        return "it has not begun and has sent nobody yet"
    return "it may have sent a part already, and may change these numbers"


def _describe_later_run(last: Run) -> str:
    """Return what a run that came after the one of the receipt means for its numbers."""
    if not last.state.is_final:
        return f"has not ended: {_describe_unfinished(last)}. Look again when it has ended."
    if last.state is RunState.SUCCEEDED and last.purpose == "clear":
        but = f", except {count_people(last.rejected)} rejected by WebEngage" if last.rejected else ""
        return f"has since set everybody to false{but}."
    if last.state is RunState.SUCCEEDED and last.purpose == "undo":
        return "has taken back what an earlier run changed."
    ended = "was cancelled" if last.state is RunState.CANCELLED else last.state.value
    return f"came later and {ended}; look at it before you rely on these numbers."
