"""Specify the list of cohorts, without a browser: the order of its rows."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.sandbox.control import Sandbox
from tests.workspace import Workspace, click_button, make_fans


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


def list_names(app: AppTest) -> list[str]:
    """Return the names of the cohorts a page lists, from the top."""
    return [link.proto.label for link in app.get("page_link") if link.proto.query_string]
