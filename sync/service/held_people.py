"""Find whom WebEngage holds for a sync, and whom the next run leaves as they are because WebEngage rejected them before.

Pages, previews and commands say what an export would do; they all ask here, so that they say what its run does.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sync.model import ChangeKind, Sync
from sync.store import Store


@dataclass(frozen=True, slots=True)
class HeldPeople:
    """User IDs of a sync: whom WebEngage holds as true, in the order stored, and whom it was sent as false.

    ``unsure`` of the first: they were sent something, but the answer was not received.
    ``not_added`` and ``not_removed``: whom WebEngage rejected, so that no run tries them again with the same content.
    """

    true: dict[str, None] = field(default_factory=dict)
    false: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    not_added: frozenset[str] = frozenset()
    not_removed: frozenset[str] = frozenset()

    def find_added(self, members: AbstractSet[str]) -> set[str]:
        """Return whom an export of these members would add."""
        return {one for one in members if one not in self.true and one not in self.not_added}

    def find_removed(self, members: AbstractSet[str]) -> set[str]:
        """Return whom an export of these members would remove."""
        return {one for one in self.true if one not in members and one not in self.not_removed}


def read_held(store: Store, sync: Sync | None) -> HeldPeople:
    """Return whom WebEngage holds for a sync, with what a run under way sent so far; nobody for a cohort without one."""
    if sync is None:
        return HeldPeople()
    true, false = dict.fromkeys(store.snapshot.iterate_members(sync.id)), set(store.batches.iterate_removed(sync.id))
    unsure = set(store.snapshot.iterate_unconfirmed(sync.id))
    for user_id, kind, is_confirmed in _iterate_sent_now(store, sync):
        unsure.discard(user_id)
        if not is_confirmed:
            true[user_id] = None
            unsure.add(user_id)
        elif kind is not ChangeKind.REMOVE:
            true[user_id] = None
        else:
            true.pop(user_id, None)
            false.add(user_id)
    standing = store.rejections.list_active(sync.id)
    removals = frozenset(user_id for user_id, (kind, _) in standing.items() if kind == ChangeKind.REMOVE)
    return HeldPeople(
        true=true,
        false=frozenset(false),
        unsure=frozenset(unsure),
        not_added=frozenset(standing) - removals,
        not_removed=removals - _find_listed_since(store, sync) if removals else removals,
    )


def count_held(store: Store, sync: Sync | None) -> int:
    """Return for how many people the attribute of a sync may be true now, as ``read_held`` has them.

    Asked at each drawing of a dialog, also while a run sends to hundreds of thousands. A plan adds who is not in the
    snapshot and removes who is in it, so letters are counted; but for a take-back, and once the snapshot changes at a
    run's end.
    """
    if sync is None:
        return 0
    with store.reading():
        run, size = store.runs.get_active(sync.id), store.snapshot.count_members(sync.id)
        if run is None or not run.planned or not store.batches.any_sent(run.id):
            return size
        if run.undoes is not None or store.batches.has_log(run.id):
            return len(read_held(store, sync).true)
        return size + store.batches.count_added(run.id, store.rejections.list_rejected_in(run.id))


def _iterate_sent_now(store: Store, sync: Sync) -> Iterator[tuple[str, ChangeKind, bool]]:
    """Yield whom a run under way has sent, what, and whether WebEngage answered; nobody whom it surely did not take."""
    run = store.runs.get_active(sync.id)
    if run is None or not run.planned:
        return
    rejected = store.rejections.list_rejected_in(run.id)
    for user_id, kind, is_confirmed in store.batches.iterate_sent(run.id):
        if rejected.get(user_id, True):  # of somebody rejected an earlier try that was not answered may be taken
            yield user_id, kind, is_confirmed and user_id not in rejected


def _find_listed_since(store: Store, sync: Sync) -> set[str]:
    """Return who was put on the never-export list after their removal was rejected: the next run tries them again."""
    removals = store.rejections.list_removals(sync.id)
    listed = store.safety_lists.find_never_exported(sync.license_code, removals)
    hashes = zip(listed, store.safety_lists.hash_ids(listed), strict=True)
    return {
        user_id
        for user_id, id_hash in hashes
        if id_hash in store.safety_lists.load_never_export(sync.license_code, removals[user_id])
    }
