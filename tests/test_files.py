"""The database file locked, damaged, moved, replaced or missing: real files, real processes, one sentence each."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.packing import hash_id, pack
from sync.service import Service
from sync.store import Store
from sync.store.connections import Connections
from sync.store.maintenance import Maintenance
from sync.store.snapshot import BUCKET_SIZE
from tests.conftest import Cli, RunnerProcess
from tests.database_faults import END_SECONDS, ROOT, locked, refused, run_python
from tests.workspace import Workspace, page_text

SCHEMA_1 = Path(__file__).parent / "schemas" / "1.sql"
IMPATIENT = "import sys, sync.store.database as d; d.BUSY_SECONDS = 0.2; from {} import main; sys.exit(main())"


def damage(folder: Path) -> bytes:
    """Overwrite the header, as a bad disk would; return what the file holds then."""
    with (folder / "app.db").open("r+b") as file:
        file.write(b"\xde\xad" * 2048)
    return (folder / "app.db").read_bytes()


@pytest.fixture
def filled(data_dir: Path) -> Path:
    """Make a data folder with a database in which a setting was changed."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}) as service:
        service.admin.set_retention(rejections=11)
    return data_dir


@pytest.fixture
def backup(filled: Path, tmp_path: Path) -> Path:
    """Write a backup of the filled folder."""
    with Service.open({"COHORT_SYNC_DATA": str(filled)}) as service:
        service.admin.write_backup(tmp_path / "good.db")
    return tmp_path / "good.db"


def kept_days(cli: Cli, folder: Path) -> str:
    """Return what the folder says about retention, read by a process of its own."""
    done = cli(folder, "retention")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("program", ["sync.cli.commands", "sync.runner"])
def test_a_locked_database_is_called_locked_and_not_damaged(filled: Path, program: str) -> None:
    """Command line and runner say who is to blame, and do not advise to restore a backup."""
    arguments = ["syncs"] if program == "sync.cli.commands" else ["--once"]
    with locked(filled):
        done = run_python(IMPATIENT.format(program), filled, *arguments)
    refused(done, "locked", "try again")
    assert "damaged" not in done.stderr and "backup" not in done.stderr
    assert run_python(IMPATIENT.format(program), filled, *arguments).returncode == 0


@pytest.mark.slow
def test_a_page_when_the_database_is_locked_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages say the same sentence as the command line."""
    workspace.page("syncs")
    monkeypatch.setattr("sync.store.database.BUSY_SECONDS", 0.2)
    with locked(workspace.data_dir):
        shown = page_text(workspace.page("syncs"))
    assert "locked" in shown and "damaged" not in shown


def test_the_integrity_check_when_the_file_is_locked_finds_no_damage(filled: Path) -> None:
    """The runner looks at the file after an unclean stop; a file it may not read now is not a damaged one."""
    with closing(sqlite3.connect(filled / "app.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode = delete")  # in WAL nobody is shut out once the file is open
        db.execute("pragma busy_timeout = 0")
        with locked(filled), pytest.raises(sqlite3.OperationalError, match="locked"):
            Maintenance(db).check_integrity()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["sync.cli.commands", "sync.runner"])
def test_a_damaged_database_names_the_command_that_mends_it(filled: Path, program: str) -> None:
    """Nothing of the damaged file is changed, and the advice is the same everywhere."""
    before = damage(filled)
    done = run_python(IMPATIENT.format(program), filled, *(["syncs"] if program == "sync.cli.commands" else ["--once"]))
    refused(done, "damaged", "python -m sync restore")
    assert (filled / "app.db").read_bytes() == before


@pytest.mark.slow
def test_a_runner_that_meets_damage_stops_with_the_sentence(filled: Path) -> None:
    """A table gone bad is not looked at every two seconds for ever: one sentence, exit 1."""
    with closing(sqlite3.connect(filled / "app.db")) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        [root] = db.execute("select rootpage from sqlite_master where name = 'sync'").fetchone()
    with (filled / "app.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    refused(run_python(IMPATIENT.format("sync.runner"), filled), "damaged", "python -m sync restore")


def test_a_file_that_cannot_be_opened_is_not_called_damaged(empty_dir: Path, cli: Cli) -> None:
    """A folder in the place of the database is said to be one that cannot be opened."""
    (empty_dir / "app.db").mkdir()
    done = cli(empty_dir, "syncs")
    refused(done, "app.db", "cannot be opened")
    assert "damaged" not in done.stderr


@pytest.mark.parametrize("how", ["damaged", "empty", "missing", "folder", "newer"])
def test_restore_replaces_a_file_that_cannot_be_opened(filled: Path, backup: Path, cli: Cli, how: str) -> None:
    """The former file is set aside with its log, byte by byte, and the backup works in its place."""
    (filled / "app.db-wal").write_bytes(b"a log of the former file")
    if how == "damaged":
        damage(filled)
    elif how == "newer":
        (filled / "app.db-wal").unlink()
        with closing(sqlite3.connect(filled / "app.db")) as db, db:
            db.execute("insert into _sqlite_migrations (migration_set, name) values ('cohort-sync', 'of_tomorrow')")
        (filled / "app.db-wal").write_bytes(b"a log of the former file")
    else:
        (filled / "app.db").unlink()
        if how == "empty":
            (filled / "app.db").touch()
        elif how == "folder":
            (filled / "app.db").mkdir()
    assert cli(filled, "status").returncode == 1
    done = cli(filled, "restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert "11 days" in kept_days(cli, filled)
    aside = sorted(path.name for path in filled.glob("*.aside-*"))
    assert all(name in done.stdout for name in aside if "-wal" not in name)
    # SQLite itself empties the log of a file that it opens, before it finds out what the file is.
    assert any("-wal" in name for name in aside) or how in ("damaged", "newer")
    assert bool([name for name in aside if "-wal" not in name]) is (how != "missing")
    assert "restore" in cli(filled, "audit").stdout


def test_restore_does_not_take_the_file_from_a_living_runner(
    filled: Path, backup: Path, cli: Cli, runner_process: RunnerProcess
) -> None:
    """The damage hides the runners; a process with the file open is noticed all the same, and nothing is moved."""
    runner = runner_process(filled)
    wait_for_runner(cli, filled)
    before = damage(filled)
    refused(cli(filled, "restore", str(backup)), "still", "stop")
    assert (filled / "app.db").read_bytes() == before
    runner.kill()
    runner.wait()
    assert cli(filled, "restore", str(backup)).returncode == 0
    assert "11 days" in kept_days(cli, filled)


def wait_for_runner(cli: Cli, folder: Path) -> None:
    """Wait until a runner was seen."""
    for _ in range(100):
        if "last seen" in cli(folder, "status").stdout:
            return
    raise AssertionError("the runner never came")


DIE = """
import os, sys
from pathlib import Path
import sync.store.restore as restoring
left = [int(sys.argv.pop(1))]
def dying(real):
    def call(*values, **named):
        left[0] -= 1
        if left[0] < 0:
            os._exit(137)
        return real(*values, **named)
    return call
for name in ("rename", "replace", "fsync"):
    setattr(os, name, dying(getattr(os, name)))
from sync.cli.commands import main
sys.exit(main())
"""


@pytest.mark.parametrize("steps", range(7))
def test_a_restore_that_dies_leaves_a_folder_that_can_be_restored(
    filled: Path, backup: Path, cli: Cli, steps: int
) -> None:
    """Killed before any move: no empty database appears, nothing half-written opens, and asking again works."""
    damage(filled)
    died = run_python(DIE, filled, str(steps), "restore", str(backup))
    assert died.returncode in (0, 137), died.stderr
    looked = cli(filled, "retention")
    assert "11 days" in looked.stdout or (looked.returncode == 1 and "restore" in looked.stderr)
    if looked.returncode:
        assert cli(filled, "restore", str(backup)).returncode == 0
    assert "11 days" in kept_days(cli, filled)
    assert cli(filled, "purge").returncode == 0
    assert not list(filled.glob("*.draft*"))


def test_a_restore_killed_while_it_writes_changes_nothing(filled: Path, tmp_path: Path, cli: Cli) -> None:
    """SIGKILL while the pages go into the healthy file: the former state is whole."""
    large = large_backup(filled, tmp_path, megabytes=30)
    with Service.open({"COHORT_SYNC_DATA": str(filled)}) as service:
        service.admin.set_retention(rejections=22)
    restoring = subprocess.Popen(
        [sys.executable, "-m", "sync", "restore", str(large)],
        cwd=ROOT,
        env=os.environ | {"COHORT_SYNC_DATA": str(filled)},
    )
    log = filled / "app.db-wal"
    while restoring.poll() is None and (not log.exists() or log.stat().st_size < 5_000_000):
        pass
    assert restoring.poll() is None, "it ended before it could be killed"
    restoring.kill()
    restoring.wait()
    assert "22 days" in kept_days(cli, filled)
    assert cli(filled, "purge").returncode == 0
    assert sorted(path.name for path in filled.glob("*draft*")) == []


def large_backup(folder: Path, tmp_path: Path, megabytes: int) -> Path:
    """Write a backup with a snapshot of this size."""
    file = tmp_path / "large.db"
    with Service.open({"COHORT_SYNC_DATA": str(folder)}) as service:
        service.admin.write_backup(file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(
            "insert into sync (project_id, cohort_id, cohort_name, license_code, attribute, mode, state, "
            "interval_seconds, schedule_anchor, "
            "next_run_at) values (1, 1, 'Fans', 'lc', 'Mixpanel - Fans', 'dynamic', 'active', 7200, 1, 1)"
        )
        salt = Connections(db).get_salt()
        ids = sorted((os.urandom(16).hex() for _ in range(BUCKET_SIZE)), key=lambda one: hash_id(one, salt))
        records, packed = b"".join(hash_id(one, salt) + b"sent-ago" for one in ids), pack(ids)
        db.executemany(
            "insert into snapshot_bucket (sync_id, first_byte, records, ids) values (?, ?, ?, ?)",
            (
                (1 + number // 256, number % 256, records, packed)
                for number in range(megabytes * 1_000_000 // len(records + packed))
            ),
        )
    return file


MEASURED = """
import re, sys
from pathlib import Path
from sync.cli.commands import main
code = main()
sys.stderr.write(str(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024))
sys.exit(code)
"""


@pytest.mark.slow
def test_a_restore_of_a_large_backup_stays_small(filled: Path, tmp_path: Path) -> None:
    """120 MB are copied page by page: hardly more memory than any other command needs."""
    large = large_backup(filled, tmp_path, megabytes=120)
    ordinary = int(run_python(MEASURED, filled, "retention").stderr)
    done = run_python(MEASURED, filled, "restore", str(large))
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < ordinary + 40


@pytest.mark.parametrize("left", [(), ("app.db-wal", "app.db-shm")], ids=["alone", "log-left"])
@pytest.mark.parametrize("replaced", [False, True], ids=["moved", "replaced"])
def test_a_runner_stops_when_its_database_is_gone(
    filled: Path, backup: Path, cli: Cli, runner_process: RunnerProcess, replaced: bool, left: tuple[str, ...]
) -> None:
    """One sentence and exit 1, and no empty database is put in its place."""
    runner = runner_process(filled)
    wait_for_runner(cli, filled)
    for name in ("app.db", "app.db-wal", "app.db-shm"):
        if name not in left:
            (filled / name).rename(filled.parent / name)
    if replaced:
        shutil.copy(backup, filled / "app.db")
    assert runner.wait(END_SECONDS) == 1
    if not replaced:
        assert not (filled / "app.db").exists()
        refused(cli(filled, "syncs"), "app.db", "restore")
        assert not (filled / "app.db").exists()


@pytest.mark.slow
def test_the_runner_when_it_must_stop_gives_the_reason_in_one_sentence(filled: Path) -> None:
    """The sentence names the file and what to do, without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sync.runner"],
        cwd=ROOT,
        env=os.environ | {"COHORT_SYNC_DATA": str(filled)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "works on" not in process.stderr.readline():
        pass
    (filled / "app.db").rename(filled.parent / "away.db")
    _, written = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 1 and "Traceback" not in written
    assert "moved" in written.splitlines()[-1] and "start" in written.splitlines()[-1]


def test_an_empty_database_never_replaces_one_that_was_there(filled: Path, cli: Cli) -> None:
    """The folder remembers that it held a database, also after everything was stopped."""
    (filled / "app.db").rename(filled.parent / "away.db")
    for command in ("syncs", "status", "backup x.db"):
        refused(cli(filled, *command.split()), "app.db", "bring it back", "restore")
    assert not (filled / "app.db").exists()
    (filled.parent / "away.db").rename(filled / "app.db")
    assert "11 days" in kept_days(cli, filled)


def test_a_log_without_its_database_is_left_alone(empty_dir: Path, cli: Cli) -> None:
    """A log may hold what the moved file does not; an empty database beside it would delete it."""
    (empty_dir / "app.db-wal").write_bytes(b"what was written last")
    refused(cli(empty_dir, "syncs"), "app.db", "bring it back")
    assert (empty_dir / "app.db-wal").read_bytes() == b"what was written last"


def test_an_emptied_folder_is_a_fresh_start(filled: Path, cli: Cli) -> None:
    """Removing everything, with or without the folder, begins from nothing."""
    for path in filled.iterdir():
        path.unlink()
    assert "30 days" in kept_days(cli, filled)
    shutil.rmtree(filled)
    assert "30 days" in kept_days(cli, filled)


def test_restore_into_a_fresh_folder_works(backup: Path, tmp_path: Path, cli: Cli) -> None:
    """Moving to another machine: a new folder and a backup, both for this user only."""
    assert cli(tmp_path / "fresh", "restore", str(backup)).returncode == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "fresh", *(tmp_path / "fresh").iterdir())}
    assert modes == {"fresh": 0o700, "app.db": 0o600, "database.marker": 0o600}
    assert "11 days" in kept_days(cli, tmp_path / "fresh")


def test_a_process_notices_that_another_database_took_the_place(filled: Path, tmp_path: Path) -> None:
    """Pages open the file at every click: what they showed belonged to the former one."""
    with closing(sqlite3.connect(tmp_path / "stranger.db")) as db:
        db.executescript(SCHEMA_1.read_text())
    with Store.open(filled):
        pass
    for name in ("app.db", "app.db-wal", "app.db-shm"):
        (filled / name).unlink(missing_ok=True)
    with pytest.raises(InvalidRequest, match="bring it back"):
        Store.open(filled)
    shutil.copy(tmp_path / "stranger.db", filled / "app.db")
    with pytest.raises(InvalidRequest, match="another database"):
        Store.open(filled)


@pytest.mark.slow
def test_a_page_when_the_database_is_gone_says_so(workspace: Workspace) -> None:
    """One sentence on the page, also when the whole folder was emptied under the running server."""
    workspace.page("syncs")
    for path in workspace.data_dir.iterdir():
        path.unlink()
    assert "bring it back" in page_text(workspace.page("syncs"))
    assert list(workspace.data_dir.iterdir()) == []


def test_a_backup_copied_into_place_is_the_same_database(filled: Path, backup: Path) -> None:
    """A copy of the same database is no stranger, so pages that run go on."""
    with Store.open(filled):
        pass
    for name in ("app.db", "app.db-wal", "app.db-shm"):
        (filled / name).unlink(missing_ok=True)
    shutil.copy(backup, filled / "app.db")
    with Store.open(filled) as store:
        assert store.maintenance.get_retention_days("keep_rejections_days") == 11
