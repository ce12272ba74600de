"""The companion process: real processes, killed and stopped, two at once, on one database."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.engine import Clock, RetryPolicy
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.process_identity import process_name
from sync.runner import HEARTBEAT_SECONDS, Runner
from sync.store.runs import LEASE_SECONDS
from tests.conftest import RunnerProcess
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import ATTRIBUTE, ROOT, Workspace, make_environment, wait_until

PATIENCE = 60.0  # seconds something awaited may take on a busy machine; never asserted


@pytest.fixture
def workspace(connected: Workspace) -> Workspace:
    """Give the connected workspace a cohort of 150."""
    connected.add_cohort(150)
    return connected


def is_complete(workspace: Workspace) -> bool:
    """Return whether WebEngage holds exactly the cohort."""
    return workspace.sandbox.holding(ATTRIBUTE)[0] == workspace.sandbox.exportable(workspace.cohort)


def test_a_killed_run_goes_on_where_it_was(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """SIGKILL half-way: the next runner reads nothing again, sends only what is left, and the cohort is complete."""
    run_id = workspace.start_export()
    first = runner_process(workspace.data_dir)
    wait_until(lambda: workspace.get_run(run_id).delivered >= 25)
    first.send_signal(signal.SIGKILL)
    first.wait()
    asked = sandbox.meter().requests["/api/query/engage"]
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and is_complete(workspace)
    assert sandbox.meter().requests["/api/query/engage"] == asked
    assert sandbox.meter().users_delivered <= 150 + 24 * 25


def test_a_runner_killed_while_reading_holds_nobody_up(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """SIGKILL with pages on their way: lease and places are free as soon as somebody sees that the process is gone."""
    sandbox.settings(page_size=10, latency=300)
    run_id = workspace.start_export()
    first = runner_process(workspace.data_dir)
    wait_until(lambda: workspace.get_run(run_id).staged >= 40)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert workspace.get_run(run_id).lease_owner is not None
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and is_complete(workspace)
    assert max(sandbox.meter().queries_at_once.values()) <= 5


def test_a_runner_asked_to_stop_leaves_the_run_to_go_on(workspace: Workspace, runner_process: RunnerProcess) -> None:
    """SIGTERM: exit 0, no lease is left behind, and another runner finishes at once."""
    run_id = workspace.start_export()
    first = runner_process(workspace.data_dir)
    wait_until(lambda: workspace.get_run(run_id).delivered >= 25)
    first.terminate()
    assert first.wait(PATIENCE) == 0
    stopped = workspace.get_run(run_id)
    assert (stopped.state, stopped.lease_owner) == (RunState.DELIVERING, None)
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and is_complete(workspace)


SIGNALLED = """
import os, random, signal, sync.runner
sync.runner.POLL_SECONDS = 0.0  # so that a signal falls into the looking and not into the pause between
for turn in range(100):
    runner = sync.runner.Runner(os.environ)
    signal.signal(signal.SIGALRM, runner.request_stop)
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.005, 0.02))
    runner.run_forever()
"""


@pytest.mark.slow
def test_a_signal_may_come_at_any_moment(data_dir: Path) -> None:
    """A hundred signals, whatever the runner is doing just then, and a hundred times it stops; a lock would hang it."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], cwd=ROOT, env=make_environment(data_dir), check=False, timeout=100
    )
    assert done.returncode == 0


def test_two_runners_execute_one_run_once(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Two processes, one run: each person is sent exactly once."""
    workspace.start_export()
    both = [runner_process(workspace.data_dir, "--once") for _ in range(2)]
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    assert is_complete(workspace) and sandbox.meter().users_delivered == 150


def test_a_runner_that_runs_once_when_another_one_has_the_run_leaves_it(workspace: Workspace) -> None:
    """It would wait as long as the other one works, or for the lease of a run that a full disk stopped."""
    run_id = workspace.start_export()
    with workspace.open_store() as store:
        assert store.runs.claim_run(f"{process_name()}-other", workspace.now())
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.PULLING


@pytest.mark.parametrize("is_named", [False, True])
def test_a_runner_that_runs_once_when_a_run_waits_again_and_again_ends(workspace: Workspace, *, is_named: bool) -> None:
    """After two minutes of nothing but waiting, as on a disk that stays full, the run is left with its reason."""
    workspace.sandbox.fault("status", api="mixpanel", path="engage", code=503, times=0)
    run_id = workspace.start_export()

    def pass_time(seconds: float) -> None:
        workspace.ahead += seconds

    often = RetryPolicy(delays=(), postponements=(30.0,))
    Runner(workspace.env, Clock(workspace.now, pass_time), often).run_once(run_id if is_named else None)
    run = workspace.get_run(run_id)
    assert run.state is RunState.QUEUED and run.wait_reason
    assert 2 <= workspace.sandbox.meter().requests["/api/query/engage"] <= 6


@pytest.mark.slow
def test_a_runner_that_runs_once_when_the_database_is_locked_for_a_moment_ends_its_runs(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is written later: the heartbeat, and the run by the next runner."""
    monkeypatch.setattr("sync.store.database.BUSY_SECONDS", 0.2)
    sandbox.fault("slow", api="mixpanel", path="engage", ms=5000.0)
    run_id = workspace.start_export()

    def lock() -> None:
        wait_until(lambda: bool(sandbox.meter().requests.get("/api/query/engage")))
        with closing(sqlite3.connect(workspace.data_dir / "app.db", isolation_level=None)) as db:
            db.execute("begin immediate")
            time.sleep(2 * HEARTBEAT_SECONDS)
            db.execute("rollback")
        workspace.ahead += LEASE_SECONDS

    with ThreadPoolExecutor(1) as pool:
        locked = pool.submit(lock)
        workspace.run_queued()
        locked.result()
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED
    assert is_complete(workspace)


def test_four_clicks_are_one_run(workspace: Workspace) -> None:
    """Start Sync pressed four times at the same moment: one run, and one of them was first."""

    def press(_: int) -> tuple[int, bool]:
        with workspace.open() as service:
            started = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))
            return started.run_id, started.started

    with ThreadPoolExecutor(4) as pool:
        pressed = list(pool.map(press, range(4)))
    assert {run_id for run_id, _ in pressed} == {1} and sum(first for _, first in pressed) == 1


def test_a_run_cancelled_half_way_is_mended_by_the_next(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """After a cancel the cohort changes; the next run tells those false who were told true and left."""
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(900)])
    run_id = workspace.start_export()
    runner = runner_process(workspace.data_dir)
    wait_until(lambda: workspace.get_run(run_id).delivered >= 50)
    with workspace.open() as service:
        service.runs.cancel(run_id)
    wait_until(lambda: workspace.get_run(run_id).state is RunState.CANCELLED)
    told = sandbox.holding(ATTRIBUTE)[0]
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(140, 160)])
    second = workspace.start_export()
    wait_until(lambda: workspace.get_run(second).state in (RunState.HELD, RunState.SUCCEEDED))
    if workspace.get_run(second).state is RunState.HELD:
        with workspace.open() as service:
            service.runs.approve(second)
        wait_until(lambda: workspace.get_run(second).state.is_final)
    runner.terminate()
    assert 50 <= len(told) < 900 and is_complete(workspace)


def test_a_disconnect_ends_what_is_under_way(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """A runner has the key in its memory, and yet nothing is sent any more once the account was disconnected."""
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(900)])
    run_id = workspace.start_export()
    runner_process(workspace.data_dir)
    wait_until(lambda: workspace.get_run(run_id).delivered >= 50)
    with workspace.open() as service:
        service.connections.disconnect_webengage(LICENSE)
    wait_until(lambda: workspace.get_run(run_id).state is RunState.CANCELLED)
    assert len(sandbox.holding(ATTRIBUTE)[0]) < 900


def test_waiting_for_the_hour_is_said_with_its_time(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """When Mixpanel's hour is used up the run goes back to the queue, says why and until when, and no attempt is lost."""
    run_id = workspace.start_export()
    sandbox.fault("status", path="/engage", code=429, retry_after=1800, times=1)
    before = time.time()
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    run = workspace.get_run(run_id)
    assert run.state is RunState.QUEUED and run.wait_reason and run.attempts == 0
    assert 1700 < run.not_before - before < 1900


def test_lost_answers_are_sent_again_under_the_same_id(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Applied but never answered: the batch is repeated with its request id, and nobody is missing."""
    workspace.start_export()
    sandbox.fault("vanish", path="bulk-users", times=2)
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    assert is_complete(workspace) and sandbox.meter().repeated_request_ids == 2


def test_a_renamed_cohort_keeps_its_attribute(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """The sync follows the name; WebEngage keeps the attribute it was told."""
    workspace.start_export()
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    sandbox.rename_cohort(workspace.cohort, "Super Fans")
    with workspace.open() as service:
        service.cohorts.list(PROJECT, fresh=True)
        [sync] = service.syncs.list()
    assert (sync.cohort_name, sync.attribute) == ("Super Fans", ATTRIBUTE)


def test_a_deleted_cohort_pauses_its_sync_and_nobody_leaves(
    workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Even when Mixpanel answers for it as for an empty one."""
    workspace.start_export()
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    sandbox.settings(unknown_cohort=200)
    sandbox.delete_cohort(workspace.cohort)
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    with workspace.open() as service:
        [sync] = service.syncs.list()
    assert sync.pause_reason and "is gone from Mixpanel" in sync.pause_reason
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 150


def test_a_resync_sends_everyone_again(workspace: Workspace, sandbox: Sandbox, runner_process: RunnerProcess) -> None:
    """Also those who left while WebEngage was changed by hand."""
    workspace.start_export()
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    with workspace.open() as service:
        service.syncs.resync(1)
    assert runner_process(workspace.data_dir, "--once").wait(PATIENCE) == 0
    assert workspace.get_run(2).updated == 150 and sandbox.meter().users_delivered == 300


def test_status_says_who_works(workspace: Workspace, runner_process: RunnerProcess) -> None:
    """A working runner is alive in the health; one that stopped on purpose is gone from it at once."""
    process: subprocess.Popen[bytes] = runner_process(workspace.data_dir)

    def alive() -> bool:
        with workspace.open() as service:
            return service.check_health().is_runner_alive

    wait_until(alive)
    process.terminate()
    assert process.wait(PATIENCE) == 0 and not alive()
