"""Specify the list of cohorts, without a browser: the order of its rows, and what it says when Mixpanel does not answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from sync.views import CohortList
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import Workspace, click_button, make_fans, page_text, wait_until


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(connected: Workspace, sandbox: Sandbox) -> None:
    """Name, members and created: each the usual way first, and the address says which."""
    for name, size in (("Beta", 2), ("alpha", 1), ("Gamma", 3)):
        sandbox.add_cohort(name, make_fans(size))
    app = connected.page("cohorts")
    assert list_names(app) == ["alpha", "Beta", "Gamma"]
    for heading, names in (
        ("Name", ["Gamma", "Beta", "alpha"]),
        ("Members", ["Gamma", "Beta", "alpha"]),
        ("Members", ["alpha", "Beta", "Gamma"]),
        ("Name", ["alpha", "Beta", "Gamma"]),
    ):
        click_button(app, heading)
        assert list_names(app) == names, heading
    click_button(app, "Members")
    assert app.selectbox(key="sort").value == "Most people"


def test_the_first_list_when_mixpanel_answers_an_error_can_be_asked_for_again(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """Nothing is known yet: the page has its title, says what Mixpanel answered, and a button asks once more."""
    sandbox.add_cohort("Fans", make_fans(2))
    sandbox.fault("status", api="mixpanel", code=500, times=1)
    app = connected.page("cohorts")
    assert app.title[0].value == "Cohorts" and "answered 500" in page_text(app)
    click_button(app, "Try again")
    assert list_names(app) == ["Fans"] and not app.error


def test_a_list_that_could_not_be_refreshed_says_so_after_the_next_click_too(
    connected: Workspace, sandbox: Sandbox
) -> None:
    """Sorting draws the page again a moment later: the numbers are still the former ones, and the page still says why."""
    sandbox.add_cohort("Fans", make_fans(2))
    app = connected.page("cohorts")
    sandbox.fault("status", api="mixpanel", code=500, times=1)
    for button in ("Refresh list", "Members"):
        click_button(app, button)
        assert "answered 500" in page_text(app), button
        assert list_names(app) == ["Fans"]
    click_button(app, "Refresh list")
    assert "answered 500" not in page_text(app)


def list_names(app: AppTest) -> list[str]:
    """Return the names of the cohorts a page lists, from the top."""
    return [link.proto.label for link in app.get("page_link") if link.proto.query_string]


def test_the_filter_of_cohorts_does_not_call_synced_what_its_rows_call_otherwise(connected: Workspace) -> None:
    """A stopped cohort was listed under “Synced” with the badge “Stopped”, and is not in step any more."""
    connected.add_cohort(3)
    connected.export()
    with connected.open() as service:
        service.syncs.stop(1)
    app = connected.page("cohorts", show="With a sync")
    assert "Stopped" in page_text(app) and "No cohort matches" not in page_text(app)
    assert app.selectbox(key="show").options == ["All cohorts", "With a sync", "Not synced"]


@pytest.mark.parametrize("fault", [{"kind": "late", "ms": 1500}, {"kind": "stall", "seconds": 1.5}])
def test_a_list_that_was_asked_for_before_another_one_and_comes_after_it_replaces_nothing(
    fans: Workspace, fault: dict[str, Any]
) -> None:
    """Two people open the list; a cohort renamed meanwhile keeps its new name, and one that was added stays."""
    fans.export()
    fans.sandbox.fault(path="cohorts/list", **fault)

    def read_list() -> CohortList:
        with fans.open() as service:
            return service.cohorts.list(fresh=True)

    with ThreadPoolExecutor(1) as pool:
        asked_first = pool.submit(read_list)
        wait_until(lambda: fans.sandbox.faults() == [])
        fans.sandbox.rename_cohort(fans.cohort, "Best fans")
        fans.sandbox.add_cohort("New", make_fans(2))
        assert [one.name for one in read_list().cohorts] == ["Best fans", "New"]
        assert [one.name for one in asked_first.result().cohorts] == ["Best fans", "New"]
    with fans.open() as service:
        listed = service.cohorts.list()
        assert [one.name for one in listed.cohorts] == ["Best fans", "New"] and listed.problem is None
        assert service.syncs.get(1).cohort_name == "Best fans"


def test_a_list_when_the_clock_was_set_back_replaces_the_one_of_before(fans: Workspace) -> None:
    """It was not asked for earlier; the clock only says so."""
    with fans.open() as service:
        service.cohorts.list(fresh=True)
    fans.ahead = -7200.0
    fans.sandbox.rename_cohort(fans.cohort, "Best fans")
    with fans.open() as service:
        assert [one.name for one in service.cohorts.list(fresh=True).cohorts] == ["Best fans"]


def test_a_preview_that_was_asked_for_before_another_one_and_comes_after_it_replaces_nothing(fans: Workspace) -> None:
    """For ten minutes a first export that is started by command is compared with the stored one."""
    fans.sandbox.fault("late", ms=1500, path="engage", times=1)

    def read_preview() -> int:
        with fans.open() as service:
            return service.cohorts.preview(PROJECT, fans.cohort, fresh=True).identified

    with ThreadPoolExecutor(1) as pool:
        asked_first = pool.submit(read_preview)
        wait_until(lambda: fans.sandbox.faults() == [])
        fans.sandbox.set_members(fans.cohort, make_fans(200))
        newer = read_preview()
        asked_first.result()
    with fans.open() as service:
        known = service.cohorts.get_known(PROJECT, fans.cohort)
        assert known is not None and known.identified == newer
