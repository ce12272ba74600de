"""Requests that WebEngage refuses: what it took, what it may have taken, and what it surely did not take."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import Clock, RetryPolicy, RunExecutor
from sync.model import Run, RunState, SyncState
from sync.store import Store
from tests.engine_workspace import (
    DAY,
    MAPPED,
    PATIENT,
    EngineWorkspace,
    fan_ids,
    fans,
    keep_out,
    last,
    later,
    on_plan,
    refresh_when_due,
)
from tests.sandbox.control import LICENSE, Sandbox
from tests.workspace import ATTRIBUTE, wait_until

BULK = f"/v1/accounts/{LICENSE}/bulk-users"


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder connected to a cohort of sixty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(60)))
    return found


def count_outcomes(workspace: EngineWorkspace, run: Run) -> Counter[str]:
    """Return how many people of a run have each outcome."""
    with workspace.open() as service:
        return Counter(row.outcome for row in service.runs.iterate_export_rows(run.id))


def count_in_webengage(workspace: EngineWorkspace) -> int:
    """Return how many people WebEngage may hold as true, as the pages say it."""
    with workspace.open() as service:
        return service.syncs.list()[0].size


@pytest.mark.parametrize(("code", "path"), [(401, "bulk-users"), (403, "bulk-users"), (404, "users"), (400, "users")])
def test_people_of_requests_that_webengage_refused_for_a_setting_are_not_in_webengage(
    workspace: EngineWorkspace, sandbox: Sandbox, code: int, path: str
) -> None:
    """A key or license code is wrong: nobody counts as sent, and whoever leaves meanwhile is not sent false."""
    sandbox.fault("status", api="webengage", path=path, code=code, times=0)
    run = workspace.export()
    assert run.state is RunState.FAILED and count_in_webengage(workspace) == 0
    assert count_outcomes(workspace, run) == {"not sent": 60}
    sandbox.clear_faults()
    workspace.set_members(*fans(*range(50)))
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert sandbox.holding(ATTRIBUTE) == (sandbox.exportable(workspace.cohort), set())


def list_request_ids(sandbox: Sandbox) -> list[str]:
    """Return the x-request-id of each request for many users, in the order in which they came."""
    return [one["request_id"] for one in sandbox.log() if one["path"] == BULK]


def test_a_request_of_other_content_has_an_id_of_its_own(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """WebEngage drops what comes under an id it has seen: halves of a refused batch, and a person without values, must not."""
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(60)))
    sandbox.poison("fan-7")
    run = workspace.export(mapping=MAPPED)
    ids = list_request_ids(sandbox)
    assert (run.state, run.rejected) == (RunState.SUCCEEDED, 1)
    assert len(ids) == len(set(ids)) > 3 + 5  # three batches, at least five halvings


def test_a_request_that_is_sent_again_keeps_its_id(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The same content as before an answer that got lost is not taken twice."""
    sandbox.fault("status", api="webengage", path="bulk-users", code=503, times=2)
    assert workspace.export().state is RunState.SUCCEEDED
    assert sorted(Counter(list_request_ids(sandbox)).values()) in ([1, 2, 2], [1, 1, 3])


def test_people_of_requests_over_the_limit_are_not_in_webengage(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A run that is put off by 429 and cancelled has sent nothing."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run = workspace.export()
    assert last(workspace).state is RunState.QUEUED
    with workspace.open() as service:
        service.runs.cancel(run.id)
    assert last(workspace).state is RunState.CANCELLED and count_in_webengage(workspace) == 0


def test_people_of_a_request_that_was_not_answered_may_be_in_webengage_whatever_a_later_try_is_answered(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The first try was taken without an answer; that the key is refused from then on says nothing about it."""
    workspace.set_members(*fans(*range(20)))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", path="bulk-users", code=401, times=0)
    run = workspace.export()
    assert run.state is RunState.FAILED and count_in_webengage(workspace) == 20
    assert count_outcomes(workspace, run) == {"unconfirmed": 20}
    sandbox.clear_faults()
    workspace.set_members(*fans(*range(10)))
    workspace.export_and_approve()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_somebody_rejected_after_a_try_that_was_not_answered_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The first try was taken, so they are true in WebEngage although a later one was rejected for them."""
    workspace.set_members(*fans(*range(19)))
    workspace.export()
    workspace.set_members(*fans(*range(20)))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", api="webengage", path="bulk-users", code=400, body={"response": {"message": "bad user"}})
    run = workspace.export()
    assert (run.state, run.rejected) == (RunState.SUCCEEDED, 1) and "fan-19" in workspace.holders()
    workspace.set_members(*fans(*range(19)))
    workspace.export()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_people_of_a_request_that_did_not_arrive_are_sent_by_the_next_run(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """That it may have arrived is no reason to count on it: who came is sent again, and who left, too."""
    workspace.policy = PATIENT
    for members in (range(20), range(18)):
        workspace.set_members(*fans(*members))
        before = workspace.holders()
        sandbox.fault("status", path="bulk-users", code=503, retry_after=300, times=0)
        run = workspace.export()
        with workspace.open() as service:
            service.runs.cancel(run.id)
        workspace.run_queued()
        assert last(workspace).state is RunState.CANCELLED and workspace.holders() == before
        sandbox.clear_faults()
        workspace.export_and_approve()
        assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_people_of_a_request_of_a_dead_runner_may_be_in_webengage_whatever_a_later_try_is_answered(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A batch that is in flight when its run is claimed may have arrived."""
    workspace.set_members(*fans(*range(20)))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", path="bulk-users", code=503, retry_after=300, times=0)
    run = workspace.export()
    assert last(workspace).state is RunState.QUEUED
    sandbox.clear_faults()
    sandbox.fault("status", path="bulk-users", code=401, times=0)
    later(workspace, 700)
    assert last(workspace).state is RunState.FAILED
    assert count_outcomes(workspace, run) == {"unconfirmed": 20}


def test_people_of_a_request_that_was_rejected_may_be_in_webengage_whatever_its_halves_are_answered(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is not documented whether WebEngage takes the others of a request that it rejects for one person."""
    workspace.set_members(*fans(*range(20)))
    sandbox.poison("fan-3")
    sandbox.fault("status", path="bulk-users", code=401, after=1, times=0)
    run = workspace.export()
    assert run.state is RunState.FAILED and count_in_webengage(workspace) == 20
    assert count_outcomes(workspace, run) == {"unconfirmed": 20}


@pytest.mark.parametrize(("api", "path"), [("mixpanel", "engage"), ("webengage", "bulk-users")])
def test_a_request_that_failed_is_sent_again_when_its_pause_is_over(
    workspace: EngineWorkspace, sandbox: Sandbox, api: str, path: str
) -> None:
    """A side in trouble is left alone for the 30 seconds it asked for, then for the 50 that our own policy says."""
    workspace.set_members(*fans(*range(20)))
    workspace.start_export()
    sandbox.fault("status", api=api, path=path, code=503, retry_after=30)
    sandbox.fault("status", api=api, path=path, code=500)
    started, context = workspace.ahead, workspace.context()

    def skip(seconds: float) -> None:
        workspace.ahead += seconds

    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        policy = RetryPolicy(delays=(1.0, 50.0))
        RunExecutor(store, claimed, "me", replace(context, clock=Clock(workspace.now, skip), policy=policy)).execute()
    assert last(workspace).state is RunState.SUCCEEDED
    assert 80 <= workspace.ahead - started < 100


def test_who_was_rejected_in_a_step_stays_so_when_rejections_are_purged_before_the_run_ends(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A run may be held between two steps for longer than rejections are kept; who is to blame is known until its end."""
    sandbox.poison("fan-3")
    run = workspace.export(chosen=[f"fan-{number}" for number in range(6)])
    assert (run.state, run.rejected) == (RunState.HELD, 1)
    workspace.ahead += 2 * DAY
    with workspace.open() as service:
        service.admin.set_retention(rejections=1)
        service.admin.purge_expired()
        service.runs.cancel(run.id)
        assert (service.runs.get(run.id).delivered, service.syncs.list()[0].size) == (5, 5)
        service.admin.purge_expired()
        assert service.runs.list_rejections(run.id) == ()


def test_somebody_listed_while_their_refused_request_waits_gets_no_profile(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It was over the limit, so nobody was taken: they are taken out of the plan, and the next run owes them no false."""
    workspace.policy = RetryPolicy(max_delay=10.0)
    workspace.set_members(*fans(*range(20)))
    workspace.start_export()
    sandbox.fault("status", path="bulk-users", code=429, retry_after=4)
    runner = threading.Thread(target=workspace.run_queued)
    runner.start()
    wait_until(lambda: any(one["status"] == 429 for one in sandbox.log()))
    keep_out(workspace, "fan-3")
    runner.join()
    run = last(workspace)
    assert (run.state, run.entered, run.delivered, run.never_exported) == (RunState.SUCCEEDED, 19, 19, 1)
    assert refresh_when_due(workspace).change_count == 0
    assert sandbox.profile("fan-3") is None


def test_people_who_were_rejected_before_are_no_reason_to_blame_the_account(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """They were refused while others were taken, and nobody is left in WebEngage who could be sent as a witness."""
    workspace.set_members(*fans(*range(13)))
    sandbox.poison(*fan_ids(*range(5, 13)))
    assert workspace.export().rejected == 8
    workspace.set_members(*fans(*range(5, 13)))
    assert workspace.export().exited == 5 and workspace.holders() == set()
    with workspace.open() as service:
        service.syncs.retry_rejected(1)
    workspace.run_queued()
    assert (last(workspace).state, last(workspace).rejected) == (RunState.SUCCEEDED, 8)
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.ACTIVE


def test_people_left_to_be_sent_when_webengage_breaks_down_in_the_middle_are_not_to_blame(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """That others were taken before says nothing about them: the run is put off, and they are sent when it works again."""
    workspace.policy = PATIENT
    workspace.set_members(*fans(*range(100)))
    sandbox.fault("status", path="bulk-users", code=500, after=2, times=0)
    run = workspace.export()
    assert (run.state, run.rejected) == (RunState.QUEUED, 0) and 0 < len(workspace.holders()) < 100
    sandbox.clear_faults()
    later(workspace, 400)
    assert (last(workspace).state, last(workspace).rejected) == (RunState.SUCCEEDED, 0)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_request_that_webengage_asked_to_repeat_later_waits_although_others_are_taken(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Its people are not sent in smaller requests meanwhile."""
    workspace.policy = PATIENT
    sandbox.fault("status", path="bulk-users", code=503, retry_after=300, after=1)
    run = workspace.export()
    assert run.state is RunState.QUEUED and len(workspace.holders()) < 60
    later(workspace, 400)
    assert (last(workspace).state, last(workspace).rejected) == (RunState.SUCCEEDED, 0)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_run_is_put_off_longer_each_time_however_soon_webengage_asks_to_come_back(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """An answer of 503 that names a second says nothing about when it works again; only a limit's time is believed."""
    workspace.policy = PATIENT
    sandbox.fault("status", path="bulk-users", code=503, retry_after=1, times=0)
    first = workspace.export()
    assert first.state is RunState.QUEUED and 290 < first.not_before - workspace.now() <= 300
    later(workspace, 310)
    assert 1100 < workspace.get_run(first.id).not_before - workspace.now() <= 1200


def test_a_request_over_the_limit_makes_everybody_of_the_account_wait_and_is_no_failure(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The limit is the account's: another sync that went on would be refused, too."""
    workspace.policy = PATIENT
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run = workspace.export()
    assert (run.state, run.failures) == (RunState.QUEUED, 0)
    with workspace.open_store() as store:
        now = workspace.now()
        assert 250 < store.rate_limits.next_slot(LICENSE, now) - now <= 300
    asked = sandbox.meter().requests[BULK]
    other = sandbox.add_cohort("Others", fans(1))
    workspace.export(other)
    assert sandbox.meter().requests[BULK] == asked


@pytest.mark.parametrize("path", ["engage", "bulk-users"])
def test_a_run_that_got_further_before_it_failed_again_has_failed_once(
    workspace: EngineWorkspace, sandbox: Sandbox, path: str
) -> None:
    """What counts, up to the deadline, are failures since a page was kept or a batch was confirmed."""
    workspace.policy = PATIENT
    sandbox.settings(page_size=10)
    sandbox.fault("status", path=path, code=503, retry_after=300, after=1, times=0)
    workspace.export()
    sandbox.clear_faults()
    sandbox.fault("status", path=path, code=503, retry_after=300, after=1, times=0)
    for _ in range(2):
        assert (last(workspace).state, last(workspace).failures) == (RunState.QUEUED, 1)
        later(workspace, 400)
    assert last(workspace).failures == 2


def test_somebody_rejected_is_tried_again_when_there_is_something_else_to_send_about_them(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The same again would be rejected again; another value need not be."""
    others = fans(*range(20))
    workspace.set_members(*others, on_plan("new", "gold"))
    sandbox.poison("new")
    assert workspace.export(mapping=MAPPED).rejected == 1
    sandbox.clear_faults()
    run = workspace.export()
    assert (run.state, run.change_count) == (RunState.SUCCEEDED, 0) and "new" not in workspace.holders()
    workspace.set_members(*others, on_plan("new", "silver"))
    assert workspace.export().entered == 1
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_somebody_whose_new_value_was_rejected_is_set_to_false_when_they_leave(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """That an update was rejected says nothing about their removal: they are true in WebEngage."""
    others = fans(*range(20))
    workspace.set_members(*others, on_plan("old", "gold"))
    workspace.export(mapping=MAPPED)
    workspace.set_members(*others, on_plan("old", "silver"))
    sandbox.poison("old")
    assert workspace.export().rejected == 1
    sandbox.clear_faults()
    workspace.set_members(*others)
    assert workspace.export().exited == 1
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_run_that_meets_nothing_but_the_limit_gives_its_place_to_others_after_ten_tries(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A short wait is waited out by the runner itself, but not for ever: the run goes back to the queue and says why."""
    workspace.set_members(*fans(*range(20)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=0, times=14)
    run = workspace.export()
    with workspace.open() as service:
        waits = [one for one in service.runs.list_events(run.id) if one.message.startswith("Waiting")]
    assert run.state is RunState.SUCCEEDED and sum(one.times for one in waits) == 1, waits
