"""The migration to User IDs from a profile property; part of sync/store/migrations."""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    # The profile property that is the User ID; empty: the distinct_id.
    "alter table sync add column id_property text not null default ''",
    # By which one a run was planned, and from which one it changed its sync, if it did.
    "alter table run add column id_property text not null default ''",
    "alter table run add column id_property_before text check (id_property_before <> id_property)",
    "alter table run add column doubles integer not null default 0 check (doubles >= 0)",
    # One entry for each identified row: who, whose member, and what would be sent.
    "alter table staged_page add column members blob not null default x'' check (length(members) % 32 = 0)",
)


# Who was left out of a run's plan because the never-export list has the distinct_id: by the hash of the User ID.
_LISTED = "alter table run add column listed blob check (length(listed) % 16 = 0)"


def add_listed(db: Database) -> None:
    """Keep whom a run left out for the distinct_id, since a take-back reads no cohort."""
    db.execute(_LISTED)


def add_id_property(db: Database) -> None:
    """Let a profile property be the User ID of a sync."""
    for statement in _STATEMENTS:
        db.execute(statement)
