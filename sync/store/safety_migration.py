"""The migration to guards in both directions, the never-export list and tripwires; part of sync/store/migrations."""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    "alter table sync add column guard_add_share real not null default 50 check (guard_add_share between 0 and 10000)",
    "alter table sync add column guard_add_people integer not null default 100 "
    "check (guard_add_people between 0 and 1000000000)",
    "alter table sync add column guard_remove_share real not null default 20 "
    "check (guard_remove_share between 0 and 10000)",
    "alter table sync add column guard_remove_people integer not null default 100 "
    "check (guard_remove_people between 0 and 1000000000)",
    "alter table run add column size_before integer check (size_before >= 0)",
    "alter table run add column identified integer check (identified >= 0)",
    "alter table run add column members_read integer check (members_read >= 0)",
    "alter table run add column never_exported integer not null default 0 check (never_exported >= 0)",
    "alter table run add column removed_by_list integer not null default 0 check (removed_by_list >= 0)",
    "alter table run add column list_version integer",
    "alter table run add column tripped blob check (length(tripped) % 16 = 0)",
    # Earlier runs did not count what they read; what they planned tells the rest.
    """
    update run set size_before = unchanged + updated + exited, identified = unchanged + entered + updated
    where planned and purpose <> 'clear'
    """,
    """
    create table never_export (
      license_code text not null,
      id_hash blob not null check (length(id_hash) = 16),
      label text not null check (label <> ''),
      note text not null,
      added_by text not null check (added_by <> ''),
      added_at real not null,
      primary key (license_code, id_hash)
    ) strict, without rowid
    """,
    """
    create table tripwire (
      id integer primary key,
      project_id integer not null,
      cohort_id integer,
      id_hash blob not null check (length(id_hash) = 16),
      label text not null check (label <> ''),
      note text not null,
      added_by text not null check (added_by <> ''),
      added_at real not null
    ) strict
    """,
    "create unique index one_tripwire on tripwire (project_id, ifnull(cohort_id, 'any'), id_hash)",
)


def add_safety(db: Database) -> None:
    """Add the limits of guards, what they need to know about runs, and the two lists."""
    for statement in _STATEMENTS:
        db.execute(statement)
