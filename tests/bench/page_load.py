"""The bench of the pages: how long people wait for them, and what it costs that they are looked at."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.bench.bench import BenchWorkspace, Row, cpu_of
from tests.browser import at_rest, badge, choose_action, free_port, press, serving, visit
from tests.browser.long_history import COHORTS, RUNS, fill_history
from tests.conftest import CHROMIUM_FLAGS

PAGES = {"": "Overview", "cohorts": "Cohorts", "syncs": "Syncs", "runs": "Runs", "integrations": "Integrations"}
PEOPLE = 2_000  # of a cohort whose export lasts some seconds
LOADING = 120_000.0  # milliseconds; the last of many tabs opens slowly, which is not what is measured
WORKING = ("Reading Mixpanel", "Sending to WebEngage")


def page_load(tabs: int, repeats: int, seconds: float) -> Iterator[Row]:
    """Open every page, press Start Sync, and let many tabs look at once."""
    with BenchWorkspace.open(latency=100) as workspace, sync_playwright() as playwright, ExitStack() as held:
        for number in range(COHORTS):
            workspace.sandbox.add_cohort(f"Cohort {number}", [])
        fresh = [workspace.sandbox.generate(f"Fresh {one}", PEOPLE, seed=one) for one in range(repeats)]
        fill_history(workspace.sandbox, workspace.folder)
        url = held.enter_context(serving(workspace.folder, free_port()))
        held.enter_context(workspace.runners())
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        held.callback(browser.close)
        yield from _opening(browser, url, repeats)
        yield _starting(browser, url, len(fresh))
        yield from _polling(workspace, browser, url, tabs, seconds)


def _opening(browser: Browser, url: str, repeats: int) -> Iterator[Row]:
    page = browser.new_context().new_page()
    for name, title in PAGES.items():
        visit(page, f"{url}/{name}", title)  # the browser keeps Streamlit's own files from now on
        times = [_opened(page, f"{url}/{name}", title) for _ in range(repeats)]
        yield (
            f"{title} opens, with {COHORTS} cohorts and {RUNS:,} runs",
            f"{statistics.median(times):.2f} s",
            "< 0.8 s" if name == "cohorts" else "< 1.2 s",
        )
    page.context.close()


def cohort_page(members: int, repeats: int) -> Iterator[Row]:
    """Open the page of a cohort that was read: until its table can be used, and until a search is answered."""
    with BenchWorkspace.open() as workspace, sync_playwright() as playwright, ExitStack() as held:
        cohort = workspace.sandbox.generate("Many", members, anonymous=members // 10, ids="sequential")
        url = held.enter_context(serving(workspace.folder, free_port()))
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        held.callback(browser.close)
        page = browser.new_context().new_page()
        visit(page, f"{url}/cohorts?cohort={cohort}", "Many")
        everybody = page.get_by_text(f"1 to 50 of {members:,} people")
        expect(everybody).to_be_visible(timeout=LOADING)
        at_rest(page)
        opened, found = [], []
        for _ in range(repeats):
            press(page, "All cohorts")
            expect(page.get_by_role("heading", name="Cohorts")).to_be_visible()
            at_rest(page)
            began = time.monotonic()
            page.get_by_role("link", name="Many").click()
            expect(everybody).to_be_visible()
            at_rest(page)
            opened.append(time.monotonic() - began)
            began = time.monotonic()
            page.get_by_role("searchbox", name="Search people").fill(f"{members // 2:08d}")
            expect(page.get_by_text("1 to 1 of 1 person")).to_be_visible()
            found.append(time.monotonic() - began)
            page.get_by_role("searchbox", name="Search people").fill("")
            expect(everybody).to_be_visible()
        yield (
            f"a cohort's page with {members:,} members can be used, after its reading",
            f"{statistics.median(opened):.2f} s",
            "< 2 s",
        )
        yield f"a search among {members:,} members is answered", f"{statistics.median(found):.2f} s", ""


def _listens(connection: Any, url: str) -> bool:
    return connection.status == psutil.CONN_LISTEN and str(connection.laddr.port) == url.rpartition(":")[2]


def _opened(page: Page, url: str, title: str) -> float:
    began = time.monotonic()
    visit(page, url, title)
    return time.monotonic() - began


def _starting(browser: Browser, url: str, repeats: int) -> Row:
    page = browser.new_context().new_page()
    times = []
    for one in range(repeats):
        visit(page, f"{url}/cohorts?q=Fresh+{one}", "Cohorts")
        choose_action(page, f"Fresh {one}", "Export to WebEngage")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Start Sync")).to_be_enabled()
        at_rest(page)
        press(dialog, "Start Sync")
        began = time.monotonic()
        expect(badge(page, WORKING[0]).or_(badge(page, WORKING[1])).first).to_be_visible()
        times.append(time.monotonic() - began)
    page.context.close()
    return "Start Sync until the row says that the run works", f"{statistics.median(times):.2f} s", "≤ 1 s"


def _polling(workspace: BenchWorkspace, browser: Browser, url: str, tabs: int, seconds: float) -> Iterator[Row]:
    """Let tabs look at the list of syncs while a run is under way; every message they send is one look."""
    with workspace.service() as service:
        service.syncs.start_export(
            None, workspace.sandbox.generate("Under way", 100_000, seed=9), ExportTerms(mode=Mode.DYNAMIC)
        )
    sent: list[int] = []
    context = browser.new_context()  # one browser, many tabs: its files are fetched once
    for _ in range(tabs):
        page = context.new_page()
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(1)))
        page.goto(f"{url}/syncs", timeout=LOADING)
        expect(page.get_by_role("heading", name="Syncs")).to_be_visible(timeout=LOADING)
    server = next(psutil.Process(one.pid) for one in psutil.net_connections() if one.pid and _listens(one, url))
    before, spent, began = len(sent), cpu_of(server), time.monotonic()
    while time.monotonic() - began < seconds:
        page.wait_for_timeout(1000)
    looks, cpu = len(sent) - before, cpu_of(server) - spent
    yield (
        f"a poll of a tab, {tabs} tabs open on a run under way: server CPU",
        f"{1000 * cpu / max(1, looks):.1f} ms ({looks / seconds:.1f} polls a second)",
        "< 20 ms",
    )
