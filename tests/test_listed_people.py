"""Name the cohorts in which people on the lists stay true, and none where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import Run, RunState
from sync.steps import Steps
from tests.engine_workspace import CUSTOMER, EngineWorkspace, approve, customers, fan_ids, fans, stop_and_clear
from tests.sandbox.control import LICENSE, Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of six."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*customers(*range(6)))
    return found


def keep_out(workspace: EngineWorkspace, user_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put somebody on the never-export list; return in which cohorts they stay true, and in which they may."""
    with workspace.open() as service:
        found = service.safety.add_never_export(LICENSE, [user_id])
    return found.stay_true, tuple(one.cohort_name for one in found.may_stay_true)


def export_in_steps(workspace: EngineWorkspace, count: int) -> Run:
    """Export the cohort to so many people at first; the run is held after them."""
    run = workspace.export(steps=Steps(first=count))
    assert run.state is RunState.HELD and workspace.get_run(run.id).requests > 0
    return run


def test_who_is_listed_once_nobody_of_a_cohort_is_true_any_more_may_stay_true_nowhere(
    workspace: EngineWorkspace,
) -> None:
    """It was cleared, so whatever ID the person has there, nothing is left to do."""
    workspace.export(id_property=CUSTOMER)
    stop_and_clear(workspace)
    assert keep_out(workspace, "fan-3") == ((), ())


def test_who_is_listed_while_nobody_of_a_dry_run_was_sent_may_stay_true_nowhere(workspace: EngineWorkspace) -> None:
    """Its plan has them, and the list takes them out before anybody approves."""
    run = workspace.export(id_property=CUSTOMER, dry_run=True)
    assert keep_out(workspace, "fan-3") == ((), ())
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert workspace.holders() == {f"c-{number}" for number in (0, 1, 2, 4, 5)}


def test_who_was_true_before_a_run_that_is_held_after_a_step_stays_true_when_listed(
    workspace: EngineWorkspace,
) -> None:
    """Of the members of before the step sends nothing, and they are true all the same; who waits is not true."""
    workspace.export()
    workspace.set_members(*customers(*range(6)), *fans(*range(6, 80)))
    export_in_steps(workspace, 25)
    new = workspace.holders() - {f"fan-{number}" for number in range(6)}
    assert len(new) == 25
    assert keep_out(workspace, "fan-2") == (("Fans",), ())
    assert keep_out(workspace, min(new)) == (("Fans",), ())
    assert keep_out(workspace, min(fan_ids(*range(6, 80)) - new)) == ((), ())


def test_a_person_is_said_to_have_another_id_as_soon_as_somebody_exports_by_a_property(
    workspace: EngineWorkspace,
) -> None:
    """The first run has not begun, and who is looked up or forgotten now is there by that ID in a minute."""
    workspace.start_export(id_property=CUSTOMER)
    with workspace.open() as service:
        assert [one.id_property for one in service.people.find("fan-3").known_by] == [CUSTOMER]


@pytest.mark.parametrize("ended", [False, True])
def test_a_dry_run_by_a_property_that_nobody_approved_says_nothing_about_the_ids_in_webengage(
    workspace: EngineWorkspace, ended: bool
) -> None:
    """Everybody is there by the distinct_id, held or cancelled, so by it they are found and nobody has another ID."""
    workspace.export()
    run = workspace.export(id_property=CUSTOMER, dry_run=True)
    with workspace.open() as service:
        if ended:
            service.runs.cancel(run.id)
        service.syncs.pause(1)
        assert service.people.find("fan-3").known_by == ()
    assert keep_out(workspace, "fan-3") == (("Fans",), ())
    assert keep_out(workspace, "fan-77") == ((), ())


def test_an_export_by_a_property_that_is_cancelled_after_a_step_left_people_by_its_ids(
    workspace: EngineWorkspace,
) -> None:
    """Ten were sent by the property before somebody cancelled the rest, so who is listed by distinct_id may be one."""
    workspace.set_members(*customers(*range(30)))
    run = workspace.export(steps=Steps(first=10), id_property=CUSTOMER)
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.CANCELLED and len(workspace.holders()) == 10
    assert keep_out(workspace, "fan-3") == ((), ("Fans",))
