"""Find somebody whom WebEngage took before, to tell whether the account or the people are at fault."""

from __future__ import annotations

from sync.engine.watchlist import load_listed
from sync.model import Run, Sync
from sync.packing import ID_SIZE, UNCONFIRMED, split_records
from sync.store import Store

BUCKETS_SEARCHED = 4  # of the snapshot; some 16,000 people


def find_witness(store: Store, sync: Sync, run: Run) -> str | None:
    """Return the user id of a member WebEngage confirmed before, whom this run does not change; None without one.

    Sending them once more states what WebEngage holds already.
    """
    listed = load_listed(store, run, sync)
    for low, high in store.snapshot.ranges(sync.id)[:BUCKETS_SEARCHED]:
        people = store.snapshot.bucket(sync.id, low, high)
        confirmed = {
            user_id
            for record, user_id in zip(split_records(people.records), people.ids, strict=True)
            if record[ID_SIZE:] != UNCONFIRMED and record[:ID_SIZE] not in listed
        }
        confirmed -= store.rejections.rejected_before(sync.id, 0)
        for block in store.batches.blocks(run.id):
            confirmed.difference_update(block.ids)
        if confirmed:
            return min(confirmed)
    return None
