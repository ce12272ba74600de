"""The migration to exports in steps and runs that take back another one; part of sync/store/migrations."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

_STEPS = (
    # What is sent first: as text, and the id hashes of those chosen. Batches below the limit of a step belong to it.
    "alter table run add column steps text",
    "alter table run add column step_hashes blob check (length(step_hashes) % 16 = 0)",
    "alter table run add column step_limits text",
    "alter table run add column step integer not null default 1 check (step >= 1)",
    "alter table run add column steps_sent integer not null default 0 check (steps_sent between step - 1 and step)",
    "alter table run add column undoes integer check ((undoes is not null) = (purpose = 'undo'))",
)


def add_steps(db: Database) -> None:
    """Let a run be sent in steps, and let a run take back another one."""
    _allow_purpose(db.conn, "undo")
    for statement in _STEPS:
        db.execute(statement)


def _allow_purpose(db: sqlite3.Connection, purpose: str) -> None:
    """Add a word to the CHECK of run.purpose, the way SQLite's documentation of ALTER TABLE describes for a CHECK.

    Writing the table again would delete the rows that refer to it, since foreign keys are on.
    """
    version = db.execute("pragma schema_version").fetchone()[0]
    db.execute("pragma writable_schema = on")
    db.execute(
        "update sqlite_master set sql = replace(sql, ?, ?) where type = 'table' and name = 'run'",
        ("'clear')", f"'clear', '{purpose}')"),
    )
    db.execute(f"pragma schema_version = {version + 1}")
    db.execute("pragma writable_schema = off")
