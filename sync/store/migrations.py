"""The schema, forward only; every invariant that SQL can say is said here.

Migrations are applied by sqlite-utils, which keeps the applied ones in a table of its own. DDL is
written as SQL because ``table.create()`` knows neither STRICT nor CHECK.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sync.store import alert_migration as alerts
from sync.store import migration_statements as statements
from sync.store.engine_migration import bring_forward
from sync.store.plain_names import rename_everything

_SCHEMA = (
    """
    create table setting (
      name text primary key,
      value text not null
    ) strict
    """,
    """
    create table project (
      id integer primary key,
      name text not null,
      username text not null,
      sealed_secret text,
      tail text not null,
      region text not null,
      role text not null check (role in ('admin', 'below admin', 'not verified')),
      role_note text not null,
      checked_at real not null,
      cohorts_read_at real,
      pages_count integer not null default 0 check (pages_count in (0, 1))
    ) strict
    """,
    """
    create table webengage (
      license_code text primary key,
      data_center text not null,
      sealed_key text,
      tail text not null,
      checked_at real not null
    ) strict
    """,
    """
    create table cohort (
      project_id integer not null references project on delete cascade,
      id integer not null,
      name text not null,
      description text not null,
      count integer,
      created text not null,
      "group" integer not null check ("group" in (0, 1)),
      preview text,
      primary key (project_id, id)
    ) strict, without rowid
    """,
    """
    create table sync (
      id integer primary key,
      project_id integer not null,
      cohort_id integer not null,
      cohort_name text not null,
      license_code text not null,
      attribute text not null check (length(attribute) between 1 and 49),
      mode text not null check (mode in ('one-time', 'dynamic')),
      state text not null check (state in ('active', 'paused', 'finished')),
      reason text,
      every real check (every > 0),
      anchor real not null,
      next_run_at real,
      guard integer not null default 1 check (guard in (0, 1)),
      mapping text not null default '[]',
      size integer not null default 0,
      last_run integer,
      unique (project_id, cohort_id),
      unique (license_code, attribute),
      check ((state = 'paused') = (reason is not null)),
      check ((mode = 'dynamic') = (every is not null)),
      check ((mode = 'dynamic' and state <> 'finished') = (next_run_at is not null))
    ) strict
    """,
    """
    create table run (
      id integer primary key autoincrement,
      sync_id integer not null references sync,
      state text not null default 'queued'
        check (state in ('queued', 'pulling', 'held', 'delivering', 'succeeded', 'failed', 'cancelled')),
      purpose text not null check (purpose in ('export', 'refresh', 'retry', 'resync', 'clear')),
      dry integer not null default 0 check (dry in (0, 1)),
      planned integer not null default 0 check (planned in (0, 1)),
      queued_at real not null,
      started_at real,
      finished_at real,
      not_before real not null,
      waiting text,
      held_reason text,
      approved integer not null default 0 check (approved in (0, 1)),
      cancel_wanted integer not null default 0 check (cancel_wanted in (0, 1)),
      attempts integer not null default 0,
      session_id text,
      page_size integer,
      expected integer,
      staged integer not null default 0,
      entered integer not null default 0,
      updated integer not null default 0,
      exited integer not null default 0,
      delivered integer not null default 0,
      rejected integer not null default 0,
      invalid integer not null default 0,
      anonymous integer not null default 0,
      unchanged integer not null default 0,
      requests integer not null default 0,
      error text,
      lease_owner text,
      lease_until real,
      check ((lease_owner is null) = (lease_until is null)),
      check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
      check ((state = 'failed') = (error is not null)),
      check (state <> 'held' or held_reason is not null),
      check (finished_at is null or lease_owner is null)
    ) strict
    """,
    "create unique index one_active_run on run (sync_id) where finished_at is null",
    "create index run_of_sync on run (sync_id, id)",
    """
    create table staged (
      run_id integer not null references run on delete cascade,
      page integer not null,
      rows integer not null,
      anonymous integer not null,
      invalid integer not null,
      full integer not null check (full in (0, 1)),
      chunk integer,
      marks blob,
      ids blob,
      sealed_values blob,
      primary key (run_id, page),
      check ((chunk is null) = (marks is not null)),
      check ((marks is null) = (ids is null))
    ) strict
    """,
    """
    create view pulled as
      select s.run_id, s.page, s.chunk, coalesce(s.marks, c.marks) as marks, coalesce(s.ids, c.ids) as ids, s.sealed_values
      from staged s join run r on r.id = s.run_id
      left join snapshot c on c.sync_id = r.sync_id and c.chunk = s.chunk
    """,
    """
    create table snapshot (
      sync_id integer not null references sync,
      chunk integer not null,
      marks blob not null,
      ids blob not null,
      primary key (sync_id, chunk)
    ) strict
    """,
    """
    create table batch (
      run_id integer not null references run on delete cascade,
      number integer not null,
      state text not null default 'pending' check (state in ('pending', 'doubt', 'settled')),
      people integer not null check (people > 0),
      entries blob not null,
      primary key (run_id, number)
    ) strict
    """,
    "create index batch_to_send on batch (run_id, number) where state <> 'settled'",
    """
    create table told (
      id integer primary key,
      run_id integer not null references run on delete cascade,
      kind text not null check (kind in ('enter', 'update', 'exit')),
      outcome text not null check (outcome in ('pending', 'doubt', 'settled')),
      ids blob not null
    ) strict
    """,
    "create index told_of_run on told (run_id)",
    """
    create table refusal (
      run_id integer not null,
      sync_id integer not null references sync,
      user_id text not null,
      kind text not null check (kind in ('enter', 'update', 'exit', 'invalid')),
      reason text not null check (reason <> ''),
      mark blob,
      entry blob,
      at real not null,
      live integer not null check (live in (0, 1)),
      primary key (run_id, user_id)
    ) strict, without rowid
    """,
    "create unique index one_live_refusal on refusal (sync_id, user_id) where live = 1",
    """
    create table event (
      id integer primary key,
      at real not null,
      sync_id integer,
      run_id integer,
      what text not null
    ) strict
    """,
    "create index event_of_run on event (run_id) where run_id is not null",
    "create trigger event_is_append_only before update on event "
    "begin select raise(abort, 'history is append only'); end",
    """
    create table runner (
      id text primary key,
      seen_at real not null
    ) strict
    """,
    """
    create table pace (
      license_code text primary key,
      next_at real not null
    ) strict
    """,
    """
    create table query (
      id integer primary key,
      project_id integer not null,
      at real not null,
      later_page integer not null check (later_page in (0, 1)),
      flying_until real,
      owner text not null
    ) strict
    """,
    "create index query_of_project on query (project_id, at, later_page)",
    "create index query_flying on query (project_id, flying_until) where flying_until is not null",
    """
    create table quiet (
      project_id integer primary key,
      until real not null
    ) strict
    """,
)


def _allow_undo(db: sqlite3.Connection) -> None:
    """Add a word to the CHECK of run.purpose, the way SQLite's documentation of ALTER TABLE describes for a CHECK.

    Writing the table again would delete the rows that refer to it, since foreign keys are on.
    """
    version = db.execute("pragma schema_version").fetchone()[0]
    db.execute("pragma writable_schema = on")
    db.execute(
        "update sqlite_master set sql = replace(sql, ?, ?) where type = 'table' and name = 'run'",
        ("'clear')", "'clear', 'undo')"),
    )
    db.execute(f"pragma schema_version = {version + 1}")
    db.execute("pragma writable_schema = off")


Step = str | Callable[[sqlite3.Connection], None]
"""A statement, or a function where SQL alone does not do."""

# By name, in their order. One that was released never changes.
MIGRATIONS: dict[str, tuple[Step, ...]] = {
    "first_schema": _SCHEMA,
    "audit_trail": statements.AUDIT,
    "repeated_waits": statements.REPEATED_WAITS,
    "project_account": statements.PROJECT_ACCOUNT,
    "plain_names": (rename_everything,),
    "engine": (bring_forward,),
    "safety": statements.SAFETY,
    "ended_runs": statements.ENDED_RUNS,
    "alerts": (*alerts.ALERT_TABLES, *alerts.ALERT_TRIGGERS),
    "known_pages": statements.KNOWN_PAGES,
    "requested_runs": ("create index run_queued on run (queued_at)",),
    "behind_clocks": ("alter table mixpanel_query add column behind_until real",),
    "steps_and_undo": (_allow_undo, *statements.STEPS),
    "value_forms": statements.VALUE_FORMS,
    "cadence": statements.CADENCE,
    "sync_times": (*alerts.TIMED_SYNC_TRIGGERS, *alerts.ENDED_ALERTS),
    "id_property": statements.ID_PROPERTY,
    "staged_others": statements.STAGED_OTHERS,
    "listed_members": (*statements.LISTED_MEMBERS, *alerts.IDENTIFIED_SYNC_TRIGGERS),
    "known_chunks": statements.KNOWN_CHUNKS,
    "restarted_syncs": statements.RESTARTED_SYNCS,
    "unconfirmed_people": statements.UNCONFIRMED_PEOPLE,
    "next_refresh": (*statements.NEXT_REFRESH, *alerts.ANNOUNCED_SYNC_TRIGGERS),
}
