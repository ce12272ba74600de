"""What the tests share: a data folder, the sandbox, a browser, and this project's own processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from streamlit.runtime.context import ContextProxy, StreamlitHeaders

from sync.permissions import ACCESS_SETTINGS
from tests.sandbox.control import Sandbox
from tests.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS, STOP_SECONDS, CLI_SECONDS = 90.0, 30.0, 180.0  # never asserted: room for several tests at once
WORKERS_A_CORE, MOST_WORKERS = 2, 8
STARTS_PROCESSES = {"chromium", "cli", "runner_process", "streamlit_server"}  # the fixtures that make a test slow
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Cli = Callable[..., subprocess.CompletedProcess[str]]
StreamlitServer = Callable[..., str]
RunnerProcess = Callable[..., subprocess.Popen[bytes]]


def pytest_configure() -> None:
    """Take Ctrl-C even in the background of a shell, which ignores it there and for every process started from it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs Chromium and what is slow; with several workers run the slow tests first, so that none ends late."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "chromium" in fixtures:
            item.add_marker("browser")
        if fixtures & STARTS_PROCESSES or item.get_closest_marker("drill"):
            item.add_marker("slow")
    if hasattr(config, "workerinput"):
        items.sort(key=_order)


def _order(item: pytest.Item) -> int:
    """Return 0 for the drill, 1 for other slow tests, 2 for the rest; the order within each stays."""
    return 0 if item.get_closest_marker("drill") else 1 if item.get_closest_marker("slow") else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: two for each core, as most tests wait more than they compute."""
    return min(WORKERS_A_CORE * (os.cpu_count() or 1), MOST_WORKERS)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data folder, away from the project's own."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def local_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the pages that AppTest runs the headers of a browser on this machine, and no sign-in.

    AppTest makes no request, so Streamlit has no headers to give, and the pages refuse that.
    """
    monkeypatch.setattr(ContextProxy, "headers", StreamlitHeaders([("Host", "127.0.0.1:8501")]))
    for name in ACCESS_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(data_dir: Path, monkeypatch: pytest.MonkeyPatch, local_browser: None) -> Workspace:
    """The pages on an empty data folder, without a browser."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(data_dir))
    monkeypatch.delenv("COHORT_SYNC_KEY", raising=False)
    return Workspace(data_dir)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Both APIs, without cohorts."""
    with Sandbox.start(empty=True) as running:
        yield running


@pytest.fixture
def cli() -> Cli:
    """Run `python -m sync …` on a data folder; keywords are environment variables, secrets for instance."""

    def run(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sync", *arguments],
            cwd=ROOT,
            text=True,
            check=False,
            env=_environment(data_dir, environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLI_SECONDS,
        )

    return run


@pytest.fixture
def runner_process() -> Iterator[RunnerProcess]:
    """`python -m sync.runner` on a data folder, for tests that watch, stop or kill it."""
    with contextlib.ExitStack() as running:

        def start(data_dir: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "sync.runner", *arguments], cwd=ROOT, env=_environment(data_dir, environment)
            )
            running.callback(_stop, process)
            return process

        yield start


@pytest.fixture
def streamlit_server(tmp_path: Path) -> Iterator[StreamlitServer]:
    """The pages on a data folder and a free port; what they logged is shown when a test fails."""
    with contextlib.ExitStack() as running:

        def start(data_dir: Path, *, port: int = 0, **environment: str) -> str:
            port = port or free_port()
            log = running.enter_context((tmp_path / f"streamlit-{port}.log").open("w+b"))
            command = [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                "--server.headless",
                "true",
                "--server.port",
                str(port),
            ]
            process = subprocess.Popen(
                command, cwd=ROOT, env=_environment(data_dir, environment), stdout=log, stderr=subprocess.STDOUT
            )
            running.callback(_print_log, Path(log.name))
            running.callback(_stop, process)
            _wait_until_healthy(process, f"http://127.0.0.1:{port}")
            return f"http://127.0.0.1:{port}"

        yield start


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where this machine's Chromium is; a test without one is skipped, and fails under CI."""
    names = (os.environ.get("CHROMIUM", ""), "/usr/bin/chromium", *CHROMIUM_NAMES)
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found:
        return found
    reason = "No Chromium on this machine; install it or set CHROMIUM to its path."
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for all tests; each opens contexts of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


def _environment(data_dir: Path, more: dict[str, str]) -> dict[str, str]:
    ours = {"COHORT_SYNC_DATA": str(data_dir), "PYTHONUNBUFFERED": "1"}
    ignored = ("COHORT_SYNC_KEY", *ACCESS_SETTINGS)
    inherited = {name: value for name, value in os.environ.items() if name not in ignored}
    return inherited | ours | more


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), direct.open(f"{url}/_stcore/health", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("The pages did not start; their log is below.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _print_log(path: Path) -> None:
    """Pytest shows what teardown prints when, and only when, the test failed."""
    print(path.read_text(errors="replace"))
