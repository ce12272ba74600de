BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'cohort-sync','first_schema','2026-11-25 14:20:50.087565+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'cohort-sync','audit_trail','2026-11-25 14:20:50.087911+00:00');
CREATE TABLE audit (
      id integer primary key,
      at real not null,
      who text not null check (who <> ''),
      what text not null check (what <> ''),
      subject text not null,
      before text not null,
      after text not null,
      run_id integer
    ) strict
    ;
CREATE TABLE batch (
      run_id integer not null references run on delete cascade,
      number integer not null,
      state text not null default 'pending' check (state in ('pending', 'doubt', 'settled')),
      people integer not null check (people > 0),
      entries blob not null,
      primary key (run_id, number)
    ) strict
    ;
CREATE TABLE cohort (
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
    ;
CREATE TABLE event (
      id integer primary key,
      at real not null,
      sync_id integer,
      run_id integer,
      what text not null
    ) strict
    ;
INSERT INTO "event" VALUES(1,1800000000.0,1,NULL,'Waiting: busy.');
CREATE TABLE pace (
      license_code text primary key,
      next_at real not null
    ) strict
    ;
CREATE TABLE project (
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
    ;
INSERT INTO "project" VALUES(42,'Shop','svc','sealed','','us','admin','',1.0,NULL,0);
CREATE TABLE query (
      id integer primary key,
      project_id integer not null,
      at real not null,
      later_page integer not null check (later_page in (0, 1)),
      flying_until real,
      owner text not null
    ) strict
    ;
CREATE TABLE quiet (
      project_id integer primary key,
      until real not null
    ) strict
    ;
CREATE TABLE refusal (
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
    ;
CREATE TABLE run (
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
    ;
CREATE TABLE runner (
      id text primary key,
      seen_at real not null
    ) strict
    ;
CREATE TABLE setting (
      name text primary key,
      value text not null
    ) strict
    ;
CREATE TABLE snapshot (
      sync_id integer not null references sync,
      chunk integer not null,
      marks blob not null,
      ids blob not null,
      primary key (sync_id, chunk)
    ) strict
    ;
CREATE TABLE staged (
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
    ;
CREATE TABLE sync (
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
    ;
INSERT INTO "sync" VALUES(1,42,7,'Stored by schema 2','lc','Mixpanel - Old','dynamic','active',NULL,7200.0,1800000000.0,1800007200.0,1,'[]',0,NULL);
CREATE TABLE told (
      id integer primary key,
      run_id integer not null references run on delete cascade,
      kind text not null check (kind in ('enter', 'update', 'exit')),
      outcome text not null check (outcome in ('pending', 'doubt', 'settled')),
      ids blob not null
    ) strict
    ;
CREATE TABLE webengage (
      license_code text primary key,
      data_center text not null,
      sealed_key text,
      tail text not null,
      checked_at real not null
    ) strict
    ;
INSERT INTO "webengage" VALUES('lc','global','sealed','',1.0);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX one_active_run on run (sync_id) where finished_at is null;
CREATE INDEX run_of_sync on run (sync_id, id);
CREATE VIEW pulled as
      select s.run_id, s.page, s.chunk, coalesce(s.marks, c.marks) as marks, coalesce(s.ids, c.ids) as ids, s.sealed_values
      from staged s join run r on r.id = s.run_id
      left join snapshot c on c.sync_id = r.sync_id and c.chunk = s.chunk;
CREATE INDEX batch_to_send on batch (run_id, number) where state <> 'settled';
CREATE INDEX told_of_run on told (run_id);
CREATE UNIQUE INDEX one_live_refusal on refusal (sync_id, user_id) where live = 1;
CREATE INDEX event_of_run on event (run_id) where run_id is not null;
CREATE TRIGGER event_is_append_only before update on event begin select raise(abort, 'history is append only'); end;
CREATE INDEX query_of_project on query (project_id, at, later_page);
CREATE INDEX query_flying on query (project_id, flying_until) where flying_until is not null;
CREATE TRIGGER audit_is_never_changed before update on audit begin select raise(abort, 'the audit is append only'); end;
CREATE TRIGGER audit_is_never_shortened before delete on audit begin select raise(abort, 'the audit is append only'); end;
DELETE FROM "sqlite_sequence";
COMMIT;
