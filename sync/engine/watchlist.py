"""Find who of a reading is on the never-export list of the account, or a tripwire of the cohort."""

from __future__ import annotations

from sync.model import Sync
from sync.packing import ID_SIZE, RECORD_SIZE
from sync.store import Store


class Watchlist:
    """The lists as they are when a plan is made; ``version`` shows later whether the never-export list changed."""

    def __init__(self, store: Store, sync: Sync) -> None:
        """Load the lists of this sync's account and cohort."""
        self._store = store
        # First the version: a change in between is noticed then.
        self.version = store.safety_lists.get_version()
        self.never_export = store.safety_lists.load_never_export(sync.license_code)
        self._tripwires = store.safety_lists.load_tripwires(sync.project_id, sync.cohort_id)
        self.listed: frozenset[bytes] = frozenset()
        self.tripped: dict[bytes, str] = {}

    def search(self, run_id: int) -> None:
        """Search a run's staged pages: ``listed`` are those never exported, ``tripped`` the labels of tripwires."""
        watched, found = self.never_export | self._tripwires.keys(), set[bytes]()
        if not watched:
            return
        for _, records in self._store.staged.pages(run_id):
            found |= watched & {records[at : at + ID_SIZE] for at in range(0, len(records), RECORD_SIZE)}
        self.listed = self.never_export & found
        self.tripped = {who: self._tripwires[who] for who in self._tripwires.keys() & found}

    def leave_out(self, records: set[bytes]) -> tuple[set[bytes], int]:
        """Return the records of those who may be exported, and how many different people are not."""
        if not self.listed:
            return records, 0
        out = {record for record in records if record[:ID_SIZE] in self.listed}
        return records - out, len({record[:ID_SIZE] for record in out})
