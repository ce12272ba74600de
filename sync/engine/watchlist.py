"""Find who of a reading is on the never-export list of the account, or a tripwire of the cohort.

When a profile property is the User ID, a member is found by the distinct_id, too: who was listed under it must not be
sent because another property was chosen since.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

from sync.engine.lease import RunLease
from sync.engine.seen_chunks import SeenChunks
from sync.model import ChangeKind, Sync
from sync.packing import FORGOTTEN, ID_SIZE, MEMBER_SIZE, hash_id, split_entries, split_hashes
from sync.store import Store
from sync.store.batches import KINDS

LABELS_SHOWN = 5  # people named by their masked labels in a reason


class Watchlist:
    """The lists as they are when a plan is made; ``version`` shows later whether the never-export list changed."""

    def __init__(self, store: Store, sync: Sync) -> None:
        """Load the lists of this sync's account and cohort."""
        self._store, self._sync_id, self._by_member = store, sync.id, bool(sync.id_property)
        # First the version: a change in between is noticed then.
        self.version = store.safety_lists.get_version()
        self.never_export = store.safety_lists.load_never_export(sync.license_code)
        self._tripwires = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        self.listed: frozenset[bytes] = frozenset()
        self.tripped: dict[bytes, str] = {}

    def search(self, run_id: int, chunks: SeenChunks) -> None:
        """Search a run's readings: ``listed`` are those never exported, ``tripped`` the labels of tripwires.

        Anonymous and invalid members are never exported anyway, and trip all the same.
        """
        watched = self.never_export | self._tripwires.keys()
        if not watched:
            return
        by_member = self._by_member
        found = find_members(self._store, run_id, watched) if by_member else self._find_people(run_id, watched, chunks)
        self.listed = frozenset(who for who, entry in found if entry in self.never_export)
        self.never_export |= self.listed
        entries = {entry for _, entry in found} | self._store.staged.list_others(run_id)
        self.tripped = {entry: self._tripwires[entry] for entry in entries & self._tripwires.keys()}

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


def load_listed(store: Store, run_id: int, sync: Sync) -> frozenset[bytes]:
    """Return the id hashes of those whom a planned run must not send, by the never-export list of now."""
    listed = store.safety_lists.load_never_export(sync.license_code)
    return listed | {who for who, _ in find_members(store, run_id, listed)} if sync.id_property else listed


def find_new_tripwires(lease: RunLease, sync: Sync) -> dict[bytes, str]:
    """Return the labels, by id hash, of tripwires set since a run was planned whose people it found in the cohort.

    A take-back and a clear read no cohort: with them, these are the people whom they set to true.
    """
    store, run_id = lease.store, lease.run.id
    known, labels = (
        store.plan_history.tripped(run_id),
        store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id),
    )
    watched = labels.keys() - known
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
    store, found = lease.store, dict[bytes, ChangeKind]()
    salt = store.connections.get_salt()
    for block in store.batches.blocks(lease.run.id):
        lease.renew_when_due()
        for kind, user_id in zip(block.kinds, block.ids, strict=True):
            if user_id != FORGOTTEN and (who := hash_id(user_id, salt)) in watched:
                found[who] = KINDS[kind]
    return found


def explain_tripwires(labels: Collection[str], what: str = "in it") -> str:
    """Return why tripwires hold a plan, with the labels of a few of these people."""
    shown = sorted(labels)[:LABELS_SHOWN]
    more = f" and {len(labels) - LABELS_SHOWN:,} more" if len(labels) > LABELS_SHOWN else ""
    people, are = ("1 person", "is") if len(labels) == 1 else (f"{len(labels):,} people", "are")
    return (
        f"Tripwire: {people} who must never be in this cohort {are} {what} ({', '.join(shown)}{more}). "
        "Check the cohort's rule in Mixpanel."
    )
