"""The migration to the engine of the second edition; part of sync/store/migrations.

What the first engine stored is brought into the new tables, without anything being sent. A migration speaks of the
schema as it was at its place in the order: nothing here follows later renamings.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from itertools import groupby

from sync.packing import CONTENT_SIZE, RECORD_SIZE, UNCONFIRMED, decompress, hash_id, pack, unpack_ids

_NEW_TABLES = (
    """
    create table new_page (
      run_id integer not null references run on delete cascade,
      reading integer not null check (reading in (1, 2)),
      page integer not null,
      rows integer not null,
      anonymous integer not null,
      invalid integer not null,
      is_full integer not null check (is_full in (0, 1)),
      total integer,
      digest blob not null,
      is_known integer not null check (is_known in (0, 1)),
      records blob not null,
      ids blob not null,
      sealed_values blob,
      primary key (run_id, reading, page)
    ) strict
    """,
    """
    create table snapshot_bucket (
      sync_id integer not null references sync,
      first_byte integer not null check (first_byte between 0 and 255),
      records blob not null check (length(records) % 24 = 0 and length(records) > 0),
      ids blob not null,
      primary key (sync_id, first_byte)
    ) strict
    """,
    """
    create table known_page (
      sync_id integer not null references sync,
      digest blob not null,
      primary key (sync_id, digest)
    ) strict, without rowid
    """,
    """
    create table new_batch (
      run_id integer not null references run on delete cascade,
      number integer not null,
      state text not null default 'pending' check (state in ('pending', 'in_flight', 'confirmed')),
      member_count integer not null check (member_count > 0),
      primary key (run_id, number)
    ) strict, without rowid
    """,
    """
    create table batch_block (
      run_id integer not null references run on delete cascade,
      block integer not null,
      kinds text not null,
      ids blob not null,
      contents blob not null check (length(contents) = 8 * length(kinds)),
      sealed_values blob,
      primary key (run_id, block)
    ) strict
    """,
    """
    create table new_log (
      run_id integer not null references run on delete cascade,
      block integer not null,
      kinds text not null,
      outcomes text not null check (length(outcomes) = length(kinds)),
      ids blob not null,
      primary key (run_id, block)
    ) strict
    """,
    """
    create table new_rejection (
      run_id integer not null,
      sync_id integer not null references sync,
      user_id text not null,
      kind text not null check (kind in ('add', 'update', 'remove', 'invalid')),
      outcome text not null check (outcome in ('invalid', 'rejected', 'membership only')),
      reason text not null check (reason <> ''),
      content_hash blob,
      may_be_sent integer not null default 0 check (may_be_sent in (0, 1)),
      at real not null,
      active integer not null check (active in (0, 1)),
      primary key (run_id, user_id)
    ) strict, without rowid
    """,
    """
    create table attribute_owner (
      license_code text not null,
      folded text not null,
      name text not null,
      sync_id integer,
      property text,
      primary key (license_code, folded),
      check ((sync_id is null) <> (property is null))
    ) strict, without rowid
    """,
    "alter table run add column failures integer not null default 0",
    "alter table run add column stalled_since real",
    "alter table run add column reading integer not null default 1",
    "alter table run add column furthest integer not null default 0",
    "alter table run add column planned_at real",
    "alter table run add column request text",
    "alter table mixpanel_query add column sync_id integer",
    "alter table mixpanel_project add column later_pages_counted_at real",
    "alter table mixpanel_project drop column later_pages_counted",
    "insert into new_rejection select run_id, sync_id, user_id, kind, iif(kind = 'invalid', 'invalid', 'rejected'), "
    "reason, iif(kind in ('add', 'update') and length(mark) = 16, substr(mark, 1, 8), null), 0, at, active from rejection",
)
_FORMER_TABLES = (
    "update run set planned = 0, state = 'queued', session_id = null, page_size = null, expected_total = null, "
    "lease_owner = null, lease_until = null, approved = 0 where finished_at is null",
    "drop view pulled",
    *(f"drop table {name}" for name in ("staged_page", "snapshot", "batch", "delivery_log", "rejection")),
    "alter table new_page rename to staged_page",
    "alter table new_batch rename to batch",
    "alter table new_log rename to delivery_log",
    "alter table new_rejection rename to rejection",
    "create index batch_to_send on batch (run_id, number) where state <> 'confirmed'",
    "create unique index one_active_rejection on rejection (sync_id, user_id) where active = 1",
)
_AT_ONCE = 100_000  # people of a former snapshot held in memory at a time: some 30 MB
_BUCKET_SIZE = 4096  # people
_ENTRY = struct.Struct("<BIHIH")  # kind, page, place, chunk, place: where a former change stood
_REMOVE = 2  # the kind of a former change whose person stood in the snapshot
_LETTERS = {"add": "a", "update": "u", "remove": "r", "pending": "p", "in_flight": "f", "confirmed": "c"}


def bring_forward(db: sqlite3.Connection) -> None:
    """Replace the tables of the former engine; in the caller's transaction."""
    for statement in _NEW_TABLES:
        db.execute(statement)
    _bring_snapshots(db)
    _bring_log(db)
    _register_attributes(db)
    for statement in _FORMER_TABLES:
        db.execute(statement)


def _bring_snapshots(db: sqlite3.Connection) -> None:
    """Turn former snapshots into buckets. A former mark begins with today's content hash, so nobody is sent again.

    Whom a run under way may have sent about becomes unconfirmed, and the run reads again.
    """
    row = db.execute("select value from setting where name = 'salt'").fetchone()
    salt = int(row[0]) if row else 0
    for (sync_id,) in db.execute("select distinct sync_id from snapshot union select sync_id from run").fetchall():
        unsure = {hash_id(user_id, salt): user_id for user_id in _maybe_sent(db, sync_id)}
        size = db.execute("select coalesce(sum(length(marks)), 0) / 16 from snapshot where sync_id = ?", (sync_id,))
        people = size.fetchone()[0] + len(unsure)
        width = 256
        while width > 1 and people * width > _BUCKET_SIZE * 256:
            width //= 2
        step = max(width, 256 * _AT_ONCE // max(people, 1) // width * width)
        for low in range(0, 256, step):
            found = _former_people(db, sync_id, salt, low, low + step)
            found |= {one: (UNCONFIRMED, user_id) for one, user_id in unsure.items() if low <= one[0] < low + step}
            _write_buckets(db, sync_id, width, found)
        db.execute(
            "update sync set size = (select coalesce(sum(length(records) / ?), 0) from snapshot_bucket "
            "where sync_id = sync.id) where id = ?",
            (RECORD_SIZE, sync_id),
        )


def _write_buckets(db: sqlite3.Connection, sync_id: int, width: int, found: dict[bytes, tuple[bytes, str]]) -> None:
    for first, bucket in groupby(sorted(found), lambda one: one[0] // width * width):
        hashes = list(bucket)
        records = b"".join(one + found[one][0] for one in hashes)
        ids = pack([found[one][1] for one in hashes])
        db.execute("insert into snapshot_bucket values (?, ?, ?, ?)", (sync_id, first, records, ids))


def _former_people(
    db: sqlite3.Connection, sync_id: int, salt: int, low: int, high: int
) -> dict[bytes, tuple[bytes, str]]:
    found = {}
    for marks, ids in db.execute("select marks, ids from snapshot where sync_id = ?", (sync_id,)):
        for at, user_id in enumerate(unpack_ids(ids)):
            one = hash_id(user_id, salt)
            if low <= one[0] < high:
                found[one] = (marks[16 * at : 16 * at + CONTENT_SIZE], user_id)
    return found


def _maybe_sent(db: sqlite3.Connection, sync_id: int) -> Iterator[str]:
    """Return whom an unfinished run of the former engine may have sent about; its changes were positions."""
    rows = db.execute(
        "select run.id, entries from batch join run on run.id = run_id "
        "where sync_id = ? and finished_at is null and batch.state <> 'pending'",
        (sync_id,),
    ).fetchall()
    for run_id, entries in rows:
        for kind, page, place, chunk, at in _ENTRY.iter_unpack(decompress(entries)):
            sql, where = "select ids from pulled where run_id = ? and page = ?", (run_id, page)
            if kind == _REMOVE:
                sql, where = "select ids from snapshot where sync_id = ? and chunk = ?", (sync_id, chunk)
            row = db.execute(sql, where).fetchone()
            yield from (unpack_ids(row[0]) if row else [])[at if kind == _REMOVE else place :][:1]


def _register_attributes(db: sqlite3.Connection) -> None:
    """Memberships first; where two former syncs shared a mapped attribute, the older one keeps it."""
    rows = db.execute("select license_code, attribute, id, mapping from sync order by id").fetchall()
    owners = [(row[0], row[1], row[2], None) for row in rows]
    owners += [(row[0], target, None, source) for row in rows for source, target in json.loads(row[3])]
    db.executemany(
        "insert into attribute_owner (license_code, folded, name, sync_id, property) values (?, ?, ?, ?, ?) "
        "on conflict do nothing",
        [(code, name.casefold(), name, sync_id, source) for code, name, sync_id, source in owners],
    )


def _bring_log(db: sqlite3.Connection) -> None:
    for number, run_id, kind, outcome, ids in db.execute(
        "select id, run_id, kind, outcome, ids from delivery_log order by id"
    ).fetchall():
        people = len(unpack_ids(ids))
        kinds, outcomes = _LETTERS[kind] * people, _LETTERS[outcome] * people
        db.execute("insert into new_log values (?, ?, ?, ?, ?)", (run_id, number, kinds, outcomes, ids))
