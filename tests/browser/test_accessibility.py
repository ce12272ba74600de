"""Every page works by keyboard, on a phone and for a screen reader; and nobody's text becomes code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pages.parts.formatting import shorten_name
from tests.browser import (
    DESK,
    PHONE,
    Furnished,
    at_rest,
    box,
    export_fans,
    free_port,
    furnish,
    serving,
    succeeded,
    tab,
    visit,
    wait_for,
)
from tests.conftest import RunnerProcess, StreamlitServer
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

NASTY = f'<img src="x" onerror="alert(1)"> VIP W{"w" * 48} [a](http://127.0.0.1/) **bold** :rocket: $x^2$ `c`'
LABELS = {
    "cohorts": "Cohorts",
    "integrations": "Integrations",
    "syncs": "Syncs",
    "runs": "Runs",
    "safety": "Never export and tripwires",
    "alerts": "Alerts",
    "administration": "Administration",
}
# Streamlit gives its drop zone for files a role that its own label and focus contradict.
OURS = {"exclude": [["[data-testid='stFileUploaderDropzone']"]]}
# A poll fades what it is about to redraw when that takes long, and a faded text has too little contrast for a moment.
AT_REST = "[data-stale='true'] { opacity: 1 !important; transition: none !important; }"
ARRANGED_TRIES, ARRANGED_MILLISECONDS = 40, 250.0
BEYOND_THE_EDGE = """() => {
    const main = document.querySelector('[data-testid=stMain]');
    const wide = [document.documentElement, main].filter(one => one.scrollWidth > one.clientWidth);
    const cut = [...main.querySelectorAll('button, p')].filter(one =>
        one.offsetParent && !one.closest('[class*=st-key-quiet-]')
        && one.getBoundingClientRect().right > innerWidth + 1);
    return [...wide.map(one => `${one.tagName} is ${one.scrollWidth} wide`),
            ...cut.map(one => one.textContent.slice(0, 60))];
}"""
Furniture = tuple[Furnished, str]
Theme = Literal["light", "dark"]
BACKGROUNDS: dict[Theme, str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 19, 31)"}  # .streamlit/config.toml


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furniture]:
    """Pages on which everything there is to see has happened; looked at, never changed."""
    data_dir = tmp_path_factory.mktemp("furnished") / "data"
    data_dir.mkdir(mode=0o700)
    with Sandbox.start(empty=True) as sandbox:
        made = furnish(data_dir, sandbox, NASTY)
        with serving(data_dir, free_port()) as url:
            yield made, url


def addresses(made: Furnished) -> dict[str, str]:
    """Every page and dialog, and the heading it shows."""
    dialogs = {
        f"/cohorts?export={made.fresh_id}": "Export to WebEngage",
        f"/cohorts?cohort={made.cohort_id}": "People",
        f"/cohorts?export={made.cohort_id}": "Export to WebEngage",
        "/integrations?setup=mixpanel": "Set up Mixpanel",
        "/integrations?setup=webengage": "Set up WebEngage",
        "/people": "What happened to this person?",
        f"/receipt?cohort={made.cohort_id}": "Shared with other cohorts",
        "/syncs?sync=1": "Last runs",
        "/syncs?stop=1": "Stop this sync?",
        "/syncs?interval=1": "Change interval",
        "/syncs?pause=1": "Pause until",
    }
    stories = {f"/runs?run={run_id}": "What happened" for run_id in made.runs.values()}
    return {"/": "Overview"} | {f"/{page}": title for page, title in LABELS.items()} | dialogs | stories


@pytest.mark.long
@pytest.mark.parametrize("half", [0, 1])
def test_every_page_suits_each_reader_theme_and_screen(half: int, furnished: Furniture, browser: Browser) -> None:
    """On every page and in every dialog axe finds nothing in either theme, on a desk or a phone; a name is text; all fits.

    Each page is loaded once, in one theme by turns, then made as narrow as a phone and changed to the other theme.
    """
    made, url = furnished
    wrong: list[str] = []
    with tab(browser) as page:
        for number, (address, title) in enumerate(list(addresses(made).items())[half::2]):
            themes = list(BACKGROUNDS)[:: (-1) ** number]
            page.set_viewport_size(DESK)
            page.emulate_media(color_scheme=themes[0])
            visit(page, url + address, title)
            if address in list_named(made):
                wrong += [f"{address}: {one}" for one in find_name_as_code(page)]
            page.add_style_tag(content=AT_REST)
            for theme, viewport in zip(themes, (DESK, PHONE), strict=True):
                page.set_viewport_size(viewport)
                wrong += [f"{address} {viewport['width']} wide: {one}" for one in find_beyond_the_edge(page)]
                change_theme(page, theme)
                found = Axe().run(page, context=OURS).response["violations"]
                where = f"{address} {theme} {viewport['width']} wide"
                wrong += [f"{where}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found]
    assert wrong == []


def list_named(made: Furnished) -> tuple[str, ...]:
    """Return the addresses at which the name of the furnished cohort is shown."""
    cohort = (f"/cohorts?export={made.cohort_id}", f"/cohorts?cohort={made.cohort_id}")
    return ("/", "/cohorts", *cohort, "/syncs", "/syncs?stop=1", "/runs", f"/runs?run={made.runs['done']}")


def find_name_as_code(page: Page) -> list[str]:
    """Return what became of a name with HTML, Markdown, an icon and a formula, where it does not stand as it is."""
    code = ("img[src='x']", "main strong:has-text('bold')", "main .katex")
    text = page.inner_text("body").replace("\u2060", "")
    missing = [] if NASTY in text or shorten_name(NASTY) in text else ["the name is missing"]
    return [*missing, *(f"the name became {one}" for one in code if page.locator(one).count())]


def change_theme(page: Page, theme: Theme) -> None:
    """Let the browser prefer a theme, and wait until the page has it."""
    page.emulate_media(color_scheme=theme)
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", BACKGROUNDS[theme])
    at_rest(page)


def find_beyond_the_edge(page: Page) -> list[str]:
    """Return the buttons and texts that stay partly outside of the screen, and what stays wider than it."""
    for _ in range(ARRANGED_TRIES):  # a page made narrow is arranged again, piece by piece
        if not (found := page.evaluate(BEYOND_THE_EDGE)):
            break
        page.wait_for_timeout(ARRANGED_MILLISECONDS)
    return found


def test_the_main_job_needs_no_mouse(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, runner_process: RunnerProcess, browser: Browser
) -> None:
    """Connect both sides, open a cohort's menu, start its sync and open its run with the keyboard alone."""
    number = sandbox.add_cohort("Power Users", [member(f"user-{n}") for n in range(30)])
    runner_process(data_dir)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/integrations", "Integrations")
        key_to(page, "Connect")
        expect(page.get_by_role("heading", name="Set up Mixpanel")).to_be_visible()
        type_into(
            page,
            {"Project ID": str(PROJECT), "Service account username": USERNAME, "Service account secret": SECRET},
            "Data residency",
            sandbox.url,
        )
        expect(page.get_by_text("Step 2 of 2.")).to_be_visible()
        at_rest(page)
        key_to(page, "Connect")
        expect(page.get_by_role("heading", name="Set up WebEngage")).to_be_visible()
        type_into(page, {"API key": API_KEY, "License code": LICENSE}, "Data center", sandbox.url)
        key_to(page, "Go to Cohorts")
        expect(page.get_by_role("heading", name="Cohorts")).to_be_visible()
        at_rest(page)
        key_to(page, "Actions for Power Users")
        expect(page.get_by_role("menu")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("menuitem", name="Export to WebEngage")).to_be_focused()
        page.keyboard.press("Enter")
        expect(box(page, "Attribute in WebEngage")).to_be_visible()
        expect(page.get_by_text("All members")).to_be_visible()
        at_rest(page)
        key_to(page, "Start Sync")
        wait_for(page, succeeded(data_dir))
        visit(page, page.url.replace("cohorts", "runs"), "Runs")
        key_to(page, "Run 1")
        expect(page.get_by_role("heading", name="Use it in WebEngage")).to_be_visible()
    assert sandbox.holding("Mixpanel - Power Users")[0] == sandbox.exportable(number)


def test_tab_on_the_page_of_a_run_stops_only_where_something_can_be_done_and_shows_where(
    sandbox: Sandbox, data_dir: Path, streamlit_server: StreamlitServer, browser: Browser
) -> None:
    """The lines of what happened are no stops, and a link that has the focus has a ring."""
    export_fans(data_dir, sandbox)
    with tab(browser) as page:
        visit(page, f"{streamlit_server(data_dir)}/runs?run=1", "Fans")
        expect(page.get_by_text("Succeeded.", exact=True)).to_be_visible()
        tab_until(page, "Open sync")
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab_until(page, "CSV of this run")
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED)[1] != "DIV"


def key_to(page: Page, name: str) -> None:
    """Press Tab until the button with this name has the focus, then Enter."""
    tab_until(page, name)
    page.keyboard.press("Enter")


def tab_until(page: Page, name: str, tag: str = "") -> None:
    """Press Tab until what has the focus is called so; of a select box, until its name holds this."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused, kind = page.evaluate(FOCUSED)
        if focused == name or (tag == kind and name in focused):
            return
    raise AssertionError(f"Tab never came to “{name}”.")


FOCUSED = """() => { const one = document.activeElement; const icon = one.querySelector('[data-testid=stIconMaterial]');
    const words = (one.innerText || one.textContent || '').replace(icon?.textContent ?? '', '').trim();
    return [one.getAttribute('aria-label') || words, one.tagName] }"""


def type_into(page: Page, texts: dict[str, str], place: str, url: str) -> None:
    """Fill a connect dialog from the keyboard and send it with its button."""
    at_rest(page)
    for label, text in texts.items():
        tab_until(page, label)
        page.keyboard.type(text)
    tab_until(page, place, "INPUT")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(url)
    page.keyboard.press("Enter")
    key_to(page, "Continue")
    expect(page.get_by_role("dialog")).to_have_count(0)
    at_rest(page)
