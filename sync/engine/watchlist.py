"""Find who of a reading is on the never-export list of the account, or a tripwire of the cohort.

When a profile property is the User ID, a member is found by the distinct_id, too: who was listed under it must not be
sent because another property was chosen since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain

from sync import id_property
from sync.engine.former_ids import explain_unknown_tripwires, find_former_ids
from sync.engine.lease import RunLease
from sync.engine.retry import TripwireFound
from sync.engine.seen_chunks import SeenChunks
from sync.model import ChangeKind, Run, Sync
from sync.packing import ID_SIZE, MEMBER_SIZE, split_entries, split_hashes
from sync.store import Store

LABELS_SHOWN = 5  # people named by their masked labels in a reason


class Watchlist:
    """The lists as they are when a plan is made; ``version`` shows later whether the never-export list changed."""

    def __init__(self, store: Store, sync: Sync) -> None:
        self._store, self._sync_id, self._by_member = store, sync.id, bool(sync.id_property)
        self._license_code = sync.license_code
        # First the version: a change in between is noticed then.
        self.version = store.safety_lists.get_version()
        self.never_export = store.safety_lists.load_never_export(sync.license_code)
        self._tripwires = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        self.listed: frozenset[bytes] = frozenset()
        self.tripped: dict[bytes, str] = {}
        self.entries: frozenset[tuple[bytes, bytes]] = frozenset()

    def search(self, run_id: int, chunks: SeenChunks) -> None:
        """Search a run's readings: ``listed`` are those never exported, ``tripped`` the labels of tripwires.

        ``entries``: those listed, each as found and as on the list.

        Anonymous and invalid members are never exported anyway, and trip all the same.
        """
        watched = self.never_export | self._tripwires.keys()
        if not watched:
            return
        by_member = self._by_member
        found = find_members(self._store, run_id, watched) if by_member else self._find_people(run_id, watched, chunks)
        self.entries = frozenset((who, entry) for who, entry in found if entry in self.never_export)
        self.listed = frozenset(who for who, _ in self.entries)
        self.never_export |= self.listed
        entries = {entry for _, entry in found} | self._store.staged.list_others(run_id)
        self.tripped = {entry: self._tripwires[entry] for entry in entries & self._tripwires.keys()}

    def is_listed_since(self, who: bytes, since: float) -> bool:
        """Return whether somebody of the readings was put on the never-export list after this time."""
        entries = {entry for one, entry in self.entries if one == who}
        return not entries.isdisjoint(self._store.safety_lists.load_never_export(self._license_code, since))

    def _find_people(self, run_id: int, watched: frozenset[bytes], chunks: SeenChunks) -> set[tuple[bytes, bytes]]:
        """Return who is watched, each as found and as on the list, which is the same.

        Known chunks are searched for tripwires only: a never-export list that changed since leaves none known.
        """
        found = set[bytes]()
        known = chunks.list_records(self._store, self._sync_id) if self._tripwires else ()
        for records in chain((page for _, page in self._store.staged.pages(run_id)), known):
            found |= watched.intersection(split_hashes(records))
        return {(who, who) for who in found}

    def leave_out(self, records: set[bytes]) -> tuple[set[bytes], int]:
        """Return the records of those who may be exported, and how many different people are not."""
        if not self.listed:
            return records, 0
        out = {record for record in records if record[:ID_SIZE] in self.listed}
        return records - out, len({record[:ID_SIZE] for record in out})


def find_members(store: Store, run_id: int, watched: Collection[bytes]) -> set[tuple[bytes, bytes]]:
    """Return who is watched by the User ID or by the distinct_id, each as found and as on the list.

    Only members of a run whose User ID is a profile property are found.
    """
    by_member = {entry[:MEMBER_SIZE]: entry for entry in watched}
    found = set[tuple[bytes, bytes]]()
    for _, entries in store.staged.members(run_id):
        for who, member, _ in split_entries(entries):
            if who in watched:
                found.add((who, who))
            if member in by_member:
                found.add((who, by_member[member]))
    return found


def load_listed(store: Store, run: Run, sync: Sync) -> frozenset[bytes]:
    """Return the id hashes of those whom a planned run must not send, by the never-export list of now.

    A take-back that cannot know whether somebody listed since is among those it sets to true must send none of them.
    """
    listed = store.safety_lists.load_never_export(sync.license_code)
    if run.undoes is not None:
        former = find_former_ids(store, run.undoes)
        return listed | (_list_entering(store, run.id) if former.is_listed_since(store, sync) else frozenset())
    return listed | {who for who, _ in find_members(store, run.id, listed)} if sync.id_property else listed


def _list_entering(store: Store, run_id: int) -> frozenset[bytes]:
    """Return the id hashes of those whom a plan sets to true."""
    planned = _iterate_planned(store, run_id, lambda: None)
    return frozenset(who for who, kind in planned if kind is ChangeKind.ADD)


def require_no_new_tripwires(lease: RunLease, sync: Sync) -> None:
    """Raise TripwireFound when a tripwire set since a run was planned is in the cohort, or may be set to true by it."""
    run = lease.store.runs.get_run(lease.run.id) or lease.run
    found = _find_new_tripwires(lease, sync)
    what = "in it" if run.undoes is None else "to be set to true"
    reasons, unknown, name = [explain_tripwires(found.values(), what)] if found else [], dict[bytes, str](), ""
    if run.undoes is not None and run.entered:
        former = find_former_ids(lease.store, run.undoes)
        unknown, name = former.find_unknown_tripwires(lease.store, sync), former.name
        known = lease.store.plan_history.list_tripped(run.id) | found.keys()
        unknown = {who: label for who, label in unknown.items() if who not in known}
    if unknown:
        reasons.append(explain_unknown_tripwires(unknown.values(), show_labels(unknown.values()), name))
    if reasons:
        raise TripwireFound(found | unknown, " ".join(reasons))


def _find_new_tripwires(lease: RunLease, sync: Sync) -> dict[bytes, str]:
    """Return the labels, by id hash, of tripwires set since a run was planned whose people it found in the cohort.

    A take-back and a clear read no cohort: with them, these are the people whom they set to true.
    """
    store, run_id = lease.store, lease.run.id
    labels = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
    watched = labels.keys() - store.plan_history.list_tripped(run_id)
    if not watched:
        return {}
    planned = _find_planned(lease, watched)
    entering = {who for who, kind in planned.items() if kind is not ChangeKind.REMOVE}
    if lease.run.purpose not in ("clear", "undo"):
        entering |= {entry for _, entry in find_members(store, run_id, watched)}
        entering |= watched & store.staged.list_others(run_id)
        entering |= {who for who in watched - planned.keys() if store.snapshot.find(sync.id, who) is not None}
    return {who: labels[who] for who in entering}


def _find_planned(lease: RunLease, watched: Collection[bytes]) -> dict[bytes, ChangeKind]:
    """Return what a run's plan does to each of these people whom it names."""
    planned = _iterate_planned(lease.store, lease.run.id, lease.renew_when_due)
    return {who: kind for who, kind in planned if who in watched}


def _iterate_planned(
    store: Store, run_id: int, begin_block: Callable[[], object]
) -> Iterator[tuple[bytes, ChangeKind]]:
    """Yield whom a run's plan names, by id hash, and what it does to them; ``begin_block`` is called first for each block."""
    salt = store.connections.get_salt()
    for block in store.batches.blocks(run_id):
        begin_block()
        yield from block.changes(salt)


def show_labels(labels: Collection[str]) -> str:
    """Return the labels of a few people, and how many more there are."""
    more = f" and {len(labels) - LABELS_SHOWN:,} more" if len(labels) > LABELS_SHOWN else ""
    return f"{', '.join(sorted(labels)[:LABELS_SHOWN])}{more}"


def explain_lost_listings(store: Store, sync: Sync, before: str) -> Iterator[str]:
    """Yield that the lists find nobody by a User ID property that is given up, when it is one and somebody is listed."""
    lists = store.safety_lists
    if before and (
        lists.count_never_export(sync.license_code) or lists.load_tripwires(sync.project_id, sync.cohort_id)
    ):
        yield id_property.explain_lost_listings(before)


def explain_tripwires(labels: Collection[str], what: str = "in it") -> str:
    """Return why tripwires hold a plan, with the labels of a few of these people."""
    people, are = ("1 person", "is") if len(labels) == 1 else (f"{len(labels):,} people", "are")
    return (
        f"Tripwire: {people} who must never be in this cohort {are} {what} ({show_labels(labels)}). "
        "Check the cohort's rule in Mixpanel."
    )
