"""The page of a cohort in a browser: what travels there, filters, search, many people, keyboard and phone."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.browser import at_rest, badge, press, run_queued, tab, visit
from tests.conftest import StreamlitServer
from tests.sandbox.control import PROJECT, Sandbox, anonymous, member
from tests.workspace import connect, make_fans, service

SHOW = "Show names and e-mail addresses"
MANY = 18_000


def test_names_travel_to_the_browser_only_when_asked_for(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Neither the page nor what the server sends holds a name or an address before the switch; then both do."""
    people = [
        member(f"user-{n}", **{"$name": f"Quentin Ormsby {n}", "$email": f"q{n}@ormsby.example"}) for n in range(70)
    ]
    number = sandbox.add_cohort("Mixed", [*people, *(anonymous(f"ghost-{n}") for n in range(5))])
    connect(data_dir, sandbox)
    received: list[bytes] = []
    with tab(browser) as page:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(_as_bytes(frame))))
        visit(page, f"{streamlit_server(data_dir)}/cohorts?cohort={number}", "People")
        expect(page.get_by_text("1 to 50 of 75 people")).to_be_visible()
        page.get_by_text("○ Anonymous 5").click()
        expect(page.get_by_text("1 to 5 of 5 people")).to_be_visible()
        expect(page).to_have_url(re.compile("who=anonymous"))
        page.reload()
        expect(page.get_by_text("1 to 5 of 5 people")).to_be_visible()
        page.get_by_text("All 75").click()
        expect(page.get_by_text("1 to 50 of 75 people")).to_be_visible()
        assert not any(b"ormsby" in frame.lower() for frame in received) and "ormsby" not in page.content().lower()
        page.get_by_text(SHOW).click()
        search = page.get_by_role("searchbox", name="Search people")
        expect(search).to_have_attribute("placeholder", "User ID, name or e-mail address")
        search.press_sequentially("ormsby 69")
        expect(page.get_by_text("1 to 1 of 1 person")).to_be_visible()
        assert any(b"Quentin Ormsby 69" in frame for frame in received)
        with page.expect_download() as file:
            press(page, "CSV of 1 person")
        text = file.value.path().read_text(encoding="utf-8")
    assert text.startswith("\ufeff") and '"user-69","identified"' in text and "Quentin Ormsby 69" in text
    with service(data_dir) as here:
        [line] = [one for one in here.admin.list_audit() if one.action == "download"]
    assert (line.target, line.after) == (
        f"project {PROJECT}, members of cohort {number}",
        "1 person: a search, names and addresses shown",
    )


def _as_bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()


def test_many_people_are_read_paged_and_stopped_by_keyboard(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Twenty thousand members: a part with its price, then all; fifty of them travel, with the keyboard alone."""
    number = sandbox.generate("Many", MANY + 2_000, anonymous=2_000, ids="sequential")
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?cohort={number}", "Many")
        expect(page.get_by_text("of the first 10,000 members read")).to_be_visible()
        expect(page.get_by_text("10 requests, up to 10 of the")).to_be_visible()
        at_rest(page)
        page.get_by_role("button", name="Read all 20,000").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 to 50 of 20,000 people")).to_be_visible()
        assert shown(page, "Identified") == f"{MANY:,}" and shown(page, "Anonymous") == "2,000"
        at_rest(page)
        page.get_by_role("button", name=re.compile(r"\b400$")).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("19,951 to 20,000 of 20,000 people")).to_be_visible()
        page.get_by_role("searchbox", name="Search people").focus()
        page.keyboard.type("00012345")
        expect(page.get_by_text("1 to 1 of 1 person")).to_be_visible()


def shown(page: Page, label: str) -> str:
    """Return the number under a label."""
    return page.locator(f".st-key-big-cohort-{label.lower()} [data-testid=stText]").inner_text()


def test_a_run_that_ends_while_the_page_is_open_changes_its_numbers(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Without a click the page says who is in WebEngage now, also beside each person; it said “0” beside “Synced”."""
    number = sandbox.add_cohort("Fans", make_fans(20))
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?cohort={number}", "People")
        expect(page.get_by_text("1 to 20 of 20 people")).to_be_visible()
        with service(data_dir) as here:
            here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC))
        run_queued(data_dir)
        expect(page.get_by_text("In WebEngage now")).to_be_visible()
        assert [shown(page, label) for label in ("Now", "Adding", "After")] == ["20", "0", "20"]
        expect(badge(page, "Synced")).to_be_visible()


def test_an_export_dialog_closed_by_a_slip_opens_again_as_it_was(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A click beside the dialog and Esc keep what was typed, chosen and added; Cancel discards it."""
    number = sandbox.add_cohort("Fans", [member("ann", plan="gold")])
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?cohort={number}", "People")
        dialog, name = page.get_by_role("dialog"), page.get_by_role("textbox", name="Attribute in WebEngage")
        open_export(page)
        name.fill("Fans of ours")
        dialog.get_by_text("One-time", exact=True).click()
        expect(dialog.get_by_text("Sends the people who are in the cohort now, once.")).to_be_visible()
        at_rest(page)
        for close in (lambda: page.mouse.click(3, 3), lambda: page.keyboard.press("Escape")):
            close()
            expect(dialog).to_have_count(0)
            open_export(page)
            expect(name).to_have_value("Fans of ours")
            expect(dialog.get_by_text("As you left it; Cancel discards it.")).to_be_visible()
            expect(dialog.get_by_role("radio", name="One-time")).to_be_checked()
        press(page, "Cancel")
        expect(dialog).to_have_count(0)
        open_export(page)
        expect(name).to_have_value("Mixpanel - Fans")


def open_export(page: Page) -> None:
    """Open the export dialog from the page of a cohort, and wait until it is drawn."""
    at_rest(page)
    press(page, "Export to WebEngage")
    expect(page.get_by_role("dialog").get_by_role("button", name="Start Sync")).to_be_enabled()
    at_rest(page)
