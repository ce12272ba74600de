"""Plan the inverse of a run: whom it added becomes ``false``, whom it removed ``true``; never those changed since."""

from __future__ import annotations

from collections.abc import Iterator

from sync.engine.block_writer import BlockWriter, Change
from sync.engine.former_ids import explain_unknown_tripwires, find_former_ids
from sync.engine.lease import RunLease
from sync.engine.planning import Plan
from sync.engine.sent_range import SentRange
from sync.engine.watchlist import explain_lost_listings, explain_tripwires, show_labels
from sync.id_property import show_id_property
from sync.model import ChangeKind, Mode, Run, Sync, SyncState
from sync.packing import FORGOTTEN, ID_SIZE, UNCONFIRMED, hash_id, records_of, split_hashes
from sync.store.batches import LETTERS, SENT_LETTERS
from sync.store.snapshot import FIRST_BYTES
from sync.text import count_people

PEOPLE_AT_ONCE = 131_072  # people of the run that is taken back, held in memory at a time: some 40 MB
ADDED, UPDATED, REMOVED = (LETTERS[kind] for kind in ChangeKind)
MAY_BE_TRUE = "cfr"  # outcomes of an addition after which the snapshot says whether it may have arrived
CONFIRMED = "c"  # the outcome of a change that WebEngage accepted
UNHEARD = "f"  # the outcome of a change that may have been sent, without an answer


class UndoPlanner:
    """Plans one take-back from the log of what was sent. Killed anywhere: the next claim plans again.

    The log need not be in any order, so the id hashes are gone through range by range.
    """

    def __init__(self, lease: RunLease, sync: Sync, undone: int) -> None:
        """Plan to take back the run ``undone`` of this sync."""
        self._lease, self._sync, self._salt, self._undone = lease, sync, lease.salt, undone
        self._store = lease.store
        self._version = self._store.safety_lists.get_version()
        self._never_export = self._store.safety_lists.load_never_export(sync.license_code)
        self._former = find_former_ids(self._store, undone)
        if self._never_export:
            # Whom plans kept out since the last reading for what is on the list now; perhaps it has another ID of theirs.
            history, listed = self._store.plan_history, self._never_export
            self._never_export |= history.list_left_out(sync.id, self._former.read_by, listed)
        self._tripwires = self._store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        self._tripped: dict[bytes, str] = {}
        self._is_listed_since = self._former.is_listed_since(self._store, sync)
        self._unknown: dict[bytes, str] = {}
        self._changed_since = self._updated = self._kept_out = self._left_out = 0

    def write(self) -> Plan:
        """Write the batches; they count once the run is said to be planned."""
        with self._store.transaction():
            self._lease.renew()
            self._store.batches.delete_batches(self._lease.run.id)
        writer = BlockWriter(self._lease)
        for low, high in self._ranges():
            changes = self._invert(low, high)
            for who in sorted(changes):
                writer.add(who, (changes[who], changes[who].user_id, None))
        if writer.kinds[ChangeKind.ADD]:
            unknown = self._former.find_unknown_tripwires(self._store, self._sync)
            self._unknown = {who: label for who, label in unknown.items() if who not in self._tripped}
        unchanged = self._store.snapshot.count_members(self._sync.id) - writer.kinds[ChangeKind.REMOVE]
        return Plan(
            distinct=unchanged + writer.kinds[ChangeKind.ADD],
            unchanged=unchanged,
            kinds=writer.kinds,
            never_exported=self._kept_out,
            tripped=self._tripped,
            unknown_tripwires=frozenset(self._unknown),
            list_version=self._version,
            step_limits=writer.finish(),
            remarks=tuple(self._remarks()),
        )

    def _ranges(self) -> Iterator[tuple[int, int]]:
        people = sum(len(block.kinds) for block in self._store.batches.people_blocks(self._undone))
        pieces = min(FIRST_BYTES, people // PEOPLE_AT_ONCE + 1)
        for piece in range(pieces):
            yield piece * FIRST_BYTES // pieces, (piece + 1) * FIRST_BYTES // pieces

    def _invert(self, low: int, high: int) -> dict[bytes, Change]:
        """Return the inverse changes of those whose id hash begins with a byte of this range."""
        done = dict(self._logged(self._undone, low, high))
        for who in self._find_added_unheard(done, low, high):
            user_id, _, outcome = done[who]
            done[who] = user_id, ADDED, outcome
        changed_since = set(self._find_changed_since(done, low, high))
        held = SentRange(self._store, self._sync.id, low, high)  # those whom WebEngage may hold as true
        held_true = {who for records in held.records() for who in split_hashes(records)}
        changes: dict[bytes, Change] = {}
        for who, (user_id, kind, outcome) in done.items():
            if kind == UPDATED:
                self._updated += outcome in SENT_LETTERS and who not in changed_since
            elif kind != REMOVED and outcome in MAY_BE_TRUE and who in held_true:
                changes[who] = Change(ChangeKind.REMOVE, UNCONFIRMED, user_id)
            elif kind == REMOVED and outcome in SENT_LETTERS:
                changes[who] = Change(ChangeKind.ADD, self._content(user_id), user_id)
        self._changed_since += len(changes.keys() & changed_since)
        inverse = {who: change for who, change in changes.items() if who not in changed_since}
        barred = {who for who, one in inverse.items() if one.kind is ChangeKind.ADD and who in self._never_export}
        self._kept_out += len(barred)
        planned = {who: change for who, change in inverse.items() if who not in barred}
        if self._is_listed_since:
            removed = {who: change for who, change in planned.items() if change.kind is ChangeKind.REMOVE}
            self._left_out += len(planned) - len(removed)
            planned = removed
        entering = {who for who, one in planned.items() if one.kind is ChangeKind.ADD}
        self._tripped |= {who: self._tripwires[who] for who in entering & self._tripwires.keys()}
        return planned

    def _find_changed_since(self, done: dict[bytes, tuple[str, str, str]], low: int, high: int) -> Iterator[bytes]:
        """Yield whom a later run changed last, but for those whom it may have changed back, without an answer.

        An update without an answer adds who may be false, and of who is true, or may be, it changes nothing here.
        """
        last: dict[bytes, tuple[str, str]] = {}
        for run_id in self._store.plan_history.list_later(self._sync.id, self._undone):
            for who, (_, kind, outcome) in self._logged(run_id, low, high):
                if who not in done or outcome not in SENT_LETTERS:
                    continue
                is_update_unheard = (kind, outcome) == (UPDATED, UNHEARD)
                if not is_update_unheard or last.get(who, (REMOVED, outcome))[0] == REMOVED:
                    last[who] = ADDED if is_update_unheard else kind, outcome
        for who, (kind, outcome) in last.items():
            if outcome == UNHEARD and {kind, done[who][1]} == {ADDED, REMOVED}:
                continue
            yield who

    def _find_added_unheard(self, done: dict[bytes, tuple[str, str, str]], low: int, high: int) -> set[bytes]:
        """Return whom this run updated only since a run before it may have added them, without an answer.

        They may have been true by then, so they were planned as an update; before both they were not.
        """
        updated = {who for who, (_, kind, outcome) in done.items() if kind == UPDATED and outcome in SENT_LETTERS}
        added = set[bytes]()
        for run_id in self._store.plan_history.list_since_success(self._sync.id, self._undone) if updated else ():
            for who, (_, kind, outcome) in self._logged(run_id, low, high):
                if who in updated and (kind, outcome) == (ADDED, UNHEARD):
                    added.add(who)
                elif outcome == CONFIRMED:
                    added.discard(who)
        return added

    def _content(self, user_id: str) -> bytes:
        """Return the content hash of somebody who is set to true; the values mapped for them are not known any more.

        With a mapping the next run sends them again.
        """
        if self._sync.mapping:
            return UNCONFIRMED
        return records_of([user_id], [], self._salt, self._salt)[0][ID_SIZE:]

    def _logged(self, run_id: int, low: int, high: int) -> Iterator[tuple[bytes, tuple[str, str, str]]]:
        """Return who is in the log of a run, within a range of id hashes: id, kind and outcome by hash."""
        for block in self._store.batches.people_blocks(run_id):
            self._lease.renew_when_due()
            for user_id, kind, outcome in zip(block.ids(), block.kinds, block.outcomes, strict=True):
                who = hash_id(user_id, self._salt)
                if low <= who[0] < high and user_id != FORGOTTEN:
                    yield who, (user_id, kind, outcome)

    def _remarks(self) -> Iterator[str]:
        """Return what this take-back leaves as it is, and why; never an id or a value."""
        undone = self._store.runs.get_run(self._undone)
        if undone and undone.id_property_before not in (None, self._sync.id_property):
            yield f"The User ID property is {show_id_property(undone.id_property_before or '')} again then."
            yield from explain_lost_listings(self._store, self._sync, self._sync.id_property)
        if self._unknown:
            labels = self._unknown.values()
            yield explain_unknown_tripwires(labels, show_labels(labels), self._former.name)
        if self._changed_since:
            yield f"Changed by a later run, so left as they are: {count_people(self._changed_since)}."
        if self._updated:
            yield (
                f"Updated, and left with the values they have, since former values are personal data and are not kept: "
                f"{count_people(self._updated)}."
            )
        if self._kept_out:
            yield f"On the never-export list, so kept out: {count_people(self._kept_out)}."
        if self._left_out:
            yield (
                f"Not set to true: {count_people(self._left_out)}. Somebody was put on the never-export list after they were "
                f"read, and {self._former.name} does not tell who that is; the next refresh adds those who are in the cohort."
            )


def explain_pause(run: Run, why: str) -> str:
    """Return why a run that failed pauses its sync; after a take-back that began, resuming would send the same again."""
    if run.undoes is None or not run.approved:
        return why
    return (
        f"Taking back run {run.undoes} failed half-way: {why} Take it back again before you resume: a refresh sends what "
        "the cohort says."
    )


def explain_refresh_after_undo(undone: int, added: int) -> str:
    """Return why the first refresh after a take-back is held."""
    return (
        f"Run {undone} was taken back, and nothing was sent since: {count_people(added)} would be added. Check the cohort "
        "before you approve."
    )


def explain_undo(run: Run, sync: Sync, plan: Plan) -> str:
    """Return what a person decides about when they approve a take-back; what it cannot do comes first."""
    added, _, removed = plan.counts
    counts = [
        f"{value} for {count_people(people)}" for value, people in (("to false", removed), ("to true", added)) if people
    ]
    lines = [
        "A message that was sent cannot be unsent.",
        f"Taking back run {run.undoes} would set “{sync.attribute}” {' and '.join(counts)}."
        if counts
        else f"Taking back run {run.undoes} would change 0 people.",
        *plan.remarks,
        *([explain_tripwires(plan.tripped.values(), "to be set to true")] if plan.tripped else []),
    ]
    if sync.mode is Mode.DYNAMIC and sync.state is not SyncState.FINISHED:
        lines.append("The sync is paused then, or its next refresh would send the same again.")
    return " ".join(lines)
