"""Another User ID property later: held, then old ids to false and new ones to true, whatever comes in between."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import RunExecutor
from sync.engine.delivery import Delivery
from sync.errors import InvalidRequest
from sync.model import Mode, RunState, SyncState
from sync.steps import Steps
from sync.store import Store
from tests.engine_workspace import (
    ATTRIBUTE,
    CUSTOMER,
    EngineWorkspace,
    approve,
    count_sent,
    customer_ids,
    customers,
    fan_ids,
    fans,
    last,
    refresh_when_due,
)
from tests.sandbox.control import Sandbox, member


class Killed(BaseException):
    """Stands for a runner that dies."""


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder with an empty cohort, and pages of ten."""
    sandbox.settings(page_size=10)
    return EngineWorkspace(data_dir, sandbox)


# Another property later -----------------------------------------------------------------------------------------------


def test_another_property_is_held_then_sets_old_ids_to_false_and_new_ones_to_true(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Even for a few people; nothing before the approval, exactly the difference after it, nothing with the next refresh."""
    same = member("c-20", customer="c-20")
    workspace.set_members(*customers(*range(6)), same, member("fan-9"))
    workspace.export()
    sent = count_sent(sandbox)
    run = workspace.export(id_property=CUSTOMER)
    assert run.state is RunState.HELD and count_sent(sandbox) == sent
    assert run.held_reason == (
        "The User ID property changes from $distinct_id to customer. 7 people with an old User ID would be set to false "
        "and 6 people with a new one to true; 1 stay the same. A new User ID that WebEngage does not know becomes a new "
        "profile there, and what the old profile has is not moved. While this is sent, somebody may be true under both "
        "User IDs, or under neither: start no campaign to this cohort before the run has ended."
    )
    assert workspace.holders() == fan_ids(*range(6), 9) | {"c-20"}
    run = approve(workspace, run)
    assert (run.state, run.entered, run.exited, run.unchanged) == (RunState.SUCCEEDED, 6, 7, 1)
    assert (run.id_property, run.id_property_before) == (CUSTOMER, "")
    assert sandbox.holding(ATTRIBUTE) == (customer_ids(*range(6), 20), fan_ids(*range(6), 9))
    assert count_sent(sandbox) == sent + 13
    run = refresh_when_due(workspace)
    assert (run.state, run.change_count, run.id_property_before) == (RunState.SUCCEEDED, 0, None)
    assert count_sent(sandbox) == sent + 13


def test_back_to_the_distinct_id_is_held_too(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The default is a property like any other."""
    workspace.set_members(*customers(*range(3)))
    workspace.export(id_property=CUSTOMER)
    run = approve(workspace, workspace.export(id_property=""))
    assert run.state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE) == (fan_ids(*range(3)), customer_ids(*range(3)))


def test_a_change_that_is_cancelled_changes_nothing(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The sync keeps its property, and refreshes by it."""
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    run = workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.runs.cancel(run.id)
        assert service.syncs.get(1).id_property == ""
    sent = count_sent(sandbox)
    assert refresh_when_due(workspace).change_count == 0 and count_sent(sandbox) == sent


def test_a_lifted_guard_and_an_export_without_a_property_hold_and_change_nothing(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Lifting the guard never lifts this; who does not name a property keeps the one there is."""
    workspace.set_members(*customers(*range(3)))
    workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.guards.lift(1)
    assert workspace.export(id_property="").state is RunState.HELD
    with workspace.open() as service:
        service.runs.cancel(last(workspace).id)
    assert workspace.export(mode=Mode.DYNAMIC).change_count == 0 and workspace.holders() == customer_ids(*range(3))


def test_another_property_while_nobody_is_true_is_a_first_export(workspace: EngineWorkspace) -> None:
    """After everything was cleared there is no old id to set to false, so nothing is held."""
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert workspace.export(id_property=CUSTOMER).state is RunState.SUCCEEDED and workspace.holders() == customer_ids(
        0, 1, 2
    )


def test_another_property_while_a_run_is_under_way_is_refused(workspace: EngineWorkspace) -> None:
    """A run serves one request."""
    workspace.set_members(*customers(0))
    workspace.start_export()
    with pytest.raises(InvalidRequest, match="another User ID property"):
        workspace.start_export(id_property=CUSTOMER)


def test_a_runner_that_dies_in_a_change_leaves_nobody_true_under_an_old_id(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before an answer is noted: the next claim sends the rest, and no old id stays true."""
    workspace.set_members(*customers(*range(60)))
    workspace.export()
    run = workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.runs.approve(run.id)

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(Delivery, "_confirm", die)
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("gone", workspace.now())
        assert claimed is not None
        with pytest.raises(Killed):
            RunExecutor(store, claimed, "gone", replace(workspace.context(), batches_a_minute=30)).execute()
    monkeypatch.undo()
    true, _ = sandbox.holding(ATTRIBUTE)
    assert true & fan_ids(*range(60)) and count_sent(sandbox) > 60, "it was killed too early or too late"
    workspace.ahead += 300
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE) == (customer_ids(*range(60)), fan_ids(*range(60)))


# Steps, and taking back -----------------------------------------------------------------------------------------------


def test_trying_another_property_on_a_few_and_cancelling_leaves_the_old_one(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The few are true under both ids, as was asked for; the next refresh sets their new ids to false."""
    workspace.set_members(*customers(*range(12)))
    workspace.export()
    run = approve(workspace, workspace.export(id_property=CUSTOMER, steps=Steps(first=2)))
    assert run.state is RunState.HELD and len(workspace.holders()) == 14
    with workspace.open() as service:
        service.runs.cancel(run.id)
        assert service.syncs.get(1).id_property == ""
    run = refresh_when_due(workspace)
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 2) and workspace.holders() == fan_ids(*range(12))


def test_a_change_in_steps_sets_the_old_ids_to_false_with_its_last_step(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Two approvals: of the change, and of the rest."""
    workspace.set_members(*customers(*range(12)))
    workspace.export()
    run = approve(workspace, approve(workspace, workspace.export(id_property=CUSTOMER, steps=Steps(first=2))))
    assert run.state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE) == (customer_ids(*range(12)), fan_ids(*range(12)))
    with workspace.open() as service:
        assert service.syncs.get(1).id_property == CUSTOMER


def test_taking_back_a_change_gives_the_sync_its_former_property(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Old ids are true again, new ones false; resumed, the sync refreshes by the old property and has nothing to send."""
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    change = approve(workspace, workspace.export(id_property=CUSTOMER))
    with workspace.open() as service:
        undo = service.runs.undo(change.id)
    workspace.run_queued()
    held = workspace.get_run(undo.run_id)
    assert "The User ID property is $distinct_id again then." in str(held.held_reason)
    assert approve(workspace, held).state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE) == (fan_ids(*range(3)), customer_ids(*range(3)))
    with workspace.open() as service:
        view = service.syncs.get(1)
        assert (view.id_property, view.state) == ("", SyncState.PAUSED)
        service.syncs.resume(1)
    sent = count_sent(sandbox)
    workspace.run_queued()
    assert last(workspace).change_count == 0 and count_sent(sandbox) == sent


def test_taking_back_the_first_step_of_a_change_leaves_the_old_property(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The two tried are false under their new ids."""
    workspace.set_members(*customers(*range(12)))
    workspace.export()
    run = approve(workspace, workspace.export(id_property=CUSTOMER, steps=Steps(first=2)))
    with workspace.open() as service:
        undo = service.runs.undo(run.id)
    workspace.run_queued()
    assert approve(workspace, workspace.get_run(undo.run_id)).exited == 2
    assert workspace.holders() == fan_ids(*range(12))
    with workspace.open() as service:
        assert service.syncs.get(1).id_property == ""


def test_a_run_before_a_change_cannot_be_taken_back(workspace: EngineWorkspace) -> None:
    """It would set people by User IDs that the sync does not use any more."""
    workspace.set_members(*customers(*range(3)))
    first = workspace.export()
    approve(workspace, workspace.export(id_property=CUSTOMER))
    with workspace.open() as service, pytest.raises(InvalidRequest, match=r"property \$distinct_id"):
        service.runs.undo(first.id)


def test_the_request_of_a_run_that_failed_before_its_plan_is_held_all_the_same(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A change that is asked for again by the next refresh is a change."""
    workspace.set_members(*customers(*range(3)))
    workspace.export()
    sandbox.fault("status", path="engage", code=403, times=1)
    assert workspace.export(id_property=CUSTOMER).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    run = last(workspace)
    assert run.state is RunState.HELD and "changes from $distinct_id to customer" in str(run.held_reason)


def test_an_old_request_without_a_property_is_still_read(workspace: EngineWorkspace) -> None:
    """A run that was asked for before the upgrade keeps the distinct_id."""
    workspace.set_members(*fans(*range(2)))
    run_id = workspace.start_export()
    with workspace.open_database() as db:
        text = json.loads(db.execute("select request from run where id = ?", (run_id,)).fetchone()[0])
        del text["id_property"]
        db.execute("update run set request = ? where id = ?", (json.dumps(text), run_id))
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(0, 1)


def test_taking_back_sets_nobody_to_true_who_is_on_the_list_by_the_distinct_id(workspace: EngineWorkspace) -> None:
    """No cohort is read then, so the last plan says whose member they are."""
    workspace.set_members(*customers(*range(5)))
    workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-3"], "")
    run = refresh_when_due(workspace)
    assert run.exited == 1
    with workspace.open() as service:
        undo = service.runs.undo(run.id)
    workspace.run_queued()
    held = workspace.get_run(undo.run_id)
    assert "On the never-export list, so kept out: 1 person." in str(held.held_reason)
    approve(workspace, held)
    assert workspace.holders() == customer_ids(0, 1, 2, 4)


def test_there_and_back_again_leaves_exactly_the_cohort_true(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """What was known of Mixpanel's pages before a change is not taken for what WebEngage holds after it."""
    workspace.set_members(*customers(*range(25)))
    workspace.export()
    for _ in range(2):
        assert refresh_when_due(workspace).change_count == 0
    for id_property, people in ((CUSTOMER, customer_ids(*range(25))), ("", fan_ids(*range(25)))):
        approve(workspace, workspace.export(id_property=id_property))
        sent = count_sent(sandbox)
        for _ in range(2):
            assert refresh_when_due(workspace).change_count == 0
        assert workspace.holders() == people and count_sent(sandbox) == sent
    workspace.set_members(*customers(*range(1, 25)))
    assert refresh_when_due(workspace).exited == 1 and workspace.holders() == fan_ids(*range(1, 25))


@pytest.mark.parametrize("is_read_again", [False, True])
def test_taking_back_sets_nobody_to_true_who_may_be_listed_since_they_were_read(
    workspace: EngineWorkspace, is_read_again: bool
) -> None:
    """Whose distinct_id is on the list now nobody knows of people whom no reading has named since; others become false."""
    workspace.set_members(*customers(*range(6)))
    workspace.export(id_property=CUSTOMER)
    workspace.set_members(*customers(0, 1, 2, 7))
    run = refresh_when_due(workspace)
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-3"], "")
    if is_read_again:
        refresh_when_due(workspace)
    with workspace.open() as service:
        undo = service.runs.undo(run.id)
    workspace.run_queued()
    held = workspace.get_run(undo.run_id)
    assert (held.entered, held.exited) == (0, 1)
    assert (
        "Not set to true: 3 people. Somebody was put on the never-export list after they were read, and customer does not "
        "tell who that is; the next refresh adds those who are in the cohort." in str(held.held_reason)
    )
    approve(workspace, held)
    assert workspace.holders() == customer_ids(0, 1, 2)


def test_taking_back_a_change_sets_nobody_to_true_who_was_listed_before_it(workspace: EngineWorkspace) -> None:
    """The change read by distinct_ids only: who of the former User IDs is listed, the next refresh finds out."""
    workspace.set_members(*customers(*range(4)))
    workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-3"], "")
    run = approve(workspace, workspace.export(id_property=""))
    with workspace.open() as service:
        undo = service.runs.undo(run.id)
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo.run_id))
    assert workspace.holders() == set()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert approve(workspace, last(workspace)).state is RunState.SUCCEEDED
    assert workspace.holders() == customer_ids(0, 1, 2)
