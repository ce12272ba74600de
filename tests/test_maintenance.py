"""Backup, restore, keys, retention and forgetting: nothing lost, and what is removed is gone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest, KeyUnavailable
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.packing import pack
from sync.process_identity import process_name
from sync.runner import Runner
from sync.service import Service
from sync.vault import add_key, drop_former_keys
from tests.conftest import Cli, RunnerProcess
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member
from tests.workspace import ATTRIBUTE, Workspace, wait_until

DAY = 86400.0


def test_an_export_after_a_restore_sends_every_member_again(fans: Workspace, tmp_path: Path) -> None:
    """After a restore the next export makes WebEngage right, although the snapshot was older than the truth."""
    fans.export()
    with fans.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    fans.sandbox.set_members(fans.cohort, [member(f"fan-{number}") for number in range(20)])
    fans.export()
    with fans.open() as service:
        service.admin.restore(tmp_path / "copy.db")
        assert len(service.runs.list()) == 1
    fans.export()
    members, former = fans.sandbox.holding(ATTRIBUTE)
    assert members == fans.sandbox.exportable(fans.cohort) and len(former) == 10
    with fans.open() as service:
        assert (service.runs.list()[0].updated, service.runs.list()[0].exited) == (20, 10)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_restore_when_the_backup_is_of_an_earlier_version_migrates_it(data_dir: Path, tmp_path: Path) -> None:
    """It has no audit, and what was noted until now is kept all the same."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "1.sql").read_text())
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.set_retention(rejections=10)
        service.admin.restore(tmp_path / "old.db")
        assert [line.action for line in service.admin.list_audit()] == ["restore", "retention"]
        assert service.syncs.list()[0].cohort_name == "Stored by schema 1"


def test_restore_when_the_file_is_no_backup_changes_nothing(fans: Workspace, tmp_path: Path) -> None:
    """Garbage and a stranger's database are refused, and everything is as before."""
    fans.export()
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    with closing(sqlite3.connect(tmp_path / "stranger")) as db:
        db.execute("create table t (x)")
    with fans.open() as service:
        for name in ("garbage", "stranger", "missing"):
            with pytest.raises(InvalidRequest, match="nothing was changed"):
                service.admin.restore(tmp_path / name)
        with pytest.raises(InvalidRequest, match="already exists"):
            service.admin.write_backup(tmp_path / "garbage")
        assert len(service.runs.list()) == 1


def test_rotation_when_done_leaves_the_old_key_without_use(fans: Workspace) -> None:
    """After a rotation the file holds one new key, and the former one is of no use."""
    former = (fans.data_dir / "secret.key").read_text().strip()
    with fans.open() as service:
        assert service.admin.rotate_key() is True
    assert len((fans.data_dir / "secret.key").read_text().split()) == 1
    assert fans.export().state is RunState.SUCCEEDED  # both secrets are of use
    with Service.open(fans.env | {"COHORT_SYNC_KEY": former}) as service, pytest.raises(KeyUnavailable):
        service.cohorts.preview(PROJECT, fans.cohort)


def test_rotation_when_the_keys_are_in_the_environment_uses_the_first(data_dir: Path, sandbox: Sandbox) -> None:
    """With NEW,OLD in the environment everything is sealed with NEW, a passphrase as good as a key."""
    old, new = "an old passphrase of ours", "a new passphrase of ours"
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env | {"COHORT_SYNC_KEY": old}) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    with Service.open(env | {"COHORT_SYNC_KEY": f"{new},{old}"}) as service:
        service.admin.rotate_key()
    with Service.open(env | {"COHORT_SYNC_KEY": new}) as service:
        assert service.connections.check_mixpanel(PROJECT).id == PROJECT
    assert not (data_dir / "secret.key").exists()


def test_purge_when_days_have_passed_leaves_no_byte_of_it(fans: Workspace) -> None:
    """A refused person's id is in the file before, and in no byte of it afterwards; younger ones stay."""
    fans.sandbox.poison("fan-7")
    run_id = fans.export().id
    assert b"fan-7" in fans.read_bytes()
    with fans.open() as service:
        assert service.admin.purge_expired() == 0
        service.admin.set_retention(rejections=1, detail=1)
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db, db:
        db.execute("update rejection set at = at - ?", (2 * DAY,))
        db.execute("update run set finished_at = finished_at - ?", (2 * DAY,))
    with fans.open() as service:
        assert service.admin.purge_expired() >= 2
        assert service.runs.list_rejections(run_id) == () and service.runs.get(run_id).rejected == 1
    assert b"fan-7" not in fans.read_bytes()


def test_a_person_when_forgotten_is_in_no_table(fans: Workspace) -> None:
    """Snapshot, history, refusals and previews lose the person; the cohort's next export brings them back."""
    run_id = fans.export().id
    with fans.open() as service:
        service.cohorts.preview(PROJECT, fans.cohort)
        found = service.admin.forget_person("fan-3")
        assert found.places >= 3 and found.runs_under_way == 0
        assert "fan-3" not in {row.user_id for row in service.runs.iterate_export_rows(run_id)}
        assert service.admin.forget_person("fan-3").places == 0
    assert b"fan-3" not in fans.read_bytes()
    fans.export()
    with fans.open() as service:
        assert service.runs.list()[0].entered == 1


@pytest.mark.parametrize(
    "user_id",
    [
        "ann-\u00fc\u4eba\u0301",
        'ann "the\\best"',
        "x" * 250,
    ],
    ids=["unicode", "quotes", "endless"],
)
def test_a_person_when_the_id_is_unusual_is_forgotten_everywhere(fans: Workspace, user_id: str) -> None:
    """Previews are kept as JSON and endless ids cut: the person is gone from there too."""
    fans.sandbox.set_members(fans.cohort, [member(user_id), member("fan-1")])
    with fans.open() as service:
        service.cohorts.preview(PROJECT, fans.cohort)
    fans.export()
    with fans.open() as service:
        assert service.admin.forget_person(user_id).places >= 2
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db:
        assert db.execute("select count(*) from cohort where preview is not null").fetchone() == (0,)
        assert db.execute("select count(*) from rejection").fetchone() == (0,)


@pytest.mark.timeout(30)
def test_the_runner_when_the_file_is_damaged_stops_with_a_sentence(fans: Workspace) -> None:
    """After an unclean stop the file is checked, and a damaged one is said to be."""
    fans.export()
    with closing(sqlite3.connect(fans.data_dir / "app.db", isolation_level=None)) as db:
        db.execute("insert into runner values (?, 1.0)", (f"{process_name().rpartition(':')[0]}:99999999-x",))
        [root] = db.execute("select rootpage from sqlite_master where name = 'run_of_sync'").fetchone()
        db.execute("pragma wal_checkpoint(truncate)")
    with (fans.data_dir / "app.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 100)
    with pytest.raises(InvalidRequest, match="damaged"):
        Runner(fans.env).run_forever()


PATIENCE = 60.0  # seconds a process may take to do something on a busy machine; never asserted
OLD, NEW = "an old passphrase of ours", "a new passphrase of ours"


def run_until(fans: Workspace, cli: Cli, words: str) -> None:
    """Ask for the status until it says these words."""
    for _ in range(200):
        if words in cli(fans.data_dir, "status").stdout:
            return
    raise AssertionError(words)


def test_rotation_when_a_runner_knows_only_the_old_key_is_refused(
    fans: Workspace, cli: Cli, runner_process: RunnerProcess
) -> None:
    """Secrets sealed with a key that the running runner does not know would pause every sync: nothing is changed."""
    with Service.open(fans.env | {"COHORT_SYNC_KEY": OLD}) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, fans.sandbox.url)
        service.connections.connect_webengage(LICENSE, API_KEY, fans.sandbox.url)
    runner = runner_process(fans.data_dir, COHORT_SYNC_KEY=OLD)
    run_until(fans, cli, "last seen")
    done = cli(fans.data_dir, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}")
    assert done.returncode == 1 and "restart the runner" in done.stderr and "Traceback" not in done.stderr
    runner.terminate()
    assert runner.wait(PATIENCE) == 0
    runner_process(fans.data_dir, COHORT_SYNC_KEY=f"{NEW},{OLD}")
    run_until(fans, cli, "last seen")
    assert cli(fans.data_dir, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}").returncode == 0
    done = cli(fans.data_dir, "export", str(fans.cohort), "--mode", "dynamic", "--wait", COHORT_SYNC_KEY=NEW)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("keys", [{"COHORT_SYNC_KEY": OLD}, {}])
def test_connecting_when_the_runner_has_another_key_is_refused(
    fans: Workspace, cli: Cli, runner_process: RunnerProcess, keys: dict[str, str]
) -> None:
    """As root without the services' settings, for instance: what is sealed here would pause every sync there."""
    (fans.data_dir / "secret.key").unlink(missing_ok=True)
    with Service.open(fans.env | keys) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, fans.sandbox.url)
    files = {path.name for path in fans.data_dir.glob("secret.key*")}
    runner_process(fans.data_dir, **keys)
    run_until(fans, cli, "last seen")
    connect = ("connect", "webengage", "--license-code", LICENSE, "--data-center", fans.sandbox.url)
    others = {} if keys else {"COHORT_SYNC_KEY": NEW}
    done = cli(fans.data_dir, *connect, WEBENGAGE_API_KEY=API_KEY, **others)
    assert done.returncode == 1 and "A working runner has another encryption key" in done.stderr, done
    assert {path.name for path in fans.data_dir.glob("secret.key*")} == files
    assert cli(fans.data_dir, *connect, WEBENGAGE_API_KEY=API_KEY, **keys).returncode == 0


def test_rotation_when_a_run_is_under_way_pauses_nothing(fans: Workspace, runner_process: RunnerProcess) -> None:
    """A run that read the keys before the rotation reads them again when it meets a secret sealed with the new one."""
    fans.sandbox.settings(latency=1500)
    with fans.open() as service:
        run_id = service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    process = runner_process(fans.data_dir, "--once")
    wait_until(lambda: fans.get_run(run_id).state is RunState.PULLING)
    for _ in range(200):  # until the request to Mixpanel is on its way, which needs the former key
        if fans.sandbox.meter().requests.get("/api/query/engage") or process.poll() is not None:
            break
    with fans.open() as service:
        former = (fans.data_dir / "secret.key").read_text().split()
        assert service.admin.rotate_key() is False  # the run may hold values sealed with the former key
        assert (fans.data_dir / "secret.key").read_text().split()[1:] == former
    fans.sandbox.settings(latency=0)
    assert process.wait(PATIENCE) == 0
    with fans.open() as service:
        assert service.runs.get(run_id).state is RunState.SUCCEEDED, service.runs.get(run_id).error
        assert service.admin.rotate_key() is True


def test_a_secret_when_typed_during_a_rotation_is_sealed_with_the_key_that_stays(fans: Workspace) -> None:
    """A connection is sealed when it is stored, not before it waited for the rotation to end."""
    checks = len(fans.sandbox.log())
    with closing(sqlite3.connect(fans.data_dir / "app.db", isolation_level=None)) as rotation:
        rotation.execute("begin immediate")

        def connect() -> None:
            with fans.open() as service:
                service.connections.connect_webengage(LICENSE, API_KEY, fans.sandbox.url)

        with ThreadPoolExecutor(1) as pool:
            connecting = pool.submit(connect)
            while len(fans.sandbox.log()) == checks:
                pass
            wait([connecting], timeout=1.0)  # it now waits for the rotation
            assert not connecting.done()
            add_key(fans.data_dir)
            drop_former_keys(fans.data_dir)
            rotation.execute("rollback")
            connecting.result()
    with fans.open() as service:
        assert service.connections.check_webengage(LICENSE).license_code == LICENSE


def test_rotation_when_another_one_added_a_key_keeps_every_key_in_use(fans: Workspace) -> None:
    """A key somebody added and used for nothing yet must not throw away the one everything is sealed with."""
    with fans.open() as service:
        assert service.admin.rotate_key() is True
        used = (fans.data_dir / "secret.key").read_text().split()
        add_key(fans.data_dir)  # a second rotation, killed before it sealed anything
        assert service.admin.drop_former_keys() is False
    assert used[0] in (fans.data_dir / "secret.key").read_text().split()
    with fans.open() as service:
        assert service.connections.check_mixpanel(PROJECT).id == PROJECT


KILLED_FORGETTING = """
import functools, os, sqlite3, sys
from sync.service import Service
written = []
class DyingConnection(sqlite3.Connection):
    def execute(self, sql, *values):
        done = super().execute(sql, *values)
        if sql.startswith("update delivery_log") and done.rowcount:
            written.append(sql)
        if len(written) == int(sys.argv[2]):
            os._exit(137)
        return done
sqlite3.connect = functools.partial(sqlite3.connect, factory=DyingConnection)
Service.open().admin.forget_person(sys.argv[1])
"""


def forget_and_die(fans: Workspace, person: str, *, at_list: int) -> None:
    """Forget a person, and be killed before the change of this list of ids is stored."""
    arguments = [sys.executable, "-c", KILLED_FORGETTING, person, str(at_list)]
    died = subprocess.run(arguments, env=os.environ | fans.env, check=False, timeout=PATIENCE)
    assert died.returncode == 137


def many_lists(fans: Workspace, count: int, size: int, person: str) -> None:
    """Write this many lists of ids into the log of deliveries, each with the person."""
    run_id = fans.export().id
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db, db:
        for number in range(count):
            ids = [person, *(os.urandom(20).hex() for _ in range(size))]
            letters = "a" * len(ids), "c" * len(ids)
            db.execute(
                "insert into delivery_log (run_id, block, kinds, outcomes, ids) values (?, ?, ?, ?, ?)",
                (run_id, 1000 + number, *letters, pack(ids)),
            )


def test_forgetting_when_killed_continues_where_it_was(fans: Workspace) -> None:
    """Each list is a short transaction of its own: what was forgotten stays so, and asking again does the rest."""
    many_lists(fans, count=5, size=50, person="everywhere")
    forget_and_die(fans, "everywhere", at_list=3)
    with fans.open() as service:
        found = service.admin.forget_person("everywhere")
        assert 3 <= found.places <= 4
        assert service.admin.forget_person("everywhere").places == 0
        assert [line.action for line in service.admin.list_audit()].count("forget a person") >= 3
    assert b"everywhere" not in fans.read_bytes()


def test_forgetting_somebody_again_does_not_blame_the_spelling(fans: Workspace) -> None:
    """Whoever stopped the command after it had deleted everything, and repeats it, wrote the id as before."""
    fans.export()
    assert "Deleted in 2 places." in fans.run_cli("forget", "fan-3").stdout
    assert "Unless it was forgotten before, check it letter by letter" in fans.run_cli("forget", "fan-3").stdout


def test_forgetting_when_killed_and_repeated_says_where_the_person_stays_true(fans: Workspace) -> None:
    """Whoever asks again was answered nothing; the command said that nothing was stored, and to check the id letter by letter."""
    fans.export()
    forget_and_die(fans, "fan-3", at_list=1)
    answer = fans.read_answer("forget", "fan-3")
    assert (answer["stay_true"], answer["places"]) == (["Fans"], 2)


MEASURED_FORGETTING = """
import re
from pathlib import Path
from sync.service import Service
with Service.open() as service:
    service.admin.forget_person("everywhere")
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
def test_forgetting_when_the_log_is_large_needs_little_memory(fans: Workspace) -> None:
    """200 lists of 4,096 ids (some 20 MB packed) are opened one after the other."""
    many_lists(fans, count=2, size=20, person="everywhere")
    small = measured_forgetting(fans)
    many_lists(fans, count=200, size=4095, person="everywhere")
    assert measured_forgetting(fans) < small + 12


def measured_forgetting(fans: Workspace) -> int:
    """Return the most megabytes a process that forgets needed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_FORGETTING],
        env=os.environ | fans.env,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return int(done.stdout)


def test_a_preview_when_its_days_have_passed_is_purged(fans: Workspace) -> None:
    """Its forty ids are gone from the file after the same days; a younger one stays."""
    fans.sandbox.set_members(fans.cohort, [member("seen-in-preview")])
    with fans.open() as service:
        service.cohorts.preview(PROJECT, fans.cohort)
        service.admin.set_retention(detail=1)
        service.admin.purge_expired()
    assert b"seen-in-preview" in fans.read_bytes()
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db, db:
        db.execute("update cohort set preview = json_set(preview, '$.read_at', ?)", (time.time() - 2 * DAY,))
    with fans.open() as service:
        assert service.admin.purge_expired() == 1
    assert b"seen-in-preview" not in fans.read_bytes()
