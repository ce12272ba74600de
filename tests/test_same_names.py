"""Choices of projects and cohorts that are called alike: what is chosen is what the click meant.

Streamlit knows an option by its label alone, so the second of two equal ones would be the first.
"""

from __future__ import annotations

import pytest

from pages.parts.formatting import tell_apart
from tests.sandbox.control import PROJECT, PROJECT_NAME, SECRET, USERNAME
from tests.workspace import Workspace, make_fans, page_text

pytestmark = pytest.mark.slow


@pytest.fixture
def twins(fans: Workspace) -> tuple[int, int]:
    """Export two cohorts called Fans, of thirty people and of five; return their numbers."""
    first = fans.cohort
    second = fans.sandbox.add_cohort("Fans", make_fans(5))
    fans.export(first)
    fans.export(second)
    return first, second


def test_names_that_occur_once_are_left_alone_and_others_get_their_number() -> None:
    """Also one that is called like a choice of ours, or like the mended name of another one."""
    assert tell_apart({1: "A", 2: "B"}) == {1: "A", 2: "B"}
    assert tell_apart({1: "A", 2: "A", 3: "B"}) == {1: "A (1)", 2: "A (2)", 3: "B"}
    assert tell_apart({1: "Any cohort", 2: "B"}, "Any cohort") == {1: "Any cohort (1)", 2: "B"}
    assert tell_apart({1: "Caf\u00e9", 2: "Cafe\u0301 "}) == {1: "Caf\u00e9 (1)", 2: "Cafe\u0301  (2)"}
    assert list(tell_apart({1: "V\u200bIP", 2: "VIP"}).values()) == ["V\u200bIP (1)", "VIP (2)"]
    labels = tell_apart({1: "A", 2: "A", 3: "A (2)"})
    assert len(set(labels.values())) == 3


@pytest.mark.parametrize("place", [0, 1])
def test_tripwire_for_one_of_two_cohorts_with_one_name_is_set_for_that_one(
    fans: Workspace, twins: tuple[int, int], place: int
) -> None:
    """It would watch the wrong cohort, and the right one would be sent."""
    app = fans.page("safety")
    app.selectbox(key=f"trip-cohort-{PROJECT}").set_value(twins[place]).run()
    app.text_area(key="trip-ids").set_value("fan-3")
    next(button for button in app.button if button.key == "trip-add").click().run()
    with fans.open() as service:
        assert [one.cohort_id for one in service.safety.list_tripwires(PROJECT)] == [twins[place]]
    assert list(app.dataframe[0].value["Cohort"]) == [f"Fans ({twins[place]})"]


@pytest.mark.parametrize("place", [0, 1])
def test_runs_of_one_of_two_cohorts_with_one_name_are_those_of_that_one(
    fans: Workspace, twins: tuple[int, int], place: int
) -> None:
    """The address names its sync."""
    app = fans.page("runs")
    app.selectbox(key="cohort-0").set_value(place + 1).run()
    assert ("30 added" in page_text(app), "5 added" in page_text(app)) == (place == 0, place == 1)


def test_receipt_compares_with_the_one_of_two_cohorts_with_one_name_that_was_chosen(
    fans: Workspace, twins: tuple[int, int]
) -> None:
    """One has five people in common, the other one thirty."""
    third = fans.sandbox.add_cohort("Everybody", make_fans(40))
    fans.export(third)
    app = fans.page("receipt", cohort=str(third))
    box = app.multiselect(key="receipt-compared")
    assert len(set(box.options)) == 2
    [label] = [one for one in box.options if one.endswith("(2)")]
    box.set_value([label]).run()
    assert "5 in both" in page_text(app) and "30 in both" not in page_text(app)
    box.set_value(box.options).run()
    assert "Fans (1)" in page_text(app) and "Fans (2)" in page_text(app)


@pytest.mark.parametrize("number", [7, PROJECT])
def test_project_is_the_one_of_two_with_one_name_that_was_chosen(fans: Workspace, number: int) -> None:
    """A test project and a real one are often called alike."""
    fans.sandbox.add_project(7, PROJECT_NAME)
    with fans.open() as service:
        service.connections.connect_mixpanel(7, USERNAME, SECRET, fans.sandbox.url)
    app = fans.page("syncs", project=str(49 - number))
    app.selectbox(key="project").set_value(number).run()
    assert app.selectbox(key="project").value == number
