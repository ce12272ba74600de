"""Keep, when a backup is restored, whom the database that it replaces knows to be true in WebEngage, or to be so perhaps.

They are unconfirmed then, so that the next run sends them again, or ``false`` if they are not in their cohort.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from sync.packing import FORGOTTEN, hash_id
from sync.store.batches import SENT_LETTERS, TRUE_LETTERS, Batches
from sync.store.rejections import Rejections
from sync.store.run_lists import RunLists
from sync.store.snapshot import Snapshot


def keep_live_people(live: sqlite3.Connection, copy: sqlite3.Connection, common: Mapping[int, int], salt: int) -> None:
    """Put everybody who may be true by the live database into the copy's snapshots, as unconfirmed.

    ``common``: the syncs of both, by their numbers in the live database; ``salt``: of both. Raise DatabaseError, as for a
    damaged file, when people of the live database cannot be read.
    """
    try:
        for sync_id, number in common.items():
            into = Snapshot(copy)
            into.add_missing(number, Snapshot(live).iterate_people(sync_id))
            into.add_missing(number, _iterate_sent(live, sync_id, salt))
            into.note_size(number)
    except sqlite3.Error:
        raise
    except Exception as odd:  # packed values that are none: SQLite's own check does not look at them
        damage = sqlite3.DatabaseError("people in the database cannot be read")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage from odd


def find_common_salt(live: sqlite3.Connection, copy: sqlite3.Connection) -> int | None:
    """Return the salt of both databases, None when one of them has another or none yet."""
    mine, others = (
        db.execute("select max(value) from setting where name = 'salt'").fetchone()[0] for db in (live, copy)
    )
    return int(mine) if mine is not None and mine == others else None


def _iterate_sent(live: sqlite3.Connection, sync_id: int, salt: int) -> Iterator[dict[bytes, str]]:
    """Yield whom a run that has not ended sent as true, or may have: ids by id hash, a block at a time."""
    run = RunLists(live).get_active(sync_id)
    if run is None:
        return
    rejected = Rejections(live).list_rejected_in(run.id)
    for block in Batches(live).iterate_sent_blocks(run.id):
        yield {
            hash_id(user_id, salt): user_id
            for user_id, kind, outcome in zip(block.ids(), block.kinds, block.outcomes, strict=True)
            if kind in TRUE_LETTERS
            and outcome in SENT_LETTERS
            and user_id != FORGOTTEN
            and rejected.get(user_id, True)  # of somebody rejected an earlier try that was not answered may be taken
        }
