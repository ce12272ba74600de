"""People listed by distinct_id while a profile property is the User ID: take-backs say or hold what cannot be known."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.engine.witness import find_witness
from sync.model import Run, RunState
from tests.engine_workspace import (
    CUSTOMER,
    EngineWorkspace,
    approve,
    customer_ids,
    customers,
    fan_ids,
    keep_out,
    last,
    refresh_when_due,
    watch,
)
from tests.sandbox.control import Sandbox

UNKNOWN = (
    "Tripwire: it is not known whether 1 person who must never be in this cohort (f•••4) would be set to true. A take-back "
    "knows people by customer only, and a tripwire may have another ID: look for that person among the people of this run."
)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of six, exported by a property."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*customers(*range(6)))
    return found


def take_back(workspace: EngineWorkspace, run: Run) -> Run:
    """Ask for a take-back, and return it held."""
    with workspace.open() as service:
        undo = service.runs.undo(run.id).run_id
    workspace.run_queued()
    held = workspace.get_run(undo)
    assert held.state is RunState.HELD
    return held


def plan_and_cancel(workspace: EngineWorkspace) -> None:
    """Read the cohort for a dry run that nobody approves."""
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    assert workspace.get_run(run.id).state is RunState.CANCELLED


def remove_three(workspace: EngineWorkspace) -> Run:
    """Export six by the property, and let three of them leave."""
    workspace.export(id_property=CUSTOMER)
    workspace.set_members(*customers(0, 1, 2))
    run = refresh_when_due(workspace)
    assert run.exited == 3
    return run


# Tripwires ------------------------------------------------------------------------------------------------------------


def test_a_take_back_says_that_a_tripwire_may_be_listed_by_distinct_id(workspace: EngineWorkspace) -> None:
    """No cohort is read, so it is not known whose it is; the person who approves decides, once."""
    run = remove_three(workspace)
    watch(workspace, "fan-4")
    held = take_back(workspace, run)
    assert UNKNOWN in str(held.held_reason) and workspace.holders() == customer_ids(0, 1, 2)
    assert approve(workspace, held).state is RunState.SUCCEEDED and workspace.holders() == customer_ids(*range(6))


def test_a_take_back_does_not_speak_of_tripwires_that_the_last_reading_of_its_people_did_not_find(
    workspace: EngineWorkspace,
) -> None:
    """Set before these people were read, it would have been found among them: then it is known that it is not."""
    watch(workspace, "fan-9")
    held = take_back(workspace, remove_three(workspace))
    assert "Tripwire" not in str(held.held_reason)
    assert approve(workspace, held).state is RunState.SUCCEEDED


def test_a_take_back_speaks_of_a_tripwire_that_the_last_reading_of_its_people_found(workspace: EngineWorkspace) -> None:
    """Approved for that run, it is no more approved for this one."""
    watch(workspace, "fan-4")
    approve(workspace, workspace.export(id_property=CUSTOMER))
    workspace.set_members(*customers(0, 1, 2))
    assert UNKNOWN in str(take_back(workspace, refresh_when_due(workspace)).held_reason)


def test_a_tripwire_listed_by_user_id_is_named_as_such_in_a_take_back(workspace: EngineWorkspace) -> None:
    """Nothing is unknown about it."""
    run = remove_three(workspace)
    watch(workspace, "c-4")
    reason = str(take_back(workspace, run).held_reason)
    assert "Tripwire: 1 person who must never be in this cohort is to be set to true (•••)." in reason
    assert "not known" not in reason


def test_a_take_back_that_sets_nobody_to_true_says_nothing_of_tripwires(workspace: EngineWorkspace) -> None:
    """Somebody who becomes false may well be one."""
    run = workspace.export(id_property=CUSTOMER)
    watch(workspace, "fan-4")
    assert "Tripwire" not in str(take_back(workspace, run).held_reason)


@pytest.mark.parametrize("watched", ["fan-4", "c-4"])
def test_a_tripwire_set_after_the_plan_of_a_take_back_holds_it_again(workspace: EngineWorkspace, watched: str) -> None:
    """By either ID; what cannot be known is said, and the next approval counts."""
    held = take_back(workspace, remove_three(workspace))
    watch(workspace, watched)
    held = approve(workspace, held)
    assert held.state is RunState.HELD and workspace.holders() == customer_ids(0, 1, 2)
    sure = "Tripwire: 1 person who must never be in this cohort is to be set to true (•••)."
    assert (UNKNOWN if watched == "fan-4" else sure) in str(held.held_reason)
    assert "0 people are sent, 3 wait for approval." in str(held.held_reason)
    assert approve(workspace, held).state is RunState.SUCCEEDED and workspace.holders() == customer_ids(*range(6))


# The never-export list ------------------------------------------------------------------------------------------------


def test_somebody_listed_after_the_plan_of_a_take_back_keeps_it_from_setting_anybody_to_true(
    workspace: EngineWorkspace,
) -> None:
    """Whose distinct_id it is nobody knows, so nobody is sent as a member; the history says so."""
    held = take_back(workspace, remove_three(workspace))
    keep_out(workspace, "fan-4")
    run = approve(workspace, held)
    assert run.state is RunState.SUCCEEDED and run.entered == 0 and workspace.holders() == customer_ids(0, 1, 2)
    with workspace.open() as service:
        lines = [one.message for one in service.runs.list_events(run.id)]
    assert (
        "Not set to true: 3 people. Somebody was put on the never-export list after the plan was made, and customer does not "
        "tell who that is." in lines
    )


def test_a_take_back_keeps_out_who_was_left_out_by_any_plan_since_and_has_left_the_cohort(
    workspace: EngineWorkspace,
) -> None:
    """The last plan names them no more, and a plan that was cancelled had read them after they were listed."""
    workspace.export(id_property=CUSTOMER)
    keep_out(workspace, "fan-3")
    plan_and_cancel(workspace)
    run = workspace.export()
    assert run.removed_by_list == 1
    workspace.set_members(*customers(0, 1, 2, 4, 5))
    refresh_when_due(workspace)
    approve(workspace, take_back(workspace, run))
    assert workspace.holders() == customer_ids(0, 1, 2, 4, 5)


def test_a_plan_that_was_cancelled_proves_nothing_about_people_who_are_in_webengage(workspace: EngineWorkspace) -> None:
    """It read a cohort without them: who was listed before it may be one of those set to true again."""
    workspace.set_members(*customers(0, 1, 2))
    workspace.export(id_property=CUSTOMER)
    workspace.set_members(*customers(*range(6)))
    run = refresh_when_due(workspace)
    keep_out(workspace, "fan-4")
    workspace.set_members(*customers(0, 1, 2))
    plan_and_cancel(workspace)
    undo = approve(workspace, take_back(workspace, run))
    assert workspace.holders() == customer_ids(0, 1, 2)
    again = take_back(workspace, undo)
    assert again.entered == 0 and "Not set to true: 3 people." in str(again.held_reason)


def test_a_take_back_sets_who_was_taken_off_the_list_since_to_true_again(workspace: EngineWorkspace) -> None:
    """Who was left out of a plan for an entry that is gone is on no list, whoever else is."""
    keep_out(workspace, "fan-4")
    workspace.export(id_property=CUSTOMER)
    keep_out(workspace, "fan-3")
    run = refresh_when_due(workspace)
    assert run.removed_by_list == 1
    with workspace.open() as service:
        service.safety.remove_never_export(None, ["fan-3"])
    held = take_back(workspace, run)
    assert held.entered == 1 and "never-export" not in str(held.held_reason)
    approve(workspace, held)
    assert workspace.holders() == customer_ids(0, 1, 2, 3, 5)


def test_a_take_back_when_a_plan_of_an_earlier_version_left_somebody_out_keeps_them_out(
    workspace: EngineWorkspace,
) -> None:
    """It stored the hash of the User ID alone, so whether its entry is still on the list nobody knows."""
    keep_out(workspace, "fan-4")
    workspace.export(id_property=CUSTOMER)
    keep_out(workspace, "fan-3")
    run = refresh_when_due(workspace)
    with workspace.open() as service:
        service.safety.remove_never_export(None, ["fan-3"])
    with workspace.open_store() as store, workspace.open_database() as db:
        old = b"".join(sorted(store.safety_lists.hash_ids(["c-3", "c-4"])))
        db.execute("update run set listed = ? where id = ?", (old, run.id))
    assert take_back(workspace, run).entered == 0


def test_who_is_listed_by_distinct_id_after_a_rejected_removal_is_removed_when_they_are_read_again(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The list promises false with the next run, so it is tried once more, and not again when it is rejected again."""
    workspace.export(id_property=CUSTOMER)
    sandbox.poison("c-3")
    workspace.set_members(*customers(0, 1, 2, 4, 5))
    assert refresh_when_due(workspace).rejected == 1
    keep_out(workspace, "fan-3")
    workspace.set_members(*customers(*range(6)))
    assert refresh_when_due(workspace).rejected == 1
    assert refresh_when_due(workspace).change_count == 0
    with workspace.open() as service:
        service.safety.remove_never_export(None, ["fan-3"])
    keep_out(workspace, "fan-3")
    sandbox.clear_faults()
    run = refresh_when_due(workspace)
    assert (run.removed_by_list, workspace.holders()) == (1, customer_ids(0, 1, 2, 4, 5))


@pytest.mark.parametrize("is_planned", [False, True])
def test_taking_back_a_change_sets_nobody_to_true_who_may_be_listed_by_the_new_user_id(
    workspace: EngineWorkspace, is_planned: bool
) -> None:
    """Somebody listed by the User ID of now is not found by the distinct_id, which becomes the User ID again."""
    workspace.export()
    change = approve(workspace, workspace.export(id_property=CUSTOMER))
    if not is_planned:
        keep_out(workspace, "c-4")
    held = take_back(workspace, change)
    assert held.entered == (6 if is_planned else 0)
    if is_planned:
        keep_out(workspace, "c-4")
    approve(workspace, held)
    assert workspace.holders() == set()


def test_giving_up_a_user_id_property_says_that_the_lists_find_nobody_by_it(workspace: EngineWorkspace) -> None:
    """Nobody is listed: nothing to say; then it is said by the plan and by a take-back."""
    said = "People on the never-export list or tripwires by customer only are not found any more: list them by distinct_id."
    run = workspace.export(id_property=CUSTOMER)
    held = workspace.export(id_property="")
    assert "changes from customer" in str(held.held_reason) and said not in str(held.held_reason)
    with workspace.open() as service:
        service.runs.cancel(held.id)
    watch(workspace, "c-99")
    assert said in str(workspace.export(id_property="").held_reason)
    assert run.state is RunState.SUCCEEDED and last(workspace).state is RunState.HELD


def test_taking_back_a_change_says_that_the_lists_find_nobody_by_the_new_user_id(workspace: EngineWorkspace) -> None:
    """The former User ID is another one than people may have been listed by since."""
    workspace.export()
    change = approve(workspace, workspace.export(id_property=CUSTOMER))
    watch(workspace, "c-99")
    reason = str(take_back(workspace, change).held_reason)
    assert "by customer only are not found any more" in reason
    assert "A take-back knows people by $distinct_id only" in reason
    assert workspace.holders() == customer_ids(*range(6)) and fan_ids(1).isdisjoint(workspace.holders())


def test_a_witness_when_a_property_is_the_user_id_is_nobody_listed_by_distinct_id(workspace: EngineWorkspace) -> None:
    """Who was listed after the plan was made is not sent once more to find out whether the account is at fault."""
    workspace.export(id_property=CUSTOMER)
    run = workspace.export(dry_run=True)
    with workspace.open_store() as store:
        sync = store.syncs.get_sync(1)
        assert sync and find_witness(store, sync, run) == "c-0"
    keep_out(workspace, "fan-0")
    with workspace.open_store() as store:
        assert find_witness(store, sync, run) == "c-1"


def test_a_take_back_names_several_tripwires_that_may_be_among_its_people(workspace: EngineWorkspace) -> None:
    """Those that are certain come apart from those of which it is not known."""
    run = remove_three(workspace)
    watch(workspace, "fan-4", "fan-5", "c-3")
    reason = str(take_back(workspace, run).held_reason)
    assert "Tripwire: it is not known whether any of 2 people who must never be in this cohort (f•••4, f•••5)" in reason
    assert "Tripwire: 1 person who must never be in this cohort is to be set to true (•••)." in reason
