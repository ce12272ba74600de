"""Decide who is in a cohort and who has left it when one reading did not add up and the cohort was read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import RunState
from tests.engine_workspace import MAPPED, EngineWorkspace, approve, export_five, fan_ids, fans, patient_workspace
from tests.sandbox.control import Sandbox


@pytest.fixture
def exported(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a data folder with an exported cohort of fan-0 to fan-4."""
    return export_five(data_dir, sandbox)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder, with pages of ten."""
    return patient_workspace(data_dir, sandbox)


def answer_with(sandbox: Sandbox, total: int, *numbers: int, plan: str = "basic") -> None:
    """Let Mixpanel announce a total and list these fans with the next reading; somebody may be among them twice."""
    properties = {"$created": "2026", "plan": plan}
    people = [{"$distinct_id": f"fan-{number}", "$properties": properties} for number in numbers]
    body = {"page": 0, "page_size": 10, "session_id": "s", "status": "ok", "total": total, "results": people}
    sandbox.fault("status", path="/engage", page=0, code=200, body=body)


def test_two_readings_that_each_hide_somebody_else_remove_nobody(exported: EngineWorkspace, sandbox: Sandbox) -> None:
    """Neither adds up; the first lacks fan-4, the second fan-1, and nobody is missing from both."""
    answer_with(sandbox, 5, 0, 1, 2, 3, 3)
    answer_with(sandbox, 5, 0, 0, 2, 3, 4)
    run = exported.export()
    assert (run.state, run.reading, run.exited) == (RunState.SUCCEEDED, 2, 0)
    assert exported.holders() == fan_ids(*range(5))


def test_who_is_missing_from_both_of_two_readings_waits_for_a_person(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Neither adds up; each hides somebody else, and fan-2 is in neither: fan-2 alone would leave, once approved."""
    answer_with(sandbox, 5, 0, 1, 3, 3, 3)
    answer_with(sandbox, 5, 0, 0, 3, 4, 4)
    run = exported.export()
    assert run.state is RunState.HELD and "listed 3 different people, twice; 1 would be removed" in str(run.held_reason)
    assert exported.holders() == fan_ids(*range(5))
    approve(exported, run)
    assert exported.holders() == fan_ids(0, 1, 3, 4)


def test_who_is_in_both_of_two_readings_gets_the_value_of_the_second(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Neither adds up, so both say who is in; what changed between them is newer in the second."""
    workspace.set_members(*fans(*range(9)))
    answer_with(sandbox, 10, *range(9), 8, plan="basic")
    answer_with(sandbox, 10, *range(9), 8, plan="pro")
    run = workspace.export(mapping=MAPPED)
    assert (run.state, run.reading, run.entered) == (RunState.SUCCEEDED, 2, 9)
    assert {str(sandbox.profile(who)).count("'pro'") for who in fan_ids(*range(9))} == {1}


def test_somebody_whom_only_the_first_of_two_readings_lists_stays_until_the_next_refresh(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The second one adds up without fan-4, so fan-3, who is in neither, leaves; fan-4 was just seen, and leaves next time."""
    sandbox.set_members(exported.cohort, fans(*range(3)))
    answer_with(sandbox, 6, 0, 1, 2, 4)
    run = exported.export()
    assert (run.state, run.reading, run.exited) == (RunState.SUCCEEDED, 2, 1)
    assert exported.holders() == fan_ids(0, 1, 2, 4)
    exported.export()
    assert exported.holders() == fan_ids(0, 1, 2)


def test_two_readings_that_never_add_up_hold_the_run_with_the_numbers(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Mixpanel announces 35 and lists 34 different people twice: a person decides, and nobody has left until then."""
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    sandbox.fault("displaced", page=3, by=1, times=2)
    run = workspace.export()
    assert run.state is RunState.HELD and run.held_reason is not None
    assert "announced 35 members and listed 34 different people, twice; 1 would be removed" in run.held_reason
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_somebody_whom_only_the_first_of_two_readings_lists_is_not_added(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The second one adds up, so it says who is in; the first only keeps people from leaving."""
    workspace.set_members(*fans(*range(5)))
    people = [{"$distinct_id": f"fan-{number}", "$properties": {"$created": "2026"}} for number in range(6)]
    body = {"page": 0, "page_size": 10, "session_id": "s", "status": "ok", "total": 7, "results": people}
    sandbox.fault("status", path="/engage", page=0, code=200, body=body)
    run = workspace.export()
    assert (run.state, run.reading, run.entered) == (RunState.SUCCEEDED, 2, 5)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_first_export_whose_readings_list_somebody_twice_each_time_goes_ahead(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Nobody would leave, and who is missing now comes with a later refresh."""
    workspace.set_members(*fans(*range(35)))
    sandbox.fault("displaced", page=3, by=1, times=2)
    run = workspace.export()
    assert (run.state, run.reading, run.entered) == (RunState.SUCCEEDED, 2, 34)
