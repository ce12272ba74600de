"""`status` reports a dead runner, an endless wait and a clear that failed, and the pages show them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time

import pytest

from sync.engine import RetryPolicy
from sync.engine.retry import Postpone
from sync.errors import RetryLater
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.process_identity import process_name
from sync.store.events import MAX_WAIT_LINES
from sync.store.sqlite_errors import explain_error
from sync.views import Health
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import Workspace, make_fans, page_text

HOUR = 3600.0
PEOPLE = 50
TURNS = 48  # quarters of an hour in twelve hours, and fewer queries than the sandbox allows in one real hour
AT_ONCE = RetryPolicy(delays=(), postponements=(900.0,))  # an outage puts a run off at once, for a quarter of an hour


@pytest.fixture
def watched(connected: Workspace) -> Workspace:
    """Connect a workspace with a cohort of 50 people, whose runner postpones at once and has no pace."""
    connected.add_cohort(PEOPLE)
    connected.policy = AT_ONCE
    return connected


def check_health(workspace: Workspace, *, runner: bool) -> Health:
    """Return the health while a runner gives signs of life, or while there is none."""
    with workspace.open() as service, workspace.open_store() as store:
        if runner:
            store.runners.record_heartbeat(f"{process_name()}-1", workspace.now())
        found = service.check_health()
        store.runners.remove_runner(f"{process_name()}-1")
    return found


def stop_and_clear(workspace: Workspace) -> None:
    """Stop the sync and clear it, with a runner."""
    with workspace.open() as service:
        assert service.syncs.stop(1, clear=True)
    workspace.run_queued()


def test_status_when_no_runner_takes_a_due_sync_needs_a_person(watched: Workspace) -> None:
    """Only a runner queues refreshes, so no run waits; the sync's time has passed, and the exit code is 1."""
    watched.start_export()
    watched.run_queued()
    assert watched.run_cli("status").returncode == 0
    with watched.open_database() as db:
        db.execute("update sync set next_run_at = ?", (time.time() - 5,))
    done = watched.run_cli("status", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["needs_person"] is True
    [overdue] = answer["overdue"]
    assert (overdue["sync_id"], overdue["needs_person"], overdue["reason"]) == (
        1,
        True,
        "no runner is working; start it",
    )
    assert abs(overdue["since"] - (time.time() - 5)) < HOUR
    words = watched.run_cli("status").stdout
    assert "The runner is not running" in words and "1 overdue" in words and "no runner is working" in words
    assert not check_health(watched, runner=True).needs_attention  # a runner that lives takes it within two seconds


def test_health_when_a_runner_was_killed_during_a_run_needs_attention(watched: Workspace) -> None:
    """The run is still leased to the dead process: nobody works on it, and status says so before the lease ends."""
    run_id = watched.start_export()
    with subprocess.Popen(["true"]) as child:
        child.wait()
    dead = f"{process_name().rpartition(':')[0]}:{child.pid}-1"
    with watched.open_store() as store:
        assert store.runs.claim_run(dead, watched.now())
    health = check_health(watched, runner=False)
    [overdue] = health.overdue
    assert (
        health.needs_attention
        and overdue.reason == f"run {run_id} is reading Mixpanel, and no runner is working; start one"
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_health_when_mixpanel_is_out_for_twelve_hours_needs_a_person_and_adds_one_line(
    watched: Workspace, sandbox: Sandbox, mode: Mode
) -> None:
    """After two intervals the status says since when and why; 48 waits are one line of history with its count."""
    run_id = watched.start_export(mode=mode)
    sandbox.fault("status", path="/engage", code=503, times=1000)
    began, needed = watched.now(), []
    for turn in range(1, TURNS + 1):
        watched.run_queued()
        watched.ahead = began + turn * 901.0 - time.time()  # however long the turns take on a busy machine
        health = check_health(watched, runner=True)
        assert not health.overdue or "503" in health.overdue[0].reason
        needed.append(health.needs_attention)
    assert needed.index(True) == 15 and all(needed[15:]), needed  # 16 × 901 s are the first beyond four hours
    if mode is Mode.DYNAMIC:  # the run failed at its deadline, and the next refresh tries
        with watched.open() as service:
            assert "No progress since" in str(service.runs.get(run_id).error) and health.failed
        return
    [overdue] = health.overdue
    assert overdue.needs_person and abs(overdue.since - began) < 60.0 and f"({TURNS} times)" in overdue.reason
    with watched.open() as service:
        lines = [event.message for event in service.runs.list_events(run_id)]
        assert [line.partition(":")[0] for line in lines] == [
            "Export requested",
            "Reading the cohort from Mixpanel.",
            "Waiting",
        ]
        assert (
            "503" in lines[2]
            and f", {TURNS} times; continues at " in lines[2]
            and service.runs.list_events(run_id)[2].times == TURNS
        )
    sandbox.clear_faults()
    watched.run_queued()
    with watched.open() as service:
        assert service.runs.get(run_id).state is RunState.SUCCEEDED
        lines = [event.message.partition(":")[0] for event in service.runs.list_events(run_id)]
    assert lines[3:] == ["Planned", "Sending to WebEngage.", "Succeeded."]
    assert not check_health(watched, runner=True).overdue


@pytest.mark.parametrize("cancelled", [False, True])
def test_health_when_even_the_end_of_a_run_fails_says_so(watched: Workspace, *, cancelled: bool) -> None:
    """What was sent cannot be recorded, so the run neither fails nor ends; it is late at once, and later needs a person."""
    watched.export()
    watched.sandbox.set_members(watched.cohort, make_fans(PEOPLE + 1))
    with watched.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    with watched.open_database() as db:
        db.execute("update snapshot_bucket set ids = x'00'")
    watched.run_queued()
    if cancelled:
        with watched.open() as service:
            service.runs.cancel(run_id)
    for _ in range(6):
        watched.ahead += HOUR
        watched.run_queued()
    health = check_health(watched, runner=True)
    [overdue] = health.overdue
    assert not watched.get_run(run_id).state.is_final and health.needs_attention and overdue.needs_person
    assert overdue.reason == f"run {run_id} waits: its end could not be recorded (ZstdError); look at the runner's log"


def test_status_when_a_run_waits_since_before_an_upgrade_ends_its_reason_with_one_full_stop(watched: Workspace) -> None:
    """Former versions stored the reason with its full stop, and the history may not be changed; `status` showed two."""
    run_id = watched.start_export()
    now = watched.now()
    with watched.open_database() as db:
        db.execute(
            "insert into event (at, sync_id, run_id, message, until) values (?, 1, ?, 'Waiting: Mixpanel answered 503.', ?)",
            (now - HOUR, run_id, now + HOUR),
        )
    assert f"run {run_id} waits: Mixpanel answered 503.\n" in watched.run_cli("status").stdout
    with watched.open() as service:
        assert service.runs.list_events(run_id)[-1].message.startswith("Waiting: Mixpanel answered 503; continues at ")


def test_status_when_a_run_waits_for_the_database_ends_its_reason_with_one_full_stop(watched: Workspace) -> None:
    """What is wrong with the file is a whole sentence, stored with the run only: its history could not be written."""
    watched.ahead = -HOUR
    run_id = watched.start_export()
    with watched.open_store() as store:
        assert store.runs.claim_run("runner-1", watched.now())
        full = explain_error(sqlite3.OperationalError())
        store.runs.postpone_run(run_id, "runner-1", watched.now(), watched.now() + 60.0, full)
    assert f"run {run_id} waits: {full}\n" in watched.run_cli("status").stdout


def test_a_wait_of_more_than_a_minute_puts_the_run_off() -> None:
    """A thread waits for a minute at most; a longer wait, and one after the fifth try, frees it for other runs."""
    policy = RetryPolicy()
    assert [policy.delay(tries, RetryLater("busy")) for tries in (1, 2, 3, 4)] == [1.0, 3.0, 9.0, 27.0]
    assert policy.delay(1, RetryLater("busy", 60.0)) == 60.0
    for tries, seconds, failures in ((1, 61.0, 0), (5, None, 0), (1, None, 1)):
        with pytest.raises(Postpone):
            policy.delay(tries, RetryLater("busy", seconds), failures)


def test_a_run_that_meets_an_error_of_our_own_fails_at_the_third_try(watched: Workspace) -> None:
    """It is tried twice more, with the reason of its wait, and does not stay until its deadline."""
    watched.export()
    watched.sandbox.set_members(watched.cohort, make_fans(PEOPLE - 1))
    with watched.open_database() as db:
        db.execute("update snapshot_bucket set ids = x'00'")  # the plan cannot name who leaves
    with watched.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    seen = []
    for _ in range(3):
        watched.run_queued()
        run = watched.get_run(run_id)
        seen.append((run.state, run.wait_reason))
        watched.ahead += HOUR / 4
    assert seen == [(RunState.QUEUED, "an unexpected error")] * 2 + [(RunState.FAILED, None)]
    assert "(ZstdError) ended the run; look at the runner's log" in str(watched.get_run(run_id).error)


def test_a_run_whose_every_runner_dies_is_given_up(watched: Workspace) -> None:
    """Twenty processes that claimed it are gone without a page kept or a batch confirmed: the next one fails it."""
    run_id = watched.start_export()
    with watched.open_store() as store:
        for number in range(20):
            assert store.runs.claim_run(f"gone-{number}", watched.now())
            watched.ahead += 130  # longer than the lease of a process that died
    watched.run_queued()
    run = watched.get_run(run_id)
    assert run.state is RunState.FAILED and "started 20 times without getting any further" in str(run.error)
    assert watched.sandbox.meter().users_delivered == 0


@pytest.mark.parametrize("claimed", [False, True])
def test_health_when_a_run_is_past_its_deadline_needs_a_person_whatever_was_logged(
    watched: Workspace, sandbox: Sandbox, *, claimed: bool
) -> None:
    """Count a wait from the last progress: a line of history, or a runner that holds the run, makes it no shorter."""
    run_id = watched.start_export()
    sandbox.fault("status", path="/engage", code=503, times=1000)
    watched.run_queued()
    watched.ahead = 3.95 * HOUR
    with watched.open_store() as store:
        store.events.add_event("Cancel requested.", watched.now(), 1, run_id)
    watched.run_queued()
    watched.ahead = 3.98 * HOUR
    assert not check_health(watched, runner=True).needs_attention
    watched.ahead = 4.3 * HOUR
    if claimed:
        with watched.open_store() as store:
            assert store.runs.claim_run(f"{process_name()}-1", watched.now())
            store.events.add_event("Reading the cohort once more.", watched.now(), 1, run_id)
    health = check_health(watched, runner=True)
    assert health.needs_attention and health.overdue[0].needs_person


def test_health_when_a_long_run_makes_progress_is_not_overdue(watched: Workspace) -> None:
    """A first export of millions takes many intervals; a runner holds it and it waits for nothing."""
    watched.start_export()
    with watched.open_store() as store:
        assert store.runs.claim_run(f"{process_name()}-1", watched.now())
        watched.ahead = 10 * HOUR
        store.runs.renew_lease(1, f"{process_name()}-1", watched.now())
    health = check_health(watched, runner=True)
    assert not health.overdue and not health.needs_attention


def test_health_when_a_run_is_held_is_overdue_only_after_its_approval(watched: Workspace) -> None:
    """Days without an approval do not count; an approved run that no runner takes is watched."""
    with watched.open() as service:
        service.syncs.start_export(PROJECT, watched.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True))
    watched.run_queued()
    watched.ahead = 48 * HOUR
    health = check_health(watched, runner=True)
    assert len(health.held) == 1 and not health.overdue
    with watched.open() as service:
        service.runs.approve(1)
    assert not check_health(watched, runner=True).overdue
    watched.ahead += HOUR
    [overdue] = check_health(watched, runner=True).overdue
    assert not overdue.needs_person and "no runner has taken it" in overdue.reason
    watched.ahead += 4 * HOUR
    assert check_health(watched, runner=True).needs_attention


def test_waits_when_reasons_repeat_are_counted_until_the_run_moves(watched: Workspace) -> None:
    """Two reasons in turn are two lines; any other line ends a wait; many reasons end in one line."""
    watched.start_export()
    with watched.open() as service, watched.open_store() as store:
        history = store.events
        for turn in range(6):
            history.add_wait(("a 502.", "a 503.")[turn % 2], float(turn), 100.0 + turn, 1, 1)
        wait = history.current_wait(1)
        assert wait and (wait.since, wait.times, wait.reason) == (0.0, 6, "a 503")
        history.add_event("Planned.", 7.0, 1, 1)
        assert history.current_wait(1) is None
        for turn in range(3 * MAX_WAIT_LINES):
            history.add_wait(f"retry in {turn} s", 8.0 + turn, 200.0 + turn, 1, 1)
        waits = [event for event in service.runs.list_events(1) if event.message.startswith("Waiting: ")]
        assert [event.times for event in waits[:2]] == [3, 3] and len(waits) == 2 + MAX_WAIT_LINES
        assert sum(event.times for event in waits[2:]) == 3 * MAX_WAIT_LINES


def test_status_when_a_clear_failed_needs_a_person_until_it_is_done(watched: Workspace, sandbox: Sandbox) -> None:
    """Fifty people are still true: status is exit 1, the listing says why and what to do, and doing it mends it."""
    watched.start_export()
    watched.run_queued()
    sandbox.fault("status", path="bulk-users", code=403, times=100)
    stop_and_clear(watched)
    assert len(sandbox.holding("Mixpanel - Fans")[0]) == PEOPLE
    done = watched.run_cli("status", "--json")
    [sync] = json.loads(done.stdout)["not_cleared"]
    assert done.returncode == 1 and sync["problem"].startswith("50 people still true in WebEngage; clearing failed: ")
    for command in ("status", "syncs"):
        words = watched.run_cli(command).stdout
        assert "50 people still true in WebEngage; clearing failed" in words and "403" in words
        assert "To clear them, run: python -m sync stop 1 --clear" in words and "press" not in words
        assert "python -m sync stop 1 --clear" in words
    sandbox.clear_faults()
    assert watched.run_cli("stop", "1", "--clear").returncode == 0
    watched.run_queued()
    assert watched.run_cli("status").returncode == 0 and not sandbox.holding("Mixpanel - Fans")[0]
    assert "true in WebEngage" not in watched.run_cli("syncs").stdout


def test_health_when_a_clear_was_cancelled_shows_it_and_needs_nobody(watched: Workspace) -> None:
    """A person decided that, so the listing says who is still true, and the status is fine."""
    watched.start_export()
    watched.run_queued()
    with watched.open() as service:
        started = service.syncs.stop(1, clear=True)
        assert started
        service.runs.cancel(started.run_id)
        [sync] = service.syncs.list()
    assert sync.clear_problem and sync.clear_problem.startswith(
        "50 people still true in WebEngage; clearing was cancelled."
    )
    assert not check_health(watched, runner=True).needs_attention


@pytest.mark.slow
def test_pages_when_a_sync_is_overdue_or_not_cleared_show_it(watched: Workspace, sandbox: Sandbox) -> None:
    """The opened sync has the sentence, the rows the badge, and the side bar counts them and leads there wherever one is."""
    run_id = watched.start_export()
    with watched.open_store() as store:
        long_ago = time.time() - 20 * HOUR
        store.events.add_wait("Mixpanel answered 503", long_ago, long_ago + 600, 1, run_id)
        store.events.add_wait("Mixpanel answered 503", long_ago + 600, time.time() + 600, 1, run_id)
    assert "Overdue" in page_text(watched.page("syncs"))
    words = page_text(watched.page("syncs", sync="1"))
    assert "Overdue since" in words and "run 1 waits: Mixpanel answered 503 (2 times)." in words
    assert "Late, or not cleared in WebEngage: 1 sync." in words
    assert "2 times; continues at" in page_text(watched.page("runs", run=str(run_id)))
    watched.run_queued()
    assert "Late, or not cleared" not in page_text(watched.page("cohorts"))
    sandbox.fault("status", path="bulk-users", code=403, times=100)
    stop_and_clear(watched)
    for name, opened in (("syncs", {"sync": "1"}), ("cohorts", {})):
        app = watched.page(name, **opened)
        words = page_text(app)
        assert [one.proto.query_string for one in app.sidebar.get("page_link")] == ["sync=1"]
        assert "50 people still true in WebEngage; clearing failed" in words and "Not cleared" in words
        assert "Stopped and cleared" not in words
        assert "Late, or not cleared in WebEngage: 1 sync." in words
