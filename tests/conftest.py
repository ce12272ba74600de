"""Shared fixtures: a data folder, a workspace, the sandbox, a browser, and this project's own processes."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.context import ContextProxy, StreamlitHeaders

from pages.parts.sign_in import sign_in_was_configured
from sync.settings import ACCESS_VARIABLES
from sync.store import Store
from sync.store.file_identity import DATABASE_FILE, forget_database
from tests.alert_receivers import Mailbox, serve_mail
from tests.process_factory import Process, start_module
from tests.sandbox.control import Sandbox
from tests.sandbox.factory import SandboxFactory
from tests.workspace import (
    Workspace,
    free_port,
    make_environment,
    run_cli,
    start_pages,
    wait_until_healthy,
)

MEMORY = Path("/", "dev", "shm")  # a file system in memory; pytest makes a folder of its own in it
ROOM = 4 * 2**30  # bytes that have to be free there
STOP_SECONDS = 30.0  # never asserted: room for several tests at once
WORKERS_A_CORE, MOST_WORKERS = 2, 8
COLLECT_AFTER = (
    20_000,
    20,
    50,
)  # new objects, and rounds, after which the collector looks; Python's own are 700, 10, 10
SLOW_BEGIN = 0.8  # the share of the fast tests beside which all slow ones have begun
STARTS_PROCESSES = {"chromium", "cli", "runner_process", "streamlit_server"}  # the fixtures that make a test slow
RUNS_COMMANDS = {"run_cli", "read_json", "export_by_command"}  # and so do these methods of the workspace
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Chromium takes the last such list only: first what of Playwright's own matters on this machine, then what costs time
# and shows nobody anything, two pages behind the address bar of each window and a process kept for the next page.
CHROMIUM_FEATURES_OFF = [
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "SpareRendererForSitePerProcess",
]
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(CHROMIUM_FEATURES_OFF)}",
]

Cli = Callable[..., subprocess.CompletedProcess[str]]
StreamlitServer = Callable[..., str]
RunnerProcess = Callable[..., Process]


def pytest_configure() -> None:
    """Take Ctrl-C even in the background of a shell, and keep the tests' files in memory where there is room.

    Such a shell ignores Ctrl-C for every process started from it. The tests' databases are as durable as the product's:
    on a disk each commit waits for it, which was a fifth of the time of the fast tests.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs Chromium and what is slow; with several workers order the tests so that all stay busy."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "chromium" in fixtures:
            item.add_marker("browser")
        names = set(item.function.__code__.co_names) if isinstance(item, pytest.Function) else set()
        if fixtures & STARTS_PROCESSES or names & RUNS_COMMANDS or item.get_closest_marker("drill"):
            item.add_marker("slow")
    if hasattr(config, "workerinput"):
        items[:] = _spread(items)


def pytest_collection_finish() -> None:
    """Keep what is imported by now, and the tests themselves, out of the collector's way: it took a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the longest first, then slow and fast tests mixed, so that only fast ones are left at the end.

    Several browsers at once would make each other too slow for what their tests wait for.
    """
    first = [item for item in items if item.get_closest_marker("drill") or item.get_closest_marker("long")]
    rest = [item for item in items if item not in first]
    slow = [item for item in rest if item.get_closest_marker("slow")]
    fast = [item for item in rest if not item.get_closest_marker("slow")]
    places = [(place / len(slow) * SLOW_BEGIN, item) for place, item in enumerate(slow)]
    places += [(place / len(fast), item) for place, item in enumerate(fast)]
    return [*first, *(item for _, item in sorted(places, key=lambda placed: placed[0]))]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: two for each core, as most tests wait more than they compute."""
    return min(WORKERS_A_CORE * (os.cpu_count() or 1), MOST_WORKERS)


@pytest.fixture(scope="session", autouse=True)
def scan_packages_once() -> Iterator[None]:
    """Keep what Streamlit finds in the installed packages, as its server does: each AppTest would read all of them."""
    with pytest.MonkeyPatch.context() as patch:
        scan = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture
def empty_dir(tmp_path: Path) -> Path:
    """Make an empty data folder, away from the project's own, for tests of what a first start does."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder as a first start leaves it, but for the database's id, which the next open draws."""
    folder = tmp_path_factory.mktemp("new")
    Store.open(folder).close()
    forget_database(folder / DATABASE_FILE)
    with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE)) as db, db:
        db.execute("delete from setting where name = 'database_id'")
    return folder


@pytest.fixture
def data_dir(empty_dir: Path, new_database: Path) -> Path:
    """Make a data folder as after a first start; copied, since the migrations are half the time of a short test."""
    return Path(shutil.copytree(new_database, empty_dir, dirs_exist_ok=True))


@pytest.fixture
def local_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the pages that AppTest runs the headers of a browser on this machine, and no sign-in.

    AppTest makes no request, so Streamlit has no headers to give, and the pages refuse that.
    """
    monkeypatch.setattr(ContextProxy, "headers", StreamlitHeaders([("Host", "127.0.0.1:8501")]))
    sign_in_was_configured.clear()  # a process that once saw sign-in requires it: an earlier test may have been that one
    for name in ACCESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(data_dir: Path, monkeypatch: pytest.MonkeyPatch, local_browser: None) -> Workspace:
    """Make a workspace on a new database, whose pages run in this process too."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))
    monkeypatch.delenv("COHORT_SYNC_KEY", raising=False)
    return Workspace(data_dir)


@pytest.fixture
def connected(workspace: Workspace, sandbox: Sandbox) -> Workspace:
    """Connect the workspace to the sandbox on both sides."""
    workspace.connect(sandbox)
    return workspace


@pytest.fixture
def fans(connected: Workspace) -> Workspace:
    """Connect the workspace and give it a cohort of 30 people."""
    connected.add_cohort(30)
    return connected


@pytest.fixture(scope="session")
def sandbox_factory() -> Iterator[SandboxFactory]:
    """Start the process that makes the sandboxes of this session."""
    with SandboxFactory() as factory:
        yield factory


@pytest.fixture
def sandbox(sandbox_factory: SandboxFactory) -> Iterator[Sandbox]:
    """Start both APIs, without cohorts."""
    with sandbox_factory.make_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[Sandbox]:
    """Run one sandbox for a whole file, whose tests reset it."""
    with Sandbox.start(empty=True) as running:
        yield running


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Run an SMTP server."""
    with serve_mail() as running:
        yield running


@pytest.fixture
def cli() -> Cli:
    """Run `python -m sync …` on a data folder; keywords are environment variables, secrets for instance."""
    return run_cli


@pytest.fixture
def runner_process() -> Iterator[RunnerProcess]:
    """Start `python -m sync.runner` on a data folder, for tests that watch, stop or kill it."""
    with contextlib.ExitStack() as running:

        def start(data_dir: Path, *arguments: str, **environment: str) -> Process:
            process = start_module("sync.runner", *arguments, env=make_environment(data_dir, **environment))
            running.callback(_stop, process)
            return process

        yield start


@pytest.fixture
def streamlit_server(tmp_path: Path) -> Iterator[StreamlitServer]:
    """Serve the pages on a data folder and a free port; what they logged is shown when a test fails."""
    with contextlib.ExitStack() as running:

        def start(data_dir: Path, *, port: int = 0, **environment: str) -> str:
            port = port or free_port()
            log = running.enter_context((tmp_path / f"streamlit-{port}.log").open("w+b"))
            process = start_pages(port, make_environment(data_dir, **environment), log)
            running.callback(_print_log, Path(log.name))
            running.callback(_stop, process)
            base_path = environment.get("STREAMLIT_SERVER_BASE_URL_PATH", "")
            wait_until_healthy(process, f"http://127.0.0.1:{port}/{base_path}".rstrip("/"))
            return f"http://127.0.0.1:{port}"

        yield start


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of this machine's Chromium; a test without one is skipped, and fails under CI."""
    names = (os.environ.get("CHROMIUM", ""), "/usr/bin/chromium", *CHROMIUM_NAMES)
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found:
        return found
    reason = "No Chromium on this machine; install it or set CHROMIUM to its path."
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """Start one browser for all tests; each opens contexts of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


def _stop(process: Process) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _print_log(path: Path) -> None:
    """Print a log; pytest shows what teardown prints when, and only when, the test failed."""
    print(path.read_text(errors="replace"))
