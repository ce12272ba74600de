"""A profile property as the User ID: exporting by it, doubles, missing values, and the lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.id_property import find_id_property_problem, parse_id_property
from sync.model import RunState
from tests.engine_workspace import (
    ATTRIBUTE,
    CUSTOMER,
    MAPPED,
    EngineWorkspace,
    count_sent,
    customer,
    customer_ids,
    customers,
    fan_ids,
    refresh_when_due,
)
from tests.sandbox.control import PROJECT, Sandbox, anonymous, member


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder with an empty cohort, and pages of ten."""
    sandbox.settings(page_size=10)
    return EngineWorkspace(data_dir, sandbox)


# The first export -----------------------------------------------------------------------------------------------------


def test_the_first_export_by_a_property_sends_its_values_and_a_refresh_the_difference(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """WebEngage never hears of a distinct_id; without news nothing is sent; who left becomes false by the same id."""
    workspace.set_members(*customers(*range(25)))
    run = workspace.export(id_property=CUSTOMER)
    assert (run.state, run.entered, run.identified, run.doubles) == (RunState.SUCCEEDED, 25, 25, 0)
    assert workspace.holders() == customer_ids(*range(25)) and sandbox.profile("fan-0") is None
    sent = count_sent(sandbox)
    assert refresh_when_due(workspace).change_count == 0 and count_sent(sandbox) == sent == 25
    workspace.set_members(*customers(*range(1, 26)))
    run = refresh_when_due(workspace)
    assert (run.entered, run.exited, run.unchanged) == (1, 1, 24) and count_sent(sandbox) == sent + 2
    assert sandbox.holding(ATTRIBUTE) == (customer_ids(*range(1, 26)), customer_ids(0))


def test_the_value_is_the_id_exactly_as_it_is(workspace: EngineWorkspace) -> None:
    """Case and blanks are kept; a whole number becomes text; neither a fraction nor a list is an id."""
    values: list[object] = ["Ab c ", "ab c ", 42, " x", 4.5, True, ["c-1"], {"id": 1}, "x" * 101, 2**60]
    workspace.set_members(*(customer(number, value) for number, value in enumerate(values)))
    run = workspace.export(id_property=CUSTOMER)
    assert workspace.holders() == {"Ab c ", "ab c ", "42", " x"} and run.invalid == 6
    with workspace.open() as service:
        found = {one.user_id: one.reason for one in service.runs.list_rejections(run.id)}
    assert found == {
        "fan-4": "id that is no text and no whole number",
        "fan-5": "id that is no text and no whole number",
        "fan-6": "id that is no text and no whole number",
        "fan-7": "id that is no text and no whole number",
        "fan-8": "id over 100 characters",
        "fan-9": "id that is no text and no whole number",
    }


def test_a_member_without_a_value_is_invalid_and_named_by_the_distinct_id(workspace: EngineWorkspace) -> None:
    """Null, Mixpanel's words for missing, and blanks are no value; who has no profile stays anonymous."""
    nothing = [customer(number, value) for number, value in ((1, ""), (2, "  "), (3, "<null>"), (4, "<undefined>"))]
    workspace.set_members(
        *customers(0),
        *nothing,
        member("fan-5"),
        member("$device:6"),
        anonymous("fan-7"),
        member("$device:8", customer="c-8"),
    )
    run = workspace.export(id_property=CUSTOMER)
    assert (run.state, run.entered, run.invalid, run.anonymous) == (RunState.SUCCEEDED, 2, 5, 1)
    assert workspace.holders() == {"c-0", "c-8"}
    with workspace.open() as service:
        rows = service.runs.list_rejections(run.id)
    assert {one.user_id for one in rows} == fan_ids(1, 2, 3, 4, 5)
    assert {one.reason for one in rows} == {"no value in the User ID property"}


def test_an_export_nobody_has_the_property_of_is_held(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A misspelt name sends nothing, and says what to check."""
    workspace.set_members(*customers(*range(3)))
    run = workspace.export(id_property="costumer")
    assert run.state is RunState.HELD
    assert "None of the 3 members has a value in the User ID property costumer." in str(run.held_reason)
    assert count_sent(sandbox) == 0


@pytest.mark.parametrize("name", [" ", "x" * 256, "a\x00b"])
def test_a_name_that_is_no_property_is_refused(workspace: EngineWorkspace, name: str) -> None:
    """Nothing is started."""
    with pytest.raises(InvalidRequest, match="name of a profile property"):
        workspace.export(id_property=name)


@pytest.mark.parametrize("name", ["", "x" * 255, "customer id"])
def test_a_name_that_may_be_a_property_has_no_problem(name: str) -> None:
    """The longest one Mixpanel keeps, and none, which is the distinct_id."""
    assert find_id_property_problem(name) is None


@pytest.mark.parametrize(
    ("typed", "stored"), [("", ""), ("$distinct_id", ""), ("customer", "customer"), (" $distinct_id", " $distinct_id")]
)
def test_the_default_has_mixpanels_name(typed: str, stored: str) -> None:
    """Nothing, and Mixpanel's own name of it, mean the distinct_id."""
    assert parse_id_property(typed) == stored


# Doubles --------------------------------------------------------------------------------------------------------------


def test_two_members_with_one_user_id_are_one_person(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Counted as doubles, sent once; false only when both have left."""
    twin = customer(30, "c-3")
    workspace.set_members(*customers(*range(12)), twin)
    run = workspace.export(id_property=CUSTOMER)
    assert (run.state, run.reading, run.entered, run.identified, run.doubles) == (RunState.SUCCEEDED, 1, 12, 12, 1)
    assert workspace.holders() == customer_ids(*range(12)) and count_sent(sandbox) == 12
    with workspace.open() as service:
        assert any(
            "1 member has a User ID that another member has, too" in one.message
            for one in service.runs.list_events(run.id)
        )
    workspace.set_members(*customers(0, 1, 2, *range(4, 12)), twin)
    run = refresh_when_due(workspace)
    assert (run.change_count, run.doubles) == (0, 0) and count_sent(sandbox) == 12
    workspace.set_members(*customers(0, 1, 2, *range(4, 12)))
    assert refresh_when_due(workspace).exited == 1 and "c-3" not in workspace.holders()


def test_of_two_values_always_those_of_the_same_member_are_sent(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Whatever the order and the pages; when that member's value changes the new one is sent, and the other's is not."""
    first, second = customer(1, "c-1", plan="gold"), customer(2, "c-1", plan="silver")
    others = [customer(number, plan="free") for number in range(3, 25)]
    workspace.set_members(first, *others, second)
    workspace.export(id_property=CUSTOMER, mapping=MAPPED)
    winner = sandbox.profile("c-1")["attributes"]["Plan"]  # type: ignore[index]
    sent = count_sent(sandbox)
    workspace.set_members(second, *others, first)
    assert refresh_when_due(workspace).change_count == 0
    loser = {"gold": 2, "silver": 1}[winner]
    changed = [customer(loser, "c-1", plan="bronze"), first if loser == 2 else second]
    workspace.set_members(*changed, *others)
    assert refresh_when_due(workspace).change_count == 0 and count_sent(sandbox) == sent
    changed = [customer(3 - loser, "c-1", plan="platinum"), changed[0]]
    workspace.set_members(*changed, *others)
    assert refresh_when_due(workspace).updated == 1
    assert sandbox.profile("c-1")["attributes"]["Plan"] == "platinum"  # type: ignore[index]


def test_a_member_listed_in_anothers_place_is_no_double(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """As many rows as announced, but one member twice: read again before the missing one leaves."""
    workspace.set_members(*customers(*range(25)), customer(30, "c-3"))
    workspace.export(id_property=CUSTOMER)
    sandbox.fault("displaced", page=1, by=1)
    run = refresh_when_due(workspace)
    assert (run.state, run.reading, run.exited, run.doubles) == (RunState.SUCCEEDED, 2, 0, 1)
    assert workspace.holders() == customer_ids(*range(25))


@pytest.mark.parametrize("times", [1, 2])
def test_a_member_listed_again_without_the_property_makes_nobody_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, times: int
) -> None:
    """Changed between two pages, the same member counts as exported and as invalid: somebody else is missing then."""
    workspace.set_members(*customers(*range(25)))
    workspace.export(id_property=CUSTOMER)
    sandbox.fault("displaced", page=1, by=1, body={"plan": "gold"}, times=times)
    run = refresh_when_due(workspace)
    assert (run.state, run.reading) == (RunState.SUCCEEDED if times == 1 else RunState.HELD, 2)
    assert workspace.holders() == customer_ids(*range(25))


# Lists ----------------------------------------------------------------------------------------------------------------


def test_the_never_export_list_counts_by_user_id_and_by_distinct_id(workspace: EngineWorkspace) -> None:
    """Who was listed under the distinct_id is not sent under another User ID; listed later, they become false."""
    workspace.set_members(*customers(*range(10)))
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-1", "c-2"], "")
    run = workspace.export(id_property=CUSTOMER)
    assert (run.entered, run.never_exported) == (8, 2) and workspace.holders() == customer_ids(0, *range(3, 10))
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-3"], "")
    run = refresh_when_due(workspace)
    assert (run.exited, run.removed_by_list, run.never_exported) == (1, 1, 3)
    assert workspace.holders() == customer_ids(0, *range(4, 10))


@pytest.mark.parametrize("watched", ["fan-4", "c-4"])
def test_a_tripwire_counts_by_user_id_and_by_distinct_id(workspace: EngineWorkspace, watched: str) -> None:
    """The run is held, and says so."""
    workspace.set_members(*customers(*range(10)))
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, workspace.cohort, [watched], "")
    run = workspace.export(id_property=CUSTOMER)
    assert run.state is RunState.HELD and "Tripwire: 1 person" in str(run.held_reason)
