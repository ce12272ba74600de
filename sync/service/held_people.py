"""Find whom WebEngage holds for a sync, and whom the next run leaves as they are because WebEngage rejected them before.

Pages, previews and commands say what an export would do; they all ask here, so that they say what its run does.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sync.model import ChangeKind, Sync
from sync.store import Store


@dataclass(frozen=True, slots=True)
class HeldPeople:
    """User IDs of a sync: whom WebEngage holds as true, in the order stored, and whom it was sent as false.

    ``not_added`` and ``not_removed``: whom WebEngage rejected, so that no run tries them again with the same content.
    """

    true: dict[str, None] = field(default_factory=dict)
    false: frozenset[str] = frozenset()
    not_added: frozenset[str] = frozenset()
    not_removed: frozenset[str] = frozenset()

    def find_added(self, members: AbstractSet[str]) -> set[str]:
        """Return whom an export of these members would add."""
        return {one for one in members if one not in self.true and one not in self.not_added}

    def find_removed(self, members: AbstractSet[str]) -> set[str]:
        """Return whom an export of these members would remove."""
        return {one for one in self.true if one not in members and one not in self.not_removed}


def read_held(store: Store, sync: Sync | None) -> HeldPeople:
    """Return whom WebEngage holds for a sync; nobody for a cohort that has none."""
    if sync is None:
        return HeldPeople()
    standing = store.rejections.active(sync.id)
    removals = frozenset(user_id for user_id, (kind, _) in standing.items() if kind == ChangeKind.REMOVE)
    return HeldPeople(
        true=dict.fromkeys(store.snapshot.iterate_members(sync.id)),
        false=frozenset(store.batches.iterate_removed(sync.id)),
        not_added=frozenset(standing) - removals,
        not_removed=removals - _find_listed_since(store, sync) if removals else removals,
    )


def _find_listed_since(store: Store, sync: Sync) -> set[str]:
    """Return who was put on the never-export list after their removal was rejected: the next run tries them again."""
    removals = store.rejections.list_removals(sync.id)
    listed = store.safety_lists.find_never_exported(sync.license_code, removals)
    hashes = zip(listed, store.safety_lists.hash_ids(listed), strict=True)
    return {
        user_id
        for user_id, id_hash in hashes
        if id_hash in store.safety_lists.list_never_export_since(sync.license_code, removals[user_id])
    }
