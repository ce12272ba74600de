"""The statements of those migrations that only change or add a few tables, in their order; part of migrations.

A migration speaks of the schema as it was at its place in the order: nothing here follows later renamings.
"""

from __future__ import annotations

# Who did what, append only.
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

# A repeated wait is counted on one line of history.
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

# The account a project exports to, and when and why its list of cohorts could not be read.
PROJECT_ACCOUNT = (
    "alter table project add column license_code text references webengage",
    # With several accounts nobody can know which one is meant: a person chooses.
    "update project set license_code = (select license_code from webengage where sealed_key is not null) "
    "where (select count(*) from webengage where sealed_key is not null) = 1",
    "alter table project add column list_failed_at real",
    "alter table project add column list_problem text",
)

# The limits of guards, what they need to know about runs, the never-export list and tripwires.
SAFETY = (
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

# To find the runs of the last hours, and the size of a sync on a past day, without reading all runs.
ENDED_RUNS = (
    "create index run_ended on run (finished_at) where finished_at is not null",
    "create index run_succeeded on run (sync_id, finished_at) where state = 'succeeded'",
)

# What pages without news hold, and ids of news only.
KNOWN_PAGES = (
    # What is being read was packed in another form: those runs read from their first page again.
    "delete from staged_page",
    """
    update run set reading = 1, furthest = 0, session_id = null, page_size = null, expected_total = null
    where finished_at is null and not planned
    """,
    "alter table staged_page add column news blob not null default x'' check (length(news) % 24 = 0)",
    "drop table known_page",
    """
    create table known_page (
      id integer primary key,
      sync_id integer not null references sync,
      digest blob not null,
      rows integer not null,
      records blob not null check (length(records) % 24 = 0),
      unique (sync_id, digest)
    ) strict
    """,
)

# A run may be sent in steps, and take back another one.
STEPS = (
    # What is sent first: as text, and the id hashes of those chosen. Batches below the limit of a step belong to it.
    "alter table run add column steps text",
    "alter table run add column step_hashes blob check (length(step_hashes) % 16 = 0)",
    "alter table run add column step_limits text",
    "alter table run add column step integer not null default 1 check (step >= 1)",
    "alter table run add column steps_sent integer not null default 0 check (steps_sent between step - 1 and step)",
    "alter table run add column undoes integer check ((undoes is not null) = (purpose = 'undo'))",
)

# How the values of a mapped attribute are written, and the data type its first value gave it in WebEngage.
VALUE_FORMS = (
    "alter table attribute_owner add column form text check (form is null or property is not null)",
    """
    alter table attribute_owner add column data_type text check (data_type is null
      or (property is not null and data_type in ('string', 'number', 'boolean', 'date', 'unknown')))
    """,
    # What the first value of these was, nobody noted: the next values need not be of its type.
    "update attribute_owner set data_type = 'unknown' where property is not null",
    "alter table run add column data_types text check (data_types is null or json_valid(data_types))",
)

# A sync may be refreshed at a time of day and end on a day, and a pause may end by itself.
CADENCE = (
    """
    alter table sync add column daily_at text
      check (daily_at is null or (daily_at glob '[0-2][0-9]:[0-5][0-9]' and daily_at < '24:00' and mode = 'dynamic'))
    """,
    "alter table sync add column daily_zone text check ((daily_zone is null) = (daily_at is null))",
    "alter table sync add column daily_days text check ((daily_days is null) = (daily_at is null))",
    "alter table sync add column ends_at real check (ends_at is null or mode = 'dynamic')",
    "alter table sync add column resume_at real check (resume_at is null or state = 'paused')",
)

# A profile property may be the User ID of a sync.
ID_PROPERTY = (
    # The profile property that is the User ID; empty: the distinct_id.
    "alter table sync add column id_property text not null default ''",
    # By which one a run was planned, and from which one it changed its sync, if it did.
    "alter table run add column id_property text not null default ''",
    "alter table run add column id_property_before text check (id_property_before <> id_property)",
    "alter table run add column doubles integer not null default 0 check (doubles >= 0)",
    # One entry for each identified row: who, whose member, and what would be sent.
    "alter table staged_page add column members blob not null default x'' check (length(members) % 32 = 0)",
)

# Which members a run read are not exported: a tripwire among them holds it.
STAGED_OTHERS = ("alter table staged_page add column others blob not null default x'' check (length(others) % 16 = 0)",)

# Who was left out of a run's plan because the never-export list has the distinct_id, by the hash of the User ID: a
# take-back reads no cohort.
LISTED_MEMBERS = ("alter table run add column listed blob check (length(listed) % 16 = 0)",)

# Pages are known by chunks, and queries that were dated while a clock was behind are found without a search.
KNOWN_CHUNKS = (
    "drop table known_page",
    """
    create table chunk_group (
      id integer primary key,
      sync_id integer not null references sync,
      digests blob not null check (length(digests) % 16 = 0),
      sizes blob not null check (length(sizes) = length(digests) / 4),
      records blob not null check (length(records) % 24 = 0)
    ) strict
    """,
    "create index chunk_group_of_sync on chunk_group (sync_id)",
    """
    create table known_page (
      sync_id integer not null references sync,
      digest blob not null check (length(digest) = 16),
      rows integer not null check (rows > 0),
      chunks blob not null check (length(chunks) % 16 = 0),
      primary key (sync_id, digest)
    ) strict
    """,
    # What is being read was packed in another form: those runs read from their first page again.
    "delete from staged_page where run_id in (select id from run where not planned)",
    """
    update run set reading = 1, furthest = 0, session_id = null, page_size = null, expected_total = null
    where finished_at is null and not planned
    """,
    """
    create table new_page (
      run_id integer not null references run on delete cascade,
      reading integer not null check (reading in (1, 2)),
      page integer not null,
      rows integer not null,
      anonymous integer not null,
      invalid integer not null,
      is_full integer not null check (is_full in (0, 1)),
      total integer,
      digest blob not null default x'',
      seen blob not null default x'' check (length(seen) % 16 = 0),
      chunks blob not null default x'' check (length(chunks) % 16 = 0),
      places blob not null default x'' check (length(places) % 4 = 0),
      records blob not null default x'' check (length(records) % 24 = 0),
      news blob not null default x'' check (length(news) % 24 = 0),
      members blob not null default x'' check (length(members) % 32 = 0),
      others blob not null default x'' check (length(others) % 16 = 0),
      ids blob not null default x'',
      sealed_values blob,
      primary key (run_id, reading, page)
    ) strict
    """,
    """
    insert into new_page (run_id, reading, page, rows, anonymous, invalid, is_full, total, records, news, members, others,
      ids, sealed_values)
    select run_id, reading, page, rows, anonymous, invalid, is_full, total, records, news, members, others,
      ids, sealed_values
    from staged_page
    """,
    "drop table staged_page",
    "alter table new_page rename to staged_page",
    # A cohort of a million asks for a thousand pages, and each asks for the latest of these.
    """
    create index mixpanel_query_behind on mixpanel_query (project_id, behind_until) where behind_until is not null
    """,
)

# Which run made a sync go on that was stopped, paused or at its end: its cancel must not leave a schedule.
RESTARTED_SYNCS = ("alter table run add column restarted integer not null default 0 check (restarted in (0, 1))",)

# How many people a run had sent when it ended, of whom WebEngage's answer was not received.
UNCONFIRMED_PEOPLE = (
    "alter table run add column unconfirmed integer not null default 0 check (unconfirmed >= 0)",
    """
    update run
    set unconfirmed = (
        select ifnull(sum(length(outcomes) - length(replace(outcomes, 'f', ''))), 0)
        from delivery_log
        where run_id = run.id
    )
    where finished_at is not null
    """,
)

# When a sync is refreshed next, for webhooks as for the pages: at the end of its pause, and not at or after its own end.
NEXT_REFRESH = (
    """
    alter table sync add column next_refresh_at real generated always as (
      case
        when ends_at <= iif(state = 'paused', resume_at, next_run_at) then null
        else iif(state = 'paused', resume_at, next_run_at)
      end
    ) virtual
    """,
)
