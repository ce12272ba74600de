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
CREATE TABLE batch (
      run_id integer not null references run on delete cascade,
      number integer not null,
      state text not null default 'pending' check (state in ('pending', 'in_flight', 'confirmed')),
      member_count integer not null check (member_count > 0),
      entries blob not null,
      primary key (run_id, number)
    ) strict
    ;
INSERT INTO "batch" VALUES(3,0,'confirmed',25,X'28B52FFD604500DD020044020000010002000300040005000600070008000900010001010101010101010102020202021A00C010C01DE018E004700738063801DC018E014E0077C0B18261010D76EE828881C3206210318818440C2206118388418C118005');
INSERT INTO "batch" VALUES(3,1,'in_flight',25,X'28B52FFD604500BD0300E40300020000000500020000000600020000000700020000000800020000000900030003000000010003030300000004000303030303040404040404040404041B00C010C01DE018E004700738063801DC018E014E007780638013E0AE60380309A02D9A4E8000A7F205B90083412E2017900BC8250346');
INSERT INTO "batch" VALUES(3,2,'in_flight',10,X'28B52FFD20828D0200A403000500050000000100050000000200050000000300050000000400050500000006000500000007000500000008000500000009000000000000000A002017900BC8020D76EE0257802BC015E04A0C86');
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
      id integer primary key,
      run_id integer not null references run on delete cascade,
      kind text not null check (kind in ('add', 'update', 'remove')),
      outcome text not null check (outcome in ('pending', 'in_flight', 'confirmed')),
      ids blob not null
    ) strict
    ;
INSERT INTO "delivery_log" VALUES(1,2,'add','confirmed',X'28B52FFD60C701C50400A2C50F12B017DA3867683878CAEE9D52A63BFB1AA70403414F5D4EEFEDF7735D6CAEC9F458AC576AF565CD131AB27896B61367663A62C7A2038403C32810C62004013B20D04B3A46CC1966048337DE78E38D363362CE3043F0BBF1C61B6FB49911738619C1E08D37DE78A3CD8C9833CC08060DDB6DB7DD6C3167989168DC979C7DC9489A0C88929F366CCBBECDB6D8B7D9967D733313840E');
INSERT INTO "delivery_log" VALUES(2,1,'add','confirmed',X'28B52FFD6005007D030004035B2266616E2D36222C39303332383135373431313131313131313932393235323132343230323632323238323733225D1D0080609031C818640C320619838C41C620236446459131C8E9415810448020F706614E20D21501A6CA81CC4016900F6406B2807C20339005E45D5B8E');
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
      later_pages_counted integer not null default 0 check (later_pages_counted in (0, 1))
    , license_code text references "webengage_account", list_failed_at real, list_problem text) strict
    ;
INSERT INTO "mixpanel_project" VALUES(42,'Music Finder','demo.abc123.mp-service-account',NULL,'','us','admin','',1790000000.0,1790000000.0,0,NULL,NULL,NULL);
CREATE TABLE "mixpanel_query" (
      id integer primary key,
      project_id integer not null,
      at real not null,
      is_later_page integer not null check (is_later_page in (0, 1)),
      in_flight_until real,
      owner text not null
    ) strict
    ;
CREATE TABLE "rejection" (
      run_id integer not null,
      sync_id integer not null references sync,
      user_id text not null,
      kind text not null check (kind in ('add', 'update', 'remove', 'invalid')),
      reason text not null check (reason <> ''),
      mark blob,
      entry blob,
      at real not null,
      active integer not null check (active in (0, 1)),
      primary key (run_id, user_id)
    ) strict, without rowid
    ;
INSERT INTO "rejection" VALUES(1,1,'fan-3','add','WebEngage was sent a batch of users and answered 400 “Error: invalid user.”',X'6C57707A530788BA679F31ED78D4511A',X'28B52FFD200D69000000000000000300000000000000',1.79000000025110197069e+09,1);
CREATE TABLE run (
      id integer primary key autoincrement,
      sync_id integer not null references sync,
      state text not null default 'queued'
        check (state in ('queued', 'pulling', 'held', 'delivering', 'succeeded', 'failed', 'cancelled')),
      purpose text not null check (purpose in ('export', 'refresh', 'retry', 'resync', 'clear')),
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
      lease_until real, put_off_at real,
      check ((lease_owner is null) = (lease_until is null)),
      check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
      check ((state = 'failed') = (error is not null)),
      check (state <> 'held' or held_reason is not null),
      check (finished_at is null or lease_owner is null)
    ) strict
    ;
INSERT INTO "run" VALUES(1,1,'succeeded','export',0,1,1790000000.0,1.79000000000388860706e+09,1.7900000002528395653e+09,1790000000.0,NULL,NULL,0,0,1,NULL,10,30,30,30,0,0,29,1,0,0,0,13,NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(2,2,'succeeded','export',0,1,1790000000.0,1.79000000000682306291e+09,1.79000000018683767324e+09,1790000000.0,NULL,NULL,0,0,1,NULL,10,60,60,60,0,0,60,0,0,0,0,9,NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(3,3,'queued','export',0,1,1790000000.0,1.79000000001310896873e+09,NULL,1.79000030049855208399e+09,'WebEngage was sent a batch of users and answered 503 “HTTP 503”.',NULL,0,0,0,'1795617902-WGYNYI',10,60,60,60,0,0,25,0,0,0,0,11,NULL,NULL,NULL,NULL);
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
CREATE TABLE snapshot (
      sync_id integer not null references sync,
      chunk integer not null,
      marks blob not null,
      ids blob not null,
      primary key (sync_id, chunk)
    ) strict
    ;
INSERT INTO "snapshot" VALUES(2,0,X'0939CA950C066A4E09254648A0189BF11C4AD2A66B6BBAD40CC114BC6A255D3B233009D10EC4583814C13AE5E706D0F76C8FDAC02A2D1420AA5EECC116FF69B8958AD066664392D26D3913A0BFAAF7139BFAB8F59854ED1B97EBB40B05A504A7C2505D6CD56CDAF4DC1B41BB1C23F3F4C862C9F7E7CF341EC541DD6CF77AF86ADF18B44A89A4BCE1AF23D3BE02B4ECA3E1C4587391645286D902311A9EC7C7E2',X'28B52FFD206F5D0100B85B227265616465722D34222C353637323938303133225D0900600BD80736035BC03EB019D802F6355192');
INSERT INTO "snapshot" VALUES(2,1,X'008A2B123F21200AFC0D788958F2319C030B5D9ECE97BB0D3598A288F5DA91550BE8A5A6049CB584D875BAA01B12EF7017206B633C299EB3807DB3EC5459B6BA2ED7411455B2CC7AE3C8817316415676735426FB8F6005BDB15988964D7FDE938959B9B7C82ABC24D17BD30BF83E53E2B4B1F41593350BA64813F6F681BAE1A2D04DCF7684699D84306BD0D4AFB12645E941299371115194094298EF6B47826C',X'28B52FFD20796D0100C05B227265616465722D3131222C303739333236353834225D0900C00830070C0346803960183002CCF5A27C01');
INSERT INTO "snapshot" VALUES(2,2,X'1544BB4955E90AC9454DF8EEAC7146674052350D97C4AC7AC7ADF62F7FC01D1E425E5A1CE46676589851ED4B9C6639285B7814D1020C6C60451059FE570CA00061CE5D70EF51843A350CE2146214072C8D5E7EFEA6E93933E916A412ECE5B019AF5C0B006B3786379B34B0C69F740E1BC555B2EC3A62202976C88B776167D13AD2EE0BBAF2317F0BFBD584DC4096B1D9EE886446F7B23480B0119F5C73D1287C',X'28B52FFD20796D0100C05B227265616465722D3233222C353738313630393234225D0900C00830070C0346803960183002CCF5A27C01');
INSERT INTO "snapshot" VALUES(2,3,X'035B610D4F5F05FB361F9C001485358A03D472D18C51BD94D846F3271500BD660ACF948B0C8E1CBE53AA8FE40118F9F126B7C98FBFB8DA460CCEC49D361CD4DA284A3034643DBC86BF0861F4AD77692C8F781E3DC759567C6285E9E930D6991792152BF3C1129616025EA0C3ADE4CBEEAAF776194B67618B1D44BFE0B5D89C12C75C4FC94A5285E65E3221CFC2F1811EE3BDFEA6B82E5A04722B6A27DF2744BE',X'28B52FFD20796D0100C05B227265616465722D3332222C353736393338303431225D0900C00830070C0346803960183002CCF5A27C01');
INSERT INTO "snapshot" VALUES(2,4,X'176DCEB0D74F60000E7047DC7B6CC78C350E1E70F91B791362F1DC65FE31CA5341329B576AE8AFE8D4FAF275F5CD321657347AA123B01CAE9D7A405BCDA988AC5C93E33FFD6B70C196F1D7AFB81F0AA374929243E9F60F84BBD32EA91868AC0397EA425A2F74924DCF0E4511E7F733FAC4BF2FA8BC0BF159941BB03331C68FAFCA6363B25CE18B5018AC9263B229E147CFC7602C26B34099063810593BBC4054',X'28B52FFD20796D0100C05B227265616465722D3432222C363338313035373439225D0900C00830070C0346803960183002CCF5A27C01');
INSERT INTO "snapshot" VALUES(2,5,X'1B9AE01D34BBFAEBD8FFD03657C3DE921E17DD9D4DB35CF4A7747BE445F6AD624F2C84BF5FC945F9BE97E7F8D1EABB1B4F70E68D5752BD05DEF8537905467B4951BF8FD0780846C96B26A38CB65511206024EF0F8033AA973B6B275002FF46136FB78B98BE58392B0BBFFB6AAB4CE5AA82C33B6FD3E8A40339ABFF3BB3AA48998524BB72FBD66B3F1AC05FF4E23045359146E87D15D6D04CE68BF2CBCEE4A7D6',X'28B52FFD20796D0100C05B227265616465722D3539222C383336303537313432225D0900C00830070C0346803960183002CCF5A27C01');
INSERT INTO "snapshot" VALUES(1,0,X'252E29520104EB02BD0F5C3D936CA75C4298DF086DCE4E25E8C74CD802D9B5AC4AD1D1FF940EF15B2465EE80898DDB1F672345F5571CEC3EE85B7E413BD34FA6759F1B24BEAC676A0C4066BEE006C56AB2DC86C78B7612E861561A8C2E445158E2C587CDF853FC39AA209C01BDB435D1E9A3F1EABED2A4412463BC23347492C7F3A79A199CAC7D4D83739F8E44588577F601C31208FF1C344542D89403352DEE',X'28B52FFD205B4D0100A85B2266616E2D3138222C323336353730313439225D090080082007080344003940182002C8E55090');
INSERT INTO "snapshot" VALUES(1,1,X'116D7716FA640D891F43E3C0BAC249E41FC10ADD04D10C614B31DECD316EF61C50D5EC3686BCC9C551D66BB799DFD49474B826169EFBAAB4CAFEB5F07B294C847B6DDA07D228B838C8F324D4BE7388C08DC148BACBFEC8A05B224D6A3114661BD052150C5317F6A32B11AAD058EE2D2BE117C68AF87B57DDCB86C786C1250046E1F44AFFAC9350338818687D68F26A55F9244BE1D9DBB09C69ECE71689DCBC2F',X'28B52FFD205B4D0100A85B2266616E2D3239222C353134303632383733225D090080082007080344003940182002C8E55090');
INSERT INTO "snapshot" VALUES(1,2,X'4D9145764C5B50C5C3F3B8686B267A1A51A95A2AF404F3CDB6E59371F091245351C2B612BD3EDBE02387CBD3B72AC616822BF8610A25921AC7FEA13DA64D262F961D9948E9CD58FE1D1D4450314F5AF0AF2FE1E471AA6AD99DDC3C84A6912A20BA16952F3C91B60837263112DCD04D96C51E8788AD801CA1CD1D73D843232F9AEC39A68002595FED533B86E5C59D1415',X'28B52FFD20495D0100D05B2266616E2D36222C39303238313537222C2266616E2D34225D0700200BC807320359403E906C6D9103');
CREATE TABLE "staged_page" (
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
INSERT INTO "staged_page" VALUES(3,0,10,0,0,1,NULL,X'02CC7A037C135934DBAEBF6FBB65436B1726B239E52BB9E461F1891F06BA9E2B22BF9DAAD00EA91DF5B9B89AC4582AE630FEF07C40A4B49A36D5A6B6D0EEC348317EF57499CFD870A27E93B0968D6F233C0FF34710BF28E6C2DA4E13D4E8D4DF62EEF8360C488E9487CCDC4D9CB7F1A76E328E83CEC4EDB377E5D9E4A83F79E3AF95A74D8EC9A29A8B634A89513299A7F9889AB284713B19B9FD7012D8175351',X'28B52FFD2065550100B05B2267756573742D32222C343533363937313830225D0900A00828070A0345403950182802CA6D56BC',NULL);
INSERT INTO "staged_page" VALUES(3,1,10,0,0,1,NULL,X'44375B5ACAF50B39D7DDC66A5537211A6786E906FBFFB94F00409D0F9545B4229B13E16EB09C5F611965FAC0542A70869E28A99BC5C250BDAFD323F86E021501AD1D16C4EF83A9B189AE56560A34A1A6B1AECE6C687FD2D2CEE75F5EC99BA2F4BFA73E7446DC7405F66BB3942894FCC7C815C6587347CD34F434E5460C00E859E3DD2C95D016FB5D5D4F396CB858F271FC6F96E22CF5C01F735238C39B8868CF',X'28B52FFD206F5D0100B85B2267756573742D3137222C333238393436313530225D0900600BD80736035BC03EB019D802F6355192',NULL);
INSERT INTO "staged_page" VALUES(3,2,10,0,0,1,NULL,X'18164E7DA659484162686D4E50D2CDAD7DE7B627925E3D90D0BFF27AE9D6FE9D97C0090D41BD764D06B2DD2AB385FD059E1A6B36B42A506147443C714C02C90CAD9B884438BC4E7275D0BA694BCEC422B088E830A793537C0D5B19C2EE0B6D35BB0FB572503BAF7F201B8339B81EFAD1C8C9D07C7FB5F240CFCF22FD5BDEB6ECCC3D48B96A1EBF5197C51DD73C0EB90CD7C8BC6BE9D9EA06758340E55EC91162',X'28B52FFD206F5D0100B85B2267756573742D3230222C353332313839373436225D0900600BD80736035BC03EB019D802F6355192',NULL);
INSERT INTO "staged_page" VALUES(3,3,10,0,0,1,NULL,X'023CFACA3905B92E20AA03C6471D50D212B457BD3FEA4622F8136C9E6C14AFAD2423471C20D9695909E7D3ADF3CB56CC319A3E61A12D93727ABD0C7746D327EF5B2884A6B0835874EC71C42ECEF5BED5609B20ACFFE8C82D6D594DA954D6B7E48DF2FCDA0CC828EB10A667A380B7214C9113EE00FBF1188ECA0058AEDB189C609701566D39D6567B6092A3BF7CB05B04D573B5B9F03FCCBC59DE0498F4664F94',X'28B52FFD206F5D0100B85B2267756573742D3336222C393831343230373335225D0900600BD80736035BC03EB019D802F6355192',NULL);
INSERT INTO "staged_page" VALUES(3,4,10,0,0,1,NULL,X'0A5747B4F01DBD68EC039D55A93EC5DF4212661E44C8DE88D8ACB8CEC9F5C77D4F5F1B82276190D9A2A58AB4F5B427FB70F0F57A4495FFB56DD419D66BEB396B80975318530D9D52798E7FC1B4882EF19844C7FBC7F715D5B17B8937ECCDB142A8039CF26771631AAD63A8FBAD48EE50B2EACB2AE57D6C2BDD2953D9D2F709B6B6BD894251928002A47E1DF475AF0769E473B6DFF869EC5BA5E4E7C3B54E33C2',X'28B52FFD206F5D0100B85B2267756573742D3432222C313934363537303833225D0900600BD80736035BC03EB019D802F6355192',NULL);
INSERT INTO "staged_page" VALUES(3,5,10,0,0,1,NULL,X'1FEE89780DC76D96B329F7DA493857AB316816DF8AFB83C026F0FE7941A4E78B69237CE74890C64C9DCEAC1CA0C046D56D1A8EB99377CC563A7F260B8F258BC0781833C749667A359286FB9EFFCF06CA7A452A8BE5B1983B99FCD79B0F340B2A88F7A43B0026A355F5DBEA6DE62D887DC8A324CC1A840513D2315BD0DC9FF5C3EEF36ECAE094A4685F2ABF4AB08CB202F8545D80F21694340E5F746F250F7A1F',X'28B52FFD206F5D0100B85B2267756573742D3532222C393036343538333731225D0900600BD80736035BC03EB019D802F6355192',NULL);
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
      last_run_id integer,
      unique (project_id, cohort_id),
      unique (license_code, attribute),
      check ((state = 'paused') = (pause_reason is not null)),
      check ((mode = 'dynamic') = (interval_seconds is not null)),
      check ((mode = 'dynamic' and state <> 'finished') = (next_run_at is not null))
    ) strict
    ;
INSERT INTO "sync" VALUES(1,42,7,'Stored by schema 5','sandbox1','Mixpanel - Stored by schema 2','dynamic','active',NULL,7200.0,1790000000.0,1790007200.0,1,'[["plan", "Plan"]]',29,1);
INSERT INTO "sync" VALUES(2,42,8,'Unmapped','sandbox1','Mixpanel - Unmapped','dynamic','active',NULL,7200.0,1790000000.0,1790007200.0,1,'[]',60,2);
INSERT INTO "sync" VALUES(3,42,9,'Half way','sandbox1','Mixpanel - Half way','dynamic','active',NULL,7200.0,1790000000.0,1790007200.0,1,'[]',0,3);
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
CREATE INDEX delivery_log_of_run on delivery_log (run_id);
CREATE UNIQUE INDEX one_active_rejection on rejection (sync_id, user_id) where active = 1;
CREATE VIEW pulled as
      select s.run_id, s.page, s.chunk, coalesce(s.marks, c.marks) as marks, coalesce(s.ids, c.ids) as ids, s.sealed_values
      from staged_page s join run r on r.id = s.run_id
      left join snapshot c on c.sync_id = r.sync_id and c.chunk = s.chunk;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('run',3);
COMMIT;
