"""The migration that gave tables, columns and stored words their plain names; part of sync/store/migrations.

A migration speaks of the schema as it was at its place in the order: nothing here follows later renamings.
"""

from __future__ import annotations

import sqlite3

# Table, old column, new column.
_COLUMNS = (
    ("project", "tail", "secret_last4"),
    ("project", "pages_count", "later_pages_counted"),
    ("webengage", "tail", "secret_last4"),
    ("sync", "every", "interval_seconds"),
    ("sync", "anchor", "schedule_anchor"),
    ("sync", "guard", "guard_enabled"),
    ("sync", "reason", "pause_reason"),
    ("sync", "last_run", "last_run_id"),
    ("run", "dry", "dry_run"),
    ("run", "waiting", "wait_reason"),
    ("run", "cancel_wanted", "cancel_requested"),
    ("run", "expected", "expected_total"),
    ("batch", "people", "member_count"),
    ("refusal", "live", "active"),
    ("event", "what", "message"),
    ("audit", "who", "actor"),
    ("audit", "what", "action"),
    ("audit", "subject", "target"),
    ("runner", "seen_at", "heartbeat_at"),
    ("query", "later_page", "is_later_page"),
    ("query", "flying_until", "in_flight_until"),
)
_TABLES = (
    ("project", "mixpanel_project"),
    ("webengage", "webengage_account"),
    ("staged", "staged_page"),
    ("told", "delivery_log"),
    ("refusal", "rejection"),
    ("pace", "webengage_rate"),
    ("query", "mixpanel_query"),
    ("quiet", "mixpanel_block"),
)
_INDEXES = (
    ("told_of_run", "create index delivery_log_of_run on delivery_log (run_id)"),
    (
        "one_live_refusal",
        "create unique index one_active_rejection on rejection (sync_id, user_id) where active = 1",
    ),
    (
        "query_of_project",
        "create index mixpanel_query_of_project on mixpanel_query (project_id, at, is_later_page)",
    ),
    (
        "query_flying",
        "create index mixpanel_query_in_flight on mixpanel_query (project_id, in_flight_until) "
        "where in_flight_until is not null",
    ),
)
# Words stored in rows and named in CHECKs; a CHECK cannot be altered, so such a table is written again.
_WORDS = {"doubt": "in_flight", "settled": "confirmed", "enter": "add", "exit": "remove"}
_WORD_COLUMNS = ("state", "outcome", "kind")
_WORD_TABLES = ("batch", "delivery_log", "rejection")
_REST = (
    "update setting set name = 'keep_rejections_days' where name = 'keep_refusals_days'",
    # A preview is an answer kept for ten minutes, as JSON whose keys are renamed too; it is asked for again.
    "update cohort set preview = null",
)
_PULLED = """
    create view pulled as
      select s.run_id, s.page, s.chunk, coalesce(s.marks, c.marks) as marks, coalesce(s.ids, c.ids) as ids, s.sealed_values
      from staged_page s join run r on r.id = s.run_id
      left join snapshot c on c.sync_id = r.sync_id and c.chunk = s.chunk
"""


def rename_everything(db: sqlite3.Connection) -> None:
    """Rename tables, columns and stored words of the first edition; every row and every later column stays.

    What an earlier migration has already replaced is left alone. Killed half-way: the caller's transaction is rolled
    back, and the next opening begins again.
    """
    has_view = "pulled" in _names(db, "view")
    db.execute("drop view if exists pulled")
    for table, old, new in _COLUMNS:
        if old in _columns(db, table):
            db.execute(f"alter table {table} rename column {old} to {new}")
    for old, new in _TABLES:
        if old in _names(db, "table"):
            db.execute(f"alter table {old} rename to {new}")
    for old, statement in _INDEXES:
        if old in _names(db, "index"):
            db.execute(f"drop index {old}")
            db.execute(statement)
    for table in _WORD_TABLES:
        _replace_words(db, table)
    for statement in (*_REST, *([_PULLED] if has_view else [])):
        db.execute(statement)


def _names(db: sqlite3.Connection, kind: str) -> set[str]:
    return {row[0] for row in db.execute("select name from sqlite_master where type = ?", [kind])}


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"pragma table_info({table})")]


def _translated(statement: str) -> str:
    for old, new in _WORDS.items():
        statement = statement.replace(f"'{old}'", f"'{new}'")
    return statement


def _replace_words(db: sqlite3.Connection, table: str) -> None:
    """Write a table again whose CHECK names former words, as SQLite's documentation of ALTER TABLE describes."""
    found = db.execute("select sql from sqlite_master where type = 'table' and name = ?", [table]).fetchone()
    if found is None or _translated(found[0]) == found[0]:
        return
    others = db.execute(
        "select sql from sqlite_master where tbl_name = ? and type <> 'table' and sql is not null", [table]
    )
    again = [_translated(row[0]) for row in others]
    words = " ".join(f"when '{old}' then '{new}'" for old, new in _WORDS.items())
    columns = _columns(db, table)
    values = [f"case {name} {words} else {name} end" if name in _WORD_COLUMNS else name for name in columns]
    db.execute(f"alter table {table} rename to former_{table}")
    db.execute(_translated(found[0]))
    db.execute(f"insert into {table} ({', '.join(columns)}) select {', '.join(values)} from former_{table}")
    db.execute(f"drop table former_{table}")
    for statement in again:
        db.execute(statement)
