"""Addresses that ask for what does not exist: one plain sentence says so, or the list stands there, and nothing breaks."""

from __future__ import annotations

import pytest

from tests.sandbox.control import PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import Workspace, page_text

pytestmark = pytest.mark.slow
NO_NUMBERS = ("seven", "-1", "1.5", "\u0663", str(2**63))
EXISTS_NOT = pytest.mark.parametrize("asked", ["77", *NO_NUMBERS])


@EXISTS_NOT
@pytest.mark.parametrize(
    ("page", "request_name", "noun"),
    [
        ("runs", "run", "run"),
        ("runs", "sync", "sync"),
        ("syncs", "sync", "sync"),
        ("syncs", "stop", "sync"),
        ("syncs", "interval", "sync"),
        ("syncs", "pause", "sync"),
        ("cohorts", "cohort", "cohort"),
        ("cohorts", "export", "cohort"),
        ("integrations", "project", "project"),
    ],
)
def test_address_that_asks_for_something_unknown_says_that_there_is_none(
    fans: Workspace, page: str, request_name: str, noun: str, asked: str
) -> None:
    """A link to a deleted run, a mistyped number, a number that no table holds: the sentence names what was asked for."""
    text = page_text(fans.page(page, **{request_name: asked}))
    assert f"no {noun} {asked}" in text.replace("\u2060", "")


@pytest.mark.parametrize("asked", NO_NUMBERS)
def test_receipt_of_something_that_is_no_cohort_says_that_there_is_none(fans: Workspace, asked: str) -> None:
    """The way to a receipt stands below."""
    assert f"no cohort {asked}" in page_text(fans.page("receipt", cohort=asked)).replace("\u2060", "")


def test_address_that_asks_to_set_up_something_unknown_says_what_can_be(fans: Workspace) -> None:
    """Nothing opens, and a reload does not ask again."""
    app = fans.page("integrations", setup="mixpannel")
    assert "“mixpannel” cannot be set up here" in page_text(app)
    assert "setup" not in app.query_params


@pytest.mark.parametrize("page", ["runs", "syncs", "cohorts", "receipt", "integrations", "overview"])
def test_address_with_an_empty_request_is_the_list(fans: Workspace, page: str) -> None:
    """Nothing was asked for."""
    empty = dict.fromkeys(("run", "sync", "cohort", "export", "stop", "setup", "project"), "")
    assert not fans.page(page, **empty).main.warning


def test_address_of_a_dialog_of_another_projects_sync_opens_it_there(fans: Workspace, sandbox: Sandbox) -> None:
    """A link names the sync; the project is chosen by it, as for the page of a sync."""
    fans.export()
    sandbox.add_project(7, "Arcade")
    with fans.open() as service:
        service.connections.connect_mixpanel(7, USERNAME, SECRET, sandbox.url)
    assert fans.page("syncs").selectbox(key="project").value == 7
    app = fans.page("syncs", stop="1")
    assert app.selectbox(key="project").value == PROJECT
    assert "The cohort will not be refreshed any more." in page_text(app)


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "2026-13-45", "today"])
def test_runs_of_a_day_that_the_calendar_does_not_have_are_those_of_every_day(fans: Workspace, day: str) -> None:
    """The field stands empty, as the list says."""
    fans.export()
    assert "1 to 1 of 1 run" in page_text(fans.page("runs", day=day))


@pytest.mark.parametrize("page", ["overview", "cohorts", "syncs", "safety"])
def test_page_that_needs_connections_first_leads_to_them(workspace: Workspace, page: str) -> None:
    """Each says what is missing, with the button that leads there."""
    assert "Go to Integrations" in [button.label for button in workspace.page(page).button]


def test_receipt_of_no_cohort_leads_to_the_cohorts(fans: Workspace) -> None:
    """The page is in no menu, so nobody could guess where “there” is."""
    assert "Go to Cohorts" in [link.proto.label for link in fans.page("receipt").get("page_link")]
