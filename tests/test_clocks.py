"""The runner while clocks move: spring, autumn, three hours ahead, one hour back, a suspend; and who counts as alive."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.engine import Clock
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.process_identity import is_process_gone, process_name
from sync.records import RUNNER_SILENT_SECONDS, RunnerState
from sync.runner import HEARTBEAT_SECONDS, Runner
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import ROOT, Workspace, make_environment, page_text, wait_until

HOUR = 3600.0
PEOPLE = 150
CET, CEST = "XXX-1", "XXX-2"  # POSIX zones: one and two hours ahead of UTC
FOREIGN = "elsewhere/1:1-a"  # a runner in another container, whose process cannot be seen from here


class MovedRunner:
    """A real runner on a workspace, whose clock a test moves together with the workspace's."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.process: subprocess.Popen[str] | None = None

    def start(self, zone: str = "UTC") -> None:
        """Start the runner and wait for its first heartbeat."""
        self.process = subprocess.Popen(
            [sys.executable, "tests/moved_clock.py"],
            cwd=ROOT,
            env=make_environment(self.workspace.data_dir, TZ=zone, PYTHONPATH=str(ROOT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: self.workspace.read_heartbeat() > 0.0)

    def move(self, what: str, value: str) -> None:
        """Move the runner's clock, and the workspace's with it."""
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{what} {value}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{what}\n"
        self.workspace.ahead = float(value) if what == "wall" else self.workspace.ahead

    def wait_for_heartbeats(self) -> None:
        """Wait for two heartbeats by the clock as it is now."""
        for _ in range(2):
            before = self.workspace.read_heartbeat()
            wait_until(lambda before=before: self.workspace.read_heartbeat() != before)  # type: ignore[misc]
        with self.workspace.open() as service:
            assert service.check_health().is_runner_alive


@pytest.fixture
def clocked(connected: Workspace) -> Workspace:
    """Connect a workspace with a cohort of 150 people."""
    connected.add_cohort(PEOPLE)
    return connected


@pytest.fixture
def runner(clocked: Workspace) -> Iterator[MovedRunner]:
    """Make a runner for the workspace; it is killed at the end."""
    made = MovedRunner(clocked)
    yield made
    if made.process:
        made.process.send_signal(signal.SIGCONT)
        made.process.kill()
        made.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zone", "what", "value"),
    [
        pytest.param(CET, "zone", CEST, id="spring"),
        pytest.param(CEST, "zone", CET, id="autumn"),
        pytest.param("UTC", "wall", str(3 * HOUR), id="three hours ahead"),
        pytest.param("UTC", "wall", str(-HOUR), id="one hour back"),
    ],
)
def test_the_runner_when_the_clock_moves_keeps_its_heartbeat_and_takes_work(
    clocked: Workspace, runner: MovedRunner, zone: str, what: str, value: str
) -> None:
    """Whatever local or wall time does, heartbeats go on and a click is a finished run; restore stays refused."""
    runner.start(zone)
    runner.move(what, value)
    runner.wait_for_heartbeats()
    with clocked.open() as service:
        with pytest.raises(InvalidRequest, match="stop it, then restore"):
            service.admin.restore(clocked.data_dir / "none.db")
        [cohort] = service.cohorts.list(PROJECT).cohorts
        run_id = service.syncs.start_export(PROJECT, cohort.id, ExportTerms(mode=Mode.DYNAMIC)).run_id
    with clocked.open_database() as db:
        db.execute("update sync set next_run_at = ?", (clocked.now() + 1.0,))
    wait_until(lambda: clocked.get_run(run_id).state.is_final)
    assert clocked.get_run(run_id).state is RunState.SUCCEEDED

    def refreshed() -> bool:
        with clocked.open() as service:
            return service.runs.list()[0].purpose == "refresh" and service.runs.list()[0].state is RunState.SUCCEEDED

    wait_until(refreshed)


@pytest.mark.slow
def test_a_runner_when_suspended_in_the_middle_of_a_run_finishes_it_once(
    clocked: Workspace, runner: MovedRunner, sandbox: Sandbox
) -> None:
    """The process stands still and the wall clock jumps eight hours: it goes on, and each person is sent once."""
    runner.start()
    with clocked.open() as service:
        [cohort] = service.cohorts.list(PROJECT).cohorts
        sandbox.settings(latency=100)
        run_id = service.syncs.start_export(PROJECT, cohort.id, ExportTerms(mode=Mode.DYNAMIC)).run_id
    wait_until(lambda: clocked.get_run(run_id).state in (RunState.PULLING, RunState.DELIVERING))
    assert runner.process and runner.process.stdin and runner.process.stdout
    runner.process.send_signal(signal.SIGSTOP)
    runner.process.stdin.write(f"wall {8 * HOUR}\n")
    runner.process.stdin.flush()
    clocked.ahead = 8 * HOUR
    with clocked.open() as service, pytest.raises(InvalidRequest, match="stop it, then restore"):
        service.admin.restore(clocked.data_dir / "none.db")  # a process that is there may write again at any moment
    runner.process.send_signal(signal.SIGCONT)
    wait_until(lambda: clocked.get_run(run_id).state.is_final)
    runner.wait_for_heartbeats()
    assert clocked.get_run(run_id).state is RunState.SUCCEEDED
    assert sandbox.meter().users_delivered == PEOPLE


def test_a_run_when_the_clock_goes_back_an_hour_does_not_wait_that_hour(clocked: Workspace) -> None:
    """Queued at three, a run is due although it is two again; put off for two minutes, it waits two minutes."""
    run_id = clocked.start_export()
    with clocked.open_store() as store:
        now, runs = clocked.now(), store.runs
        assert runs.count_waiting(now - HOUR)[0] == 1
        claimed = runs.claim_run("me-1", now - HOUR)
        assert claimed and claimed.id == run_id
        runs.postpone_run(run_id, "me-1", now, now + 120, "busy")
        assert runs.claim_run("me-2", now + 60) is None
        assert runs.claim_run("me-2", now - HOUR)


def record_heartbeat(workspace: Workspace, runner: str, when: float) -> None:
    """Write a heartbeat as a runner of this name would at that time."""
    with workspace.open_store() as store:
        store.runners.record_heartbeat(runner, when)


class ManualClocks:
    """Two clocks moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 50.0

    def clock(self) -> Clock:
        """Return the two as the runner reads them."""
        return Clock(lambda: self.wall, lambda _: None, lambda: self.steady)


@pytest.mark.parametrize("jump", [-HOUR, 3 * HOUR, -86400.0], ids=["back", "ahead", "a day back"])
def test_heartbeats_when_the_wall_clock_jumps_follow_the_monotonic_clock(data_dir: Path, jump: float) -> None:
    """A jump of the wall clock neither causes nor delays a heartbeat; two seconds of the monotonic clock cause one."""
    clocks, beats = ManualClocks(), [0]
    runner = Runner({"COHORT_SYNC_DATA": str(data_dir)}, clocks.clock())

    def count() -> None:
        beats[0] += 1

    runner.scheduler.every(HEARTBEAT_SECONDS).seconds.do(count)
    clocks.wall += jump
    runner.scheduler.run_pending()
    assert beats == [0]
    for expected in (1, 2, 3):
        clocks.steady += HEARTBEAT_SECONDS
        runner.scheduler.run_pending()
        assert beats == [expected]
    clocks.steady += 10 * HOUR  # missed beats merge into one
    runner.scheduler.run_pending()
    runner.scheduler.run_pending()
    assert beats == [4]


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0.0, RunnerState.WORKING),
        (RUNNER_SILENT_SECONDS - 1, RunnerState.WORKING),
        (RUNNER_SILENT_SECONDS + 1, RunnerState.SILENT),
        (-1.0, RunnerState.WORKING),
        (-HOUR, RunnerState.UNKNOWN),
    ],
)
def test_health_when_a_heartbeat_has_an_age_shows_the_state_of_the_runner(
    clocked: Workspace, age: float, state: RunnerState
) -> None:
    """A fresh heartbeat works, an old one is silent, one in the future is unknown; the health and restore agree."""
    record_heartbeat(clocked, FOREIGN, clocked.now() - age)
    with clocked.open() as service:
        health = service.check_health()
        assert (health.runner_state, health.is_runner_alive) == (state, state is RunnerState.WORKING)
        assert health.runners == int(state is RunnerState.WORKING)
        refused = "stop it, then restore" if state is not RunnerState.SILENT else "nothing was changed"
        with pytest.raises(InvalidRequest, match=refused):
            service.admin.restore(clocked.data_dir / "none.db")


def test_health_when_no_runner_ever_worked_is_not_alive(clocked: Workspace) -> None:
    """No heartbeat at all: not running, and restore goes as far as the file."""
    with clocked.open() as service:
        assert service.check_health().runner_state is RunnerState.NONE and not service.check_health().is_runner_alive
        with pytest.raises(InvalidRequest, match="nothing was changed"):
            service.admin.restore(clocked.data_dir / "none.db")


def test_restore_when_a_silent_runner_still_has_its_process_is_refused(clocked: Workspace) -> None:
    """Its heartbeat is an hour old, but the process may write at any moment."""
    record_heartbeat(clocked, f"{process_name()}-1", clocked.now() - HOUR)
    with clocked.open() as service:
        assert not service.check_health().is_runner_alive
        with pytest.raises(InvalidRequest, match="stop it, then restore"):
            service.admin.restore(clocked.data_dir / "none.db")


def test_a_process_when_its_number_is_used_again_is_another_one() -> None:
    """After a restart of the machine the runner's number may belong to another process; the start time decides."""
    place, _, number = process_name().rpartition(":")
    pid, _, started = number.partition("@")
    assert not is_process_gone(process_name()) and started
    assert is_process_gone(f"{place}:{pid}@{int(started) + 1}")
    assert not is_process_gone(f"{place}:{pid}")  # written by an earlier version, without its start
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert is_process_gone(f"{place}:{child.pid}") and is_process_gone(f"{place}:{child.pid}@1")
    assert not is_process_gone("elsewhere/1:1@1")


def test_a_heartbeat_when_it_is_dated_more_than_a_day_ahead_is_deleted(clocked: Workspace) -> None:
    """A dead runner's heartbeat dated years ahead would count as unknown for ever; a live runner writes its own again."""
    record_heartbeat(clocked, FOREIGN, clocked.now() + 2 * 86400)
    record_heartbeat(clocked, f"{process_name()}-1", clocked.now())
    with clocked.open() as service:
        assert service.check_health().runner_state is RunnerState.WORKING and service.check_health().runners == 1
    with clocked.open_database() as db:
        assert db.execute("select count(*) from runner").fetchone() == (1,)


def test_the_side_bar_when_a_heartbeat_is_in_the_future_shows_unknown(connected: Workspace) -> None:
    """Neither “last seen” nor “not working”: a clock was changed, and who works is not known."""
    record_heartbeat(connected, FOREIGN, time.time() + HOUR)
    words = page_text(connected.page("integrations"))
    assert "a clock was changed" in words and "Runner last seen" not in words
    record_heartbeat(connected, FOREIGN, time.time() - 2 * HOUR)
    assert "The runner has been silent for 2 h 00 min" in page_text(connected.page("integrations"))


def test_runner_when_an_hour_has_passed_removes_what_is_past_its_days(fans: Workspace) -> None:
    """Refused people of two days ago go when one day is allowed, and so do queries that no hour counts any more."""
    steady = [0.0]
    fans.sandbox.poison("fan-7")
    run_id = fans.export().id
    with fans.open() as service:
        service.admin.set_retention(rejections=1)
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db, db:
        db.execute("update rejection set at = at - ?", (48 * HOUR,))
        db.execute("update mixpanel_query set at = at - ?", (4 * HOUR,))
    runner = Runner(fans.env, Clock(time.time, time.sleep, lambda: steady[0]))
    with ThreadPoolExecutor(1) as pool, fans.open() as service:
        working = pool.submit(runner.run_forever)
        try:
            wait_until(lambda: fans.read_heartbeat() > 0)
            assert [one.user_id for one in service.runs.list_rejections(run_id)] == ["fan-7"]
            steady[0] = HOUR + HEARTBEAT_SECONDS
            wait_until(lambda: not service.runs.list_rejections(run_id))
        finally:
            runner.request_stop()
        working.result()
    with closing(sqlite3.connect(fans.data_dir / "app.db")) as db:
        assert db.execute("select count(*) from mixpanel_query").fetchone() == (0,)
