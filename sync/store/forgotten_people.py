"""Forget again, when a backup is restored, those whom somebody had forgotten since it was made.

Nothing of them is kept but the salted fingerprint in the audit log, so everybody in the backup is compared with that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sync.packing import compute_fingerprint, hash_id, unpack_ids
from sync.store.maintenance import Maintenance
from sync.store.rejections import LONG_ID_KEPT
from sync.store.safety_lists import SafetyLists

_PACKED_IDS = ("snapshot_bucket", "batch_block", "delivery_log", "staged_page")


def list_forgotten_since(live: sqlite3.Connection, copy: sqlite3.Connection) -> frozenset[str]:
    """Return the fingerprints of those forgotten in the live database since the backup; before the audit log is kept."""
    wanted = "select at, target from audit where action = 'forget a person'"
    known = {tuple(row) for row in copy.execute(wanted)}
    return frozenset(row[1] for row in live.execute(wanted) if tuple(row) not in known)


def forget_again(copy: sqlite3.Connection, fingerprints: frozenset[str], salt: int) -> int:
    """Remove those with these fingerprints from the copy, return how many of them were in it; previews go, too."""
    if not fingerprints:
        return 0
    people = {one for one in _iterate_ids(copy) if compute_fingerprint(one, salt) in fingerprints}
    for user_id in people:
        Maintenance(copy).forget_person(user_id, salt)
        SafetyLists(copy).forget(hash_id(user_id, salt))
    copy.execute("update cohort set preview = null")
    # Of a long invalid id the rest is not kept, so nobody knows whose it is.
    copy.execute("delete from rejection where length(user_id) >= ?", (LONG_ID_KEPT,))
    return len(people)


def _iterate_ids(copy: sqlite3.Connection) -> Iterator[str]:
    """Yield every user id that is stored, some of them often."""
    for table in _PACKED_IDS:
        for row in copy.execute(f"select ids from {table} where ids <> x''"):
            yield from unpack_ids(row[0])
    for row in copy.execute("select user_id from rejection"):
        yield row[0]
