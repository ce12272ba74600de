"""The frame, and what becomes of the pages when there is much to show."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Route, expect

from pages.parts.formatting import shorten_name
from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.browser import (
    DESK,
    PHONE,
    at_rest,
    choose,
    connect,
    export_fans,
    press,
    run_queued,
    service,
    tab,
    visit,
    wait_for,
)
from tests.browser.long_history import COHORTS, RUNS, fill_history
from tests.conftest import StreamlitServer
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member
from tests.workspace import open_database

HIGHEST_ROW = 130  # pixels that a row of a list may be high


def test_a_deep_link_on_a_fresh_server_meets_the_frame(
    data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The very first request asks for a page: inside the frame, with the runner's command, and without a highlighter."""
    loaded: list[str] = []
    with tab(browser) as page:
        page.on("request", lambda request: loaded.append(request.url))
        visit(page, f"{streamlit_server(data_dir)}/runs", "Runs")
        links = page.get_by_test_id("stSidebarNav").get_by_role("link")
        lists = ("Overview", "Cohorts", "Integrations", "Syncs", "Runs", "Never export and tripwires", "People")
        names = (*lists, "Alerts", "Administration")
        expect(links).to_have_text([re.compile(f"{name}$") for name in names])
        expect(page.get_by_text("The runner is not running, so nothing is exported.")).to_be_visible()
        expect(page.get_by_text("python -m sync.runner")).to_be_visible()
        expect(page.get_by_text("No run yet.")).to_be_visible()
        assert page.title() == "Cohort Sync"
        assert loaded and not [url for url in loaded if "Highlighter" in url]


def test_with_nothing_connected_the_first_page_leads(
    data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A new installation opens on the overview, which leads to Integrations; every other page says where to begin."""
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        visit(page, url, "Overview")
        press(page, "Go to Integrations")
        expect(page.get_by_text("Step 1 of 2.")).to_be_visible()
        expect(page.locator(".st-key-card-webengage").get_by_role("button", name="Connect")).to_be_disabled()
        visit(page, f"{url}/cohorts", "Cohorts")
        press(page, "Go to Integrations")
        expect(page.get_by_role("heading", name="Integrations")).to_be_visible()
        visit(page, f"{url}/syncs", "Syncs")
        expect(page.get_by_text("Nothing has been exported yet.")).to_be_visible()


def test_a_badge_where_its_column_is_narrow_shows_all_its_words(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """At the width of a tablet the words wrap; none ends in three dots."""
    connect(data_dir, sandbox)
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with service(data_dir) as here:
        here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    with tab(browser, viewport={"width": 768, "height": 900}) as page:
        visit(page, f"{streamlit_server(data_dir)}/syncs", "Syncs")
        badge = page.locator(".stMarkdownBadge").filter(has_text="Nothing exported yet")
        assert badge.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_a_long_name_leaves_its_row_low_and_shows_its_end(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Two cohorts with names of over 200 characters that differ at the end do so in every list, also on a phone."""
    long = "Customers who bought at least three products in ninety days, " * 4
    cohorts = [
        sandbox.add_cohort(f"{long}{place}", [member("a")], description=f"About {place}")
        for place in ("Austria", "Norway")
    ]
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        for cohort in cohorts:
            here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    run_queued(data_dir)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        for name, rows in (("runs", "line-run-"), ("syncs", "line-sync-"), ("cohorts", "row-"), ("", "still-next-")):
            page.set_viewport_size(DESK)
            visit(page, f"{url}/{name}", (name or "overview").capitalize())
            places = [page.locator(f'[class*="st-key-{rows}"]').filter(has_text=one) for one in ("Austria", "Norway")]
            expect_low_on_every_screen(page, *places)
            if name == "cohorts":
                expect_above(places[0].get_by_role("link"), places[0].get_by_text("About Austria"))
        visit(page, f"{url}/syncs?sync=1", shorten_name(f"{long}Austria"))
        expect(page.get_by_text(f"{long}Austria", exact=True)).to_be_visible()
        expect_low_on_every_screen(page, page.get_by_role("heading", name=shorten_name(f"{long}Austria"), exact=True))


def expect_above(name: Locator, about: Locator) -> None:
    """Expect the description of a cohort to begin below its name; the lines of both have some air of their own."""
    upper, lower = name.bounding_box(), about.bounding_box()
    assert upper and lower and upper["y"] + upper["height"] <= lower["y"] + 2


def expect_low_on_every_screen(page: Page, *shown: Locator) -> None:
    """Expect each to be there once and low, also when the page becomes as narrow as a phone."""
    for viewport in (DESK, PHONE):
        page.set_viewport_size(viewport)
        at_rest(page)
        for one in shown:
            expect(one).to_have_count(1)
            wait_for(page, lambda one=one: bool(box := one.bounding_box()) and box["height"] < HIGHEST_ROW)


def test_the_label_of_each_number_of_a_held_run_is_one_line_on_a_phone(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Labels of one and of two lines beside each other are read in the wrong order."""
    cohort = export_fans(data_dir, sandbox)
    with service(data_dir) as here:
        held = here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
    run_queued(data_dir)
    with tab(browser, viewport=PHONE) as page:
        visit(page, f"{streamlit_server(data_dir)}/runs?run={held}", "Fans")
        labels = page.locator(".st-key-numbers-run").get_by_test_id("stCaptionContainer")
        expect(labels.filter(has_text="In WebEngage now")).to_be_visible()
        heights = {label.inner_text(): label.bounding_box()["height"] for label in labels.all()}  # type: ignore[index]
        assert len(set(heights.values())) == 1, heights


def test_the_way_back_from_a_receipt_stands_where_that_from_a_cohort_does(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """In line with the name below it, and as high: it stood eight pixels to the right and ten above."""
    cohort = export_fans(data_dir, sandbox)
    for size in (DESK, PHONE):
        with tab(browser, viewport=size) as page:
            url = streamlit_server(data_dir)
            visit(page, f"{url}/cohorts?cohort={cohort}", "Fans")
            there = locate(page.get_by_role("button", name="All cohorts").get_by_text("All cohorts"))
            visit(page, f"{url}/receipt?cohort={cohort}", "Receipt: Fans")
            assert locate(page.get_by_role("link", name="The cohort").get_by_text("The cohort")) == there


def locate(shown: Locator) -> tuple[int, int]:
    """Return where the middle of an element's left edge is, in whole pixels."""
    expect(shown).to_be_visible()
    box = shown.bounding_box()
    assert box
    return round(box["x"]), round(box["y"] + box["height"] / 2)


def test_the_headings_of_runs_stay_whole_words_in_a_narrow_window(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Beside the side bar the column was narrower than its heading, which broke before its last letter."""
    export_fans(data_dir, sandbox)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        places = (("runs", "Runs", "head-runs", 1000), ("syncs?sync=1", "Fans", "head-own-runs", 800))
        for address, title, key, width in places:
            page.set_viewport_size({"width": width, "height": 800})
            visit(page, f"{url}/{address}", title)
            headings = page.locator(f".st-key-{key}").get_by_test_id("stCaptionContainer")
            expect(headings.filter(has_text="Requested")).to_be_visible()
            assert len({one.bounding_box()["height"] for one in headings.all()}) == 1, key  # type: ignore[index]


def test_the_row_of_a_cohort_on_a_phone_counts_one_member_in_the_singular(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """A phone has no headings, so the style sheet writes the word after the number."""
    for name, people in (("Alone", "a"), ("Both", "ab")):
        sandbox.add_cohort(name, [member(one) for one in people])
    connect(data_dir, sandbox)
    with tab(browser, viewport=PHONE) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts", "Cohorts")
        for name, word in (("Alone", " member"), ("Both", " members")):
            number = page.locator('[class*="st-key-row-"]').filter(has_text=name).locator("> :nth-child(3)")
            shown = number.get_by_test_id("stText").locator("> *").first
            assert shown.evaluate("it => getComputedStyle(it, '::after').content") == f'"{word}"'


def test_the_project_is_chosen_once_for_all_pages(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """With two projects the list follows the choice, the address remembers it, and so does a shared link."""
    sandbox.add_project(43, "Film Finder")
    sandbox.add_cohort("Listeners", [member("a")])
    sandbox.add_cohort("Viewers", [member("b")], project=43)
    with service(data_dir) as here:
        for project in (PROJECT, 43):
            here.connections.connect_mixpanel(project, USERNAME, SECRET, sandbox.url)
        here.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        visit(page, f"{url}/cohorts", "Cohorts")
        expect(page.get_by_text("Viewers", exact=True)).to_be_visible()
        choose(page, "Project", "Music Finder")
        expect(page.get_by_text("Listeners", exact=True)).to_be_visible()
        expect(page).to_have_url(re.compile(r"project=42"))
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Runs").click()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        expect(page).to_have_url(re.compile(r"runs\?.*project=42"))
    with tab(browser) as page:
        visit(page, f"{url}/cohorts?project=42", "Cohorts")
        expect(page.get_by_text("Listeners", exact=True)).to_be_visible()


def test_search_filter_order_and_page_are_in_the_address(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """300 cohorts: 25 a page; what was typed and chosen stands in the address and survives a reload."""
    for number in range(COHORTS):
        sandbox.add_cohort(
            f"Cohort {number:03}", [member(n) for n in range(number % 5)], description=f"Kind {number % 7}"
        )
    connect(data_dir, sandbox)
    rows = '[class*="st-key-row-"]'
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        began = time.perf_counter()
        visit(page, f"{url}/cohorts", "Cohorts")
        print(f"{COHORTS} cohorts were drawn after {time.perf_counter() - began:.1f} s")
        expect(page.get_by_text("300 cohorts · read")).to_be_visible()
        expect(page.locator(rows)).to_have_count(25)
        page.get_by_role("searchbox", name="Search cohorts").press_sequentially("cohort 29")
        expect(page.locator(rows)).to_have_count(10)
        expect(page).to_have_url(re.compile(r"q=cohort\+29|q=cohort%2029"))
        choose(page, "Show", "Not synced")
        choose(page, "Sort by", "Most people")
        expect(page.locator(rows).first).to_contain_text("Cohort 294")
        page.reload()
        expect(page.locator(rows)).to_have_count(10)
        expect(page.locator(rows).first).to_contain_text("Cohort 294")
        choose(page, "Show", "With a sync")
        expect(page.get_by_text("No cohort matches.")).to_be_visible()
        expect(page.get_by_text("Not listed? Share the cohort")).to_be_visible()
        visit(page, page.url.split("?")[0] + "?cohort_page=12", "Cohorts")
        expect(page.get_by_text("276 to 300 of 300 cohorts")).to_be_visible()
        expect(page.locator(rows).last).to_contain_text("Cohort 299")
        page.get_by_role("searchbox", name="Search cohorts").press_sequentially("cohort 2")
        expect(page.get_by_text("1 to 25 of 100 cohorts")).to_be_visible()


def test_what_stands_in_for_rows_while_their_code_is_loaded_does_not_move(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The menus' code is kept back: places for them are there, nothing in them is animated, and the rows come after it."""
    for number in range(3):
        sandbox.add_cohort(f"Cohort {number}", [])
    connect(data_dir, sandbox)
    kept: list[Route] = []
    with tab(browser) as page:
        page.route("**/MenuButton*.js", lambda route: kept.append(route))
        page.goto(f"{streamlit_server(data_dir)}/cohorts")
        places = page.locator('[class*="st-key-row-"]').get_by_test_id("stSkeleton")
        expect(places).to_have_count(3)
        assert not places.evaluate_all("all => all.flatMap(one => one.getAnimations({subtree: true})).length")
        for route in kept:
            route.continue_()
        expect(page.get_by_role("button", name="Actions for Cohort 2")).to_be_visible()


def test_a_page_that_works_says_so_and_offers_no_stop_of_its_own(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """While Mixpanel is slow the corner shows that something is under way; the only Stop there may be is a sync's."""
    connect(data_dir, sandbox)
    sandbox.fault("slow", api="mixpanel", path="/cohorts", ms=10_000)
    with tab(browser) as page:
        page.goto(f"{streamlit_server(data_dir)}/cohorts")
        corner = page.get_by_test_id("stStatusWidget")
        expect(page.get_by_text("Reading the cohorts from Mixpanel…")).to_be_visible()
        expect(corner.get_by_role("img", name="Running...")).to_be_visible()
        expect(corner.get_by_text("Stop")).to_be_hidden()


def test_ten_cohorts_are_in_sight_on_a_laptop(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """At 1366 by 768 at least ten of 30 rows are whole on the screen; headings sort by keyboard; names are links."""
    for number in range(30):
        sandbox.add_cohort(f"Cohort {number:02}", [member(n) for n in range(number)], description="Bought " * 30)
    connect(data_dir, sandbox)
    with tab(browser, viewport={"width": 1366, "height": 768}) as page:
        visit(page, f"{streamlit_server(data_dir)}/cohorts", "Cohorts")
        rows = page.locator('[class*="st-key-row-"]')
        expect(rows).to_have_count(25)
        boxes = [row.bounding_box() for row in rows.all()]
        assert sum(box is not None and box["y"] + box["height"] <= 768 for box in boxes) >= 10
        page.get_by_role("button", name="Members").focus()
        page.keyboard.press("Enter")
        expect(rows.first).to_contain_text("Cohort 29")
        expect(page).to_have_url(re.compile("sort=Most"))
        page.get_by_role("link", name="Cohort 28", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("=1028"))


SLOW_LINE = """() => {
    const listen = WebSocket.prototype.addEventListener;
    WebSocket.prototype.addEventListener = function (kind, hear, ...more) {
        let before = Promise.resolve();
        const late = event => {
            before = before.then(() => new Promise(done => setTimeout(() => { hear(event); done(); }, 20)));
        };
        return listen.call(this, kind, kind === "message" ? late : hear, ...more);
    };
}"""
COUNT_BUTTONS = """() => {
    window.most = 0;
    const count = () => [...document.querySelectorAll("button")].filter(one => one.innerText.trim() === "Start Sync").length;
    const note = () => { window.most = Math.max(window.most, count()); };
    new MutationObserver(note).observe(document.body, {childList: true, subtree: true});
}"""


def test_all_days_of_a_schedule_are_in_sight_on_a_phone(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The dialog shows every day, none beyond the edge, and its buttons without scrolling, never twice while it grows."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    connect(data_dir, sandbox)
    with tab(browser, viewport=PHONE) as page:
        page.add_init_script(f"({SLOW_LINE})()")
        visit(page, f"{streamlit_server(data_dir)}/cohorts?export={cohort}", "Cohorts")
        page.evaluate(COUNT_BUTTONS)
        choose(page, "Refreshed", "At a time of day")
        days = page.get_by_role("toolbar", name="Days").get_by_role("button")
        expect(days).to_have_text(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        boxes = [day.bounding_box() for day in days.all()]
        assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in boxes)
        at_rest(page)
        expect(page.get_by_role("button", name="Start Sync", exact=True)).to_be_in_viewport(ratio=1)
        assert page.evaluate("window.most") == 1


def test_ten_thousand_runs_still_open(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The history shows 25 of 10,000 runs, counts them all, filters them, and opens the last page."""
    fill_history(sandbox, data_dir)
    with tab(browser) as page:
        url = streamlit_server(data_dir)
        began = time.perf_counter()
        visit(page, f"{url}/runs", "Runs")
        print(f"{RUNS} runs were drawn after {time.perf_counter() - began:.1f} s")
        expect(page.get_by_text("1 to 25 of 10,000 runs")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile(r"^Run \d+$"))).to_have_count(25)
        choose(page, "State", "Failed")
        expect(page.get_by_text("1 to 25 of 100 runs")).to_be_visible()
        expect(page).to_have_url(re.compile("state=Failed"))
        visit(page, f"{url}/runs?run_page=400", "Runs")
        expect(page.get_by_text("9,976 to 10,000 of 10,000 runs")).to_be_visible()
        page.get_by_role("button", name="399").click()
        expect(page.get_by_text("9,951 to 9,975 of 10,000 runs")).to_be_visible()
        expect(page).to_have_url(re.compile("run_page=399"))
        with open_database(data_dir) as db:
            db.execute("delete from run where id <= 60")  # a poll finds that there are only 398 pages by now
        expect(page.get_by_text("9,926 to 9,940 of 9,940 runs")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile(r"^Run \d+$"))).to_have_count(15)
        expect(page).to_have_url(re.compile("run_page=398"))
        choose(page, "Cohort", "Second")
        expect(page.get_by_text("No run matches these filters.")).to_be_visible()
        expect(page).to_have_url(re.compile("sync=2"))


def test_overview_on_a_phone_follows_what_happens_elsewhere(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """Without a reload it goes from the first step to a held run; Enter on its button opens the decision."""
    number = sandbox.add_cohort("Fans", [member("a"), member("b")])
    connect(data_dir, sandbox)
    with tab(browser, viewport=PHONE) as page:
        visit(page, streamlit_server(data_dir), "Overview")
        expect(page.get_by_text("Nothing has been exported yet.")).to_be_visible()
        with service(data_dir) as here:
            here.syncs.start_export(None, number, ExportTerms(mode=Mode.DYNAMIC, dry_run=True))
        run_queued(data_dir)
        expect(page.get_by_text("No runner is working, so nothing is sent to WebEngage. 1 sync needs")).to_be_visible()
        page.get_by_role("button", name="Decide").press("Enter")
        expect(page.get_by_role("heading", name="People")).to_be_visible()
        expect(page.get_by_text("To add 2")).to_be_visible()
        expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
