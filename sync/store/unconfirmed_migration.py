"""The migration to runs that note whom they sent without an answer; part of sync/store/migrations."""

from __future__ import annotations

from sqlite_utils import Database


def add_unconfirmed(db: Database) -> None:
    """Keep how many people a run had sent when it ended, of whom WebEngage's answer was not received."""
    db.execute("alter table run add column unconfirmed integer not null default 0 check (unconfirmed >= 0)")
    db.execute(
        """
        update run
        set unconfirmed = (
            select ifnull(sum(length(outcomes) - length(replace(outcomes, 'f', ''))), 0)
            from delivery_log
            where run_id = run.id
        )
        where finished_at is not null
        """
    )
