"""Guards in both directions: each rule at its border, the limits of a sync, and what a first export was shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.errors import InvalidRequest
from sync.guards import GuardLimits, PlanNumbers, Reading, explain_second_person, find_guard_reasons
from sync.model import RunState
from sync.steps import Steps
from sync.views import GuardTrial
from tests.engine_workspace import CUSTOMER, EngineWorkspace, approve, customers, fans
from tests.sandbox.control import PROJECT, Sandbox, member


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder with an empty cohort."""
    return EngineWorkspace(data_dir, sandbox)


def numbers(added: int, removed: int, size: int, members: int | None = None) -> PlanNumbers:
    """Return the numbers of a refresh in which everybody read is identified."""
    identified = size + added - removed if members is None else members
    return PlanNumbers(added=added, removed=removed, size=size, reading=Reading(identified, identified))


@pytest.mark.parametrize(
    ("added", "removed", "size", "held"),
    [
        (0, 100, 200, False),
        (0, 101, 200, True),
        (0, 101, 505, False),
        (0, 101, 504, True),
        (100, 0, 10, False),
        (101, 0, 10, True),
        (101, 0, 202, False),
        (101, 0, 201, True),
        (101, 0, 0, True),
        (0, 5, 5, True),
        (0, 0, 0, False),
    ],
)
def test_a_guard_when_many_people_come_or_go_holds_beyond_both_limits(
    added: int, removed: int, size: int, held: bool
) -> None:
    """More than the share and more than the number, or nobody left at all."""
    assert bool(find_guard_reasons(numbers(added, removed, size), GuardLimits())) is held


@pytest.mark.parametrize(("identified", "held"), [(46, False), (45, True), (0, True)])
def test_a_guard_when_the_share_of_identified_members_falls_by_half_holds(identified: int, held: bool) -> None:
    """It was 90 of 100; 45 of 100 is half of that."""
    plan = PlanNumbers(added=0, removed=0, size=90, reading=Reading(identified, 100), former=Reading(90, 100))
    assert bool(find_guard_reasons(plan, GuardLimits())) is held


def test_a_guard_when_nobody_was_read_gives_that_reason_alone() -> None:
    """That everybody would be removed says nothing more."""
    assert find_guard_reasons(numbers(0, 300, 300), GuardLimits()) == [
        "Mixpanel returned nobody, but 300 people were exported before."
    ]


def test_a_guard_when_nobody_was_identified_before_either_says_nothing_of_their_share() -> None:
    """A cohort of devices has no share that could fall."""
    plan = PlanNumbers(added=0, removed=0, size=0, reading=Reading(0, 10), former=Reading(0, 10))
    assert not find_guard_reasons(plan, GuardLimits())


@pytest.mark.parametrize(
    ("now", "former"),
    [(Reading(36, 40), Reading(90, 100)), (Reading(5, 1_000), Reading(9, 1_000)), (Reading(90, 100), Reading(9, 10))],
)
def test_a_guard_when_the_share_of_identified_members_hardly_falls_holds_nothing(now: Reading, former: Reading) -> None:
    """However many fewer they are: the cohort itself became smaller, or larger."""
    plan = PlanNumbers(added=0, removed=0, size=90, reading=now, former=former)
    assert not find_guard_reasons(plan, GuardLimits())


def test_a_guard_names_everything_that_is_unusual_with_its_numbers_and_limits() -> None:
    """First who would be added, then who would be removed, then what was read."""
    plan = PlanNumbers(added=1_500, removed=60, size=80, reading=Reading(100, 1_000), former=Reading(2_000, 2_500))
    limits = GuardLimits(add_share=12.5, add_people=1_000, remove_share=2.5, remove_people=50)
    assert find_guard_reasons(plan, limits) == [
        "1,500 people would be added to the 80 exported before. "
        "That is 1,875.0 %; this sync is held above 12.5 % and 1,000 people.",
        "60 of 80 people exported before would be removed. "
        "That is 75.0 %; this sync is held above 2.5 % and 50 people.",
        "Only 100 of 1,000 members with a profile are identified, which is 10 %; in the last successful run it was 80 % "
        "(2,000 of 2,500).",
    ]


def test_a_second_person_may_be_needed_for_more_than_one_person() -> None:
    """The limit is a number of people, and one is a person."""
    assert explain_second_person(1).startswith("Exports to more than 1 person need the approval of a second person")
    assert explain_second_person(2_000).startswith("Exports to more than 2,000 people need")


@pytest.mark.parametrize(("identified", "held"), [(120, False), (121, True)])
def test_a_guard_when_a_first_export_outgrows_its_preview_holds(identified: int, held: bool) -> None:
    """More than a fifth more than the 100 people of the preview; without a preview a first export is not held."""
    reading = Reading(identified, identified)
    plan = PlanNumbers(added=identified, removed=0, size=0, reading=reading, is_first=True, previewed=100)
    assert bool(find_guard_reasons(plan, GuardLimits())) is held
    without = PlanNumbers(added=identified, removed=0, size=0, reading=reading, is_first=True)
    assert not find_guard_reasons(without, GuardLimits())


@pytest.mark.parametrize(("previewed", "added"), [(0, 2), (1, 1), (1, 0)])
def test_a_guard_when_a_first_export_has_more_people_than_its_preview_counts_them_as_the_preview_did(
    previewed: int, added: int
) -> None:
    """Some may be there already, or never exported; also of a cohort that was empty then."""
    plan = PlanNumbers(added=added, removed=0, size=0, reading=Reading(2, 2), is_first=True, previewed=previewed)
    [reason] = find_guard_reasons(plan, GuardLimits())
    assert reason.startswith(f"2 people would be exported, but the preview this was started from showed {previewed};")


def test_a_guard_when_nobody_was_read_or_exported_says_nothing_of_a_share() -> None:
    """An empty cohort that was empty before: nobody of nobody is no share."""
    plan = PlanNumbers(added=0, removed=0, size=0, reading=Reading(0, 0), former=Reading(90, 100))
    assert not find_guard_reasons(plan, GuardLimits())


def test_a_guard_when_members_were_read_and_none_is_identified_names_the_removal() -> None:
    """Mixpanel returned somebody, so it is not said that it returned nobody."""
    plan = PlanNumbers(added=0, removed=200, size=200, reading=Reading(0, 200))
    assert [reason.split(".")[0] for reason in find_guard_reasons(plan, GuardLimits())] == [
        "200 of 200 people exported before would be removed"
    ]


@pytest.mark.parametrize(
    ("limits", "is_refused"),
    [
        (GuardLimits(add_share=0, add_people=0, remove_share=0, remove_people=0), False),
        (GuardLimits(10_000, 1_000_000_000, 10_000, 1_000_000_000), False),
        (GuardLimits(add_share=10_000.1), True),
        (GuardLimits(remove_share=10_000.1), True),
        (GuardLimits(add_people=1_000_000_001), True),
        (GuardLimits(remove_people=1_000_000_001), True),
        (GuardLimits(add_share=-0.1), True),
        (GuardLimits(remove_share=-0.1), True),
        (GuardLimits(add_people=-1), True),
        (GuardLimits(remove_people=-1), True),
    ],
)
def test_limits_at_their_borders_are_taken_and_beyond_them_refused(limits: GuardLimits, is_refused: bool) -> None:
    """The schema has the same borders: what is not refused here must not fail there."""
    assert bool(limits.find_problem()) is is_refused


def test_a_refresh_that_adds_far_more_people_is_held_and_approved_with_a_higher_limit(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Nobody is added before a person approves; the raised limit then lets as many pass, and would have held none."""
    workspace.set_members(*fans(*range(20)))
    workspace.export()
    workspace.set_members(*fans(*range(140)))
    run = workspace.export()
    assert run.state is RunState.HELD
    assert run.held_reason == (
        "120 people would be added to the 20 exported before. "
        "That is 600.0 %; this sync is held above 50 % and 100 people."
    )
    assert len(workspace.holders()) == 20
    with workspace.open() as service:
        assert service.guards.get(1).trial == GuardTrial(held=1, runs=2)
        limits = service.guards.suggest_limits(run)
        assert limits == GuardLimits(add_people=120)
        assert service.guards.try_limits(1, limits) == GuardTrial(held=0, runs=2)
        service.runs.approve(run.id, limits=limits)
    workspace.run_queued()
    assert workspace.holders() == sandbox.exportable(workspace.cohort) and len(workspace.holders()) == 140
    workspace.set_members(*fans(*range(260)))
    assert workspace.export().state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(600)))
    assert workspace.export().state is RunState.HELD


def test_an_export_is_held_when_the_cohort_grew_since_its_preview(workspace: EngineWorkspace) -> None:
    """The number a person was shown goes with the request, whichever way it was started."""
    workspace.set_members(*fans(*range(10)))
    with workspace.open() as service:
        assert service.cohorts.preview(PROJECT, workspace.cohort).identified == 10
    workspace.set_members(*fans(*range(13)))
    run = workspace.export()
    assert run.state is RunState.HELD and "the preview this was started from showed 10" in str(run.held_reason)
    assert workspace.holders() == set()


def test_a_failed_first_export_that_goes_on_is_no_refresh(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The rest of a first export is not held for adding many people to the few that were sent."""
    workspace.set_members(*fans(*range(300)))
    sandbox.fault("status", path="bulk-users", code=401, times=0, after=1)
    assert workspace.export().state is RunState.FAILED
    assert len(workspace.holders()) == 25
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert workspace.get_run(2).state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_an_export_after_everything_was_cleared_is_a_first_export_again(workspace: EngineWorkspace) -> None:
    """A person exports the cohort anew, so that it adds everybody is no reason to hold it."""
    workspace.set_members(*fans(*range(150)))
    workspace.export()
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert workspace.holders() == set()
    assert workspace.export().state is RunState.SUCCEEDED and len(workspace.holders()) == 150


def test_a_reading_in_which_ids_were_lost_is_held(workspace: EngineWorkspace) -> None:
    """Half of the people are devices now, as after a broken sign-in: the share of identified members fell by half."""
    workspace.set_members(*fans(*range(10)))
    workspace.export()
    workspace.set_members(*fans(*range(5)), *(member(f"$device:{number}") for number in range(5)))
    run = workspace.export()
    assert run.state is RunState.HELD and "Only 5 of 10 members with a profile are identified" in str(run.held_reason)
    assert len(workspace.holders()) == 10


def test_a_lifted_guard_lets_many_pass_and_never_an_empty_reading(workspace: EngineWorkspace) -> None:
    """Lifting is about limits; nobody at all is always asked about. A lifted guard can be put back."""
    workspace.set_members(*fans(*range(15)))
    workspace.export()
    with workspace.open() as service:
        service.guards.lift(1)
    workspace.set_members(*fans(*range(150)))
    assert workspace.export().state is RunState.SUCCEEDED
    workspace.set_members()
    run = workspace.export()
    assert run.state is RunState.HELD and "returned nobody" in str(run.held_reason)
    with workspace.open() as service:
        service.runs.cancel(run.id)
        service.guards.put_back(1)
        assert service.guards.get(1).enabled
    workspace.set_members(*fans(*range(5)))
    assert workspace.export().state is RunState.HELD


def test_limits_nobody_can_mean_are_refused(workspace: EngineWorkspace) -> None:
    """A negative number or an endless share changes nothing."""
    workspace.set_members(*fans(1))
    workspace.export()
    with workspace.open() as service:
        for limits in (GuardLimits(add_share=-1), GuardLimits(remove_share=1e9), GuardLimits(add_people=-1)):
            with pytest.raises(InvalidRequest):
                service.guards.set_limits(1, limits)
        assert service.guards.get(1).limits == GuardLimits()


def test_limits_are_not_suggested_for_a_run_that_something_else_holds(workspace: EngineWorkspace) -> None:
    """Another User ID and a take-back change everybody; raising a limit for that would switch off the guard for later."""
    workspace.set_members(*customers(*range(120)))
    workspace.export()
    run = workspace.export(id_property=CUSTOMER)
    with workspace.open() as service:
        assert run.entered == run.exited == 120 and service.guards.suggest_limits(run) is None
    assert "held above" not in str(run.held_reason)
    assert approve(workspace, run).state is RunState.SUCCEEDED
    with workspace.open() as service:
        assert service.guards.get(1).trial == GuardTrial(held=0, runs=2)
        back = service.runs.undo(run.id).run_id
    workspace.run_queued()
    with workspace.open() as service:
        run = service.runs.get(back)
        assert run.entered == run.exited == 120 and service.guards.suggest_limits(run) is None


def test_limits_are_not_suggested_when_they_held_nothing(workspace: EngineWorkspace) -> None:
    """A lifted guard holds nothing, and an approved first step has passed it."""
    workspace.set_members(*fans(*range(10)))
    workspace.export()
    workspace.set_members(*fans(*range(160)))
    held = workspace.export(steps=Steps(first=5))
    with workspace.open() as service:
        assert service.guards.suggest_limits(held) == GuardLimits(add_people=150)
    run = approve(workspace, held)
    with workspace.open() as service:
        assert run.steps_sent == 1 and service.guards.suggest_limits(run) is None
        service.guards.lift(1)
        assert service.guards.suggest_limits(held) is None


def test_a_trial_judges_additions_and_removals_of_the_last_forty_runs(workspace: EngineWorkspace) -> None:
    """Of 200 people: an addition of 150 is too long ago, 101 removed exceed the limit, 101 with one by a list do not."""
    workspace.set_members(*fans(*range(3)))
    workspace.export()
    with workspace.open_database() as db:
        db.executemany(
            """
            insert into run
                (sync_id, state, purpose, queued_at, finished_at, not_before, size_before, entered, exited, removed_by_list)
            values (1, 'succeeded', 'refresh', 1, 1, 1, 200, ?, ?, ?)
            """,
            [(150, 0, 0), (0, 101, 0), (0, 101, 1), *[(1, 1, 0)] * 38],
        )
    with workspace.open() as service:
        assert service.guards.get(1).trial == GuardTrial(held=1, runs=40)
        assert service.guards.try_limits(1, GuardLimits(remove_people=101)) == GuardTrial(held=0, runs=40)


@pytest.mark.parametrize(
    ("planned", "suggested"),
    [
        ({"entered": 150}, GuardLimits(add_people=150)),
        ({"entered": 99, "exited": 120, "removed_by_list": 10}, GuardLimits(remove_people=110)),
        ({"entered": 150, "exited": 120}, GuardLimits(add_people=150, remove_people=120)),
        ({"entered": 100, "exited": 110, "removed_by_list": 10}, None),
        ({"entered": 150, "exited": 120, "undoes": 1}, None),
        ({"entered": 150, "exited": 120, "id_property_before": ""}, None),
        ({"id": 1, "size_before": 0, "entered": 150}, None),
    ],
)
def test_limits_are_suggested_for_what_exceeds_them_alone(
    workspace: EngineWorkspace, planned: dict[str, Any], suggested: GuardLimits | None
) -> None:
    """Of 200 people: each direction by itself, as a first export and what is no news of the cohort by none."""
    workspace.set_members(*fans(*range(3)))
    workspace.export()
    run = replace(workspace.export(dry_run=True), **{"size_before": 200} | planned)
    with workspace.open() as service:
        assert service.guards.suggest_limits(run) == suggested
        service.guards.lift(1)
        assert service.guards.suggest_limits(run) is None


def test_people_who_leave_because_they_are_listed_hold_no_run(workspace: EngineWorkspace) -> None:
    """However many: a person decided that they leave."""
    workspace.set_members(*fans(*range(120)))
    workspace.export()
    with workspace.open() as service:
        service.safety.add_never_export(None, [f"fan-{number}" for number in range(110)])
    run = workspace.export()
    assert (run.state, run.exited, run.removed_by_list) == (RunState.SUCCEEDED, 110, 110)


def test_a_guard_lifted_with_an_approval_names_its_run_in_the_audit_log(workspace: EngineWorkspace) -> None:
    """Later somebody asks why nothing was held."""
    workspace.set_members(*fans(*range(3)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        service.runs.approve(run.id, always=True)
        assert [one.run_id for one in service.admin.list_audit(10) if one.action == "guard"] == [run.id]


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (numbers(1, 0, 3), "1 person would be added to the 3 exported before. That is 33.3 %; this sync is held above"),
        (numbers(0, 1, 1, members=1), "1 of 1 person exported before would be removed. That is 100.0 %; this sync is"),
        (numbers(0, 1, 2), "is held above 0 % and 0 people."),
    ],
)
def test_a_guard_when_it_holds_one_person_says_so_in_the_singular(plan: PlanNumbers, sentence: str) -> None:
    """Limits of zero hold a run for anybody."""
    [reason] = find_guard_reasons(plan, GuardLimits(add_share=0, add_people=0, remove_share=0, remove_people=0))
    assert sentence in reason
