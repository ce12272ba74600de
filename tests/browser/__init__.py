"""Share what the browser tests need: a connected data folder, a page that notes what it asks for, the usual clicks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Locator, Page, expect

from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, anonymous, member
from tests.workspace import ROOT as ROOT
from tests.workspace import connect as connect
from tests.workspace import free_port as free_port
from tests.workspace import list_runs as runs
from tests.workspace import make_environment as environment
from tests.workspace import make_fans, run_queued, start_pages, wait_until_healthy
from tests.workspace import service as service

STOP_SECONDS = 30.0
PATIENCE = 120_000.0  # milliseconds an awaited element may take with several tests at once; never asserted
PRESSES, CLOSING = 4, 30_000.0  # tries, and milliseconds a dialog may take to close
SCROLL_TO_THE_MIDDLE = """field => new Promise(done => {
    field.scrollIntoView({block: "center", behavior: "instant"});
    requestAnimationFrame(() => requestAnimationFrame(done));
})"""
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
expect.set_options(timeout=PATIENCE)


def export_fans(data_dir: Path, sandbox: Sandbox, people: int = 20) -> int:
    """Export a cohort of fan-0, fan-1, …; return its number."""
    cohort = sandbox.add_cohort("Fans", make_fans(people))
    connect(data_dir, sandbox)
    with service(data_dir) as here:
        here.syncs.start_export(None, cohort, ExportTerms(mode=Mode.DYNAMIC))
    run_queued(data_dir)
    return cohort


def ended(data_dir: Path, run_id: int) -> Callable[[], bool]:
    """Return the question whether this run is over."""
    return lambda: next(run for run in runs(data_dir) if run.id == run_id).state.is_final


def wait_for(page: Page, question: Callable[[], bool]) -> None:
    """Let the page live until something outside of it is so."""
    for _ in range(int(PATIENCE * 2 / 100)):
        if question():
            return
        page.wait_for_timeout(100)
    raise AssertionError("What was waited for did not come.")


def succeeded(data_dir: Path) -> Callable[[], bool]:
    """Return the question whether the newest run succeeded."""
    return lambda: bool(runs(data_dir)) and runs(data_dir)[0].state == RunState.SUCCEEDED


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Page]:
    """Open a page in a context of its own, in Berlin; it may speak to this machine only, and neither show nor raise an error.

    It asks for little motion: to draw what moves, without a graphics card, is a quarter of what a browser costs.
    """
    person = {"timezone_id": "Europe/Berlin", "locale": "en-GB", "reduced_motion": "reduce"}
    context = browser.new_context(**{"viewport": DESK} | person | options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    abroad: list[str] = []
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(error.message))
    page.on("request", lambda request: abroad.append(request.url) if _abroad(request.url) else None)
    try:
        yield page
        assert not abroad
        assert not errors
        assert not page.get_by_test_id("stException").count()
    except BaseException:
        _print_page(page, errors)
        raise
    finally:
        context.close()


def _print_page(page: Page, errors: list[str]) -> None:
    """Print what a page showed when its test failed, and the buttons by the names that a test finds them by."""
    with suppress(Error):
        shown = page.locator("body").inner_text(timeout=CLOSING)
        buttons = [one.inner_text().strip() for one in page.get_by_role("button").all()]
        print(f"{page.url} showed:\n{shown}\nButtons: {buttons}\nErrors: {errors}")


def _abroad(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def at_rest(page: Page) -> None:
    """Wait until the page is drawn, its script does nothing, and nothing of a former drawing is left."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.locator('[data-stale="true"]')).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


def visit(page: Page, url: str, title: str) -> None:
    """Open an address and wait for its title."""
    page.goto(url)
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    at_rest(page)
    assert not page.get_by_test_id("stException").count()


def choose(page: Page, label: str, option: str) -> None:
    """Choose in a select box. A list closes when something scrolls, so scroll first, as a person has before clicking."""
    field = page.get_by_role("combobox", name=label)
    field.evaluate(SCROLL_TO_THE_MIDDLE)
    field.click()
    page.get_by_role("option", name=option, exact=True).click()


def is_offered(field: Locator, typed: str, option: Locator) -> bool:
    """Type, and return whether the list offers it: a redraw of the dialog just then empties the field."""
    field.fill(typed)
    return option.count() > 0


def type_place(page: Page, label: str, url: str) -> None:
    """Type an address where a region can be chosen."""
    page.get_by_role("combobox", name=label).fill(url)
    page.keyboard.press("Enter")


def fill_mixpanel(page: Page, sandbox: Sandbox, secret: str = SECRET, username: str = USERNAME) -> Locator:
    """Fill the Mixpanel dialog and press Continue."""
    dialog = page.get_by_role("dialog")
    box(dialog, "Project ID").fill(str(PROJECT))
    box(dialog, "Service account username").fill(username)
    box(dialog, "Service account secret").fill(secret)
    type_place(page, "Data residency", sandbox.url)
    press(dialog, "Continue")
    return dialog


def fill_webengage(page: Page, url: str, key: str = API_KEY, license_code: str = LICENSE) -> Locator:
    """Fill the WebEngage dialog and press Continue."""
    dialog = page.get_by_role("dialog")
    box(dialog, "API key").fill(key)
    box(dialog, "License code").fill(license_code)
    type_place(page, "Data center", url)
    press(dialog, "Continue")
    return dialog


def box(where: Page | Locator, label: str) -> Locator:
    """Return a text field by its label."""
    return where.get_by_role("textbox", name=label, exact=True)


def badge(where: Page | Locator, word: str) -> Locator:
    """Return the badges with this word; an icon stands before it."""
    return where.locator(".stMarkdownBadge").filter(has_text=re.compile(rf"{re.escape(word)}$"))


def success(page: Page, sentence: str) -> Locator:
    """Return the message that says a click did it; the words may stand in the page's own text, too."""
    return page.get_by_test_id("stAlertContentSuccess").get_by_text(sentence)


def press(where: Page | Locator, name: str) -> None:
    """Click a button by its exact name."""
    where.get_by_role("button", name=name, exact=True).click()


def press_to_start(page: Page, name: str) -> None:
    """Press a button of the export dialog until the dialog closes, as a person would; starting twice is starting once.

    A press is lost when the dialog is redrawn between mouse down and mouse up, which takes long on a busy machine. While it is
    redrawn the former button is there, too, before the new one.
    """
    dialog = page.get_by_role("dialog")
    for _ in range(PRESSES):
        with suppress(Error, AssertionError):
            dialog.get_by_role("button", name=name, exact=True).last.click(timeout=CLOSING)
            expect(dialog).to_have_count(0, timeout=CLOSING)
        if not dialog.count():
            return
    raise AssertionError(f"The dialog stayed open after {name!r} was pressed {PRESSES} times.")


def choose_action(page: Page, cohort: str, action: str) -> None:
    """Choose in a cohort's ⋯ menu."""
    press(page, f"Actions for {cohort}")
    page.get_by_role("menuitem", name=action).click()


def storage(page: Page) -> str:
    """Everything a page holds: its HTML and its storage."""
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    values = page.evaluate("() => JSON.stringify([...document.querySelectorAll('input')].map(one => one.value))")
    return f"{page.content()} {json.loads(json.dumps(kept))} {values}"


@contextmanager
def serving(data_dir: Path, port: int) -> Iterator[str]:
    """Serve the pages on a port of the test's choice, so that they can be stopped and begun again there."""
    with (data_dir.parent / f"pages-{port}.log").open("ab") as log:
        process = start_pages(port, environment(data_dir), log)
        try:
            wait_until_healthy(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@dataclass(frozen=True)
class Furnished:
    """A data folder in which everything there is to see has happened once."""

    data_dir: Path
    cohort_id: int
    fresh_id: int
    runs: dict[str, int]


def furnish(data_dir: Path, sandbox: Sandbox, name: str) -> Furnished:
    """Make a cohort that was exported and refreshed, one that failed, one that is held, one that waits, one untouched."""
    people = [member(f"user-{n}") for n in range(60)]
    mixed = [*people, anonymous("ghost"), member(""), member("long" * 40)]
    done, failed, held, queued, fresh = (
        sandbox.add_cohort(title, mixed, description=f"About {title}")
        for title in (name, "Failing", "Held", "Waiting", "Untouched")
    )
    connect(data_dir, sandbox)
    sandbox.poison("user-3", "user-4")
    made: dict[str, int] = {}
    with service(data_dir) as here:
        made["done"] = here.syncs.start_export(None, done, ExportTerms(mode=Mode.DYNAMIC)).run_id
        made["held"] = here.syncs.start_export(None, held, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
        run_queued(data_dir)
        for turn in range(3):
            sandbox.set_members(done, people[turn + 1 :])
            made["done"] = here.syncs.refresh_now(here.runs.get(made["done"]).sync_id).run_id
            run_queued(data_dir)
        sandbox.fault("status", api="mixpanel", path="/engage", code=403, times=1)
        made["failed"] = here.syncs.start_export(None, failed, ExportTerms(mode=Mode.DYNAMIC)).run_id
        run_queued(data_dir)
        made["queued"] = here.syncs.start_export(None, queued, ExportTerms(mode=Mode.ONE_TIME)).run_id
    return Furnished(data_dir, done, fresh, made)
