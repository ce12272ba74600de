"""Approve a held plan when it is older than its interval: it is made again, and goes ahead unless it says more."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import Run, RunState
from sync.records import Event
from tests.engine_workspace import (
    DAY,
    MAPPED,
    EngineWorkspace,
    approve,
    fan_ids,
    fans,
    later,
    on_plan,
    patient_workspace,
)
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Export 35 people, in pages of ten."""
    found = patient_workspace(data_dir, sandbox)
    found.set_members(*fans(*range(35)))
    found.export()
    return found


def hide_one(workspace: EngineWorkspace) -> None:
    """Let the next two readings list somebody twice and lack fan-30, whom so nothing proves to have left."""
    workspace.sandbox.fault("displaced", page=3, by=1, times=2)


def hold(workspace: EngineWorkspace) -> Run:
    """Return a run that is held, since two readings never added up."""
    hide_one(workspace)
    run = workspace.export()
    assert run.state is RunState.HELD and "twice; 1 would be removed" in str(run.held_reason)
    return run


def approve_late(workspace: EngineWorkspace, run: Run) -> Run:
    """Approve a run nine days later."""
    workspace.ahead += 9 * DAY
    workspace.sandbox.advance(9 * DAY)
    return approve(workspace, run)


def test_a_late_approval_of_readings_that_never_add_up_when_they_say_the_same_goes_ahead(
    workspace: EngineWorkspace,
) -> None:
    """The person approved that these people leave although the numbers disagree; asked again, they would say the same."""
    run = hold(workspace)
    hide_one(workspace)
    run = approve_late(workspace, run)
    assert run.state is RunState.SUCCEEDED and run.exited == 1
    assert workspace.holders() == fan_ids(*range(35)) - {"fan-30"}


def test_a_late_approval_of_readings_that_never_add_up_when_somebody_else_would_leave_is_held_again(
    workspace: EngineWorkspace,
) -> None:
    """Who would leave now was not in the approved plan, and the readings do not prove that they left."""
    run = hold(workspace)
    workspace.set_members(*fans(*range(1, 36)))
    hide_one(workspace)
    run = approve_late(workspace, run)
    assert run.state is RunState.HELD and not run.approved
    assert "people were not in the approved plan" in str(run.held_reason)
    assert "different people, twice" in str(run.held_reason)
    assert workspace.holders() == fan_ids(*range(35))


def test_a_late_approval_when_as_many_but_other_people_would_be_added_is_held_again(workspace: EngineWorkspace) -> None:
    """The person approved these people, not their number."""
    workspace.set_members(*fans(*range(40)))
    run = workspace.export(dry_run=True)
    workspace.set_members(*fans(*range(37), *range(40, 43)))
    run = approve_late(workspace, run)
    assert run.state is RunState.HELD and not run.approved
    assert "3 people were not in the approved plan" in str(run.held_reason)
    assert workspace.holders() == fan_ids(*range(35))


def test_a_late_approval_of_more_people_than_a_block_has_goes_ahead_when_they_are_the_same(
    workspace: EngineWorkspace,
) -> None:
    """The plan that was approved and the new one are compared in one order."""
    workspace.sandbox.settings(page_size=1000)
    workspace.set_members(*fans(*range(1300)))
    run = approve_late(workspace, workspace.export(dry_run=True))
    assert (run.state, run.delivered) == (RunState.SUCCEEDED, 1265)


def test_a_plan_of_a_sync_that_is_refreshed_once_a_month_is_made_again_after_a_day(workspace: EngineWorkspace) -> None:
    """Who left weeks ago would be true for a month, although the cohort of now is one reading away."""
    workspace.set_members(*fans(*range(40)))
    run = workspace.export(interval=30 * DAY, dry_run=True)
    assert run.state is RunState.HELD and run.entered == 5
    workspace.set_members(*fans(*range(38)))
    run = approve_late(workspace, run)
    assert (run.state, run.entered) == (RunState.SUCCEEDED, 3)
    assert workspace.holders() == fan_ids(*range(38))


def test_somebody_in_a_plan_that_was_made_again_is_nowhere_any_more(workspace: EngineWorkspace) -> None:
    """The plan that was approved is kept until the new one is compared with it, and no longer."""
    workspace.set_members(*fans(*range(36)))
    run = workspace.export(dry_run=True)
    workspace.set_members(*fans(*range(35), 40))
    assert approve_late(workspace, run).state is RunState.HELD
    with workspace.open() as service:
        assert service.admin.forget_person("fan-35").places == 0


@pytest.mark.parametrize("is_in_steps", [False, True])
def test_a_plan_made_while_the_clock_was_ahead_is_made_again(workspace: EngineWorkspace, is_in_steps: bool) -> None:
    """Its age is unknown: by the clock of now it was made tomorrow, and it may wait for days without growing old."""
    workspace.set_members(*fans(*range(40)))
    workspace.ahead = 9 * DAY
    terms = {"chosen": ["fan-39"]} if is_in_steps else {"dry_run": True}
    run = workspace.export(**terms)
    assert run.state is RunState.HELD
    workspace.ahead = 0.0  # put right, and days go by
    workspace.set_members(*fans(*range(35)), *fans(39))
    workspace.ahead = 3 * DAY
    workspace.sandbox.advance(3 * DAY)
    approve(workspace, run)
    assert workspace.holders() == fan_ids(*range(35), 39)


def test_a_plan_is_not_made_again_for_a_clock_that_is_seconds_behind(workspace: EngineWorkspace) -> None:
    """Processes read the clock at slightly different moments, and NTP moves it a little."""
    workspace.set_members(*fans(*range(40)))
    run = workspace.export(dry_run=True)
    workspace.ahead = -3.0
    run = approve(workspace, run)
    assert run.state is RunState.SUCCEEDED
    assert not any("too old" in one.message for one in list_events(workspace, run.id))


def test_a_plan_goes_on_when_the_clock_is_put_back_while_it_is_sent(workspace: EngineWorkspace) -> None:
    """What is under way was made just now, whatever the clock says."""
    workspace.set_members(*fans(*range(70)))
    workspace.sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=1)
    run = workspace.export()
    assert run.state is RunState.QUEUED and run.planned and len(workspace.holders()) > 35
    workspace.ahead = -5000.0
    workspace.run_queued()
    later(workspace, 400)  # WebEngage asked for 300 seconds, and the clock shows them once more
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED
    assert not any("too old" in one.message for one in list_events(workspace, run.id))


def list_events(workspace: EngineWorkspace, run_id: int) -> tuple[Event, ...]:
    """Return the history of a run."""
    with workspace.open() as service:
        return service.runs.list_events(run_id)


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_plan_that_is_being_sent_goes_on_however_long_that_takes(
    workspace: EngineWorkspace, is_approved: bool
) -> None:
    """Half of it is in WebEngage, and nobody held it meanwhile: the rest follows, without another reading."""
    workspace.set_members(*fans(*range(100)))
    workspace.sandbox.fault("status", path="bulk-users", code=503, retry_after=7300, after=1, times=0)
    run = workspace.export(dry_run=is_approved)
    if is_approved:
        run = approve(workspace, run)
    assert run.state is RunState.QUEUED and 35 < len(workspace.holders()) < 100
    workspace.sandbox.clear_faults()
    read = workspace.sandbox.meter().requests["/api/query/engage"]
    later(workspace, 7400)
    run = workspace.get_run(run.id)
    assert (run.state, run.delivered) == (RunState.SUCCEEDED, 65)
    assert workspace.holders() == fan_ids(*range(100))
    assert workspace.sandbox.meter().requests["/api/query/engage"] == read


def test_a_late_approval_of_an_update_of_somebody_who_left_since_is_held_again(workspace: EngineWorkspace) -> None:
    """As many people as approved, and the same; but the person approved a new value, not that they leave."""
    others = fans(*range(1, 35))
    workspace.set_members(on_plan("fan-0", "gold"), *others)
    workspace.export(mapping=MAPPED)
    workspace.set_members(on_plan("fan-0", "silver"), *others)
    run = workspace.export(dry_run=True)
    assert (run.state, run.updated, run.exited) == (RunState.HELD, 1, 0)
    workspace.set_members(*others)
    run = approve_late(workspace, run)
    assert run.state is RunState.HELD and "1 person was not in the approved plan" in str(run.held_reason)
    assert "fan-0" in workspace.holders()


def test_somebody_in_an_approved_plan_is_nowhere_any_more_when_the_run_that_makes_it_again_is_cancelled(
    workspace: EngineWorkspace,
) -> None:
    """The former plan is kept beside the new one, and goes with it."""
    workspace.set_members(*fans(*range(36)))
    run = workspace.export(dry_run=True)
    workspace.sandbox.fault("status", api="mixpanel", path="/engage", code=503, times=0)
    assert approve_late(workspace, run).wait_reason
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.CANCELLED
    with workspace.open() as service:
        assert service.admin.forget_person("fan-35").places == 0
