"""The tables of alerts and webhooks, and the triggers that write what a webhook sends.

Triggers, because the message must be stored in the transaction of the change it reports, whichever statement
makes the change. A migration that rebuilds ``run`` or ``sync`` has to create them again.
"""

from __future__ import annotations

# Seconds since 1970: unixepoch('subsec') needs SQLite 3.42.
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"

ALERT_TABLES = (
    """
    create table recipient (
      id integer primary key autoincrement,
      kind text not null check (kind in ('alerts', 'webhook')),
      name text not null,
      masked_url text not null,
      sealed_url text not null,
      sealed_secret text,
      created_at real not null,
      failures integer not null default 0 check (failures >= 0),
      failing_since real,
      problem text,
      next_try_at real not null default 0,
      lease_owner text,
      lease_until real,
      check ((kind = 'webhook') = (sealed_secret is not null)),
      check ((failures = 0) = (failing_since is null)),
      check ((failing_since is null) = (problem is null)),
      check ((lease_owner is null) = (lease_until is null))
    ) strict
    """,
    """
    create table message (
      id integer primary key autoincrement,
      recipient_id integer not null references recipient on delete cascade,
      key text not null,
      topic text not null,
      title text not null,
      body text not null,
      created_at real not null,
      attempts integer not null default 0 check (attempts >= 0),
      first_tried_at real,
      delivered_at real,
      failed_at real,
      problem text,
      unique (recipient_id, key),
      check (delivered_at is null or failed_at is null),
      check ((failed_at is null) = (problem is null))
    ) strict
    """,
    "create index message_to_send on message (recipient_id, id) where delivered_at is null and failed_at is null",
    """
    create table open_alert (
      key text primary key,
      kind text not null,
      title text not null,
      body text not null,
      began_at real not null
    ) strict
    """,
)


def _write_message(topic: str, payload: str, source: str = "") -> str:
    """Return the statement that stores one message for every webhook; ``source``: tables the payload reads."""
    return f"""
      insert into message (recipient_id, key, topic, title, body, created_at)
      select recipient.id, lower(hex(randomblob(16))), {topic}, '', {payload}, {_NOW}
      from recipient{source}
      where recipient.kind = 'webhook';
    """


# Numbers and states only: no name, no reason, nothing a vendor wrote.
_RUN_PAYLOAD = """json_object(
        'run_id', new.id, 'sync_id', new.sync_id, 'project_id', sync.project_id, 'cohort_id', sync.cohort_id,
        'state', new.state, 'purpose', new.purpose, 'dry_run', json(iif(new.dry_run, 'true', 'false')),
        'entered', new.entered, 'updated', new.updated, 'exited', new.exited,
        'delivered', new.delivered, 'rejected', new.rejected, 'invalid', new.invalid,
        'queued_at', new.queued_at, 'started_at', new.started_at, 'finished_at', new.finished_at)"""
_SYNC_PAYLOAD = """json_object(
        'sync_id', new.id, 'project_id', new.project_id, 'cohort_id', new.cohort_id,
        'license_code', new.license_code, 'mode', new.mode, 'state', new.state,
        'interval_seconds', new.interval_seconds, 'next_run_at', new.next_run_at)"""
# Since cadence: when it is refreshed, until when, and when its pause ends.
_TIMED_SYNC_PAYLOAD = f"""{_SYNC_PAYLOAD[:-1]}, 'daily_at', new.daily_at,
        'daily_zone', new.daily_zone, 'daily_days', new.daily_days, 'ends_at', new.ends_at, 'resume_at', new.resume_at)"""
_OF_SYNC = " join sync on sync.id = new.sync_id"

ALERT_TRIGGERS = (
    f"""
    create trigger run_queued after insert on run
    begin
      {_write_message("'run.' || new.state", _RUN_PAYLOAD, _OF_SYNC)}
    end
    """,
    # A run that waits and goes on is not news: only its first reading is, and its return from a person's approval.
    f"""
    create trigger run_changed after update of state on run
    when new.state <> old.state
      and (new.state <> 'queued' or old.state = 'held')
      and (new.state <> 'pulling' or old.started_at is null)
    begin
      {_write_message("'run.' || new.state", _RUN_PAYLOAD, _OF_SYNC)}
    end
    """,
    f"""
    create trigger sync_created after insert on sync
    begin
      {_write_message("'sync.created'", _SYNC_PAYLOAD)}
    end
    """,
    f"""
    create trigger sync_changed after update of state, mode, interval_seconds, mapping on sync
    when new.state <> old.state or new.mode <> old.mode or new.mapping <> old.mapping
      or new.interval_seconds is not old.interval_seconds
    begin
      {_write_message("iif(new.state = old.state, 'sync.changed', 'sync.' || new.state)", _SYNC_PAYLOAD)}
    end
    """,
)

TIMED_SYNC_TRIGGERS = (
    "drop trigger sync_created",
    "drop trigger sync_changed",
    f"""
    create trigger sync_created after insert on sync
    begin
      {_write_message("'sync.created'", _TIMED_SYNC_PAYLOAD)}
    end
    """,
    f"""
    create trigger sync_changed after update of state, mode, interval_seconds, mapping, daily_at, daily_zone, daily_days,
      ends_at, resume_at on sync
    when new.state <> old.state or new.mode <> old.mode or new.mapping <> old.mapping
      or new.interval_seconds is not old.interval_seconds or new.daily_at is not old.daily_at
      or new.daily_zone is not old.daily_zone or new.daily_days is not old.daily_days
      or new.ends_at is not old.ends_at or new.resume_at is not old.resume_at
    begin
      {_write_message("iif(new.state = old.state, 'sync.changed', 'sync.' || new.state)", _TIMED_SYNC_PAYLOAD)}
    end
    """,
)

# Since the User ID may be a profile property: empty stands for the distinct_id, which has Mixpanel's name here.
_IDENTIFIED_SYNC_PAYLOAD = f"""{_TIMED_SYNC_PAYLOAD[:-1]},
        'user_id_property', coalesce(nullif(new.id_property, ''), '$distinct_id'))"""
IDENTIFIED_SYNC_TRIGGERS = tuple(
    statement.replace(_TIMED_SYNC_PAYLOAD, _IDENTIFIED_SYNC_PAYLOAD)
    .replace("ends_at, resume_at on sync", "ends_at, resume_at, id_property on sync")
    .replace(
        "or new.resume_at is not old.resume_at",
        "or new.resume_at is not old.resume_at or new.id_property <> old.id_property",
    )
    for statement in TIMED_SYNC_TRIGGERS
)
# Since a sync says when it is refreshed next: `next_run_at` itself may lie after its end, or in a pause.
ANNOUNCED_SYNC_TRIGGERS = tuple(
    statement.replace("new.next_run_at", "new.next_refresh_at") for statement in IDENTIFIED_SYNC_TRIGGERS
)

ENDED_ALERTS = (
    # An alert is kept for a while after its end, so that a state that comes and goes is known.
    "alter table open_alert add column is_restless integer not null default 0 check (is_restless in (0, 1))",
    "alter table open_alert add column calm_since real check (calm_since is null or is_restless = 1)",
    "alter table open_alert add column ended_at real",
)
