"""Nothing waits for ever, no sync uses up what others need, and the former engine's file is brought forward."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sync.engine import Clock, page_packer
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.runner import Runner
from sync.store import Store
from tests.engine_workspace import (
    DAY,
    HOUR,
    PATIENT,
    EngineWorkspace,
    fans,
    last,
    later,
    patient_workspace,
)
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import Workspace

SLOW = 60  # batches a minute: eight exports of a thousand people take five minutes
HUNG_SECONDS = 30.0  # far longer than anything waited for here takes
SCHEMA_5 = Path(__file__).parent / "schemas" / "5.sql"


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder."""
    return patient_workspace(data_dir, sandbox)


# Nothing waits for ever ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("code", [500, 503])
def test_one_person_who_always_fails_stands_alone(workspace: EngineWorkspace, sandbox: Sandbox, code: int) -> None:
    """30 newcomers, 20 leavers, one answered 500: everybody else is sent, and the one is rejected with the reason."""
    workspace.set_members(*fans(*range(100, 220)))
    workspace.export()
    sandbox.person_fails("fan-3", code=code)
    workspace.set_members(*fans(*range(30)), *fans(*range(120, 220)))
    workspace.export()
    for _ in range(5):
        if not last(workspace).state.is_final:
            later(workspace, 700)
    run = last(workspace)
    assert (run.state, run.rejected, run.delivered) == (RunState.SUCCEEDED, 1, 49)
    assert workspace.holders() - {"fan-3"} == sandbox.exportable(workspace.cohort) - {"fan-3"}
    with workspace.open() as service:
        assert str(code) in service.runs.list_rejections(run.id)[0].reason


@pytest.mark.slow
@pytest.mark.parametrize("refused", [(), ("fan-50", "fan-51")], ids=["nobody refused", "two refused"])
@pytest.mark.parametrize("failing", [("fan-40",), ("fan-40", "fan-41", "fan-42")], ids=["one fails", "three fail"])
def test_newcomers_who_always_fail_when_nobody_else_is_left_to_be_sent_are_rejected(
    workspace: EngineWorkspace, sandbox: Sandbox, failing: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    """A member whom WebEngage took before is taken once more, so it is not WebEngage that is out of order."""
    workspace.set_members(*fans(*range(30)))
    workspace.export()
    sandbox.person_fails(*failing, code=500)
    sandbox.poison(*refused)
    workspace.set_members(*fans(*range(30)), *(member(one) for one in (*failing, *refused)))
    later(workspace, 7300)
    run = last(workspace)
    assert (run.state, run.delivered) == (RunState.SUCCEEDED, 0)
    with workspace.open() as service:
        reasons = {one.user_id: one.reason for one in service.runs.list_rejections(run.id)}
    assert set(reasons) == {*failing, *refused} and all("500" in reasons[one] for one in failing)


def test_a_newcomer_when_webengage_fails_for_everybody_is_not_rejected(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The member taken before fails as well: nobody is to blame, and the newcomer is sent when it works again."""
    workspace.set_members(*fans(*range(30)))
    workspace.export()
    sandbox.fault("status", api="webengage", path="bulk-users", code=500, times=0)
    workspace.set_members(*fans(*range(31)))
    later(workspace, 7300)
    assert not last(workspace).state.is_final
    sandbox.clear_faults()
    later(workspace, 700)
    assert (last(workspace).state, last(workspace).rejected) == (RunState.SUCCEEDED, 0)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["mixpanel", "webengage"])
def test_a_side_that_never_recovers_fails_the_run_at_its_deadline(
    workspace: EngineWorkspace, sandbox: Sandbox, side: str
) -> None:
    """Growing pauses, few queries, and after two intervals the run fails with the reason; status says so."""
    workspace.set_members(*fans(*range(5)))
    sandbox.fault("status", api=side, path="engage" if side == "mixpanel" else "bulk-users", code=500, times=0)
    workspace.export()
    for _ in range(9):
        later(workspace, 1800)
    with workspace.open() as service:
        runs = service.runs.list()
        assert runs[-1].state is RunState.FAILED and "No progress since" in str(runs[-1].error)
        assert not service.check_health().failed or service.check_health().needs_attention
    assert sandbox.meter().requests.get("/api/query/engage", 0) < 30


@pytest.mark.slow
@pytest.mark.parametrize("people", [26, 30, 500])  # of 26 one is a batch of their own, and refused at once
def test_when_everybody_is_refused_for_one_reason_the_run_fails_early(
    workspace: EngineWorkspace, sandbox: Sandbox, people: int
) -> None:
    """The account is at fault, not the people: few requests, the reason, a paused sync, and nobody stands rejected."""
    workspace.set_members(*fans(*range(people)))
    sandbox.refuse_everybody("attribute limit reached")
    run = workspace.export()
    assert run.state is RunState.FAILED
    assert "“attribute limit reached”, for everybody, so nothing more is sent." in str(run.error)
    assert sandbox.meter().requests[f"/v1/accounts/{LICENSE}/bulk-users"] <= 45
    with workspace.open() as service:
        assert service.syncs.get(1).state.value == "paused" and service.check_health().rejected == 0
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_run_that_failed_in_its_second_reading_names_nobody(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The plan of a reading that proved nothing is dropped: nobody stands in the list of a run with no changes."""
    workspace.set_members(*fans(0, 1, 2))
    sandbox.fault("wrong_total", page=0, by=2)
    sandbox.fault("status", api="mixpanel", path="/query/engage", code=401)
    run = workspace.export()
    assert run.state is RunState.FAILED and run.reading == 2 and run.change_count == 0
    with workspace.open() as service:
        assert list(service.runs.iterate_export_rows(run.id)) == []


@pytest.mark.slow
def test_retrying_nobody_but_bad_people_is_not_the_accounts_fault(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Six who were refused when others were taken are refused once more: the retry succeeds, and they stand rejected."""
    workspace.set_members(*fans(*range(40)))
    sandbox.poison(*(f"fan-{number}" for number in range(6)))
    assert workspace.export().rejected == 6
    with workspace.open() as service:
        run_id = service.syncs.retry_rejected(1).run_id
    workspace.run_queued()
    run = workspace.get_run(run_id)
    assert (run.state, run.rejected, run.delivered) == (RunState.SUCCEEDED, 6, 0)


@pytest.mark.slow
def test_nobody_but_new_people_refused_are_at_fault_when_the_account_takes_others(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A member taken before is taken again, so the twelve new ones stand rejected, and the sync goes on."""
    workspace.set_members(*fans(*range(20)))
    workspace.export()
    workspace.set_members(*fans(*range(32)))
    sandbox.poison(*(f"fan-{number}" for number in range(20, 32)))
    later(workspace, 7300)
    run = last(workspace)
    assert (run.state, run.rejected, run.delivered) == (RunState.SUCCEEDED, 12, 0)
    assert workspace.holders() == {f"fan-{number}" for number in range(20)}


def test_new_people_refused_are_not_at_fault_when_the_account_takes_nobody(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A member taken before is refused too: the run fails with the reason, and nobody stands rejected."""
    workspace.set_members(*fans(*range(20)))
    workspace.export()
    workspace.set_members(*fans(*range(32)))
    sandbox.refuse_everybody("attribute limit reached")
    later(workspace, 7300)
    run = last(workspace)
    assert run.state is RunState.FAILED and "attribute limit reached" in str(run.error)
    with workspace.open() as service:
        assert not service.runs.list_rejections(run.id)


@pytest.mark.slow
def test_a_few_bad_people_are_not_the_accounts_fault(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """One in every batch, all refused for the same reason: they stand rejected, everybody else is sent."""
    workspace.set_members(*fans(*range(100)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        order = [row.user_id for row in service.runs.iterate_export_rows(run.id)]
        bad = order[3::25]
        sandbox.poison(*bad)
        service.runs.approve(run.id)
    workspace.run_queued()
    assert (workspace.get_run(run.id).state, workspace.get_run(run.id).rejected) == (RunState.SUCCEEDED, 4)
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - set(bad)


@pytest.mark.parametrize("every", [2, 3, 8])
def test_many_bad_people_in_a_first_export_are_not_the_accounts_fault(
    workspace: EngineWorkspace, sandbox: Sandbox, every: int
) -> None:
    """One in a few, so that hardly a part of a batch is without one: the others are sent, whatever order answers come in."""
    workspace.set_members(*fans(*range(100)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        bad = [row.user_id for row in service.runs.iterate_export_rows(run.id)][::every]
        sandbox.poison(*bad)
        service.runs.approve(run.id)
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert (run.state, run.error, run.rejected) == (RunState.SUCCEEDED, None, len(bad))
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - set(bad)


def test_an_error_of_our_own_fails_the_run_at_the_third_time(
    workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """Asking for a page is no progress; the reason names the error, and the sync goes on with its next refresh."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    workspace.set_members(*fans(*range(5)))
    monkeypatch.setattr(page_packer, "records_of", broken)
    workspace.export()
    for _ in range(4):
        later(workspace, 300)
    run = workspace.get_run(1)
    assert run.state is RunState.FAILED and "ZeroDivisionError" in str(run.error)
    assert sandbox.meter().requests["/api/query/engage"] <= 3


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_broken_sync_leaves_queries_to_the_others_and_to_people(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """One page 0 that always fails, hour after hour: the healthy sync refreshes, and a preview is never refused."""
    workspace.set_members(*fans(*range(5)))
    sandbox.fault("status", path="engage", code=500, times=0)
    workspace.export()
    for _ in range(12):
        later(workspace, 300)
    assert sandbox.meter().requests["/api/query/engage"] <= 25
    with workspace.open_store() as store:
        left = store.rate_limits.queries_left(PROJECT, workspace.now())
    assert left >= 10


def test_ten_queries_an_hour_are_reserved_for_people(workspace: EngineWorkspace) -> None:
    """Runs stop at fifty, divided among those that read; people at the pages go on to sixty."""
    workspace.set_members(*fans(1))
    other = workspace.sandbox.add_cohort("Others", fans(2))
    with workspace.open() as service, workspace.open_store() as store:
        for cohort in (workspace.cohort, other):
            service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        meters, now = store.rate_limits, workspace.now() + 2 * HOUR
        taken = [0, 0]
        for turn in range(80):
            taken[turn % 2] += (
                meters.acquire_query(PROJECT, now, later_page=False, at_once=999, sync_id=turn % 2 + 1).id is not None
            )
        assert taken == [25, 25]
        assert (
            sum(meters.acquire_query(PROJECT, now, later_page=False, at_once=999).id is not None for _ in range(20))
            == 10
        )


def test_what_a_refusal_taught_expires_after_a_day(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """One refusal of a later page that names the hour: pages count for a day, and no longer."""
    workspace.set_members(*fans(*range(30)))
    said = {"error": "1/5 queries running concurrently and 61/60 queries running in the last hour"}
    sandbox.fault("status", path="engage", page=2, code=429, retry_after=300, body=said)
    workspace.export()
    with workspace.open_store() as store:
        assert store.rate_limits.pages_count(PROJECT, workspace.now())
        assert not store.rate_limits.pages_count(PROJECT, workspace.now() + DAY + 1)


def test_one_accounts_exports_leave_lanes_to_the_others(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Eight due runs of one account take half of the lanes; another account's run is claimed at once."""
    with workspace.open() as service, workspace.open_store() as store:
        for number in range(9):
            cohort = sandbox.add_cohort(f"Cohort {number}", fans(number))
            service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        runs = store.runs
        assert runs.has_claimable(workspace.now()) and not runs.has_claimable(workspace.now(), full_accounts=(LICENSE,))
        assert runs.claim_run("x", workspace.now(), full_accounts=(LICENSE,)) is None


@pytest.mark.slow
def test_eight_large_exports_to_one_account_do_not_hold_another_accounts_three_people(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A runner with eight large exports under way sends another account's three people in seconds."""
    sandbox.settings(page_size=1000)
    sandbox.add_account("second", "key-of-second")
    large = [sandbox.add_cohort(f"Large {at}", fans(*range(1000))) for at in range(8)]
    small = sandbox.add_cohort("Small", fans(1, 2, 3))
    runner = Runner(workspace.env, policy=PATIENT, a_minute=SLOW)
    with workspace.open() as service, ThreadPoolExecutor(1) as pool:
        first = [service.syncs.start_export(PROJECT, one, ExportTerms(mode=Mode.DYNAMIC)).run_id for one in large]
        service.connections.connect_webengage("second", "key-of-second", sandbox.url)
        service.connections.use_account(PROJECT, "second")
        working = pool.submit(runner.run_forever)
        try:
            wait_until(lambda: sum(service.runs.get(one).state is RunState.DELIVERING for one in first) >= 4)
            run_id = service.syncs.start_export(PROJECT, small, ExportTerms(mode=Mode.DYNAMIC)).run_id
            wait_until(lambda: service.runs.get(run_id).state is RunState.SUCCEEDED)
            assert not any(service.runs.get(one).state.is_final for one in first)
        finally:
            runner.request_stop()
            working.result(60)
    assert sandbox.holding("Mixpanel - Small", "second")[0] == {"fan-1", "fan-2", "fan-3"}


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something another thread does; fail when it does not happen."""
    deadline = time.monotonic() + HUNG_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_held_and_postponed_runs_make_nobody_take_the_write_lock(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A runner that looks for work beside a held and a postponed run begins no write, however often it looks."""
    workspace.set_members(*fans(1))
    workspace.export(dry_run=True)
    other = sandbox.add_cohort("Others", fans(2))
    with workspace.open() as service:
        service.syncs.start_export(PROJECT, other, ExportTerms(mode=Mode.DYNAMIC))
    sandbox.fault("status", path="engage", code=503, times=0, retry_after=600)
    workspace.run_queued()
    runner = Runner(workspace.env, Clock(workspace.now, time.sleep), PATIENT)
    with Store.open(workspace.data_dir) as store, ThreadPoolExecutor(1) as lanes:
        states = {run.state: run.wait_reason for run in store.runs.list_runs(None, None, 5, 0, None)}
        assert set(states) == {RunState.HELD, RunState.QUEUED} and states[RunState.QUEUED]
        begun: list[str] = []
        store.runs._db.set_trace_callback(begun.append)
        for _ in range(20):
            runner.claim_runs(store, lanes)
        assert begun and not [one for one in begun if not one.strip().lower().startswith(("select", "pragma"))]
        workspace.ahead = HOUR  # it is due now, and the same look takes it
        runner.claim_runs(store, lanes)
        assert "begin immediate" in begun


# What the former engine stored ---------------------------------------------------------------------------------------


def test_a_former_snapshot_is_brought_forward_without_sending_anything(tmp_path: Path, sandbox: Sandbox) -> None:
    """Mapped or not, and with somebody rejected: a refresh finds everybody unchanged."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript(SCHEMA_5.read_text())
    sandbox.add_cohort(
        "Stored by schema 5", [member(f"fan-{n}", plan="gold" if n % 2 else "free") for n in range(30)], id=7
    )
    sandbox.add_cohort("Unmapped", [member(f"reader-{n}") for n in range(60)], id=8)
    sandbox.add_cohort("Half way", [member(f"guest-{n}") for n in range(60)], id=9)
    workspace = Workspace(tmp_path)
    workspace.policy = PATIENT
    workspace.connect(sandbox)
    with workspace.open() as service:
        assert [one.size for one in service.syncs.list()] == [60, 60, 29]
        service.syncs.refresh_now(1)
        service.syncs.refresh_now(2)
    workspace.run_queued()
    with workspace.open() as service:
        runs = {run.sync_id: run for run in service.runs.list(limit=4)[::-1]}
        assert [(runs[one].unchanged, runs[one].change_count) for one in (1, 2)] == [(29, 0), (60, 0)]
        assert (runs[3].state, runs[3].entered, runs[3].updated) == (RunState.SUCCEEDED, 0, 60)
        assert len(list(service.runs.iterate_export_rows(1))) == 30
    assert sandbox.holding("Mixpanel - Half way")[0] == {f"guest-{n}" for n in range(60)}
    assert sandbox.holding("Mixpanel - Unmapped") == (set(), set())
