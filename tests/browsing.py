"""What the browser tests share: a connected data folder, a page that notes what it asks for, the usual clicks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from sync.model import Run, RunState
from sync.service import Service
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox

PATIENCE = 30_000.0  # milliseconds an awaited element may take on a busy machine; never asserted
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SANDBOX_CHOICE = "This machine – a sandbox to try it without accounts"
expect.set_options(timeout=PATIENCE)


def service(data_dir: Path) -> Service:
    """The service on a data folder, as a person at the command line has it."""
    return Service.open({"COHORT_SYNC_DATA": str(data_dir)})


def connect(data_dir: Path, sandbox: Sandbox) -> None:
    """Connect both sides to the sandbox."""
    with service(data_dir) as here:
        here.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        here.connect_webengage(LICENSE, API_KEY, sandbox.url)


def runs(data_dir: Path) -> tuple[Run, ...]:
    """The last runs."""
    with service(data_dir) as here:
        return here.runs(limit=100)


def ended(data_dir: Path, run_id: int) -> Callable[[], bool]:
    """A question: is this run over?"""
    return lambda: next(run for run in runs(data_dir) if run.id == run_id).state.over


def wait_for(page: Page, question: Callable[[], bool]) -> None:
    """Let the page live until something outside of it is so."""
    for _ in range(int(PATIENCE * 2 / 100)):
        if question():
            return
        page.wait_for_timeout(100)
    raise AssertionError("What was waited for did not come.")


def succeeded(data_dir: Path) -> Callable[[], bool]:
    """A question: did the newest run succeed?"""
    return lambda: bool(runs(data_dir)) and runs(data_dir)[0].state == RunState.SUCCEEDED


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page in a context of its own, in Berlin; it may speak to this machine only."""
    context = browser.new_context(**{"viewport": DESK, "timezone_id": "Europe/Berlin", "locale": "en-GB"} | options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    abroad: list[str] = []
    page.on("request", lambda request: abroad.append(request.url) if _abroad(request.url) else None)
    try:
        yield page
        assert not abroad
    finally:
        context.close()


def _abroad(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def at_rest(page: Page) -> None:
    """Wait until the page is drawn and its script does nothing."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


def visit(page: Page, url: str, title: str) -> None:
    """Open an address and wait for its title."""
    page.goto(url)
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    at_rest(page)


def choose(page: Page, label: str, option: str) -> None:
    """Choose in a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option).click()


def fill_mixpanel(page: Page, sandbox: Sandbox, secret: str = SECRET, username: str = USERNAME) -> Locator:
    """Fill the Mixpanel dialog and press Continue."""
    dialog = page.get_by_role("dialog")
    box(dialog, "Project ID").fill(str(PROJECT))
    box(dialog, "Service account username").fill(username)
    box(dialog, "Service account secret").fill(secret)
    if not box(dialog, "Address of the sandbox").count():
        choose(page, "Data residency", SANDBOX_CHOICE)
    box(dialog, "Address of the sandbox").fill(sandbox.url)
    press(dialog, "Continue")
    return dialog


def fill_webengage(page: Page, url: str, key: str = API_KEY, license_code: str = LICENSE) -> Locator:
    """Fill the WebEngage dialog and press Continue."""
    dialog = page.get_by_role("dialog")
    box(dialog, "API key").fill(key)
    box(dialog, "License code").fill(license_code)
    if not box(dialog, "Address of the sandbox").count():
        choose(page, "Data center", SANDBOX_CHOICE)
    box(dialog, "Address of the sandbox").fill(url)
    press(dialog, "Continue")
    return dialog


def box(where: Page | Locator, label: str) -> Locator:
    """A text field by its label."""
    return where.get_by_role("textbox", name=label, exact=True)


def badge(where: Page | Locator, word: str) -> Locator:
    """The badges with this word; an icon stands before it."""
    return where.locator(".stMarkdownBadge").filter(has_text=re.compile(rf"{re.escape(word)}$"))


def press(where: Page | Locator, name: str) -> None:
    """Click a button by its exact name."""
    where.get_by_role("button", name=name, exact=True).click()


def choose_action(page: Page, cohort: str, action: str) -> None:
    """Choose in a cohort's ⋯ menu."""
    press(page, f"Actions for {cohort}")
    page.get_by_role("menuitem", name=action).click()


def storage(page: Page) -> str:
    """Everything a page holds: its HTML and its storage."""
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    values = page.evaluate("() => JSON.stringify([...document.querySelectorAll('input')].map(one => one.value))")
    return f"{page.content()} {json.loads(json.dumps(kept))} {values}"
