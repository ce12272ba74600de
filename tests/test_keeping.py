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

from sync.errors import Refused, Vaultless
from sync.model import Mode, RunState
from sync.packing import pack
from sync.runner import Runner
from sync.service import Service
from sync.store.process import identity
from sync.vault import add_key, drop_old_keys
from tests.conftest import Cli, RunnerProcess
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

ATTRIBUTE = "Mixpanel - Fans"
DAY = 86400.0


class Desk:
    """A connected data folder and the few things these tests do with it."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox, self.env = folder, sandbox, {"COHORT_SYNC_DATA": str(folder)}
        self.cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(30)])
        with self.open() as service:
            service.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
            service.connect_webengage(LICENSE, API_KEY, sandbox.url)

    def open(self) -> Service:
        """The service on this folder."""
        return Service.open(self.env)

    def export(self) -> int:
        """Export the cohort to its end."""
        with self.open() as service:
            run_id = service.export(PROJECT, self.cohort, Mode.DYNAMIC).run_id
        self.work()
        return run_id

    def work(self) -> None:
        """Carry what can be carried."""
        Runner(self.env).once()

    def bytes(self) -> bytes:
        """Everything the folder holds."""
        return b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())


@pytest.fixture
def desk(data_dir: Path, sandbox: Sandbox) -> Desk:
    """A connected data folder."""
    return Desk(data_dir, sandbox)


def test_a_backup_restores_and_everybody_is_told_anew(desk: Desk, tmp_path: Path) -> None:
    """After a restore the next export makes WebEngage right, although the snapshot was older than the truth."""
    desk.export()
    with desk.open() as service:
        service.backup(tmp_path / "copy.db")
    desk.sandbox.set_members(desk.cohort, [member(f"fan-{number}") for number in range(20)])
    desk.export()
    with desk.open() as service:
        service.restore(tmp_path / "copy.db")
        assert len(service.runs()) == 1
    desk.export()
    told, left = desk.sandbox.holding(ATTRIBUTE)
    assert told == desk.sandbox.exportable(desk.cohort) and len(left) == 10
    with desk.open() as service:
        assert (service.runs()[0].updated, service.runs()[0].exited) == (20, 10)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_of_an_earlier_version_is_brought_forward(data_dir: Path, tmp_path: Path) -> None:
    """It has no audit, and what was noted until now is kept all the same."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "1.sql").read_text())
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.keep_days(refusals=10)
        service.restore(tmp_path / "old.db")
        assert [line.what for line in service.audit()] == ["restore", "retention"]
        assert service.syncs()[0].cohort_name == "Stored by schema 1"


def test_what_is_no_backup_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    """Garbage and a stranger's database are refused, and everything is as before."""
    desk.export()
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    with closing(sqlite3.connect(tmp_path / "stranger")) as db:
        db.execute("create table t (x)")
    with desk.open() as service:
        for name in ("garbage", "stranger", "missing"):
            with pytest.raises(Refused, match="nothing was changed"):
                service.restore(tmp_path / name)
        with pytest.raises(Refused, match="already exists"):
            service.backup(tmp_path / "garbage")
        assert len(service.runs()) == 1


def test_rotation_seals_anew_and_the_old_key_opens_nothing(desk: Desk) -> None:
    """After a rotation the file holds one new key, and the former one is of no use."""
    former = (desk.folder / "secret.key").read_text().strip()
    with desk.open() as service:
        assert service.rotate_key() is True
    assert len((desk.folder / "secret.key").read_text().split()) == 1
    desk.export()
    with Service.open(desk.env | {"COHORT_SYNC_KEY": former}) as service, pytest.raises(Vaultless):
        service.preview(PROJECT, desk.cohort)


def test_rotation_with_keys_of_the_environment(data_dir: Path, sandbox: Sandbox) -> None:
    """With NEW,OLD in the environment everything is sealed with NEW, a passphrase as good as a key."""
    old, new = "an old passphrase of ours", "a new passphrase of ours"
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with Service.open(env | {"COHORT_SYNC_KEY": old}) as service:
        service.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    with Service.open(env | {"COHORT_SYNC_KEY": f"{new},{old}"}) as service:
        service.rotate_key()
    with Service.open(env | {"COHORT_SYNC_KEY": new}) as service:
        assert service.check_mixpanel(PROJECT).id == PROJECT
    assert not (data_dir / "secret.key").exists()


def test_purge_removes_what_is_past_its_days_for_good(desk: Desk) -> None:
    """A refused person's id is in the file before, and in no byte of it afterwards; younger ones stay."""
    desk.sandbox.poison("fan-7")
    run_id = desk.export()
    assert b"fan-7" in desk.bytes()
    with desk.open() as service:
        assert service.purge() == 0
        service.keep_days(refusals=1, detail=1)
    with closing(sqlite3.connect(desk.folder / "app.db")) as db, db:
        db.execute("update rejection set at = at - ?", (2 * DAY,))
        db.execute("update run set finished_at = finished_at - ?", (2 * DAY,))
    with desk.open() as service:
        assert service.purge() >= 2
        assert service.refusals(run_id) == () and service.run(run_id).rejected == 1
    assert b"fan-7" not in desk.bytes()


def test_a_forgotten_person_is_in_no_table(desk: Desk) -> None:
    """Snapshot, history, refusals and previews lose the person; the cohort's next export brings them back."""
    run_id = desk.export()
    with desk.open() as service:
        service.preview(PROJECT, desk.cohort)
        found = service.forget("fan-3")
        assert found.places >= 3 and found.runs_under_way == 0
        assert "fan-3" not in {row.user_id for row in service.export_rows(run_id)}
        assert service.forget("fan-3").places == 0
    assert b"fan-3" not in desk.bytes()
    desk.export()
    with desk.open() as service:
        assert service.runs()[0].entered == 1


@pytest.mark.parametrize(
    "user_id",
    [
        "ann-\u00fc\u4eba\u0301",
        'ann "the\\best"',
        "x" * 250,
    ],
    ids=["unicode", "quotes", "endless"],
)
def test_no_spelling_of_an_id_escapes_the_forgetting(desk: Desk, user_id: str) -> None:
    """Previews are kept as JSON and endless ids cut: the person is gone from there too."""
    desk.sandbox.set_members(desk.cohort, [member(user_id), member("fan-1")])
    with desk.open() as service:
        service.preview(PROJECT, desk.cohort)
    desk.export()
    with desk.open() as service:
        assert service.forget(user_id).places >= 2
    with closing(sqlite3.connect(desk.folder / "app.db")) as db:
        assert db.execute("select count(*) from cohort where preview is not null").fetchone() == (0,)
        assert db.execute("select count(*) from rejection").fetchone() == (0,)


@pytest.mark.timeout(30)
def test_a_damaged_file_stops_the_runner_with_a_sentence(desk: Desk) -> None:
    """After an unclean stop the file is checked, and a damaged one is said to be."""
    desk.export()
    with closing(sqlite3.connect(desk.folder / "app.db", isolation_level=None)) as db:
        db.execute("insert into runner values (?, 1.0)", (f"{identity().rpartition(':')[0]}:99999999-x",))
        [root] = db.execute("select rootpage from sqlite_master where name = 'run_of_sync'").fetchone()
        db.execute("pragma wal_checkpoint(truncate)")
    with (desk.folder / "app.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 100)
    with pytest.raises(Refused, match="damaged"):
        Runner(desk.env).work()


PATIENCE = 60.0  # seconds a process may take to do something on a busy machine; never asserted
OLD, NEW = "an old passphrase of ours", "a new passphrase of ours"


def run_until(desk: Desk, cli: Cli, words: str) -> None:
    """Ask for the status until it says these words."""
    for _ in range(200):
        if words in cli(desk.folder, "status").stdout:
            return
    raise AssertionError(words)


def test_rotation_under_a_runner_with_the_old_key_is_refused(
    desk: Desk, cli: Cli, runner_process: RunnerProcess
) -> None:
    """Secrets sealed with a key that the running runner does not know would pause every sync: nothing is changed."""
    with Service.open(desk.env | {"COHORT_SYNC_KEY": OLD}) as service:
        service.connect_mixpanel(PROJECT, USERNAME, SECRET, desk.sandbox.url)
        service.connect_webengage(LICENSE, API_KEY, desk.sandbox.url)
    runner = runner_process(desk.folder, COHORT_SYNC_KEY=OLD)
    run_until(desk, cli, "last seen")
    done = cli(desk.folder, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}")
    assert done.returncode == 1 and "restart the runner" in done.stderr and "Traceback" not in done.stderr
    runner.terminate()
    assert runner.wait(PATIENCE) == 0
    runner_process(desk.folder, COHORT_SYNC_KEY=f"{NEW},{OLD}")
    run_until(desk, cli, "last seen")
    assert cli(desk.folder, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}").returncode == 0
    done = cli(desk.folder, "export", str(desk.cohort), "--mode", "dynamic", "--wait", COHORT_SYNC_KEY=NEW)
    assert done.returncode == 0, done.stderr


def test_rotation_in_the_middle_of_a_run_pauses_nothing(desk: Desk, runner_process: RunnerProcess) -> None:
    """A run that read the keys before the rotation reads them again when it meets a secret sealed with the new one."""
    desk.sandbox.settings(latency=1500)
    with desk.open() as service:
        run_id = service.export(PROJECT, desk.cohort, Mode.DYNAMIC).run_id
    process = runner_process(desk.folder, "--once")
    while True:
        with desk.open() as service:
            if service.run(run_id).state is RunState.PULLING and service.run(run_id).requests == 0:
                break
    for _ in range(200):  # until the request to Mixpanel is on its way, which needs the former key
        if desk.sandbox.meter().requests.get("/api/query/engage") or process.poll() is not None:
            break
    with desk.open() as service:
        former = (desk.folder / "secret.key").read_text().split()
        assert service.rotate_key() is False  # the run may hold values sealed with the former key
        assert (desk.folder / "secret.key").read_text().split()[1:] == former
    desk.sandbox.settings(latency=0)
    assert process.wait(PATIENCE) == 0
    with desk.open() as service:
        assert service.run(run_id).state is RunState.SUCCEEDED, service.run(run_id).error
        assert service.rotate_key() is True


def test_a_secret_typed_during_a_rotation_is_sealed_with_the_key_that_stays(desk: Desk) -> None:
    """A connection is sealed when it is stored, not before it waited for the rotation to end."""
    checks = len(desk.sandbox.log())
    with closing(sqlite3.connect(desk.folder / "app.db", isolation_level=None)) as rotation:
        rotation.execute("begin immediate")

        def connect() -> None:
            with desk.open() as service:
                service.connect_webengage(LICENSE, API_KEY, desk.sandbox.url)

        with ThreadPoolExecutor(1) as pool:
            connecting = pool.submit(connect)
            while len(desk.sandbox.log()) == checks:
                pass
            wait([connecting], timeout=1.0)  # it now waits for the rotation
            assert not connecting.done()
            add_key(desk.folder)
            drop_old_keys(desk.folder)
            rotation.execute("rollback")
            connecting.result()
    with desk.open() as service:
        assert service.check_webengage(LICENSE).license_code == LICENSE


def test_a_rotation_that_another_one_overtook_keeps_every_key_in_use(desk: Desk) -> None:
    """A key somebody added and used for nothing yet must not throw away the one everything is sealed with."""
    with desk.open() as service:
        assert service.rotate_key() is True
        used = (desk.folder / "secret.key").read_text().split()
        add_key(desk.folder)  # a second rotation, killed before it sealed anything
        assert service._drop_former(desk.folder, in_file=True) is False
    assert used[0] in (desk.folder / "secret.key").read_text().split()
    with desk.open() as service:
        assert service.check_mixpanel(PROJECT).id == PROJECT


KILLED_FORGETTING = """
import os, sys
from sync.service import Service
from sync.store.database import Table
real, written = Table._do, []
def dying(self, sql, values=()):
    found = real(self, sql, values)
    if sql.startswith("update delivery_log") and found:
        written.append(sql)
    if len(written) == 2:
        os._exit(137)
    return found
Table._do = dying
Service.open().forget("everywhere")
"""


def many_lists(desk: Desk, count: int, size: int, person: str) -> None:
    """Write this many lists of ids into the log of deliveries, each with the person."""
    run_id = desk.export()
    with closing(sqlite3.connect(desk.folder / "app.db")) as db, db:
        for number in range(count):
            ids = [person, *(os.urandom(20).hex() for _ in range(size))]
            letters = "a" * len(ids), "c" * len(ids)
            db.execute(
                "insert into delivery_log (run_id, block, kinds, outcomes, ids) values (?, ?, ?, ?, ?)",
                (run_id, 1000 + number, *letters, pack(ids)),
            )


def test_a_forgetting_that_was_killed_goes_on_where_it_was(desk: Desk) -> None:
    """Each list is a short transaction of its own: what was forgotten stays so, and asking again does the rest."""
    many_lists(desk, count=5, size=50, person="everywhere")
    died = subprocess.run(
        [sys.executable, "-c", KILLED_FORGETTING], env=os.environ | desk.env, check=False, timeout=PATIENCE
    )
    assert died.returncode == 137
    with desk.open() as service:
        found = service.forget("everywhere")
        assert 3 <= found.places <= 4
        assert service.forget("everywhere").places == 0
        assert [line.what for line in service.audit()].count("forget a person") >= 3
    assert b"everywhere" not in desk.bytes()


MEASURED_FORGETTING = """
import re
from pathlib import Path
from sync.service import Service
with Service.open() as service:
    service.forget("everywhere")
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_forgetting_in_a_large_snapshot_stays_small(desk: Desk) -> None:
    """200 lists of 4,096 ids (some 20 MB packed) are opened one after the other."""
    many_lists(desk, count=2, size=20, person="everywhere")
    small = measured_forgetting(desk)
    many_lists(desk, count=200, size=4095, person="everywhere")
    assert measured_forgetting(desk) < small + 12


def measured_forgetting(desk: Desk) -> int:
    """The most megabytes a process that forgets needed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_FORGETTING],
        env=os.environ | desk.env,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return int(done.stdout)


def test_a_preview_is_kept_no_longer_than_the_details_of_runs(desk: Desk) -> None:
    """Its forty ids are gone from the file after the same days; a younger one stays."""
    desk.sandbox.set_members(desk.cohort, [member("seen-in-preview")])
    with desk.open() as service:
        service.preview(PROJECT, desk.cohort)
        service.keep_days(detail=1)
        service.purge()
    assert b"seen-in-preview" in desk.bytes()
    with closing(sqlite3.connect(desk.folder / "app.db")) as db, db:
        db.execute("update cohort set preview = json_set(preview, '$.read_at', ?)", (time.time() - 2 * DAY,))
    with desk.open() as service:
        assert service.purge() == 1
    assert b"seen-in-preview" not in desk.bytes()
