"""The migration to refreshes at a time of day, with an end, and to pauses that end by themselves; part of migrations."""

from __future__ import annotations

from sqlite_utils import Database

_CADENCE = (
    """
    alter table sync add column daily_at text
      check (daily_at is null or (daily_at glob '[0-2][0-9]:[0-5][0-9]' and daily_at < '24:00' and mode = 'dynamic'))
    """,
    "alter table sync add column daily_zone text check ((daily_zone is null) = (daily_at is null))",
    "alter table sync add column daily_days text check ((daily_days is null) = (daily_at is null))",
    "alter table sync add column ends_at real check (ends_at is null or mode = 'dynamic')",
    "alter table sync add column resume_at real check (resume_at is null or state = 'paused')",
)


def add_cadence(db: Database) -> None:
    """Let a sync be refreshed at a time of day and end on a day, and let a pause end by itself."""
    for statement in _CADENCE:
        db.execute(statement)
