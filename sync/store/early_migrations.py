"""The statements of early migrations: the audit, repeated waits, and the account of a project; part of migrations."""

from __future__ import annotations

AUDIT = (
    """
    create table audit (
      id integer primary key,
      at real not null,
      who text not null check (who <> ''),
      what text not null check (what <> ''),
      subject text not null,
      before text not null,
      after text not null,
      run_id integer
    ) strict
    """,
    "create trigger audit_is_never_changed before update on audit begin select raise(abort, 'the audit is append only'); end",
    "create trigger audit_is_never_shortened before delete on audit begin select raise(abort, 'the audit is append only'); end",
)

REPEATED_WAITS = (
    # When a run was put off: a time still to come means that the clock was set back since.
    "alter table run add column put_off_at real",
    "alter table event add column times integer not null default 1 check (times > 0)",
    "alter table event add column until real",
    "drop trigger event_is_append_only",
    # A line about waiting may be counted up and nothing else; every other line stays as it was written.
    """
    create trigger event_is_append_only before update on event
    when old.until is null or new.until is null or new.times <= old.times or new.id is not old.id
      or new.at is not old.at or new.sync_id is not old.sync_id or new.run_id is not old.run_id
      or new.what is not old.what
    begin select raise(abort, 'history is append only'); end
    """,
)

PROJECT_ACCOUNT = (
    "alter table project add column license_code text references webengage",
    # With several accounts nobody can know which one is meant: a person chooses.
    "update project set license_code = (select license_code from webengage where sealed_key is not null) "
    "where (select count(*) from webengage where sealed_key is not null) = 1",
    "alter table project add column list_failed_at real",
    "alter table project add column list_problem text",
)
