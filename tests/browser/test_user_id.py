"""A marketer chooses the WebEngage User ID in a real browser, and changes it later."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser import (
    PHONE,
    at_rest,
    choose,
    connect,
    press,
    press_to_start,
    run_queued,
    tab,
    visit,
)
from tests.conftest import StreamlitServer
from tests.sandbox.control import Sandbox, member
from tests.workspace import ATTRIBUTE


def take_picture(page: Page, name: str) -> None:
    """Take pictures of the dialog, wide and as a phone has it, when a folder for them is named."""
    if shots := os.environ.get("SHOTS"):
        wide = page.viewport_size or PHONE
        at_rest(page)
        page.screenshot(path=f"{shots}/{name}-light.png")
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(1500)
        if (field := page.get_by_role("combobox", name="WebEngage User ID")).count():
            field.evaluate("one => one.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(500)
        page.screenshot(path=f"{shots}/{name}-phone.png")
        page.set_viewport_size(wide)


def test_a_marketer_exports_by_a_property_and_approves_its_change(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The share and the doubles are shown before; another User ID later is held, and sent once it is approved."""
    people = [member(f"fan-{at}", customer=f"c-{at % 4}") for at in range(5)]
    cohort = sandbox.add_cohort("Fans", [*people, member("fan-9")])
    connect(data_dir, sandbox)
    with tab(browser) as page:
        address = streamlit_server(data_dir)
        visit(page, f"{address}/cohorts?export={cohort}", "Cohorts")
        dialog = page.get_by_role("dialog")
        choose(page, "WebEngage User ID", "customer")
        expect(
            dialog.get_by_text("5 of 6 members with a profile have a User ID in customer (83 %). 1 is a double")
        ).to_be_visible()
        take_picture(page, "first")
        press_to_start(page, "Start Sync")
        expect(dialog).to_have_count(0)
        run_queued(data_dir)
        assert sandbox.holding(ATTRIBUTE)[0] == {"c-0", "c-1", "c-2", "c-3"}
        visit(page, f"{address}/cohorts?export={cohort}", "Cohorts")
        choose(page, "WebEngage User ID", "distinct_id (Mixpanel's own)")
        expect(dialog.get_by_text("This export is held for your approval")).to_be_visible()
        take_picture(page, "change")
        press_to_start(page, "Start Sync")
        expect(dialog).to_have_count(0)
        run_queued(data_dir)
        visit(page, f"{address}/runs?run=2", "Fans")
        expect(page.get_by_text("The User ID property changes from customer to").first).to_be_visible()
        take_picture(page, "held")
        press(page, "Approve")
        expect(page.get_by_text("Needs approval")).to_have_count(0)
    run_queued(data_dir)
    true, false = sandbox.holding(ATTRIBUTE)
    assert true == {"fan-0", "fan-1", "fan-2", "fan-3", "fan-4", "fan-9"} and false == {"c-0", "c-1", "c-2", "c-3"}
