"""The job itself in a real browser: connect both sides, look, export, and see WebEngage hold the cohort."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.browser import (
    PHONE,
    at_rest,
    badge,
    box,
    choose_action,
    connect,
    fill_mixpanel,
    fill_webengage,
    is_offered,
    press,
    press_to_start,
    run_queued,
    runs,
    service,
    storage,
    succeeded,
    success,
    tab,
    visit,
    wait_for,
)
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import (
    ANALYST_SECRET,
    ANALYST_USERNAME,
    API_KEY,
    PROJECT,
    SECRET,
    USERNAME,
    Sandbox,
    anonymous,
    member,
)

NAME = "Power Users"
ATTRIBUTE = "Mixpanel - Power Users"


def cohort(sandbox: Sandbox, people: int = 40) -> int:
    """Add a cohort with people, strangers and one id that is too long."""
    return sandbox.add_cohort(
        NAME,
        [
            *(member(f"user {n}") for n in range(people)),
            *(anonymous(f"ghost-{n}") for n in range(7)),
            member("long" * 40),
        ],
        description="Bought more than 5 times in 30 days",
    )


def test_a_cohort_goes_from_mixpanel_to_webengage(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """Connect, preview, Start Sync: then WebEngage holds true for exactly the exportable members."""
    number = cohort(sandbox)
    url = streamlit_server(data_dir)
    runner_process(data_dir)
    with tab(browser) as page:
        visit(page, url, "Overview")
        press(page, "Go to Integrations")
        expect(page.get_by_text("Step 1 of 2.")).to_be_visible()
        press(page.locator(".st-key-card-mixpanel"), "Connect")
        fill_mixpanel(page, sandbox)
        expect(success(page, "Mixpanel is connected: Music Finder.")).to_be_visible()
        expect(page.get_by_text("Step 2 of 2.")).to_be_visible()
        press(page.locator(".st-key-card-webengage"), "Connect")
        expect(page.get_by_text("These settings apply to your current project Music Finder")).to_be_visible()
        fill_webengage(page, sandbox.url)
        expect(badge(page, "Connected")).to_have_count(2)
        expect(page.get_by_role("dialog")).to_have_count(0)
        at_rest(page)
        held = storage(page)
        assert SECRET not in held and API_KEY not in held
        press(page, "Go to Cohorts")
        export(page)
        wait_for(page, succeeded(data_dir))
        expect(page.get_by_text("Last export: 40 added")).to_be_visible()
    true, false = sandbox.holding(ATTRIBUTE)
    assert true == sandbox.exportable(number) and len(true) == 40
    assert not false


def export(page: Page) -> None:
    """Go through the export dialog, reading the numbers on the way."""
    choose_action(page, NAME, "Export to WebEngage")
    dialog = page.get_by_role("dialog")
    expect(box(dialog, "Attribute in WebEngage")).to_have_value(ATTRIBUTE)
    for label, number in (
        ("Identified · will be sent", "40"),
        ("Anonymous · not sent", "7"),
        ("Invalid · not sent", "1"),
    ):
        shown = dialog.locator('[class*="st-key-big-"]').filter(has_text=label)
        expect(shown).to_have_text(f"{label}{number}")
    expect(dialog.get_by_text("2 requests, about 1 second at WebEngage's limit")).to_be_visible()
    expect(dialog.get_by_text("becomes a new profile there")).to_be_visible()
    press_to_start(page, "Start Sync")
    expect(success(page, "Power Users is on its way to WebEngage.")).to_be_visible()
    expect(dialog).to_have_count(0)


def test_four_clicks_in_two_tabs_start_one_run(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Start Sync is pressed twice in each of two tabs, and there is one run."""
    number = cohort(sandbox)
    connect(data_dir, sandbox)
    url = streamlit_server(data_dir)
    with tab(browser) as first, tab(browser) as second:
        for page in (first, second):
            visit(page, f"{url}/cohorts?export={number}", "Export to WebEngage")
        for page in (first, second):
            page.get_by_role("button", name="Start Sync").dblclick()
        for page in (first, second):
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(success(page, "on its way to WebEngage")).to_be_visible()
            at_rest(page)
        assert len(runs(data_dir)) == 1


WRONG_SETTINGS = (
    ({"key": "wrong-key"}, "check the API key"),
    ({"url": "https://example.com"}, "is not a WebEngage data center"),
    ({"url": "http://127.0.0.1:9"}, "could not be reached"),
)


def test_wrong_webengage_settings_are_said_at_the_form(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A wrong key or host is one sentence in the dialog, which stays open; nothing is stored."""
    with service(data_dir) as here:
        here.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/integrations?setup=webengage", "Set up WebEngage")
        for wrong, said in WRONG_SETTINGS:
            dialog = fill_webengage(page, **({"url": sandbox.url} | wrong))
            expect(dialog.get_by_role("alert").filter(has_text=said)).to_have_count(1)
            expect(dialog.get_by_role("alert")).to_have_count(1)
            assert_no_traceback(page)
        press(dialog, "Cancel")
        expect(page.get_by_role("dialog")).to_have_count(0)  # it fades away, its fields still filled in
        at_rest(page)
        assert "wrong-key" not in storage(page) and API_KEY not in storage(page)


def test_wrong_mixpanel_settings_are_said_at_the_form(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A wrong secret, and an account below admin, are one sentence each; the secret leaves no trace."""
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/integrations?setup=mixpanel", "Set up Mixpanel")
        for username, secret, said in (
            (USERNAME, "not-the-secret", "check the service account's username, secret"),
            (ANALYST_USERNAME, ANALYST_SECRET, "Only a project admin"),
        ):
            dialog = fill_mixpanel(page, sandbox, secret, username)
            expect(dialog.get_by_role("alert").filter(has_text=said)).to_be_visible()
            assert_no_traceback(page)
        press(dialog, "Cancel")
        expect(dialog).to_have_count(0)
        at_rest(page)
        assert ANALYST_SECRET not in storage(page)


WRONG_NAMES = (("we_power", "WebEngage reserves"), ("", "needs a name"), ("Taken", "already belongs to another"))


def test_a_wrong_attribute_is_said_while_typing(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A reserved, empty or taken name is refused in the form, and Start Sync cannot be pressed."""
    number, other = cohort(sandbox), sandbox.add_cohort("Other", [member("a")])
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, other, ExportTerms(mode=Mode.ONE_TIME, attribute="Taken"))
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={number}", "Export to WebEngage")
        dialog = page.get_by_role("dialog")
        for name, said in WRONG_NAMES:
            box(dialog, "Attribute in WebEngage").fill(name)
            expect(dialog.get_by_text(said)).to_be_visible()
            expect(dialog.get_by_role("button", name="Start Sync", disabled=True)).to_be_visible()
            assert_no_traceback(page)
        box(dialog, "Attribute in WebEngage").fill("Power Users")
        expect(dialog.get_by_role("button", name="Start Sync", disabled=False)).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page).to_have_url(re.compile(r"/cohorts$"))


def test_the_buttons_of_the_dialog_are_in_sight_on_a_laptop(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """At 1280 by 720 and on a phone all three buttons stand on the screen, and nothing scrolls them away."""
    number = cohort(sandbox)
    connect(data_dir, sandbox)
    url = streamlit_server(data_dir)
    for viewport in ({"width": 1280, "height": 720}, PHONE):
        with tab(browser, viewport=viewport) as page:
            visit(page, f"{url}/cohorts?export={number}", "Export to WebEngage")
            dialog = page.get_by_role("dialog")
            expect(dialog.get_by_text("Held for your approval if more than 48 people would be sent.")).to_be_visible()
            for name in ("Cancel", "Dry run", "Start Sync"):
                expect(dialog.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)
            dialog.get_by_role("combobox", name="Also send these profile properties").scroll_into_view_if_needed()
            expect(dialog.get_by_role("button", name="Start Sync")).to_be_in_viewport(ratio=1)


def test_a_refused_start_says_why_beside_its_button(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Below the fields nobody saw it, and the button seemed to do nothing."""
    number = cohort(sandbox)
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC, dry_run=True))
    run_queued(data_dir)
    url = streamlit_server(data_dir)
    for viewport in ({"width": 1280, "height": 720}, PHONE):
        with tab(browser, viewport=viewport) as page:
            visit(page, f"{url}/cohorts?export={number}", "Export to WebEngage")
            dialog = page.get_by_role("dialog")
            press(dialog, "Start Sync")
            expect(dialog.get_by_text("is held and waits for a decision")).to_be_in_viewport(ratio=1)


def test_properties_travel_only_when_somebody_chooses_them(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The dialog sends membership only until properties are chosen; it warns of opt-ins and refuses consents."""
    number = sandbox.add_cohort("Power Users", [member("ann", **{"$email": "ann@example.com", "plan": "gold"})])
    connect(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={number}", "Export to WebEngage")
        dialog = page.get_by_role("dialog")
        field = dialog.get_by_role("combobox", name="Also send these profile properties")
        at_rest(page)
        add_property(page, field, "plan=emailOptIn", "Add: plan=emailOptIn")
        expect(dialog.get_by_text("never sends opt-ins")).to_be_visible()
        expect(dialog.get_by_role("button", name="Start Sync", disabled=True)).to_be_visible()
        field.press("Backspace")
        expect(dialog.get_by_text("never sends opt-ins")).to_have_count(0)
        add_property(page, field, "plan=Plan", "Add: plan=Plan")
        add_property(page, field, "email", "$email → email")
        expect(dialog.get_by_text("opts a new profile in")).to_be_visible()
        press_to_start(page, "Start Sync")
        expect(dialog).to_have_count(0)
    run_queued(data_dir)
    profile = sandbox.profile("ann")
    assert profile is not None and profile["email"] == "ann@example.com" and profile["attributes"]["Plan"] == "gold"


def add_property(page: Page, field: Locator, typed: str, offered: str) -> None:
    """Type into the list of properties, take what it offers, and leave the field."""
    option = page.get_by_role("option", name=offered, exact=True)
    wait_for(page, lambda: is_offered(field, typed, option))
    option.click()
    page.keyboard.press("Tab")
    expect(page.get_by_role("option")).to_have_count(0)


def assert_no_traceback(page: Page) -> None:
    """Nobody is shown the inside of the program."""
    assert not page.get_by_test_id("stException").count()
    assert "Traceback" not in page.content()
