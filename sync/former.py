"""Bring what the first engine stored into the tables of today, without anything being sent."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from itertools import groupby

from sync.packing import CONTENT_SIZE, RECORD_SIZE, UNCONFIRMED, decompress, hash_id, pack, unpack_ids

_AT_ONCE = 100_000  # people of a former snapshot held in memory at a time: some 30 MB
_ENTRY = struct.Struct("<BIHIH")  # kind, page, place, chunk, place: where a former change stood
_LETTERS = {"enter": "a", "update": "u", "exit": "r", "pending": "p", "doubt": "f", "settled": "c"}


def bring_forward(plain: sqlite3.Connection) -> None:
    """Fill the new tables from the former ones, in the caller's transaction."""
    _bring_snapshots(plain)
    _bring_log(plain)
    _register_attributes(plain)


def _bring_snapshots(plain: sqlite3.Connection) -> None:
    """Turn former snapshots into buckets. A former mark begins with today's content hash, so nobody is sent again.

    Whom a run under way may have sent about becomes unconfirmed, and the run reads again.
    """
    row = plain.execute("select value from setting where name = 'salt'").fetchone()
    salt = int(row[0]) if row else 0
    for (sync_id,) in plain.execute("select distinct sync_id from snapshot union select sync_id from run").fetchall():
        unsure = {hash_id(user_id, salt): user_id for user_id in _maybe_sent(plain, sync_id)}
        size = plain.execute("select coalesce(sum(length(marks)), 0) / 16 from snapshot where sync_id = ?", (sync_id,))
        people = size.fetchone()[0] + len(unsure)
        width = 256
        while width > 1 and people * width > 4096 * 256:
            width //= 2
        step = max(width, 256 * _AT_ONCE // max(people, 1) // width * width)
        for low in range(0, 256, step):
            found = _former_people(plain, sync_id, salt, low, low + step)
            found |= {one: (UNCONFIRMED, user_id) for one, user_id in unsure.items() if low <= one[0] < low + step}
            _write_buckets(plain, sync_id, width, found)
        plain.execute(
            "update sync set size = (select coalesce(sum(length(records) / ?), 0) from snapshot_bucket "
            "where sync_id = sync.id) where id = ?",
            (RECORD_SIZE, sync_id),
        )


def _write_buckets(plain: sqlite3.Connection, sync_id: int, width: int, found: dict[bytes, tuple[bytes, str]]) -> None:
    for first, bucket in groupby(sorted(found), lambda one: one[0] // width * width):
        hashes = list(bucket)
        plain.execute(
            "insert into snapshot_bucket values (?, ?, ?, ?)",
            (sync_id, first, b"".join(one + found[one][0] for one in hashes), pack([found[one][1] for one in hashes])),
        )


def _former_people(
    plain: sqlite3.Connection, sync_id: int, salt: int, low: int, high: int
) -> dict[bytes, tuple[bytes, str]]:
    found = {}
    for marks, ids in plain.execute("select marks, ids from snapshot where sync_id = ?", (sync_id,)):
        for at, user_id in enumerate(unpack_ids(ids)):
            one = hash_id(user_id, salt)
            if low <= one[0] < high:
                found[one] = (marks[16 * at : 16 * at + CONTENT_SIZE], user_id)
    return found


def _maybe_sent(plain: sqlite3.Connection, sync_id: int) -> Iterator[str]:
    """Return whom an unfinished run of a former engine may have sent about; its changes were positions."""
    rows = plain.execute(
        "select run.id, entries from batch join run on run.id = run_id "
        "where sync_id = ? and finished_at is null and batch.state <> 'pending'",
        (sync_id,),
    ).fetchall()
    for run_id, entries in rows:
        for kind, page, place, chunk, at in _ENTRY.iter_unpack(decompress(entries)):
            sql, where = ("select ids from pulled where run_id = ? and page = ?", (run_id, page))
            if kind == 2:  # an exit stood in the snapshot
                sql, where = ("select ids from snapshot where sync_id = ? and chunk = ?", (sync_id, chunk))
            row = plain.execute(sql, where).fetchone()
            yield unpack_ids(row[0])[at if kind == 2 else place]


def _register_attributes(plain: sqlite3.Connection) -> None:
    """Memberships first; where two former syncs shared a mapped attribute, the older one keeps it."""
    rows = plain.execute("select license_code, attribute, id, mapping from sync order by id").fetchall()
    owners = [(row[0], row[1], row[2], None) for row in rows]
    owners += [(row[0], target, None, source) for row in rows for source, target in json.loads(row[3])]
    plain.executemany(
        "insert into attribute_owner (license_code, folded, name, sync_id, property) values (?, ?, ?, ?, ?) "
        "on conflict do nothing",
        [(code, name.casefold(), name, sync_id, source) for code, name, sync_id, source in owners],
    )


def _bring_log(plain: sqlite3.Connection) -> None:
    for row in plain.execute("select id, run_id, kind, outcome, ids from told order by id").fetchall():
        ids = unpack_ids(row[4])
        kinds, outcomes = _LETTERS[row[2]] * len(ids), _LETTERS[row[3]] * len(ids)
        plain.execute("insert into delivery_log values (?, ?, ?, ?, ?)", (row[1], row[0], kinds, outcomes, row[4]))
