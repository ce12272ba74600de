"""Mapped properties arrive as meant, in a real browser: the type, the country, and what would be dropped."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser import (
    at_rest,
    choose,
    connect,
    is_offered,
    press_to_start,
    run_queued,
    tab,
    visit,
    wait_for,
)
from tests.conftest import StreamlitServer
from tests.sandbox.control import Sandbox, member


def test_a_marketer_gives_national_numbers_a_country_and_sees_who_keeps_one(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Choosing a property shows its type and counts; a type and a country change them, and what is shown is sent."""
    people = [member("fan-0", mobile="030 1234567"), member("fan-1", mobile="+14155552671"), member("fan-2")]
    cohort = sandbox.add_cohort("Fans", [*people, member("fan-3", mobile="ask her")])
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={cohort}", "Cohorts")
        dialog = page.get_by_role("dialog")
        choose(page, "Also send these profile properties", "mobile → mobile")
        page.keyboard.press("Tab")
        expect(dialog.get_by_text("3 fit · 1 empty")).to_be_visible()
        choose(page, "Type of mobile", "Phone")
        expect(dialog.get_by_text("2 would be dropped")).to_be_visible()
        country = page.get_by_role("combobox", name="Phone numbers without a country code are from")
        country.evaluate("field => field.scrollIntoView({block: 'center'})")  # a list that opens while it moves closes
        at_rest(page)
        option = page.get_by_role("option", name="DE (+49)", exact=True)
        wait_for(page, lambda: is_offered(country, "DE (", option))
        option.click()
        expect(dialog.get_by_text("1 would be dropped")).to_be_visible()
        assert "ask her" not in page.content() and "030 1234567" not in page.content()
        at_rest(page)
        if shots := os.environ.get("SHOTS"):
            page.screenshot(path=f"{shots}/light.png")
            page.set_viewport_size({"width": 390, "height": 1400})
            page.wait_for_timeout(1500)
            page.screenshot(path=f"{shots}/phone.png")
            page.set_viewport_size({"width": 1280, "height": 800})
        press_to_start(page, "Start Sync")
        expect(dialog).to_have_count(0)
    run_queued(data_dir)
    held = [(sandbox.profile(f"fan-{at}") or {})["attributes"].get("mobile") for at in range(4)]
    assert held == ["+49301234567", "+14155552671", None, None]
