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
from sync.members import pack_list
from sync.model import Mode, RunState
from sync.process_identity import process_name
from sync.runner import Runner
from sync.service import Service
from sync.vault import add_key, drop_former_keys
from tests.conftest import Cli, RunnerProcess
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

ATTRIBUTE = "Mixpanel - Fans"
DAY = 86400.0


class MaintenanceWorkspace:
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
            run_id = service.start_export(PROJECT, self.cohort, Mode.DYNAMIC).run_id
        self.work()
        return run_id

    def work(self) -> None:
        """Carry what can be carried."""
        Runner(self.env).run_once()

    def bytes(self) -> bytes:
        """Everything the folder holds."""
        return b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> MaintenanceWorkspace:
    """A connected data folder."""
    return MaintenanceWorkspace(data_dir, sandbox)


def test_a_backup_restores_and_everybody_is_told_anew(workspace: MaintenanceWorkspace, tmp_path: Path) -> None:
    """After a restore the next export makes WebEngage right, although the snapshot was older than the truth."""
    workspace.export()
    with workspace.open() as service:
        service.write_backup(tmp_path / "copy.db")
    workspace.sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(20)])
    workspace.export()
    with workspace.open() as service:
        service.restore_open_database(tmp_path / "copy.db")
        assert len(service.list_runs()) == 1
    workspace.export()
    told, left = workspace.sandbox.holding(ATTRIBUTE)
    assert told == workspace.sandbox.exportable(workspace.cohort) and len(left) == 10
    with workspace.open() as service:
        assert (service.list_runs()[0].updated, service.list_runs()[0].exited) == (20, 10)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_of_an_earlier_version_is_brought_forward(data_dir: Path, tmp_path: Path) -> None:
    """It has no audit, and what was noted until now is kept all the same."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "1.sql").read_text())
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.set_retention(rejections=10)
        service.restore_open_database(tmp_path / "old.db")
        assert [line.action for line in service.list_audit()] == ["restore", "retention"]
        assert service.list_syncs()[0].cohort_name == "Stored by schema 1"


def test_what_is_no_backup_changes_nothing(workspace: MaintenanceWorkspace, tmp_path: Path) -> None:
    """Garbage and a stranger's database are refused, and everything is as before."""
    workspace.export()
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    with closing(sqlite3.connect(tmp_path / "stranger")) as db:
        db.execute("create table t (x)")
    with workspace.open() as service:
        for name in ("garbage", "stranger", "missing"):
            with pytest.raises(InvalidRequest, match="nothing was changed"):
                service.restore_open_database(tmp_path / name)
        with pytest.raises(InvalidRequest, match="already exists"):
            service.write_backup(tmp_path / "garbage")
        assert len(service.list_runs()) == 1


def test_rotation_seals_anew_and_the_old_key_opens_nothing(workspace: MaintenanceWorkspace) -> None:
    """After a rotation the file holds one new key, and the former one is of no use."""
    former = (workspace.folder / "secret.key").read_text().strip()
    with workspace.open() as service:
        assert service.rotate_key() is True
    assert len((workspace.folder / "secret.key").read_text().split()) == 1
    workspace.export()
    with Service.open(workspace.env | {"COHORT_SYNC_KEY": former}) as service, pytest.raises(KeyUnavailable):
        service.preview_cohort(PROJECT, workspace.cohort)


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


def test_purge_removes_what_is_past_its_days_for_good(workspace: MaintenanceWorkspace) -> None:
    """A refused person's id is in the file before, and in no byte of it afterwards; younger ones stay."""
    workspace.sandbox.poison("fan-7")
    run_id = workspace.export()
    assert b"fan-7" in workspace.bytes()
    with workspace.open() as service:
        assert service.purge_expired() == 0
        service.set_retention(rejections=1, detail=1)
    with closing(sqlite3.connect(workspace.folder / "app.db")) as db, db:
        db.execute("update rejection set at = at - ?", (2 * DAY,))
        db.execute("update run set finished_at = finished_at - ?", (2 * DAY,))
    with workspace.open() as service:
        assert service.purge_expired() >= 2
        assert service.list_rejections(run_id) == () and service.get_run(run_id).rejected == 1
    assert b"fan-7" not in workspace.bytes()


def test_a_forgotten_person_is_in_no_table(workspace: MaintenanceWorkspace) -> None:
    """Snapshot, history, refusals and previews lose the person; the cohort's next export brings them back."""
    run_id = workspace.export()
    with workspace.open() as service:
        service.preview_cohort(PROJECT, workspace.cohort)
        found = service.forget_person("fan-3")
        assert found.places >= 3 and found.runs_under_way == 0
        assert "fan-3" not in {row.user_id for row in service.iterate_export_rows(run_id)}
        assert service.forget_person("fan-3").places == 0
    assert b"fan-3" not in workspace.bytes()
    workspace.export()
    with workspace.open() as service:
        assert service.list_runs()[0].entered == 1


@pytest.mark.parametrize(
    "user_id",
    [
        "ann-\u00fc\u4eba\u0301",
        'ann "the\\best"',
        "x" * 250,
    ],
    ids=["unicode", "quotes", "endless"],
)
def test_no_spelling_of_an_id_escapes_the_forgetting(workspace: MaintenanceWorkspace, user_id: str) -> None:
    """Previews are kept as JSON and endless ids cut: the person is gone from there too."""
    workspace.sandbox.set_members(workspace.cohort, [member(user_id), member("fan-1")])
    with workspace.open() as service:
        service.preview_cohort(PROJECT, workspace.cohort)
    workspace.export()
    with workspace.open() as service:
        assert service.forget_person(user_id).places >= 2
    with closing(sqlite3.connect(workspace.folder / "app.db")) as db:
        assert db.execute("select count(*) from cohort where preview is not null").fetchone() == (0,)
        assert db.execute("select count(*) from rejection").fetchone() == (0,)


@pytest.mark.timeout(30)
def test_a_damaged_file_stops_the_runner_with_a_sentence(workspace: MaintenanceWorkspace) -> None:
    """After an unclean stop the file is checked, and a damaged one is said to be."""
    workspace.export()
    with closing(sqlite3.connect(workspace.folder / "app.db", isolation_level=None)) as db:
        db.execute("insert into runner values (?, 1.0)", (f"{process_name().rpartition(':')[0]}:99999999-x",))
        [root] = db.execute("select rootpage from sqlite_master where name = 'delivery_log_of_run'").fetchone()
        db.execute("pragma wal_checkpoint(truncate)")
    with (workspace.folder / "app.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 100)
    with pytest.raises(InvalidRequest, match="damaged"):
        Runner(workspace.env).run_forever()


PATIENCE = 60.0  # seconds a process may take to do something on a busy machine; never asserted
OLD, NEW = "an old passphrase of ours", "a new passphrase of ours"


def run_until(workspace: MaintenanceWorkspace, cli: Cli, words: str) -> None:
    """Ask for the status until it says these words."""
    for _ in range(200):
        if words in cli(workspace.folder, "status").stdout:
            return
    raise AssertionError(words)


def test_rotation_under_a_runner_with_the_old_key_is_refused(
    workspace: MaintenanceWorkspace, cli: Cli, runner_process: RunnerProcess
) -> None:
    """Secrets sealed with a key that the running runner does not know would pause every sync: nothing is changed."""
    with Service.open(workspace.env | {"COHORT_SYNC_KEY": OLD}) as service:
        service.connect_mixpanel(PROJECT, USERNAME, SECRET, workspace.sandbox.url)
        service.connect_webengage(LICENSE, API_KEY, workspace.sandbox.url)
    runner = runner_process(workspace.folder, COHORT_SYNC_KEY=OLD)
    run_until(workspace, cli, "last seen")
    done = cli(workspace.folder, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}")
    assert done.returncode == 1 and "restart the runner" in done.stderr and "Traceback" not in done.stderr
    runner.terminate()
    assert runner.wait(PATIENCE) == 0
    runner_process(workspace.folder, COHORT_SYNC_KEY=f"{NEW},{OLD}")
    run_until(workspace, cli, "last seen")
    assert cli(workspace.folder, "rotate-key", COHORT_SYNC_KEY=f"{NEW},{OLD}").returncode == 0
    done = cli(workspace.folder, "export", str(workspace.cohort), "--mode", "dynamic", "--wait", COHORT_SYNC_KEY=NEW)
    assert done.returncode == 0, done.stderr


def test_rotation_in_the_middle_of_a_run_pauses_nothing(
    workspace: MaintenanceWorkspace, runner_process: RunnerProcess
) -> None:
    """A run that read the keys before the rotation reads them again when it meets a secret sealed with the new one."""
    workspace.sandbox.settings(latency=1500)
    with workspace.open() as service:
        run_id = service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC).run_id
    process = runner_process(workspace.folder, "--once")
    while True:
        with workspace.open() as service:
            if service.get_run(run_id).state is RunState.PULLING and service.get_run(run_id).requests == 0:
                break
    for _ in range(200):  # until the request to Mixpanel is on its way, which needs the former key
        if workspace.sandbox.meter().requests.get("/api/query/engage") or process.poll() is not None:
            break
    with workspace.open() as service:
        former = (workspace.folder / "secret.key").read_text().split()
        assert service.rotate_key() is False  # the run may hold values sealed with the former key
        assert (workspace.folder / "secret.key").read_text().split()[1:] == former
    workspace.sandbox.settings(latency=0)
    assert process.wait(PATIENCE) == 0
    with workspace.open() as service:
        assert service.get_run(run_id).state is RunState.SUCCEEDED, service.get_run(run_id).error
        assert service.rotate_key() is True


def test_a_secret_typed_during_a_rotation_is_sealed_with_the_key_that_stays(workspace: MaintenanceWorkspace) -> None:
    """A connection is sealed when it is stored, not before it waited for the rotation to end."""
    checks = len(workspace.sandbox.log())
    with closing(sqlite3.connect(workspace.folder / "app.db", isolation_level=None)) as rotation:
        rotation.execute("begin immediate")

        def connect() -> None:
            with workspace.open() as service:
                service.connect_webengage(LICENSE, API_KEY, workspace.sandbox.url)

        with ThreadPoolExecutor(1) as pool:
            connecting = pool.submit(connect)
            while len(workspace.sandbox.log()) == checks:
                pass
            wait([connecting], timeout=1.0)  # it now waits for the rotation
            assert not connecting.done()
            add_key(workspace.folder)
            drop_former_keys(workspace.folder)
            rotation.execute("rollback")
            connecting.result()
    with workspace.open() as service:
        assert service.check_webengage(LICENSE).license_code == LICENSE


def test_a_rotation_that_another_one_overtook_keeps_every_key_in_use(workspace: MaintenanceWorkspace) -> None:
    """A key somebody added and used for nothing yet must not throw away the one everything is sealed with."""
    with workspace.open() as service:
        assert service.rotate_key() is True
        used = (workspace.folder / "secret.key").read_text().split()
        add_key(workspace.folder)  # a second rotation, killed before it sealed anything
        assert service._drop_former_keys(workspace.folder, in_file=True) is False
    assert used[0] in (workspace.folder / "secret.key").read_text().split()
    with workspace.open() as service:
        assert service.check_mixpanel(PROJECT).id == PROJECT


KILLED_FORGETTING = """
import os, sys
from sync.service import Service
from sync.store.maintenance import Maintenance
real, written = Maintenance._execute, []
def dying(self, sql, values=()):
    found = real(self, sql, values)
    if sql.startswith("update snapshot") and found:
        written.append(sql)
    if len(written) == 2:
        os._exit(137)
    return found
Maintenance._execute = dying
Service.open().forget_person("everywhere")
"""


def many_chunks(workspace: MaintenanceWorkspace, count: int, size: int, person: str) -> None:
    """Write this many chunks of ids, each with the person, as if they had been exported."""
    workspace.export()
    with closing(sqlite3.connect(workspace.folder / "app.db")) as db, db:
        for number in range(count):
            ids = [person, *(os.urandom(20).hex() for _ in range(size))]
            db.execute(
                "insert into snapshot (sync_id, chunk, marks, ids) values (1, ?, zeroblob(?), ?)",
                (1000 + number, 16 * len(ids), pack_list(ids)),
            )
        db.execute("update sync set size = size + ?", (count * (size + 1),))


def test_a_forgetting_that_was_killed_goes_on_where_it_was(workspace: MaintenanceWorkspace) -> None:
    """Each chunk is a short transaction of its own: what was forgotten stays so, and asking again does the rest."""
    many_chunks(workspace, count=5, size=50, person="everywhere")
    died = subprocess.run(
        [sys.executable, "-c", KILLED_FORGETTING], env=os.environ | workspace.env, check=False, timeout=PATIENCE
    )
    assert died.returncode == 137
    with workspace.open() as service:
        found = service.forget_person("everywhere")
        assert 3 <= found.places <= 4
        assert service.forget_person("everywhere").places == 0
        assert [line.action for line in service.list_audit()].count("forget a person") >= 3
    assert b"everywhere" not in workspace.bytes()


MEASURED_FORGETTING = """
import re
from pathlib import Path
from sync.service import Service
with Service.open() as service:
    service.forget_person("everywhere")
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_forgetting_in_a_large_snapshot_stays_small(workspace: MaintenanceWorkspace) -> None:
    """200 chunks of 4,096 ids (some 20 MB packed) are opened one after the other."""
    many_chunks(workspace, count=2, size=20, person="everywhere")
    small = measured_forgetting(workspace)
    many_chunks(workspace, count=200, size=4095, person="everywhere")
    assert measured_forgetting(workspace) < small + 12


def measured_forgetting(workspace: MaintenanceWorkspace) -> int:
    """The most megabytes a process that forgets needed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_FORGETTING],
        env=os.environ | workspace.env,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return int(done.stdout)


def test_a_preview_is_kept_no_longer_than_the_details_of_runs(workspace: MaintenanceWorkspace) -> None:
    """Its forty ids are gone from the file after the same days; a younger one stays."""
    workspace.sandbox.set_members(workspace.cohort, [member("seen-in-preview")])
    with workspace.open() as service:
        service.preview_cohort(PROJECT, workspace.cohort)
        service.set_retention(detail=1)
        service.purge_expired()
    assert b"seen-in-preview" in workspace.bytes()
    with closing(sqlite3.connect(workspace.folder / "app.db")) as db, db:
        db.execute("update cohort set preview = json_set(preview, '$.read_at', ?)", (time.time() - 2 * DAY,))
    with workspace.open() as service:
        assert service.purge_expired() == 1
    assert b"seen-in-preview" not in workspace.bytes()
