"""Find somebody whom WebEngage took before, to tell whether the account or the people are at fault."""

from __future__ import annotations

import uuid

from sync.engine.lease import RunLease
from sync.engine.retry import Postpone
from sync.engine.watchlist import load_listed
from sync.errors import BatchRejected, RetryLater, UnexpectedResponse
from sync.model import Change, ChangeKind, Run, Sync
from sync.packing import ID_SIZE, UNCONFIRMED, split_records
from sync.store import Store
from sync.webengage import WebEngage, build_payload

MINUTE = 60.0  # seconds a free slot is waited for
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
        confirmed -= store.rejections.list_rejected_before(sync.id, 0)
        for block in store.batches.blocks(run.id):
            confirmed.difference_update(block.ids)
        if confirmed:
            return min(confirmed)
    return None


def is_witness_taken(lease: RunLease, sync: Sync, webengage: WebEngage) -> bool:
    """Send a member whom WebEngage took before once more, at its pace: if it does again, others are at fault.

    Return False without such a member. Raise RetryLater or Postpone when WebEngage does not say.
    """
    if find_witness(lease.store, sync, lease.run) is None:
        return False
    with lease.store.transaction():
        lease.renew()
        slots = lease.store.rate_limits.reserve_slots(
            sync.license_code, lease.now(), MINUTE, 1, lease.context.batches_a_minute
        )
        lease.count(requests=len(slots))
    if not slots:
        raise Postpone(MINUTE, "WebEngage asked to wait", failed=False)
    while (pause := slots[0] - lease.now()) > 0:
        lease.sleep(pause)
        lease.renew_when_due()
    witness = find_witness(lease.store, sync, lease.run)  # of now: the slot may have been a minute away
    if witness is None:
        return False
    member = Change(witness, ChangeKind.ADD)
    try:
        webengage.send_batch(build_payload(sync.attribute, [member], ()), uuid.uuid4().hex, [member])
    except BatchRejected:
        return False
    except UnexpectedResponse as problem:
        raise RetryLater(str(problem)) from None
    return True
