"""Keep, when a backup is restored, whom the database that it replaces knows to be true in WebEngage, or to be so perhaps.

They are unconfirmed then, so that the next run sends them again, or ``false`` if they are not in their cohort.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping

from sync.model import BATCH_SIZE
from sync.packing import FORGOTTEN, hash_id, unpack_ids
from sync.store.batches import BATCHES_A_BLOCK
from sync.store.snapshot import Snapshot

TRUE_KINDS = "au"  # of a change that says true


def keep_live_people(live: sqlite3.Connection, copy: sqlite3.Connection, common: Mapping[int, int], salt: int) -> None:
    """Put everybody who may be true by the live database into the copy's snapshots, as unconfirmed.

    ``common``: the syncs of both, by their numbers in the live database; ``salt``: of both. Raise DatabaseError, as for a
    damaged file, when people of the live database cannot be read.
    """
    try:
        _keep(live, copy, common, salt)
    except sqlite3.Error:
        raise
    except Exception as odd:  # packed values that are none: SQLite's own check does not look at them
        damage = sqlite3.DatabaseError("people in the database cannot be read")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage from odd


def _keep(live: sqlite3.Connection, copy: sqlite3.Connection, common: Mapping[int, int], salt: int) -> None:
    for sync_id, number in common.items():
        into = Snapshot(copy)
        into.add_missing(number, Snapshot(live).iterate_people(sync_id))
        into.add_missing(number, _iterate_sent(live, sync_id, salt))
        into.note_size(number)


def find_common_salt(live: sqlite3.Connection, copy: sqlite3.Connection) -> int | None:
    """Return the salt of both databases, None when one of them has another or none yet."""
    mine, others = (
        db.execute("select max(value) from setting where name = 'salt'").fetchone()[0] for db in (live, copy)
    )
    return int(mine) if mine is not None and mine == others else None


def _iterate_sent(live: sqlite3.Connection, sync_id: int, salt: int) -> Iterator[dict[bytes, str]]:
    """Yield whom a run that has not ended sent as true, or may have: ids by id hash, a block at a time."""
    rejected = _list_rejected(live, sync_id)
    blocks = live.execute(
        """
        select run_id, block, kinds, ids
        from batch_block
        where block >= 0 and run_id in (select id from run where sync_id = ? and finished_at is null)
        """,
        (sync_id,),
    )
    for run_id, number, kinds, ids in blocks.fetchall():
        first = number * BATCHES_A_BLOCK
        sent = {
            row[0] - first
            for row in live.execute(
                "select number from batch where run_id = ? and number >= ? and number < ? and state <> 'pending'",
                (run_id, first, first + BATCHES_A_BLOCK),
            )
        }
        yield {
            hash_id(user_id, salt): user_id
            for at, (kind, user_id) in enumerate(zip(kinds, unpack_ids(ids), strict=True))
            if kind in TRUE_KINDS
            and at // BATCH_SIZE in sent
            and user_id != FORGOTTEN
            and user_id not in rejected[run_id]
        }


def _list_rejected(live: sqlite3.Connection, sync_id: int) -> defaultdict[int, set[str]]:
    """Return whom WebEngage surely did not take, by run."""
    found = defaultdict[int, set[str]](set)
    rows = live.execute(
        "select run_id, user_id from rejection where sync_id = ? and outcome = 'rejected' and not may_be_sent",
        (sync_id,),
    )
    for run_id, user_id in rows:
        found[run_id].add(user_id)
    return found
