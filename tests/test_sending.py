"""Send what is approved and nothing else: requests of a runner that slept, and people who were forgotten on the way."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import Clock, RetryPolicy, RunExecutor
from sync.model import BATCH_SIZE, RunState
from sync.packing import FORGOTTEN
from sync.store import Store
from tests.engine_workspace import (
    MAPPED,
    PATIENT,
    EngineWorkspace,
    approve,
    fan_ids,
    fans,
    keep_out,
    last,
    later,
    on_plan,
)
from tests.sandbox.control import LICENSE, Sandbox
from tests.workspace import wait_until

BULK = f"/v1/accounts/{LICENSE}/bulk-users"


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder."""
    return EngineWorkspace(data_dir, sandbox)


def test_nobody_is_blamed_for_an_error_when_webengage_is_down_by_then(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Others were taken, so the last one seems to be at fault; but WebEngage answers nothing else any more."""
    workspace.set_members(*fans(*range(30)))
    sandbox.fault("person_fails", user_ids=["fan-3"], code=500)
    sandbox.fault("status", path="/users", code=503, times=0)
    workspace.policy = PATIENT
    run = workspace.export()
    assert (run.state, run.delivered, run.rejected) == (RunState.QUEUED, 29, 0)
    sandbox.clear_faults()
    later(workspace, 400)
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(30))


def test_a_request_that_waits_for_its_slot_does_not_leave_when_the_lease_ran_out(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A process that slept meanwhile: another runner has the run by then, and what it knows."""
    workspace.set_members(*fans(*range(50)))
    workspace.start_export()
    stolen = threading.Event()

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread() and not stolen.is_set():
            stolen.set()
            workspace.ahead += 130
            with workspace.open_store() as store:
                assert store.runs.claim_run("other", workspace.now())
        workspace.ahead += seconds

    context = replace(workspace.context(), clock=Clock(workspace.now, sleep), batches_a_minute=200)
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        RunExecutor(store, claimed, "me", context).execute()
    assert stolen.is_set() and sandbox.meter().requests[BULK] == 1


def test_somebody_listed_while_a_run_sends_is_left_out_of_a_block_that_was_read_before(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Blocks of a thousand people are read and unsealed once; what is left of one is read again when a list changed."""
    workspace.set_members(*fans(*range(2100)))
    workspace.start_export()
    listed: list[str] = []

    def sleep(seconds: float) -> None:
        workspace.ahead += seconds
        if threading.current_thread() is threading.main_thread() and not listed:
            with workspace.open_store() as store:
                listed.append(store.batches.block(1, 1).ids[-1])
            keep_out(workspace, listed[0])

    context = replace(workspace.context(), clock=Clock(workspace.now, sleep), batches_a_minute=60)
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        RunExecutor(store, claimed, "me", context).execute()
    assert last(workspace).state is RunState.SUCCEEDED and sandbox.profile(listed[0]) is None
    assert workspace.holders() == fan_ids(*range(2100)) - set(listed)


def test_an_account_that_took_people_before_a_wait_is_not_to_blame_for_those_after_it(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Nobody is recorded as taken yet who could be sent as a witness, but this run has had people taken itself."""
    workspace.policy = PATIENT
    workspace.set_members(*fans(*range(60)))
    sandbox.fault("status", path="bulk-users", code=503, retry_after=300, after=1, times=0)
    run = workspace.export()
    taken = workspace.holders()
    assert run.state is RunState.QUEUED and len(taken) == run.delivered > 0
    sandbox.clear_faults()
    sandbox.poison(*fan_ids(*range(60)) - taken)
    later(workspace, 400)
    run = workspace.get_run(run.id)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, len(taken), 60 - len(taken))
    assert workspace.holders() == taken


@pytest.mark.parametrize(("people", "code"), [(20, 503), (20, 400), (1, 400)])
def test_who_is_forgotten_while_their_request_is_on_its_way_is_not_sent_when_it_is_tried_again(
    workspace: EngineWorkspace, sandbox: Sandbox, people: int, code: int
) -> None:
    """The first try was refused, so nothing of them arrived; the others of it do."""
    workspace.set_members(*fans(*range(people)))
    sandbox.settings(latency=1200.0)
    sandbox.fault("status", path="bulk-users", code=code)
    run_id = workspace.start_export()
    runner = threading.Thread(target=workspace.run_queued)
    runner.start()
    wait_until(lambda: workspace.get_run(run_id).requests == 2)
    with workspace.open() as service:
        service.admin.forget_person("fan-0")
    sandbox.settings(latency=0.0)
    runner.join()
    run = workspace.get_run(run_id)
    assert (run.state, run.rejected, run.failures) == (RunState.SUCCEEDED, 0, 0)
    assert sandbox.profile("fan-0") is None and sandbox.profile(FORGOTTEN) is None
    assert workspace.holders() == fan_ids(*range(1, people))


@pytest.mark.parametrize("people", [1, 10])
def test_a_first_request_that_fails_each_time_is_halved_until_it_is_one_person(
    workspace: EngineWorkspace, sandbox: Sandbox, people: int
) -> None:
    """Nobody else can show whether WebEngage is at fault; of one person alone, it is said to be."""
    workspace.policy = PATIENT
    workspace.set_members(*fans(*range(people)))
    sandbox.fault("person_fails", user_ids=["fan-0"], code=500)
    run = workspace.export()
    assert (run.state, run.rejected) == ((RunState.SUCCEEDED, 1) if people > 1 else (RunState.QUEUED, 0))
    assert workspace.holders() == fan_ids(*range(1, people))


@pytest.mark.slow
def test_requests_that_fail_when_nothing_is_taken_are_not_halved(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """WebEngage is down, so nobody is to blame: each of two requests is tried as often as it may be, and no more."""
    workspace.policy, workspace.batches_a_minute = PATIENT, 60  # they come one by one, so the others wait
    workspace.set_members(*fans(*range(50)))
    sandbox.fault("status", path="bulk-users", code=503, times=0)
    assert workspace.export().state is RunState.QUEUED
    assert sandbox.meter().requests[BULK] <= 2 * (len(PATIENT.delays) + 1)


@pytest.mark.slow
def test_a_request_that_fails_is_not_halved_while_another_one_is_on_its_way(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Its answer may show whether WebEngage is at fault; halved until then, single people would be blamed."""
    workspace.policy = PATIENT
    workspace.set_members(*fans(*range(50)))
    sandbox.fault("slow", path="bulk-users", ms=5000)
    sandbox.fault("status", path="bulk-users", code=503, times=0)
    run = workspace.export()
    assert (run.state, run.delivered, run.rejected) == (RunState.QUEUED, 25, 0)
    assert sandbox.meter().requests[BULK] == 1 + len(PATIENT.delays) + 1


def test_the_membership_of_somebody_whose_values_are_refused_is_tried_as_often_as_any_request(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is another request: that the one with the values failed before is no failure of it."""
    workspace.policy = PATIENT
    workspace.set_members(on_plan("fan-0", "gold"))
    refused = {"response": {"message": "plan is not a text"}}
    for code, times in ((503, len(PATIENT.delays)), (400, 1), (503, 1)):
        sandbox.fault("status", api="webengage", path="bulk-users", code=code, times=times, body=refused)
    run = workspace.export(mapping=MAPPED)
    assert (run.state, run.delivered) == (RunState.SUCCEEDED, 1) and workspace.holders() == {"fan-0"}


def test_people_of_a_request_refused_while_a_run_ends_for_another_reason_may_be_in_webengage(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is not documented whether WebEngage takes the others of a refused request, also when nobody looks who is to blame."""
    workspace.policy = RetryPolicy(delays=(), postponements=(300.0,))
    workspace.set_members(*fans(*range(500)))
    run = workspace.export(dry_run=True)
    with workspace.open_store() as store:
        ids = store.batches.block(run.id, 0).ids
    sandbox.poison(ids[0])
    sandbox.fault("person_fails", user_ids=ids[BATCH_SIZE::BATCH_SIZE], code=503)
    run = approve(workspace, run)
    assert (run.state, run.delivered, len(workspace.holders())) == (RunState.QUEUED, 0, 0)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    with workspace.open() as service:
        assert (service.runs.get(run.id).state, service.syncs.get(1).size) == (RunState.CANCELLED, 500)
