"""The companion process: real processes, killed and stopped, two at once, on one database."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync.model import Mode, Run, RunState
from sync.service import Service
from tests.browser import ROOT, environment
from tests.conftest import RunnerProcess
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

ATTRIBUTE = "Mixpanel - Fans"
PATIENCE = 60.0  # seconds something awaited may take on a busy machine; never asserted


class RunnerWorkspace:
    """A connected data folder with one cohort of 150."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(150)])
        with self.open() as service:
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
            service.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)

    def open(self) -> Service:
        """The service on this folder."""
        return Service.open({"COHORT_SYNC_DATA": str(self.folder)})

    def export(self) -> int:
        """Press Start Sync."""
        with self.open() as service:
            return service.syncs.start_export(PROJECT, self.cohort, Mode.DYNAMIC).run_id

    def run(self, run_id: int = 1) -> Run:
        """A run as it stands."""
        with self.open() as service:
            return service.runs.get(run_id)

    def until(self, question: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not question():
            assert time.monotonic() < deadline, self.run()
            time.sleep(0.02)

    def complete(self) -> bool:
        """Whether WebEngage holds exactly the cohort."""
        return self.sandbox.holding(ATTRIBUTE)[0] == self.sandbox.exportable(self.cohort)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> RunnerWorkspace:
    """A connected data folder."""
    return RunnerWorkspace(data_dir, sandbox)


def test_a_killed_run_goes_on_where_it_was(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """SIGKILL half-way: the next runner reads nothing again, sends only what is left, and the cohort is complete."""
    run_id = workspace.export()
    first = runner_process(workspace.folder)
    workspace.until(lambda: workspace.run(run_id).delivered >= 25)
    first.send_signal(signal.SIGKILL)
    first.wait()
    asked = sandbox.meter().requests["/api/query/engage"]
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    assert workspace.run(run_id).state is RunState.SUCCEEDED and workspace.complete()
    assert sandbox.meter().requests["/api/query/engage"] == asked
    assert sandbox.meter().users_delivered <= 150 + 24 * 25


def test_a_runner_killed_while_reading_holds_nobody_up(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """SIGKILL with pages on their way: lease and places are free as soon as somebody sees that the process is gone."""
    sandbox.settings(page_size=10, latency=300)
    run_id = workspace.export()
    first = runner_process(workspace.folder)
    workspace.until(lambda: workspace.run(run_id).staged >= 40)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert workspace.run(run_id).lease_owner is not None
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    assert workspace.run(run_id).state is RunState.SUCCEEDED and workspace.complete()
    assert max(sandbox.meter().queries_at_once.values()) <= 5


def test_a_runner_asked_to_stop_leaves_the_run_to_go_on(
    workspace: RunnerWorkspace, runner_process: RunnerProcess
) -> None:
    """SIGTERM: exit 0, no lease is left behind, and another runner finishes at once."""
    run_id = workspace.export()
    first = runner_process(workspace.folder)
    workspace.until(lambda: workspace.run(run_id).delivered >= 25)
    first.terminate()
    assert first.wait(PATIENCE) == 0
    stopped = workspace.run(run_id)
    assert (stopped.state, stopped.lease_owner) == (RunState.DELIVERING, None)
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    assert workspace.run(run_id).state is RunState.SUCCEEDED and workspace.complete()


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
        [sys.executable, "-c", SIGNALLED], cwd=ROOT, env=environment(data_dir), check=False, timeout=100
    )
    assert done.returncode == 0


def test_two_runners_carry_one_run_once(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Two processes, one run: each person is sent exactly once."""
    workspace.export()
    both = [runner_process(workspace.folder, "--once") for _ in range(2)]
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    assert workspace.complete() and sandbox.meter().users_delivered == 150


def test_four_clicks_are_one_run(workspace: RunnerWorkspace) -> None:
    """Start Sync pressed four times at the same moment: one run, and one of them was first."""

    def press(_: int) -> tuple[int, bool]:
        with workspace.open() as service:
            started = service.syncs.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC)
            return started.run_id, started.started

    with ThreadPoolExecutor(4) as pool:
        pressed = list(pool.map(press, range(4)))
    assert {run_id for run_id, _ in pressed} == {1} and sum(first for _, first in pressed) == 1


def test_a_run_cancelled_half_way_is_mended_by_the_next(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """After a cancel the cohort changes; the next run tells those false who were told true and left."""
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(900)])
    run_id = workspace.export()
    runner = runner_process(workspace.folder)
    workspace.until(lambda: workspace.run(run_id).delivered >= 50)
    with workspace.open() as service:
        service.runs.cancel(run_id)
    workspace.until(lambda: workspace.run(run_id).state is RunState.CANCELLED)
    told = sandbox.holding(ATTRIBUTE)[0]
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(140, 160)])
    second = workspace.export()
    workspace.until(lambda: workspace.run(second).state in (RunState.HELD, RunState.SUCCEEDED))
    if workspace.run(second).state is RunState.HELD:
        with workspace.open() as service:
            service.runs.approve(second)
        workspace.until(lambda: workspace.run(second).state.is_final)
    runner.terminate()
    assert 50 <= len(told) < 900 and workspace.complete()


def test_a_disconnect_ends_what_is_under_way(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """A runner has the key in its memory, and yet nothing is sent any more once the account was disconnected."""
    sandbox.set_members(workspace.cohort, [member(f"fan-{number}") for number in range(900)])
    run_id = workspace.export()
    runner_process(workspace.folder)
    workspace.until(lambda: workspace.run(run_id).delivered >= 50)
    with workspace.open() as service:
        service.connections.disconnect_webengage(LICENSE)
    workspace.until(lambda: workspace.run(run_id).state is RunState.CANCELLED)
    assert len(sandbox.holding(ATTRIBUTE)[0]) < 900


def test_waiting_for_the_hour_is_said_with_its_time(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """When Mixpanel's hour is used up the run goes back to the queue, says why and until when, and no attempt is lost."""
    run_id = workspace.export()
    sandbox.fault("status", path="/engage", code=429, retry_after=1800, times=1)
    before = time.time()
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    run = workspace.run(run_id)
    assert run.state is RunState.QUEUED and run.wait_reason and run.attempts == 0
    assert 1700 < run.not_before - before < 1900


def test_lost_answers_are_sent_again_under_the_same_id(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Applied but never answered: the batch is repeated with its request id, and nobody is missing."""
    workspace.export()
    sandbox.fault("vanish", path="bulk-users", times=2)
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    assert workspace.complete() and sandbox.meter().repeated_request_ids == 2


def test_a_renamed_cohort_keeps_its_attribute(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """The sync follows the name; WebEngage keeps the attribute it was told."""
    workspace.export()
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    sandbox.rename_cohort(workspace.cohort, "Super Fans")
    with workspace.open() as service:
        service.cohorts.list(PROJECT, fresh=True)
        [sync] = service.syncs.list()
    assert (sync.cohort_name, sync.attribute) == ("Super Fans", ATTRIBUTE)


def test_a_deleted_cohort_pauses_its_sync_and_nobody_leaves(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Even when Mixpanel answers for it as for an empty one."""
    workspace.export()
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    sandbox.settings(unknown_cohort=200)
    sandbox.delete_cohort(workspace.cohort)
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    with workspace.open() as service:
        [sync] = service.syncs.list()
    assert sync.pause_reason and "is gone from Mixpanel" in sync.pause_reason
    assert len(sandbox.holding(ATTRIBUTE)[0]) == 150


def test_a_resync_tells_everyone_anew(
    workspace: RunnerWorkspace, sandbox: Sandbox, runner_process: RunnerProcess
) -> None:
    """Also those who left while WebEngage was changed by hand."""
    workspace.export()
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    with workspace.open() as service:
        service.syncs.resync(1)
    assert runner_process(workspace.folder, "--once").wait(PATIENCE) == 0
    assert workspace.run(2).updated == 150 and sandbox.meter().users_delivered == 300


def test_status_says_who_works(workspace: RunnerWorkspace, runner_process: RunnerProcess) -> None:
    """A working runner is alive in the health; one that stopped on purpose is gone from it at once."""
    process: subprocess.Popen[bytes] = runner_process(workspace.folder)

    def alive() -> bool:
        with workspace.open() as service:
            return service.check_health().is_runner_alive

    workspace.until(alive)
    process.terminate()
    assert process.wait(PATIENCE) == 0 and not alive()
