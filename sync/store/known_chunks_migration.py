"""The migration to known chunks of pages, and to a ledger of queries that is not searched row by row."""

from __future__ import annotations

from sqlite_utils import Database

_KNOWN_CHUNKS = (
    "drop table known_page",
    """
    create table chunk_group (
      id integer primary key,
      sync_id integer not null references sync,
      digests blob not null check (length(digests) % 16 = 0),
      sizes blob not null check (length(sizes) = length(digests) / 4),
      records blob not null check (length(records) % 24 = 0)
    ) strict
    """,
    "create index chunk_group_of_sync on chunk_group (sync_id)",
    """
    create table known_page (
      sync_id integer not null references sync,
      digest blob not null check (length(digest) = 16),
      rows integer not null check (rows > 0),
      chunks blob not null check (length(chunks) % 16 = 0),
      primary key (sync_id, digest)
    ) strict
    """,
    # What is being read was packed in another form: those runs read from their first page again.
    "delete from staged_page where run_id in (select id from run where not planned)",
    """
    update run set reading = 1, furthest = 0, session_id = null, page_size = null, expected_total = null
    where finished_at is null and not planned
    """,
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
      digest blob not null default x'',
      seen blob not null default x'' check (length(seen) % 16 = 0),
      chunks blob not null default x'' check (length(chunks) % 16 = 0),
      places blob not null default x'' check (length(places) % 4 = 0),
      records blob not null default x'' check (length(records) % 24 = 0),
      news blob not null default x'' check (length(news) % 24 = 0),
      members blob not null default x'' check (length(members) % 32 = 0),
      others blob not null default x'' check (length(others) % 16 = 0),
      ids blob not null default x'',
      sealed_values blob,
      primary key (run_id, reading, page)
    ) strict
    """,
    """
    insert into new_page (run_id, reading, page, rows, anonymous, invalid, is_full, total, records, news, members, others,
      ids, sealed_values)
    select run_id, reading, page, rows, anonymous, invalid, is_full, total, records, news, members, others,
      ids, sealed_values
    from staged_page
    """,
    "drop table staged_page",
    "alter table new_page rename to staged_page",
    # A cohort of a million asks for a thousand pages, and each asks for the latest of these.
    """
    create index mixpanel_query_behind on mixpanel_query (project_id, behind_until) where behind_until is not null
    """,
)


def know_chunks(db: Database) -> None:
    """Know pages by chunks instead of as a whole, and find queries that were dated while a clock was behind."""
    for statement in _KNOWN_CHUNKS:
        db.execute(statement)
