"""A field shows what is stored also when somebody else changed it since, so that Save puts nothing back unseen."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from sync.cadence import find_end
from sync.guards import GuardLimits
from sync.service.alerts import Schedule
from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import Workspace, click_button, page_text

pytestmark = pytest.mark.slow
LICENSE_2 = "lc-second"


def find_field(page: AppTest, label: str) -> str:
    """Return what the first text field with this label holds."""
    return next(field.value for field in page.text_input if field.label == label) or ""


def test_the_limits_of_a_guard_when_changed_elsewhere_are_shown_and_not_put_back(fans: Workspace) -> None:
    """What was typed into another field stays."""
    fans.export()
    page = fans.page("syncs", sync="1")
    added, removed = (field for field in page.number_input if field.label == "and more than (people)")
    assert (added.value, removed.value) == (100, 100)
    removed.set_value(30).run()
    with fans.open() as service:
        service.guards.set_limits(1, GuardLimits(add_people=777))
    page.run()
    assert [field.value for field in page.number_input if field.label == "and more than (people)"] == [777, 30]
    click_button(page, "Save limits")
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(add_people=777, remove_people=30)


def test_the_account_of_new_exports_when_chosen_elsewhere_is_shown(connected: Workspace, sandbox: Sandbox) -> None:
    """The field is the sentence that says where new exports go."""
    sandbox.add_account(LICENSE_2, "key-2")
    with connected.open() as service:
        service.connections.connect_webengage(LICENSE_2, "key-2", sandbox.url)
    page = connected.page("integrations")
    assert page.selectbox(key=f"use-account-{PROJECT}-{LICENSE}").value == LICENSE
    with connected.open() as service:
        service.connections.use_account(PROJECT, LICENSE_2)
    page.run()
    assert [box.value for box in page.selectbox if box.label.startswith("New exports of")] == [LICENSE_2]


def test_the_times_of_alerts_when_changed_elsewhere_are_shown_and_not_put_back(workspace: Workspace) -> None:
    """Somebody has changed the digest when somebody else saves the quiet hours."""
    page = workspace.page("alerts")
    next(field for field in page.text_input if field.label == "Quiet from").set_value("22:00")
    next(field for field in page.text_input if field.label == "Quiet until").set_value("07:00")
    with workspace.open() as service:
        service.alerts.set_schedule(Schedule(zone="Europe/Berlin", digest="08:30"))
    click_button(page, "Save")
    with workspace.open() as service:
        expected = Schedule(zone="Europe/Berlin", quiet_from="22:00", quiet_to="07:00", digest="08:30")
        assert service.alerts.get_schedule() == expected
    assert find_field(page, "Daily digest at") == "08:30"


def test_the_last_day_when_chosen_elsewhere_is_not_removed_by_a_dialog_that_was_open(fans: Workspace) -> None:
    """Its field is empty, as it was when the dialog opened; opened again, it has the day."""
    fans.export()
    page = fans.page("syncs", sync="1", interval="1")
    ends_at = find_end("2099-03-31", "UTC")
    with fans.open() as service:
        service.syncs.change_interval(1, 3600.0, ends_at=ends_at)
    page.radio(key="interval-choice").set_value(1800.0)
    click_button(page, "Save")
    assert "since you were shown them" in page_text(page)
    click_button(page, "Cancel")
    with fans.open() as service:
        assert (service.syncs.get(1).interval_seconds, service.syncs.get(1).ends_at) == (3600.0, ends_at)
    page = fans.page("syncs", sync="1", interval="1")
    page.radio(key="interval-choice").set_value(1800.0)
    click_button(page, "Save")
    with fans.open() as service:
        assert (service.syncs.get(1).interval_seconds, service.syncs.get(1).ends_at) == (1800.0, ends_at)


def visit(page: AppTest, name: str, **requests: str) -> None:
    """Open a page by an address in the same browser session, whatever dialog is open."""
    page.switch_page(f"pages/{name}.py")
    for request in list(page.query_params):
        del page.query_params[request]
    for request, value in requests.items():
        page.query_params[request] = value
    page.run()
    assert not page.exception


def test_a_dialog_of_a_page_that_was_left_is_opened_again_with_what_is_stored_then(fans: Workspace) -> None:
    """Nobody closed the dialog, so its first click was compared with what it had shown before, and refused."""
    fans.export()
    page = fans.page("syncs", interval="1")
    visit(page, "cohorts", export=str(fans.cohort))
    visit(page, "runs")
    with fans.open() as service:
        service.syncs.change_interval(1, 3600.0)
        service.syncs.pause(1)
    visit(page, "syncs", interval="1")
    page.radio(key="interval-choice").set_value(21600.0)
    click_button(page, "Save")
    assert "The interval of Fans is changed." in page_text(page)
    visit(page, "cohorts", export=str(fans.cohort))
    click_button(page, "Start Sync")
    assert "Fans is on its way to WebEngage." in page_text(page)
