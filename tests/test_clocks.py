"""The runner while clocks move: spring, autumn, three hours ahead, one hour back, a suspend; and who counts as alive."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync.engine import Clock
from sync.errors import InvalidRequest
from sync.model import Mode, Run, RunState
from sync.process_identity import is_process_gone, process_name
from sync.runner import HEARTBEAT_SECONDS, Runner
from sync.service import Service
from sync.store import Store
from sync.views import RUNNER_SILENT_SECONDS, RunnerState
from tests.browser import ROOT, connect, environment
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import Workspace, page_text

PATIENCE = 60.0  # seconds something awaited may take on a busy machine; never asserted
HOUR = 3600.0
PEOPLE = 150
CET, CEST = "XXX-1", "XXX-2"  # POSIX zones: one and two hours ahead of UTC
FOREIGN = "elsewhere/1:1-a"  # a runner in another container, whose process cannot be seen from here


class Rig:
    """A connected data folder, a real runner on it, and the offset between the two clocks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.offset = folder, 0.0
        self.env = {"COHORT_SYNC_DATA": str(folder)}
        self.process: subprocess.Popen[str] | None = None

    def start(self, zone: str = "UTC") -> None:
        """Start the runner and wait for its first heartbeat."""
        self.process = subprocess.Popen(
            [sys.executable, "tests/moved_clock.py"],
            cwd=ROOT,
            env=environment(self.folder) | {"TZ": zone, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.until(lambda: self.seen() > 0.0)

    def move(self, what: str, value: str) -> None:
        """Move the runner's clock, and the one of this rig with it."""
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{what} {value}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{what}\n"
        self.offset = float(value) if what == "wall" else self.offset

    def now(self) -> float:
        """The time the machine shows."""
        return time.time() + self.offset

    def open(self) -> Service:
        """The service on this folder, at the time the machine shows."""
        return Service(Store.open(self.folder), self.env, self.now)

    def seen(self) -> float:
        """When the runner last gave a sign of life."""
        with Store.open(self.folder) as store:
            return float(store.events._fetch_value("select max(heartbeat_at) from runner") or 0.0)

    def run(self, run_id: int) -> Run:
        """A run as it stands."""
        with self.open() as service:
            return service.get_run(run_id)

    def until(self, question: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not question():
            assert time.monotonic() < deadline, "what was waited for did not come"
            time.sleep(0.02)

    def beats_again(self) -> None:
        """Wait for two heartbeats by the clock as it is now."""
        for _ in range(2):
            before = self.seen()
            self.until(lambda before=before: self.seen() != before)  # type: ignore[misc]
        with self.open() as service:
            assert service.check_health().is_runner_alive


@pytest.fixture
def rig(data_dir: Path, sandbox: Sandbox) -> Iterator[Rig]:
    """A connected folder with a cohort; its runner is stopped at the end."""
    connect(data_dir, sandbox)
    sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(PEOPLE)])
    made = Rig(data_dir)
    yield made
    if made.process:
        made.process.send_signal(signal.SIGCONT)
        made.process.kill()
        made.process.wait()


@pytest.mark.parametrize(
    ("zone", "what", "value"),
    [
        pytest.param(CET, "zone", CEST, id="spring"),
        pytest.param(CEST, "zone", CET, id="autumn"),
        pytest.param("UTC", "wall", str(3 * HOUR), id="three hours ahead"),
        pytest.param("UTC", "wall", str(-HOUR), id="one hour back"),
    ],
)
def test_the_runner_when_the_clock_moves_beats_on_and_takes_work(
    rig: Rig, sandbox: Sandbox, zone: str, what: str, value: str
) -> None:
    """Whatever local or wall time does, heartbeats go on and a click is a finished run; restore stays refused."""
    rig.start(zone)
    rig.move(what, value)
    rig.beats_again()
    with rig.open() as service:
        with pytest.raises(InvalidRequest, match="stop it, then restore"):
            service.restore_open_database(rig.folder / "none.db")
        [cohort] = service.list_cohorts(PROJECT).cohorts
        run_id = service.start_export(PROJECT, cohort.id, Mode.DYNAMIC).run_id
        service._store.syncs._execute("update sync set next_run_at = ?", (rig.now() + 1.0,))
    rig.until(lambda: rig.run(run_id).state.is_final)
    assert rig.run(run_id).state is RunState.SUCCEEDED

    def refreshed() -> bool:
        with rig.open() as service:
            return service.list_runs()[0].purpose == "refresh" and service.list_runs()[0].state is RunState.SUCCEEDED

    rig.until(refreshed)


def test_a_runner_suspended_in_the_middle_of_a_run_finishes_it_once(rig: Rig, sandbox: Sandbox) -> None:
    """The process stands still and the wall clock jumps eight hours: it goes on, and each person is told once."""
    rig.start()
    with rig.open() as service:
        [cohort] = service.list_cohorts(PROJECT).cohorts
        sandbox.settings(latency=100)
        run_id = service.start_export(PROJECT, cohort.id, Mode.DYNAMIC).run_id
    rig.until(lambda: rig.run(run_id).state in (RunState.PULLING, RunState.DELIVERING))
    assert rig.process and rig.process.stdin and rig.process.stdout
    rig.process.send_signal(signal.SIGSTOP)
    rig.process.stdin.write(f"wall {8 * HOUR}\n")
    rig.process.stdin.flush()
    rig.offset = 8 * HOUR
    with rig.open() as service, pytest.raises(InvalidRequest, match="stop it, then restore"):
        service.restore_open_database(rig.folder / "none.db")  # a process that is there may write again at any moment
    rig.process.send_signal(signal.SIGCONT)
    rig.until(lambda: rig.run(run_id).state.is_final)
    rig.beats_again()
    assert rig.run(run_id).state is RunState.SUCCEEDED
    assert sandbox.meter().users_delivered == PEOPLE


def test_a_run_queued_or_put_off_before_the_clock_goes_back_does_not_wait_the_hour(rig: Rig) -> None:
    """What was queued at three must not stand until it is three once more; what waits waits two minutes, not an hour."""
    with rig.open() as service:
        [cohort] = service.list_cohorts(PROJECT).cohorts
        run_id = service.start_export(PROJECT, cohort.id, Mode.DYNAMIC).run_id
        now, runs = rig.now(), service._store.runs
        assert service._store.runs.count_waiting(now - HOUR)[0] == 1
        claimed = runs.claim_run("me-1", now - HOUR)
        assert claimed and claimed.id == run_id
        runs.postpone_run(run_id, "me-1", now, now + 120, "busy")
        assert runs.claim_run("me-2", now + 60) is None
        assert runs.claim_run("me-2", now - HOUR)


class Hands:
    """Two clocks moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 50.0

    def clock(self) -> Clock:
        """The two as the runner reads them."""
        return Clock(lambda: self.wall, lambda _: None, lambda: self.steady)


@pytest.mark.parametrize("jump", [-HOUR, 3 * HOUR, -86400.0], ids=["back", "ahead", "a day back"])
def test_beats_follow_the_monotonic_clock_only(data_dir: Path, jump: float) -> None:
    """No jump of the wall clock brings a beat or holds one up; the monotonic clock's two seconds do."""
    hands, beats = Hands(), [0]
    runner = Runner({"COHORT_SYNC_DATA": str(data_dir)}, hands.clock())

    def count() -> None:
        beats[0] += 1

    runner.scheduler.every(HEARTBEAT_SECONDS).seconds.do(count)
    hands.wall += jump
    runner.scheduler.run_pending()
    assert beats == [0]
    for expected in (1, 2, 3):
        hands.steady += HEARTBEAT_SECONDS
        runner.scheduler.run_pending()
        assert beats == [expected]
    hands.steady += 10 * HOUR  # missed beats merge into one
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
def test_a_heartbeat_tells_only_what_it_can(rig: Rig, age: float, state: RunnerState) -> None:
    """A fresh heartbeat works, an old one is silent, one in the future is unknown; the health and restore agree."""
    with rig.open() as service:
        service._store.runners.record_heartbeat(FOREIGN, rig.now() - age)
        health = service.check_health()
        assert (health.runner_state, health.is_runner_alive) == (state, state is RunnerState.WORKING)
        assert health.runners == int(state is RunnerState.WORKING)
        refused = "stop it, then restore" if state is not RunnerState.SILENT else "nothing was changed"
        with pytest.raises(InvalidRequest, match=refused):
            service.restore_open_database(rig.folder / "none.db")


def test_without_any_runner_nothing_is_alive(rig: Rig) -> None:
    """No heartbeat at all: not running, and restore goes as far as the file."""
    with rig.open() as service:
        assert service.check_health().runner_state is RunnerState.NONE and not service.check_health().is_runner_alive
        with pytest.raises(InvalidRequest, match="nothing was changed"):
            service.restore_open_database(rig.folder / "none.db")


def test_a_silent_runner_whose_process_is_there_forbids_a_restore(rig: Rig) -> None:
    """Its heartbeat is an hour old, but the process may write at any moment."""
    with rig.open() as service:
        service._store.runners.record_heartbeat(f"{process_name()}-1", rig.now() - HOUR)
        assert not service.check_health().is_runner_alive
        with pytest.raises(InvalidRequest, match="stop it, then restore"):
            service.restore_open_database(rig.folder / "none.db")


def test_a_process_number_used_again_is_another_process() -> None:
    """After a restart of the machine the runner's number may belong to anybody; only its start time tells."""
    place, _, number = process_name().rpartition(":")
    pid, _, started = number.partition("@")
    assert not is_process_gone(process_name()) and started
    assert is_process_gone(f"{place}:{pid}@{int(started) + 1}")
    assert not is_process_gone(f"{place}:{pid}")  # written by an earlier version, without its start
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert is_process_gone(f"{place}:{child.pid}") and is_process_gone(f"{place}:{child.pid}@1")
    assert not is_process_gone("elsewhere/1:1@1")


def test_a_heartbeat_of_a_foreign_clock_a_day_ahead_is_forgotten(rig: Rig) -> None:
    """A dead runner's heartbeat dated years ahead would be unknown for ever; a live one writes its own again."""
    with rig.open() as service:
        service._store.runners.record_heartbeat(FOREIGN, rig.now() + 2 * 86400)
        service._store.runners.record_heartbeat(f"{process_name()}-1", rig.now())
        assert service.check_health().runner_state is RunnerState.WORKING and service.check_health().runners == 1
        assert service._store.events._fetch_value("select count(*) from runner") == 1


def test_the_side_bar_says_that_a_future_heartbeat_is_unknown(workspace: Workspace, sandbox: Sandbox) -> None:
    """Neither “last seen” nor “not working”: a clock was changed, and who works is not known."""
    connect(workspace.data_dir, sandbox)
    with Store.open(workspace.data_dir) as store:
        store.runners.record_heartbeat(FOREIGN, time.time() + HOUR)
    words = page_text(workspace.page("integrations"))
    assert "a clock was changed" in words and "Runner last seen" not in words
    with Store.open(workspace.data_dir) as store:
        store.runners.record_heartbeat(FOREIGN, time.time() - 2 * HOUR)
    assert "The runner is silent for 2 h 00 min" in page_text(workspace.page("integrations"))
