"""`python -m tests.screenshots [NAME…]`: pictures of every page, or of those named, into docs/images.

They show the sandbox and what a real runner did.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.service import Service
from tests.browser import at_rest, connect, free_port, service
from tests.conftest import CHROMIUM_FLAGS
from tests.sandbox.control import Sandbox
from tests.workspace import ROOT

IMAGES = ROOT / "docs" / "images"
WAYS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
POWER, TRIAL, LAPSING, CRM, WEEKLY = (
    "Power Users",
    "Trial Ending Soon",
    "Lapsing Subscribers",
    "Imported CRM Contacts",
    "Weekly Listeners",
)
SHOWN = "Cart Abandoners"
MIXED = "24d"  # what is searched for on its page: six people identified and six anonymous have it in their ids
TALL = 1240  # pixels that the page of a cohort needs to show its numbers and these twelve people
PATIENCE = 240.0
COLOURS = 255


@contextlib.contextmanager
def process(*command: str, data: Path) -> Iterator[None]:
    """One of this project's processes, ended with us."""
    running = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env=os.environ | {"COHORT_SYNC_DATA": str(data)}
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


def settle(here: Service, *sync_ids: int) -> None:
    """Wait until these syncs have nothing under way, but for what is held."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        last = [here.syncs.get(sync_id).last_run for sync_id in sync_ids]
        if all(run and (run.state.is_final or run.state.value == "held") for run in last):
            return
        time.sleep(0.2)
    raise SystemExit("The runner did not get done; its words are above.")


@dataclass(frozen=True)
class History:
    """Hold what there is to show: a sync, its last run, and a held run."""

    sync_id: int
    run_id: int
    held_id: int


def history(sandbox: Sandbox, here: Service) -> History:
    """Fill the history: some exports, refreshes, rejections, a held run, people never to be exported."""
    numbers = {cohort["name"]: int(cohort["id"]) for cohort in sandbox.cohorts()}
    here.cohorts.list()
    sandbox.poison(*sorted(sandbox.exportable(numbers[TRIAL]))[:3])
    syncs = {
        name: here.syncs.start_export(None, numbers[name], ExportTerms(mode=Mode.DYNAMIC)).sync_id
        for name in (TRIAL, LAPSING, POWER)
    }
    syncs[CRM] = here.syncs.start_export(None, numbers[CRM], ExportTerms(mode=Mode.ONE_TIME)).sync_id
    settle(here, *syncs.values())
    for turn in range(7):
        for name in (POWER, TRIAL):
            sandbox.churn(numbers[name], 0.012 + 0.006 * (turn % 3), seed=turn)
            here.syncs.refresh_now(syncs[name])
        settle(here, *syncs.values())
    sandbox.churn(numbers[LAPSING], 0.4, seed=1)
    held_id = here.syncs.refresh_now(syncs[LAPSING]).run_id
    settle(here, syncs[LAPSING])
    here.safety.add_never_export(None, sorted(sandbox.exportable(numbers[WEEKLY]))[:4], "asked not to be contacted")
    here.syncs.start_export(None, numbers[WEEKLY], ExportTerms(mode=Mode.DYNAMIC, interval=3600.0))
    last = here.syncs.get(syncs[POWER]).last_run
    return History(sync_id=syncs[POWER], run_id=last.id if last else 0, held_id=held_id)


def shoot(browser: Browser, url: str, past: History, cohort_id: int, names: Collection[str]) -> None:
    """Make every picture, or those that are named, in every way of looking."""
    addresses = {
        "overview": "/",
        "preview": f"/cohorts?cohort={cohort_id}",
        "export": f"/cohorts?export={cohort_id}",
        "syncs": "/syncs",
        "sync": f"/syncs?sync={past.sync_id}",
        "run": f"/runs?run={past.run_id}",
        "held": f"/runs?run={past.held_id}",
        "runs": "/runs",
        "safety": "/safety",
        "alerts": "/alerts",
        "integrations": "/integrations",
        "connect": "/integrations?setup=webengage",
        "cohorts": "/cohorts?sort=Most+people",
    }
    for way, options in WAYS.items():
        context = browser.new_context(**options, timezone_id="Europe/Berlin", locale="en-GB")
        page = context.new_page()
        for name, address in ((one, addresses[one]) for one in addresses if not names or one in names):
            page.goto(url + address)
            _drawn(page)
            if name == "preview":
                _find_mixed_people(page)
            keep(page.screenshot(), IMAGES / f"{name}-{way}.png")
            page.set_viewport_size(options["viewport"])
        context.close()


def _find_mixed_people(page: Page) -> None:
    """Search people so that identified and anonymous ones stand together, on a page tall enough to show them."""
    page.set_viewport_size({"width": page.viewport_size["width"], "height": TALL})  # type: ignore[index]
    page.get_by_role("searchbox", name="Search people").fill(MIXED)
    _drawn(page)


def keep(png: bytes, file: Path) -> None:
    """Store a picture with as few colours as look the same: a third of the size."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def _drawn(page: Page) -> None:
    at_rest(page)
    page.wait_for_timeout(2600)  # two looks, so that a run under way shows its pace
    at_rest(page)


def main() -> None:
    """Start everything, fill it, and take the pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.start(empty=False) as sandbox,
        sync_playwright() as playwright,
        contextlib.ExitStack() as running,
    ):
        data = Path(folder)
        connect(data, sandbox)
        running.enter_context(process("sync.runner", data=data))
        running.enter_context(process("streamlit", "run", "app.py", "--server.port", str(port), data=data))
        with service(data) as here:
            past = history(sandbox, here)
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        numbers = {cohort["name"]: int(cohort["id"]) for cohort in sandbox.cohorts()}
        shoot(browser, f"http://127.0.0.1:{port}", past, numbers[SHOWN], sys.argv[1:])
        browser.close()


if __name__ == "__main__":
    main()
