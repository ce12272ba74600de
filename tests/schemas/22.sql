BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'cohort-sync','first_schema','2026-11-25 14:45:01.515531+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'cohort-sync','audit_trail','2026-11-25 14:45:01.515799+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'cohort-sync','repeated_waits','2026-11-25 15:09:43.763303+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'cohort-sync','project_account','2026-11-25 15:09:43.764180+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'cohort-sync','plain_names','2026-11-25 15:14:21.271997+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'cohort-sync','engine','2026-11-28 11:35:46.767028+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'cohort-sync','safety','2026-11-28 11:55:33.750512+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'cohort-sync','ended_runs','2026-11-28 11:56:34.454001+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'cohort-sync','alerts','2026-11-28 11:58:39.846178+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'cohort-sync','known_pages','2026-11-28 12:04:23.668519+00:00');
INSERT INTO "_sqlite_migrations" VALUES(11,'cohort-sync','requested_runs','2026-11-28 12:13:36.101203+00:00');
INSERT INTO "_sqlite_migrations" VALUES(12,'cohort-sync','behind_clocks','2026-11-28 12:23:05.964468+00:00');
INSERT INTO "_sqlite_migrations" VALUES(13,'cohort-sync','steps_and_undo','2026-11-28 12:37:55.497962+00:00');
INSERT INTO "_sqlite_migrations" VALUES(14,'cohort-sync','value_forms','2026-11-28 12:58:35.670910+00:00');
INSERT INTO "_sqlite_migrations" VALUES(15,'cohort-sync','cadence','2026-11-28 14:31:54.097914+00:00');
INSERT INTO "_sqlite_migrations" VALUES(16,'cohort-sync','sync_times','2026-11-28 15:00:44.110367+00:00');
INSERT INTO "_sqlite_migrations" VALUES(17,'cohort-sync','id_property','2026-11-28 15:09:18.608110+00:00');
INSERT INTO "_sqlite_migrations" VALUES(18,'cohort-sync','staged_others','2026-11-28 15:41:20.919196+00:00');
INSERT INTO "_sqlite_migrations" VALUES(19,'cohort-sync','listed_members','2026-11-28 15:53:45.574649+00:00');
INSERT INTO "_sqlite_migrations" VALUES(20,'cohort-sync','known_chunks','2026-11-29 18:18:07.655890+00:00');
INSERT INTO "_sqlite_migrations" VALUES(21,'cohort-sync','restarted_syncs','2026-11-29 23:14:08.559685+00:00');
INSERT INTO "_sqlite_migrations" VALUES(22,'cohort-sync','unconfirmed_people','2026-11-30 01:03:46.309282+00:00');
CREATE TABLE attribute_owner (
      license_code text not null,
      folded text not null,
      name text not null,
      sync_id integer,
      property text, form text check (form is null or property is not null), data_type text check (data_type is null
          or (property is not null and data_type in ('string', 'number', 'boolean', 'date', 'unknown'))),
      primary key (license_code, folded),
      check ((sync_id is null) <> (property is null))
    ) strict, without rowid
    ;
INSERT INTO "attribute_owner" VALUES('sandbox1','mixpanel - half way','Mixpanel - Half way',3,NULL,NULL,NULL);
INSERT INTO "attribute_owner" VALUES('sandbox1','mixpanel - stored by schema 2','Mixpanel - Stored by schema 2',1,NULL,NULL,NULL);
INSERT INTO "attribute_owner" VALUES('sandbox1','mixpanel - unmapped','Mixpanel - Unmapped',2,NULL,NULL,NULL);
INSERT INTO "attribute_owner" VALUES('sandbox1','plan','Plan',NULL,'plan',NULL,'unknown');
CREATE TABLE audit (
      id integer primary key,
      at real not null,
      actor text not null check (actor <> ''),
      action text not null check (action <> ''),
      target text not null,
      before text not null,
      after text not null,
      run_id integer
    ) strict
    ;
INSERT INTO "audit" VALUES(3,1790000000.0,'runner','export','cohort 7','','dynamic, attribute Mixpanel - Stored by schema 2',1);
INSERT INTO "audit" VALUES(4,1790000000.0,'runner','export','cohort 8','','dynamic, attribute Mixpanel - Unmapped',2);
INSERT INTO "audit" VALUES(5,1790000000.0,'runner','export','cohort 9','','dynamic, attribute Mixpanel - Half way',3);
CREATE TABLE "batch" (
      run_id integer not null references run on delete cascade,
      number integer not null,
      state text not null default 'pending' check (state in ('pending', 'in_flight', 'confirmed')),
      member_count integer not null check (member_count > 0),
      primary key (run_id, number)
    ) strict, without rowid
    ;
CREATE TABLE batch_block (
      run_id integer not null references run on delete cascade,
      block integer not null,
      kinds text not null,
      ids blob not null,
      contents blob not null check (length(contents) = 8 * length(kinds)),
      sealed_values blob,
      primary key (run_id, block)
    ) strict
    ;
CREATE TABLE chunk_group (
      id integer primary key,
      sync_id integer not null references sync,
      digests blob not null check (length(digests) % 16 = 0),
      sizes blob not null check (length(sizes) = length(digests) / 4),
      records blob not null check (length(records) % 24 = 0)
    ) strict
    ;
CREATE TABLE cohort (
      project_id integer not null references "mixpanel_project" on delete cascade,
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
CREATE TABLE "delivery_log" (
      run_id integer not null references run on delete cascade,
      block integer not null,
      kinds text not null,
      outcomes text not null check (length(outcomes) = length(kinds)),
      ids blob not null,
      primary key (run_id, block)
    ) strict
    ;
INSERT INTO "delivery_log" VALUES(2,1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',X'28B52FFD60C701C50400A2C50F12B017DA3867683878CAEE9D52A63BFB1AA70403414F5D4EEFEDF7735D6CAEC9F458AC576AF565CD131AB27896B61367663A62C7A2038403C32810C62004013B20D04B3A46CC1966048337DE78E38D363362CE3043F0BBF1C61B6FB49911738619C1E08D37DE78A3CD8C9833CC08060DDB6DB7DD6C3167989168DC979C7DC9489A0C88929F366CCBBECDB6D8B7D9967D733313840E');
INSERT INTO "delivery_log" VALUES(1,2,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','cccccccccccccccccccccccccccccc',X'28B52FFD6005007D030004035B2266616E2D36222C39303332383135373431313131313131313932393235323132343230323632323238323733225D1D0080609031C818640C320619838C41C620236446459131C8E9415810448020F706614E20D21501A6CA81CC4016900F6406B2807C20339005E45D5B8E');
INSERT INTO "delivery_log" VALUES(4,2,'aaaaa','ccffp',X'28B52FFD201FF900005B22752D31222C22752D32222C22752D33222C22752D34222C22752D35225D');
CREATE TABLE event (
      id integer primary key,
      at real not null,
      sync_id integer,
      run_id integer,
      message text not null
    , times integer not null default 1 check (times > 0), until real) strict
    ;
INSERT INTO "event" VALUES(1,1790000000.0,NULL,NULL,'Mixpanel project Music Finder connected.',1,NULL);
INSERT INTO "event" VALUES(2,1790000000.0,NULL,NULL,'WebEngage account sandbox1 connected.',1,NULL);
INSERT INTO "event" VALUES(3,1790000000.0,1,1,'Export asked for: dynamic, attribute “Mixpanel - Stored by schema 2”.',1,NULL);
INSERT INTO "event" VALUES(4,1790000000.0,2,2,'Export asked for: dynamic, attribute “Mixpanel - Unmapped”.',1,NULL);
INSERT INTO "event" VALUES(5,1.79000000002028894418e+09,1,1,'Reading the cohort from Mixpanel.',1,NULL);
INSERT INTO "event" VALUES(6,1790000000.03301,2,2,'Reading the cohort from Mixpanel.',1,NULL);
INSERT INTO "event" VALUES(7,1.79000000007952737805e+09,1,1,'Planned: 30 enter, 0 updated, 0 leave.',1,NULL);
INSERT INTO "event" VALUES(8,1.79000000008224725723e+09,1,1,'Telling WebEngage.',1,NULL);
INSERT INTO "event" VALUES(9,1.79000000013513374322e+09,2,2,'Planned: 60 enter, 0 updated, 0 leave.',1,NULL);
INSERT INTO "event" VALUES(10,1.79000000014793729779e+09,2,2,'Telling WebEngage.',1,NULL);
INSERT INTO "event" VALUES(11,1.79000000018692874913e+09,2,2,'Succeeded.',1,NULL);
INSERT INTO "event" VALUES(12,1.79000000025290918349e+09,1,1,'Succeeded.',1,NULL);
INSERT INTO "event" VALUES(13,1790000000.0,3,3,'Export asked for: dynamic, attribute “Mixpanel - Half way”.',1,NULL);
INSERT INTO "event" VALUES(14,1.79000000002925658227e+09,3,3,'Reading the cohort from Mixpanel.',1,NULL);
INSERT INTO "event" VALUES(15,1.79000000005804800985e+09,3,3,'Planned: 60 enter, 0 updated, 0 leave.',1,NULL);
INSERT INTO "event" VALUES(16,1.79000000005879378317e+09,3,3,'Telling WebEngage.',1,NULL);
INSERT INTO "event" VALUES(17,1.79000000049878239634e+09,3,3,'Waiting: WebEngage was sent a batch of users and answered 503 “HTTP 503”.; continues at 2026-09-21 14:18 UTC.',1,NULL);
CREATE TABLE known_page (
      sync_id integer not null references sync,
      digest blob not null check (length(digest) = 16),
      rows integer not null check (rows > 0),
      chunks blob not null check (length(chunks) % 16 = 0),
      primary key (sync_id, digest)
    ) strict
    ;
CREATE TABLE message (
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
    ;
CREATE TABLE "mixpanel_block" (
      project_id integer primary key,
      until real not null
    ) strict
    ;
CREATE TABLE "mixpanel_project" (
      id integer primary key,
      name text not null,
      username text not null,
      sealed_secret text,
      secret_last4 text not null,
      region text not null,
      role text not null check (role in ('admin', 'below admin', 'not verified')),
      role_note text not null,
      checked_at real not null,
      cohorts_read_at real,
      license_code text references "webengage_account", list_failed_at real, list_problem text, later_pages_counted_at real) strict
    ;
INSERT INTO "mixpanel_project" VALUES(42,'Music Finder','demo.abc123.mp-service-account',NULL,'','us','admin','',1790000000.0,1790000000.0,NULL,NULL,NULL,NULL);
CREATE TABLE "mixpanel_query" (
      id integer primary key,
      project_id integer not null,
      at real not null,
      is_later_page integer not null check (is_later_page in (0, 1)),
      in_flight_until real,
      owner text not null
    , sync_id integer, behind_until real) strict
    ;
CREATE TABLE never_export (
      license_code text not null,
      id_hash blob not null check (length(id_hash) = 16),
      label text not null check (label <> ''),
      note text not null,
      added_by text not null check (added_by <> ''),
      added_at real not null,
      primary key (license_code, id_hash)
    ) strict, without rowid
    ;
INSERT INTO "never_export" VALUES('lc',X'D5F1C7E834630282295F208580EB3E8B','so•••y','asked','ann',1800000000.0);
CREATE TABLE open_alert (
      key text primary key,
      kind text not null,
      title text not null,
      body text not null,
      began_at real not null
    , is_restless integer not null default 0 check (is_restless in (0, 1)), calm_since real check (calm_since is null or is_restless = 1), ended_at real) strict
    ;
CREATE TABLE recipient (
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
    ;
CREATE TABLE "rejection" (
      run_id integer not null,
      sync_id integer not null references sync,
      user_id text not null,
      kind text not null check (kind in ('add', 'update', 'remove', 'invalid')),
      outcome text not null check (outcome in ('invalid', 'rejected', 'membership only')),
      reason text not null check (reason <> ''),
      content_hash blob,
      may_be_sent integer not null default 0 check (may_be_sent in (0, 1)),
      at real not null,
      active integer not null check (active in (0, 1)),
      primary key (run_id, user_id)
    ) strict, without rowid
    ;
INSERT INTO "rejection" VALUES(1,1,'fan-3','add','rejected','WebEngage was sent a batch of users and answered 400 “Error: invalid user.”',X'6C57707A530788BA',0,1.79000000025110197069e+09,1);
CREATE TABLE run (
      id integer primary key autoincrement,
      sync_id integer not null references sync,
      state text not null default 'queued'
        check (state in ('queued', 'pulling', 'held', 'delivering', 'succeeded', 'failed', 'cancelled')),
      purpose text not null check (purpose in ('export', 'refresh', 'retry', 'resync', 'clear', 'undo')),
      dry_run integer not null default 0 check (dry_run in (0, 1)),
      planned integer not null default 0 check (planned in (0, 1)),
      queued_at real not null,
      started_at real,
      finished_at real,
      not_before real not null,
      wait_reason text,
      held_reason text,
      approved integer not null default 0 check (approved in (0, 1)),
      cancel_requested integer not null default 0 check (cancel_requested in (0, 1)),
      attempts integer not null default 0,
      session_id text,
      page_size integer,
      expected_total integer,
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
      lease_until real, put_off_at real, failures integer not null default 0, stalled_since real, reading integer not null default 1, furthest integer not null default 0, planned_at real, request text, size_before integer check (size_before >= 0), identified integer check (identified >= 0), members_read integer check (members_read >= 0), never_exported integer not null default 0 check (never_exported >= 0), removed_by_list integer not null default 0 check (removed_by_list >= 0), list_version integer, tripped blob check (length(tripped) % 16 = 0), steps text, step_hashes blob check (length(step_hashes) % 16 = 0), step_limits text, step integer not null default 1 check (step >= 1), steps_sent integer not null default 0 check (steps_sent between step - 1 and step), undoes integer check ((undoes is not null) = (purpose = 'undo')), data_types text check (data_types is null or json_valid(data_types)), id_property text not null default '', id_property_before text check (id_property_before <> id_property), doubles integer not null default 0 check (doubles >= 0), listed blob check (length(listed) % 16 = 0), restarted integer not null default 0 check (restarted in (0, 1)), unconfirmed integer not null default 0 check (unconfirmed >= 0),
      check ((lease_owner is null) = (lease_until is null)),
      check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
      check ((state = 'failed') = (error is not null)),
      check (state <> 'held' or held_reason is not null),
      check (finished_at is null or lease_owner is null)
    ) strict
    ;
INSERT INTO "run" VALUES(1,1,'succeeded','export',0,1,1790000000.0,1.79000000000388860706e+09,1.7900000002528395653e+09,1790000000.0,NULL,NULL,0,0,1,NULL,10,30,30,30,0,0,29,1,0,0,0,13,NULL,NULL,NULL,NULL,0,NULL,1,0,NULL,NULL,0,30,NULL,0,0,NULL,NULL,NULL,NULL,NULL,1,0,NULL,NULL,'',NULL,0,NULL,0,0);
INSERT INTO "run" VALUES(2,2,'succeeded','export',0,1,1790000000.0,1.79000000000682306291e+09,1.79000000018683767324e+09,1790000000.0,NULL,NULL,0,0,1,NULL,10,60,60,60,0,0,60,0,0,0,0,9,NULL,NULL,NULL,NULL,0,NULL,1,0,NULL,NULL,0,60,NULL,0,0,NULL,NULL,NULL,NULL,NULL,1,0,NULL,NULL,'',NULL,0,NULL,0,0);
INSERT INTO "run" VALUES(3,3,'queued','export',0,0,1790000000.0,1.79000000001310896873e+09,NULL,1.79000030049855208399e+09,'WebEngage was sent a batch of users and answered 503 “HTTP 503”.',NULL,0,0,0,NULL,NULL,NULL,60,60,0,0,25,0,0,0,0,11,NULL,NULL,NULL,NULL,0,NULL,1,0,NULL,NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,1,0,NULL,NULL,'',NULL,0,NULL,0,0);
INSERT INTO "run" VALUES(4,1,'cancelled','refresh',0,1,1790000001.0,1790000001.0,1790000002.0,1790000001.0,NULL,NULL,0,0,0,NULL,NULL,NULL,0,5,0,0,2,0,0,0,0,0,NULL,NULL,NULL,NULL,0,NULL,1,0,NULL,NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,1,0,NULL,NULL,'',NULL,0,NULL,0,2);
CREATE TABLE runner (
      id text primary key,
      heartbeat_at real not null
    ) strict
    ;
CREATE TABLE setting (
      name text primary key,
      value text not null
    ) strict
    ;
INSERT INTO "setting" VALUES('salt','2461851529350873932');
INSERT INTO "setting" VALUES('database_id','69e2b0262f080ee319102e69ab126b87');
INSERT INTO "setting" VALUES('list_version','1');
CREATE TABLE snapshot_bucket (
      sync_id integer not null references sync,
      first_byte integer not null check (first_byte between 0 and 255),
      records blob not null check (length(records) % 24 = 0 and length(records) > 0),
      ids blob not null,
      primary key (sync_id, first_byte)
    ) strict
    ;
INSERT INTO "snapshot_bucket" VALUES(1,0,X'036F06109F09810316B3513CD6C5AB49116D7716FA640D89046E7676ED14BC8111CDBC2413B74543F3A79A199CAC7D4D06F80CB3BD241F45C4A9819281DB1FF6EC39A68002595FED11E2204D6E476617393CBF7877B65147252E29520104EB0213DF8D7DC91AD2961489AE774E282D534AD1D1FF940EF15B160ADA571016CF9BFB94470F8429F95AD052150C5317F6A317CDA03220C2D7DCCC6755665B2FD45D7B6DDA07D228B8381C31F95D724011D5E1EE65F02700BF04E117C68AF87B57DD1E0850CA749FA0013FD88FDEE7DCDDBF8DC148BACBFEC8A020C30193F1A5654310C1D4AEDB64BE66E1F44AFFAC93503342E0FD861E1F8AE5A1E7489F7B873D66C51E8788AD801CA149D6260C4890CAFC10E2C7F55C6F2D17E2C587CDF853FC395284102355F1586CD13F77B7F72F633674B826169EFBAAB45AC73249AC8380F090C05DF98C5F2DB9B2DC86C78B7612E85C84BE0DC58CBBFA1E0C0D7AC1C2BE82961D9948E9CD58FE6A204FE06507643AEACCCF13D8DF6E55F9244BE1D9DBB09C6C55B74BE626BCB55B8D5F595E5B98D21FC10ADD04D10C616D3A6CC0406BEBB199EA2B8BC37DD5EE51C2B612BD3EDBE06E2BEDCDD71AE6250902B2554784C7DEAF2FE1E471AA6AD9747C6032E7319B8549108C9978B559E3BA16952F3C91B608758EC8A4D699CE79FA2F44F53E087D584D9145764C5B50C57D082B769854802191602B1FB1ED3B8C822BF8610A25921A852C94E5C486C23E47EE50E33D124DB1672345F5571CEC3EB60B2E01B0EFCB6CD3E0CBF8894EED244298DF086DCE4E25B65A74445033750D012E0F2B9CCC4D1951A95A2AF404F3CDC8E1E1EC439CF173CCFA308ECE068FA050D5EC3686BCC9C5CD99FBD4974D9710DDF280495436F4B4759F1B24BEAC676AF21CC21DF939A8DE9569FB1E0DC6ECD8F601C31208FF1C34F282A4FD46EF048A5CCD660D06BEC253E9A3F1EABED2A441',X'28B52FFD20FD35030094025B2266616E2D3239222C3134313833323230383637313431373335303536323131323131313131225D1C003E897C452E64941A1235C9D1240C6401F940E6956C80309005C801A104901164F654114000E403840122805C401064C6427A855890986D4102');
INSERT INTO "snapshot_bucket" VALUES(2,0,X'008A2B123F21200AFC0D788958F2319C008A2B123F21200A030B5D9ECE97BB0D3598A288F5DA9155030B5D9ECE97BB0D035B610D4F5F05FB361F9C001485358A035B610D4F5F05FB03D472D18C51BD94D846F3271500BD6603D472D18C51BD940939CA950C066A4E09254648A0189BF10939CA950C066A4E0ACF948B0C8E1CBE53AA8FE40118F9F10ACF948B0C8E1CBE0BE8A5A6049CB584D875BAA01B12EF700BE8A5A6049CB5841544BB4955E90AC9454DF8EEAC7146671544BB4955E90AC917206B633C299EB3807DB3EC5459B6BA17206B633C299EB3176DCEB0D74F60000E7047DC7B6CC78C176DCEB0D74F60001B9AE01D34BBFAEBD8FFD03657C3DE921B9AE01D34BBFAEB1C4AD2A66B6BBAD40CC114BC6A255D3B1C4AD2A66B6BBAD41E17DD9D4DB35CF4A7747BE445F6AD621E17DD9D4DB35CF4233009D10EC4583814C13AE5E706D0F7233009D10EC4583826B7C98FBFB8DA460CCEC49D361CD4DA26B7C98FBFB8DA46284A3034643DBC86BF0861F4AD77692C284A3034643DBC862ED7411455B2CC7AE3C88173164156762ED7411455B2CC7A350E1E70F91B791362F1DC65FE31CA53350E1E70F91B79134052350D97C4AC7AC7ADF62F7FC01D1E4052350D97C4AC7A41329B576AE8AFE8D4FAF275F5CD321641329B576AE8AFE8425E5A1CE46676589851ED4B9C663928425E5A1CE46676584F2C84BF5FC945F9BE97E7F8D1EABB1B4F2C84BF5FC945F94F70E68D5752BD05DEF8537905467B494F70E68D5752BD0551BF8FD0780846C96B26A38CB655112051BF8FD0780846C957347AA123B01CAE9D7A405BCDA988AC57347AA123B01CAE5B7814D1020C6C60451059FE570CA0005B7814D1020C6C605C93E33FFD6B70C196F1D7AFB81F0AA35C93E33FFD6B70C16024EF0F8033AA973B6B275002FF46136024EF0F8033AA9761CE5D70EF51843A350CE2146214072C61CE5D70EF51843A6C8FDAC02A2D1420AA5EECC116FF69B86C8FDAC02A2D14206FB78B98BE58392B0BBFFB6AAB4CE5AA6FB78B98BE58392B735426FB8F6005BDB15988964D7FDE93735426FB8F6005BD74929243E9F60F84BBD32EA91868AC0374929243E9F60F8482C33B6FD3E8A40339ABFF3BB3AA489982C33B6FD3E8A4038524BB72FBD66B3F1AC05FF4E23045358524BB72FBD66B3F8959B9B7C82ABC24D17BD30BF83E53E28959B9B7C82ABC248D5E7EFEA6E93933E916A412ECE5B0198D5E7EFEA6E939338F781E3DC759567C6285E9E930D699178F781E3DC759567C9146E87D15D6D04CE68BF2CBCEE4A7D69146E87D15D6D04C92152BF3C1129616025EA0C3ADE4CBEE92152BF3C1129616958AD066664392D26D3913A0BFAAF713958AD066664392D297EA425A2F74924DCF0E4511E7F733FA97EA425A2F74924D9BFAB8F59854ED1B97EBB40B05A504A79BFAB8F59854ED1BAAF776194B67618B1D44BFE0B5D89C12AAF776194B67618BAF5C0B006B3786379B34B0C69F740E1BAF5C0B006B378637B4B1F41593350BA64813F6F681BAE1A2B4B1F41593350BA6C2505D6CD56CDAF4DC1B41BB1C23F3F4C2505D6CD56CDAF4C4BF2FA8BC0BF159941BB03331C68FAFC4BF2FA8BC0BF159C555B2EC3A62202976C88B776167D13AC555B2EC3A622029C75C4FC94A5285E65E3221CFC2F1811EC75C4FC94A5285E6C862C9F7E7CF341EC541DD6CF77AF86AC862C9F7E7CF341ECA6363B25CE18B5018AC9263B229E147CA6363B25CE18B50CFC7602C26B34099063810593BBC4054CFC7602C26B34099D04DCF7684699D84306BD0D4AFB12645D04DCF7684699D84D2EE0BBAF2317F0BFBD584DC4096B1D9D2EE0BBAF2317F0BDF18B44A89A4BCE1AF23D3BE02B4ECA3DF18B44A89A4BCE1E1C4587391645286D902311A9EC7C7E2E1C4587391645286E3BDFEA6B82E5A04722B6A27DF2744BEE3BDFEA6B82E5A04E941299371115194094298EF6B47826CE941299371115194EE886446F7B23480B0119F5C73D1287CEE886446F7B23480',X'28B52FFD60C70145050002461013B0271D38676838B82C259129A534CE7ECCE10183616F25CDB65BF484D253F99633EF626EFC679265FA81F539EEAA4375BA566EA8CF0A606C81822810886208023B20801383B60106F3C6B03461900650CC151B25C36A7762EC8D6523530C53C618B61BDF4D64ECC6DCDE78631B0DB3DB1606DF78A31AE17260E38D6D34CC6E5B9A6BB08D37B6F1C63662630F2EC6BEDF6C2C8337B6F1C633ECD8CDB7ECCBA036FBE27F01');
INSERT INTO "snapshot_bucket" VALUES(3,0,X'023CFACA3905B92E20AA03C6471D50D2000000000000000002CC7A037C135934DBAEBF6FBB65436B00000000000000000A5747B4F01DBD68EC039D55A93EC5DF000000000000000012B457BD3FEA4622F8136C9E6C14AFAD00000000000000001726B239E52BB9E461F1891F06BA9E2B000000000000000018164E7DA659484162686D4E50D2CDAD00000000000000001FEE89780DC76D96B329F7DA493857AB000000000000000022BF9DAAD00EA91DF5B9B89AC4582AE600000000000000002423471C20D9695909E7D3ADF3CB56CC000000000000000030FEF07C40A4B49A36D5A6B6D0EEC3480000000000000000316816DF8AFB83C026F0FE7941A4E78B0000000000000000317EF57499CFD870A27E93B0968D6F230000000000000000319A3E61A12D93727ABD0C7746D327EF00000000000000003C0FF34710BF28E6C2DA4E13D4E8D4DF00000000000000004212661E44C8DE88D8ACB8CEC9F5C77D000000000000000044375B5ACAF50B39D7DDC66A5537211A00000000000000004F5F1B82276190D9A2A58AB4F5B427FB00000000000000005B2884A6B0835874EC71C42ECEF5BED50000000000000000609B20ACFFE8C82D6D594DA954D6B7E4000000000000000062EEF8360C488E9487CCDC4D9CB7F1A700000000000000006786E906FBFFB94F00409D0F9545B422000000000000000069237CE74890C64C9DCEAC1CA0C046D500000000000000006D1A8EB99377CC563A7F260B8F258BC000000000000000006E328E83CEC4EDB377E5D9E4A83F79E3000000000000000070F0F57A4495FFB56DD419D66BEB396B0000000000000000781833C749667A359286FB9EFFCF06CA00000000000000007A452A8BE5B1983B99FCD79B0F340B2A00000000000000007DE7B627925E3D90D0BFF27AE9D6FE9D000000000000000080975318530D9D52798E7FC1B4882EF1000000000000000088F7A43B0026A355F5DBEA6DE62D887D00000000000000008DF2FCDA0CC828EB10A667A380B7214C00000000000000009113EE00FBF1188ECA0058AEDB189C6000000000000000009701566D39D6567B6092A3BF7CB05B04000000000000000097C0090D41BD764D06B2DD2AB385FD0500000000000000009844C7FBC7F715D5B17B8937ECCDB14200000000000000009B13E16EB09C5F611965FAC0542A708600000000000000009E1A6B36B42A506147443C714C02C90C00000000000000009E28A99BC5C250BDAFD323F86E0215010000000000000000A8039CF26771631AAD63A8FBAD48EE500000000000000000AD1D16C4EF83A9B189AE56560A34A1A60000000000000000AD9B884438BC4E7275D0BA694BCEC4220000000000000000AF95A74D8EC9A29A8B634A89513299A70000000000000000B088E830A793537C0D5B19C2EE0B6D350000000000000000B1AECE6C687FD2D2CEE75F5EC99BA2F40000000000000000B2EACB2AE57D6C2BDD2953D9D2F709B60000000000000000B6BD894251928002A47E1DF475AF07690000000000000000BB0FB572503BAF7F201B8339B81EFAD10000000000000000BFA73E7446DC7405F66BB3942894FCC70000000000000000C815C6587347CD34F434E5460C00E8590000000000000000C8A324CC1A840513D2315BD0DC9FF5C30000000000000000C8C9D07C7FB5F240CFCF22FD5BDEB6EC0000000000000000CC3D48B96A1EBF5197C51DD73C0EB90C0000000000000000D573B5B9F03FCCBC59DE0498F4664F940000000000000000D7C8BC6BE9D9EA06758340E55EC911620000000000000000E3DD2C95D016FB5D5D4F396CB858F2710000000000000000E473B6DFF869EC5BA5E4E7C3B54E33C20000000000000000EEF36ECAE094A4685F2ABF4AB08CB2020000000000000000F8545D80F21694340E5F746F250F7A1F0000000000000000F9889AB284713B19B9FD7012D81753510000000000000000FC6F96E22CF5C01F735238C39B8868CF0000000000000000',X'28B52FFD608B011D050052861012C0251DBC4DD3FACBDD5BCA94528A9CF2AA868031DBEBF547AF59EC375AA1C7261CCBCA64E46EB6A6E464DE1E7DDED12DAE79A593F243979AC3A0128441A02018453B208053690E9C0D165CF0820B2A6C37A59556DAD24AD3D2C82D0A2E6CB76D0B5670C10A6E56DAD2B628B7D9DD4A53DA16E54CB0B1B0D296A6A5DDB685EDF6D21C4BC3DE2236585014D6D8A202BC5109DED828D885A534634B53AE339B04');
CREATE TABLE "staged_page" (
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
      pause_reason text,
      interval_seconds real check (interval_seconds > 0),
      schedule_anchor real not null,
      next_run_at real,
      guard_enabled integer not null default 1 check (guard_enabled in (0, 1)),
      mapping text not null default '[]',
      size integer not null default 0,
      last_run_id integer, guard_add_share real not null default 50 check (guard_add_share between 0 and 10000), guard_add_people integer not null default 100 check (guard_add_people between 0 and 1000000000), guard_remove_share real not null default 20 check (guard_remove_share between 0 and 10000), guard_remove_people integer not null default 100 check (guard_remove_people between 0 and 1000000000), daily_at text
      check (daily_at is null or (daily_at glob '[0-2][0-9]:[0-5][0-9]' and daily_at < '24:00' and mode = 'dynamic')), daily_zone text check ((daily_zone is null) = (daily_at is null)), daily_days text check ((daily_days is null) = (daily_at is null)), ends_at real check (ends_at is null or mode = 'dynamic'), resume_at real check (resume_at is null or state = 'paused'), id_property text not null default '',
      unique (project_id, cohort_id),
      unique (license_code, attribute),
      check ((state = 'paused') = (pause_reason is not null)),
      check ((mode = 'dynamic') = (interval_seconds is not null)),
      check ((mode = 'dynamic' and state <> 'finished') = (next_run_at is not null))
    ) strict
    ;
INSERT INTO "sync" VALUES(1,42,7,'Stored by schema 22','sandbox1','Mixpanel - Stored by schema 2','dynamic','active',NULL,7200.0,1790000000.0,1790007200.0,1,'[["plan", "Plan"]]',29,1,50.0,100,20.0,100,NULL,NULL,NULL,NULL,NULL,'');
INSERT INTO "sync" VALUES(2,42,8,'Stored by schema 22','sandbox1','Mixpanel - Unmapped','dynamic','active',NULL,7200.0,1790000000.0,1790007200.0,1,'[]',60,2,50.0,100,20.0,100,'07:30','Europe/Berlin','mon,tue',1790007140.0,NULL,'');
INSERT INTO "sync" VALUES(3,42,9,'Stored by schema 22','sandbox1','Mixpanel - Half way','dynamic','paused','Paused until',7200.0,1790000000.0,1790007200.0,1,'[]',60,3,50.0,100,20.0,100,NULL,NULL,NULL,1900000000.0,1800000000.0,'');
CREATE TABLE tripwire (
      id integer primary key,
      project_id integer not null,
      cohort_id integer,
      id_hash blob not null check (length(id_hash) = 16),
      label text not null check (label <> ''),
      note text not null,
      added_by text not null check (added_by <> ''),
      added_at real not null
    ) strict
    ;
INSERT INTO "tripwire" VALUES(1,42,NULL,X'BE5E4C5A50DC4EC0640A95BDD47ABFF2','a •••e','','ann',1800000000.0);
CREATE TABLE "webengage_account" (
      license_code text primary key,
      data_center text not null,
      sealed_key text,
      secret_last4 text not null,
      checked_at real not null
    ) strict
    ;
INSERT INTO "webengage_account" VALUES('sandbox1','global',NULL,'',1790000000.0);
CREATE TABLE "webengage_rate" (
      license_code text primary key,
      next_at real not null
    ) strict
    ;
INSERT INTO "webengage_rate" VALUES('sandbox1',1.79000000049339485163e+09);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX one_active_run on run (sync_id) where finished_at is null;
CREATE INDEX run_of_sync on run (sync_id, id);
CREATE INDEX event_of_run on event (run_id) where run_id is not null;
CREATE TRIGGER audit_is_never_changed before update on audit begin select raise(abort, 'the audit is append only'); end;
CREATE TRIGGER audit_is_never_shortened before delete on audit begin select raise(abort, 'the audit is append only'); end;
CREATE TRIGGER event_is_append_only before update on event
    when old.until is null or new.until is null or new.times <= old.times or new.id is not old.id
      or new.at is not old.at or new.sync_id is not old.sync_id or new.run_id is not old.run_id
      or new.message is not old.message
    begin select raise(abort, 'history is append only'); end;
CREATE INDEX mixpanel_query_of_project on mixpanel_query (project_id, at, is_later_page);
CREATE INDEX mixpanel_query_in_flight on mixpanel_query (project_id, in_flight_until) where in_flight_until is not null;
CREATE INDEX batch_to_send on batch (run_id, number) where state <> 'confirmed';
CREATE UNIQUE INDEX one_active_rejection on rejection (sync_id, user_id) where active = 1;
CREATE UNIQUE INDEX one_tripwire on tripwire (project_id, ifnull(cohort_id, 'any'), id_hash);
CREATE INDEX run_ended on run (finished_at) where finished_at is not null;
CREATE INDEX run_succeeded on run (sync_id, finished_at) where state = 'succeeded';
CREATE INDEX message_to_send on message (recipient_id, id) where delivered_at is null and failed_at is null;
CREATE TRIGGER run_queued after insert on run
    begin
      
      insert into message (recipient_id, key, topic, title, body, created_at)
      select recipient.id, lower(hex(randomblob(16))), 'run.' || new.state, '', json_object(
        'run_id', new.id, 'sync_id', new.sync_id, 'project_id', sync.project_id, 'cohort_id', sync.cohort_id,
        'state', new.state, 'purpose', new.purpose, 'dry_run', json(iif(new.dry_run, 'true', 'false')),
        'entered', new.entered, 'updated', new.updated, 'exited', new.exited,
        'delivered', new.delivered, 'rejected', new.rejected, 'invalid', new.invalid,
        'queued_at', new.queued_at, 'started_at', new.started_at, 'finished_at', new.finished_at), ((julianday('now') - 2440587.5) * 86400.0)
      from recipient join sync on sync.id = new.sync_id
      where recipient.kind = 'webhook';
    
    end;
CREATE TRIGGER run_changed after update of state on run
    when new.state <> old.state
      and (new.state <> 'queued' or old.state = 'held')
      and (new.state <> 'pulling' or old.started_at is null)
    begin
      
      insert into message (recipient_id, key, topic, title, body, created_at)
      select recipient.id, lower(hex(randomblob(16))), 'run.' || new.state, '', json_object(
        'run_id', new.id, 'sync_id', new.sync_id, 'project_id', sync.project_id, 'cohort_id', sync.cohort_id,
        'state', new.state, 'purpose', new.purpose, 'dry_run', json(iif(new.dry_run, 'true', 'false')),
        'entered', new.entered, 'updated', new.updated, 'exited', new.exited,
        'delivered', new.delivered, 'rejected', new.rejected, 'invalid', new.invalid,
        'queued_at', new.queued_at, 'started_at', new.started_at, 'finished_at', new.finished_at), ((julianday('now') - 2440587.5) * 86400.0)
      from recipient join sync on sync.id = new.sync_id
      where recipient.kind = 'webhook';
    
    end;
CREATE INDEX run_queued on run (queued_at);
CREATE TRIGGER sync_created after insert on sync
    begin
      
      insert into message (recipient_id, key, topic, title, body, created_at)
      select recipient.id, lower(hex(randomblob(16))), 'sync.created', '', json_object(
        'sync_id', new.id, 'project_id', new.project_id, 'cohort_id', new.cohort_id,
        'license_code', new.license_code, 'mode', new.mode, 'state', new.state,
        'interval_seconds', new.interval_seconds, 'next_run_at', new.next_run_at, 'daily_at', new.daily_at,
        'daily_zone', new.daily_zone, 'daily_days', new.daily_days, 'ends_at', new.ends_at, 'resume_at', new.resume_at,
        'user_id_property', coalesce(nullif(new.id_property, ''), '$distinct_id')), ((julianday('now') - 2440587.5) * 86400.0)
      from recipient
      where recipient.kind = 'webhook';
    
    end;
CREATE TRIGGER sync_changed after update of state, mode, interval_seconds, mapping, daily_at, daily_zone, daily_days,
      ends_at, resume_at, id_property on sync
    when new.state <> old.state or new.mode <> old.mode or new.mapping <> old.mapping
      or new.interval_seconds is not old.interval_seconds or new.daily_at is not old.daily_at
      or new.daily_zone is not old.daily_zone or new.daily_days is not old.daily_days
      or new.ends_at is not old.ends_at or new.resume_at is not old.resume_at or new.id_property <> old.id_property
    begin
      
      insert into message (recipient_id, key, topic, title, body, created_at)
      select recipient.id, lower(hex(randomblob(16))), iif(new.state = old.state, 'sync.changed', 'sync.' || new.state), '', json_object(
        'sync_id', new.id, 'project_id', new.project_id, 'cohort_id', new.cohort_id,
        'license_code', new.license_code, 'mode', new.mode, 'state', new.state,
        'interval_seconds', new.interval_seconds, 'next_run_at', new.next_run_at, 'daily_at', new.daily_at,
        'daily_zone', new.daily_zone, 'daily_days', new.daily_days, 'ends_at', new.ends_at, 'resume_at', new.resume_at,
        'user_id_property', coalesce(nullif(new.id_property, ''), '$distinct_id')), ((julianday('now') - 2440587.5) * 86400.0)
      from recipient
      where recipient.kind = 'webhook';
    
    end;
CREATE INDEX chunk_group_of_sync on chunk_group (sync_id);
CREATE INDEX mixpanel_query_behind on mixpanel_query (project_id, behind_until) where behind_until is not null
    ;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('run',4);
INSERT INTO "sqlite_sequence" VALUES('message',0);
COMMIT;
