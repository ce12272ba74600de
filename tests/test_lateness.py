"""What `status` must not miss: a dead runner, an endless wait, a clear that failed; and where people read of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.engine import Clock, RetryPolicy
from sync.model import Mode, RunState
from sync.process_identity import process_name
from sync.runner import Runner
from sync.service import Service
from sync.store import Store
from sync.store.events import MAX_WAIT_LINES
from sync.views import Health
from tests.browser import connect
from tests.conftest import Cli
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import Workspace, page_text

HOUR = 3600.0
PEOPLE = 50
TURNS = 48  # quarters of an hour in twelve hours, and fewer queries than the sandbox allows in one real hour
FAST = 30_000  # batches a minute; these tests are not about the limit
AT_ONCE = RetryPolicy(delays=(), postponements=(900.0,))  # an outage puts a run off at once, for a quarter of an hour


class Rig:
    """A connected folder with one dynamic sync of 50 people, and a clock that tests move ahead."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox, self.ahead = folder, sandbox, 0.0
        self.env = {"COHORT_SYNC_DATA": str(folder)}
        self.cohort = sandbox.add_cohort("Fans", [member(f"fan-{number}") for number in range(PEOPLE)])
        connect(folder, sandbox)

    def now(self) -> float:
        """The time, as far ahead as the test is."""
        return time.time() + self.ahead

    def open(self) -> Service:
        """The service on this folder at that time."""
        return Service(Store.open(self.folder), self.env, self.now)

    def export(self, mode: Mode = Mode.DYNAMIC) -> int:
        """Press Start Sync."""
        with self.open() as service:
            return service.start_export(PROJECT, self.cohort, mode).run_id

    def error_of(self, run_id: int) -> str:
        """Why a run failed."""
        with self.open() as service:
            return str(service.get_run(run_id).error)

    def work(self) -> None:
        """Let a runner do what can be done now."""
        Runner(self.env, Clock(self.now, time.sleep), AT_ONCE, FAST).run_once()

    def health(self, *, runner: bool) -> Health:
        """The health while a runner gives signs of life, or while there is none."""
        with self.open() as service:
            if runner:
                service._store.runners.record_heartbeat(f"{process_name()}-1", self.now())
            found = service.check_health()
            service._store.runners.remove_runner(f"{process_name()}-1")
        return found

    def clear(self) -> int:
        """Stop the sync and clear it, with a runner; return the run."""
        with self.open() as service:
            started = service.stop(1, clear=True)
        assert started
        self.work()
        return started.run_id


@pytest.fixture
def rig(data_dir: Path, sandbox: Sandbox) -> Iterator[Rig]:
    """A connected folder."""
    return Rig(data_dir, sandbox)


def test_a_dead_runner_is_seen_from_the_syncs_that_are_due(rig: Rig, cli: Cli) -> None:
    """No row waits, since only the runner makes them; the sync's time has passed, and the exit code is 1."""
    rig.export()
    rig.work()
    assert cli(rig.folder, "status").returncode == 0
    with Store.open(rig.folder) as store:
        store.syncs._execute("update sync set next_run_at = ?", (time.time() - 5,))
    done = cli(rig.folder, "status", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["needs_person"] is True
    [late] = answer["overdue"]
    assert (late["sync_id"], late["needs_person"], late["reason"]) == (1, True, "no runner is working; start it")
    assert abs(late["since"] - (time.time() - 5)) < HOUR
    words = cli(rig.folder, "status").stdout
    assert "The runner is not running" in words and "1 overdue" in words and "no runner is working" in words
    assert not rig.health(runner=True).needs_attention  # a runner that lives takes it within two seconds


def test_a_runner_killed_during_a_run_is_seen(rig: Rig) -> None:
    """The run is still leased to the dead process: nobody works on it, and status says so before the lease ends."""
    run_id = rig.export()
    with subprocess.Popen(["true"]) as child:
        child.wait()
    dead = f"{process_name().rpartition(':')[0]}:{child.pid}-1"
    with rig.open() as service:
        assert service._store.runs.claim_run(dead, rig.now())
    health = rig.health(runner=False)
    [late] = health.overdue
    assert health.needs_attention and late.reason == f"run {run_id} is pulling, and no runner is working; start it"


@pytest.mark.parametrize("mode", list(Mode))
def test_twelve_hours_of_outage_need_a_person_and_are_one_line(rig: Rig, sandbox: Sandbox, mode: Mode) -> None:
    """After two intervals the status says since when and why; 48 waits are one line of history with its count."""
    run_id = rig.export(mode)
    sandbox.fault("status", path="/engage", code=503, times=1000)
    began, needed = rig.now(), []
    for _ in range(TURNS):
        rig.work()
        rig.ahead += 901.0
        health = rig.health(runner=True)
        assert not health.overdue or "503" in health.overdue[0].reason
        needed.append(health.needs_attention)
    assert needed.index(True) == 15 and all(needed[15:]), needed  # 16 × 901 s are the first beyond four hours
    if mode is Mode.DYNAMIC:  # the run failed at its deadline, and the next refresh tries
        assert "No progress since" in rig.error_of(run_id) and health.failed
        return
    [late] = health.overdue
    assert late.needs_person and abs(late.since - began) < 60.0 and f"({TURNS} times)" in late.reason
    with rig.open() as service:
        lines = [event.message for event in service.list_events(run_id)]
        assert [line.partition(":")[0] for line in lines] == [
            "Export asked for",
            "Reading the cohort from Mixpanel.",
            "Waiting",
        ]
        assert (
            "503" in lines[2]
            and f", {TURNS} times; continues at " in lines[2]
            and service.list_events(run_id)[2].times == TURNS
        )
    sandbox.clear_faults()
    rig.work()
    with rig.open() as service:
        assert service.get_run(run_id).state is RunState.SUCCEEDED
        lines = [event.message.partition(":")[0] for event in service.list_events(run_id)]
    assert lines[3:] == ["Planned", "Sending to WebEngage.", "Succeeded."]
    assert not rig.health(runner=True).overdue


@pytest.mark.parametrize("claimed", [False, True])
def test_a_run_past_its_deadline_needs_a_person_whatever_was_said_meanwhile(
    rig: Rig, sandbox: Sandbox, *, claimed: bool
) -> None:
    """A line of history, or a runner that holds the run, makes a wait no shorter: it counts from the last progress."""
    run_id = rig.export()
    sandbox.fault("status", path="/engage", code=503, times=1000)
    rig.work()
    rig.ahead = 3.95 * HOUR
    with rig.open() as service:
        service._store.events.add_event("Cancel asked for.", rig.now(), 1, run_id)
    rig.work()
    rig.ahead = 3.98 * HOUR
    assert not rig.health(runner=True).needs_attention
    rig.ahead = 4.3 * HOUR
    if claimed:
        with rig.open() as service:
            assert service._store.runs.claim_run(f"{process_name()}-1", rig.now())
            service._store.events.add_event("Reading the cohort once more.", rig.now(), 1, run_id)
    health = rig.health(runner=True)
    assert health.needs_attention and health.overdue[0].needs_person


def test_a_run_that_moves_is_not_overdue_however_long(rig: Rig) -> None:
    """A first export of millions takes many intervals; a runner holds it and it waits for nothing."""
    rig.export()
    with rig.open() as service:
        assert service._store.runs.claim_run(f"{process_name()}-1", rig.now())
        rig.ahead = 10 * HOUR
        service._store.runs.renew_lease(1, f"{process_name()}-1", rig.now())
    health = rig.health(runner=True)
    assert not health.overdue and not health.needs_attention


def test_a_held_run_is_held_and_late_only_from_its_approval(rig: Rig) -> None:
    """Days before somebody says yes are the person's; after the yes a run nobody takes is late."""
    with rig.open() as service:
        service.start_export(PROJECT, rig.cohort, Mode.DYNAMIC, dry_run=True)
    rig.work()
    rig.ahead = 48 * HOUR
    health = rig.health(runner=True)
    assert health.held == 1 and not health.overdue
    with rig.open() as service:
        service.approve(1)
    assert not rig.health(runner=True).overdue
    rig.ahead += HOUR
    [late] = rig.health(runner=True).overdue
    assert not late.needs_person and "no runner has taken it" in late.reason
    rig.ahead += 4 * HOUR
    assert rig.health(runner=True).needs_attention


def test_waits_are_counted_by_reason_until_the_run_moves(rig: Rig) -> None:
    """Two reasons in turn are two lines; after any other line a wait begins anew; many reasons end in one line."""
    rig.export()
    with rig.open() as service:
        history = service._store.events
        for turn in range(6):
            history.add_wait(("a 502.", "a 503.")[turn % 2], float(turn), 100.0 + turn, 1, 1)
        wait = history.current_wait(1)
        assert wait and (wait.since, wait.times, wait.reason) == (0.0, 6, "a 503")
        history.add_event("Planned.", 7.0, 1, 1)
        assert history.current_wait(1) is None
        for turn in range(3 * MAX_WAIT_LINES):
            history.add_wait(f"retry in {turn} s", 8.0 + turn, 200.0 + turn, 1, 1)
        waits = [event for event in service.list_events(1) if event.message.startswith("Waiting: ")]
        assert [event.times for event in waits[:2]] == [3, 3] and len(waits) == 2 + MAX_WAIT_LINES
        assert sum(event.times for event in waits[2:]) == 3 * MAX_WAIT_LINES


def test_a_failed_clear_needs_a_person_until_it_is_done(rig: Rig, sandbox: Sandbox, cli: Cli) -> None:
    """Fifty people are still true: status is exit 1, the listing says why and what to do, and doing it mends it."""
    rig.export()
    rig.work()
    sandbox.fault("status", path="bulk-users", code=403, times=100)
    rig.clear()
    assert len(sandbox.holding("Mixpanel - Fans")[0]) == PEOPLE
    done = cli(rig.folder, "status", "--json")
    [sync] = json.loads(done.stdout)["not_cleared"]
    assert done.returncode == 1 and sync["problem"].startswith("50 people still true in WebEngage; clearing failed: ")
    for command in ("status", "syncs"):
        words = cli(rig.folder, command).stdout
        assert "50 people still true in WebEngage; clearing failed" in words and "403" in words
        assert "python -m sync stop 1 --clear" in words
    sandbox.clear_faults()
    assert cli(rig.folder, "stop", "1", "--clear").returncode == 0
    rig.work()
    assert cli(rig.folder, "status").returncode == 0 and not sandbox.holding("Mixpanel - Fans")[0]
    assert "true in WebEngage" not in cli(rig.folder, "syncs").stdout


def test_a_cancelled_clear_is_said_and_needs_nobody(rig: Rig) -> None:
    """A person decided that, so the listing says who is still true, and the status is fine."""
    rig.export()
    rig.work()
    with rig.open() as service:
        started = service.stop(1, clear=True)
        assert started
        service.cancel(started.run_id)
        [sync] = service.list_syncs()
    assert sync.clear_problem and sync.clear_problem.startswith(
        "50 people still true in WebEngage; clearing was cancelled."
    )
    assert not rig.health(runner=True).needs_attention


def test_the_pages_say_since_when_a_sync_is_overdue_and_who_was_not_cleared(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    """The card has the sentence, the row and the card the badge, and the side bar counts them wherever one is."""
    rig = Rig(workspace.data_dir, sandbox)
    run_id = rig.export()
    with Store.open(workspace.data_dir) as store:
        long_ago = time.time() - 20 * HOUR
        store.events.add_wait("Mixpanel answered 503", long_ago, long_ago + 600, 1, run_id)
        store.events.add_wait("Mixpanel answered 503", long_ago + 600, time.time() + 600, 1, run_id)
    words = page_text(workspace.page("syncs"))
    assert "Overdue since" in words and "run 1 waits: Mixpanel answered 503 (2 times)." in words
    assert "Late, or not cleared in WebEngage: 1 sync." in words
    assert "2 times; continues at" in page_text(workspace.page("runs", run=str(run_id)))
    rig.work()
    assert "Late, or not cleared" not in page_text(workspace.page("cohorts"))
    sandbox.fault("status", path="bulk-users", code=403, times=100)
    rig.clear()
    for name in ("syncs", "cohorts"):
        words = page_text(workspace.page(name))
        assert "50 people still true in WebEngage; clearing failed" in words and "Not cleared" in words
        assert "Late, or not cleared in WebEngage: 1 sync." in words
