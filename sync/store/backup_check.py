"""Check that everybody in a backup can be read: SQLite's own check does not look into packed values."""

from __future__ import annotations

import sqlite3

from sync.errors import DatabaseUnusable
from sync.packing import hash_id, split_hashes, unpack_ids
from sync.store import database


def is_whole(copy: sqlite3.Connection) -> bool:
    """Bring the copy of a backup to the newest schema; return whether it is of Cohort Sync, and nothing in it damaged.

    Raise DatabaseUnusable when this version does not know its schema.
    """
    if copy.execute("pragma integrity_check(1)").fetchone()[0] != "ok" or not _is_ours(copy):
        return False
    try:
        if database.needs_migration(copy):
            database.apply_migrations(copy)
        return _is_everybody_readable(copy)
    except (sqlite3.Error, DatabaseUnusable):
        raise
    except Exception:  # packed values that are none, whichever way they are met
        return False


def _is_ours(copy: sqlite3.Connection) -> bool:
    found = copy.execute("select count(*) from sqlite_master where name in ('sync', 'run', 'setting')").fetchone()
    return bool(found[0] == 3)


def _is_everybody_readable(copy: sqlite3.Connection) -> bool:
    """Return whether each packed list of ids is one, with as many as stand beside it; in a snapshot each with its hash."""
    row = copy.execute("select value from setting where name = 'salt'").fetchone()
    salt = int(row[0]) if row else 0  # without one nobody is known yet
    return (
        all(
            list(split_hashes(records)) == [hash_id(user_id, salt) for user_id in unpack_ids(ids)]
            for records, ids in copy.execute("select records, ids from snapshot_bucket")
        )
        and all(
            len(unpack_ids(ids)) == people
            for ids, people in copy.execute(
                """
                select ids, length(kinds)
                from batch_block
                union all
                select ids, length(outcomes)
                from delivery_log
                """
            )
        )
        and all(unpack_ids(row[0]) for row in copy.execute("select ids from staged_page where ids <> x''"))
    )
