"""Find who of a reading is on the never-export list of the account, or a tripwire of the cohort.

When a profile property is the User ID, a member is found by the distinct_id, too: who was listed under it must not be
sent because another property was chosen since.
"""

from __future__ import annotations

from sync.model import Sync
from sync.packing import ID_SIZE, MEMBER_SIZE, RECORD_SIZE, split_entries
from sync.store import Store


class Watchlist:
    """The lists as they are when a plan is made; ``version`` shows later whether the never-export list changed."""

    def __init__(self, store: Store, sync: Sync) -> None:
        """Load the lists of this sync's account and cohort."""
        self._store, self._by_member = store, bool(sync.id_property)
        # First the version: a change in between is noticed then.
        self.version = store.safety_lists.get_version()
        self.never_export = store.safety_lists.load_never_export(sync.license_code)
        self._tripwires = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        self.listed: frozenset[bytes] = frozenset()
        self.tripped: dict[bytes, str] = {}

    def search(self, run_id: int) -> None:
        """Search a run's staged pages: ``listed`` are those never exported, ``tripped`` the labels of tripwires."""
        watched = self.never_export | self._tripwires.keys()
        if not watched:
            return
        found = self._find_members(run_id, watched) if self._by_member else self._find_people(run_id, watched)
        self.listed = frozenset(who for who, entry in found if entry in self.never_export)
        self.never_export |= self.listed
        self.tripped = {entry: self._tripwires[entry] for _, entry in found if entry in self._tripwires}

    def _find_people(self, run_id: int, watched: frozenset[bytes]) -> set[tuple[bytes, bytes]]:
        """Return who is watched, each as found and as on the list, which is the same."""
        found = set[bytes]()
        for _, records in self._store.staged.pages(run_id):
            found |= watched & {records[at : at + ID_SIZE] for at in range(0, len(records), RECORD_SIZE)}
        return {(who, who) for who in found}

    def _find_members(self, run_id: int, watched: frozenset[bytes]) -> set[tuple[bytes, bytes]]:
        """Return who is watched by the User ID or by the distinct_id, each as found and as on the list."""
        by_member = {entry[:MEMBER_SIZE]: entry for entry in watched}
        found = set[tuple[bytes, bytes]]()
        for _, entries in self._store.staged.members(run_id):
            for who, member, _ in split_entries(entries):
                if who in watched:
                    found.add((who, who))
                if member in by_member:
                    found.add((who, by_member[member]))
        return found

    def leave_out(self, records: set[bytes]) -> tuple[set[bytes], int]:
        """Return the records of those who may be exported, and how many different people are not."""
        if not self.listed:
            return records, 0
        out = {record for record in records if record[:ID_SIZE] in self.listed}
        return records - out, len({record[:ID_SIZE] for record in out})
