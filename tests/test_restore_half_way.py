"""Restore while something is half done: a run that was put off, a runner that starts, a process that dies after the copy."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState
from sync.service import Service
from tests.engine_workspace import EngineWorkspace, approve, export_five, fan_ids, fans, last, later, stop_and_clear
from tests.sandbox.control import Sandbox
from tests.workspace import ROOT, wait_until


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of five."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def backup(workspace: EngineWorkspace, tmp_path: Path) -> Path:
    """Return a backup of it."""
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
    return tmp_path / "copy.db"


@pytest.mark.parametrize("is_new", [True, False])
def test_who_was_not_sent_yet_by_an_export_that_a_restore_ended_gets_no_profile(
    workspace: EngineWorkspace, sandbox: Sandbox, backup: Path, is_new: bool
) -> None:
    """Of a run of after the backup it is known what was sent: whoever leaves before the next run was never true."""
    cohort, attribute = workspace.cohort, "Mixpanel - Fans"
    if is_new:
        cohort, attribute = sandbox.add_cohort("Seconds", fans(*range(10, 85))), "Mixpanel - Seconds"
    else:
        stop_and_clear(workspace)
        workspace.set_members(*fans(*range(10, 85)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export(cohort)
    sent = sandbox.holding(attribute)[0]
    assert run.state is RunState.QUEUED and len(sent) == 25
    workspace.restore(backup)
    sandbox.clear_faults()
    workspace.run_queued()
    ended = workspace.get_run(run.id)
    assert (ended.state, ended.delivered, ended.unconfirmed) == (RunState.CANCELLED, 25, 0)
    with workspace.open() as service:
        assert "Export requested" in service.runs.list_events(run.id)[0].message
        shown = service.syncs.get(run.sync_id).last_run
    assert shown and shown.id == run.id
    sandbox.set_members(cohort, fans(10))
    if is_new:
        with workspace.open() as service:
            service.syncs.resume(run.sync_id)
    later(workspace, 7300)
    while last(workspace).state is RunState.HELD:
        approve(workspace, last(workspace))
    assert sandbox.holding(attribute)[0] == fan_ids(10)
    assert not [one for one in fan_ids(*range(11, 85)) - sent if sandbox.profile(one)]


def test_a_runner_that_starts_while_a_restore_reads_the_backup_keeps_its_database(
    workspace: EngineWorkspace, backup: Path
) -> None:
    """It may have claimed a run and be sending, and nothing else is written until the answer is here."""
    with closing(sqlite3.connect(backup)) as db, db:
        db.execute("insert into event (at, message) values (1, ?)", ("x" * 50_000_000,))

    def start_runner() -> None:
        wait_until(lambda: any(workspace.data_dir.glob("*.draft")))
        with workspace.open_store() as store:
            store.runners.record_heartbeat("elsewhere:1:1-1", workspace.now())

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start_runner)
        with pytest.raises(InvalidRequest, match=r"runner|written meanwhile"):
            workspace.restore(backup)
        starting.result()
    with workspace.open_store() as store:
        assert len(store.runners.list_heartbeats(workspace.now())) == 1


# What comes next is emptying the log, which a page that reads may hold up for seconds, or the folder's way to the disk.
DIES_RESTORED = """
import functools, os, sqlite3, stat, sys
from sync.cli.commands import main
class DyingConnection(sqlite3.Connection):
    def execute(self, sql, *values):
        if sql == "pragma wal_checkpoint(truncate)":
            os._exit(137)
        return super().execute(sql, *values)
def dying(descriptor, flush=os.fsync):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os._exit(137)
    flush(descriptor)
sqlite3.connect, os.fsync = functools.partial(sqlite3.connect, factory=DyingConnection), dying
sys.exit(main())
"""


@pytest.mark.parametrize("is_usable", [True, False])
def test_a_restore_that_dies_once_the_content_is_replaced_is_in_the_audit_log(
    workspace: EngineWorkspace, backup: Path, is_usable: bool
) -> None:
    """Whoever looks why everybody is sent again finds it: the line is stored with the content, or neither is."""
    if not is_usable:
        (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    died = subprocess.run(
        [sys.executable, "-c", DIES_RESTORED, "restore", str(backup)],
        cwd=ROOT,
        env=os.environ | workspace.env,
        check=False,
    )
    assert died.returncode == 137
    with workspace.open() as service:
        [line] = [one for one in service.admin.list_audit() if one.action == "restore"]
    assert line.target == "copy.db" and bool(line.after) is not is_usable


@pytest.mark.parametrize("is_usable", [True, False])
def test_whom_a_run_of_the_backup_was_still_to_send_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path, is_usable: bool
) -> None:
    """They were sent after the copy was made; also when the replaced database cannot say so any more."""
    workspace.set_members(*fans(*range(75)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0, after=1)
    run = workspace.export()
    assert run.state is RunState.QUEUED and len(workspace.holders()) < 75
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "sending.db")
    sandbox.clear_faults()
    later(workspace, 400)
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED and len(workspace.holders()) == 75
    if not is_usable:
        (workspace.data_dir / "app.db").write_bytes(b"no database" * 1000)
    Service.restore_database(tmp_path / "sending.db", workspace.env)
    workspace.set_members(*fans(*range(5)))
    later(workspace, 7300)
    while last(workspace).state is RunState.HELD:
        approve(workspace, last(workspace))
    assert workspace.holders() == fan_ids(*range(5))


def test_a_run_that_a_runner_had_when_the_backup_was_made_is_ended_at_once(
    workspace: EngineWorkspace, tmp_path: Path
) -> None:
    """That runner is of another time, and perhaps of another machine: nobody waits for the end of its lease."""
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    with workspace.open_store() as store:
        assert store.runs.claim_run("elsewhere:1:1-1", workspace.now())
        store.maintenance.write_backup(tmp_path / "leased.db")
    workspace.restore(tmp_path / "leased.db")
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.CANCELLED
