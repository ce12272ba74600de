"""The schema, forward only; every invariant that SQL can say is said here.

Migrations are applied by sqlite-utils, which keeps the applied ones in a table of its own. DDL is
written as SQL because ``table.create()`` knows neither STRICT nor CHECK.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from sync.store.alert_migration import create_alert_tables, keep_ended_alerts, report_id_property, report_sync_times
from sync.store.cadence_migration import add_cadence
from sync.store.early_migrations import AUDIT, PROJECT_ACCOUNT, REPEATED_WAITS
from sync.store.engine_migration import KNOWN_PAGES, bring_forward
from sync.store.id_property_migration import add_id_property, add_listed
from sync.store.known_chunks_migration import know_chunks
from sync.store.plain_names import rename_everything
from sync.store.safety_migration import add_safety
from sync.store.steps_migration import add_steps
from sync.store.unconfirmed_migration import add_unconfirmed
from sync.store.value_form_migration import add_value_forms

migrations = Migrations("cohort-sync")

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


@migrations()
def first_schema(db: Database) -> None:
    """Create the tables of the first release."""
    for statement in _SCHEMA:
        db.execute(statement)


@migrations()
def audit_trail(db: Database) -> None:
    """Add the audit: who did what, append only."""
    for statement in AUDIT:
        db.execute(statement)


@migrations()
def repeated_waits(db: Database) -> None:
    """Count a repeated wait on one line of history, and keep when a run was put off."""
    for statement in REPEATED_WAITS:
        db.execute(statement)


@migrations()
def project_account(db: Database) -> None:
    """Add the account a project exports to, and when and why its list of cohorts could not be read."""
    for statement in PROJECT_ACCOUNT:
        db.execute(statement)


@migrations()
def plain_names(db: Database) -> None:
    """Rename the tables, columns and stored words of the first edition."""
    rename_everything(db)


@migrations()
def engine(db: Database) -> None:
    """Keep snapshots as hash tables, batches with ids, requests on their runs, and a register of attributes."""
    bring_forward(db)


@migrations()
def safety(db: Database) -> None:
    """Add limits of guards, the never-export list and tripwires."""
    add_safety(db)


@migrations()
def ended_runs(db: Database) -> None:
    """Find the runs of the last hours, and the size of a sync on a past day, without reading all runs."""
    db.execute("create index run_ended on run (finished_at) where finished_at is not null")
    db.execute("create index run_succeeded on run (sync_id, finished_at) where state = 'succeeded'")


@migrations()
def alerts(db: Database) -> None:
    """Add alert addresses, webhooks, and the messages to them."""
    create_alert_tables(db)


@migrations()
def known_pages(db: Database) -> None:
    """Keep what pages without news hold, and ids of news only."""
    for statement in KNOWN_PAGES:
        db.execute(statement)


@migrations()
def requested_runs(db: Database) -> None:
    """Find the runs of a day without reading all of them."""
    db.execute("create index run_queued on run (queued_at)")


@migrations()
def behind_clocks(db: Database) -> None:
    """Keep until which time the clock was behind that dated a query."""
    db.execute("alter table mixpanel_query add column behind_until real")


@migrations()
def steps_and_undo(db: Database) -> None:
    """Let a run be sent in steps, and let a run take back another one."""
    add_steps(db)


@migrations()
def value_forms(db: Database) -> None:
    """Keep how the values of a mapped attribute are written, and the data type its first value gave it in WebEngage."""
    add_value_forms(db)


@migrations()
def cadence(db: Database) -> None:
    """Let a sync be refreshed at a time of day and end on a day, and let a pause end by itself."""
    add_cadence(db)


@migrations()
def sync_times(db: Database) -> None:
    """Report changes of a sync's times to webhooks, and know alerts that come and go."""
    report_sync_times(db)
    keep_ended_alerts(db)


@migrations()
def id_property(db: Database) -> None:
    """Let a profile property be the User ID of a sync."""
    add_id_property(db)


@migrations()
def staged_others(db: Database) -> None:
    """Keep which members a run read are not exported: a tripwire among them holds it."""
    db.execute("alter table staged_page add column others blob not null default x'' check (length(others) % 16 = 0)")


@migrations()
def listed_members(db: Database) -> None:
    """Keep whom a run left out for the distinct_id, and let webhooks name the User ID property."""
    add_listed(db)
    report_id_property(db)


@migrations()
def known_chunks(db: Database) -> None:
    """Know chunks of pages, and find queries that a clock dated wrongly without a search."""
    know_chunks(db)


@migrations()
def restarted_syncs(db: Database) -> None:
    """Keep which run made a sync go on that was stopped, paused or at its end: its cancel must not leave a schedule."""
    db.execute("alter table run add column restarted integer not null default 0 check (restarted in (0, 1))")


@migrations()
def unconfirmed_people(db: Database) -> None:
    """Keep how many people a run had sent when it ended, of whom WebEngage's answer was not received."""
    add_unconfirmed(db)


def apply(plain: sqlite3.Connection) -> None:
    """Bring a database to the newest schema, inside the caller's transaction."""
    migrations.apply(Database(plain, execute_plugins=False))
