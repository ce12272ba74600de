"""Without sign-in the pages answer a browser on this machine and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from streamlit.runtime.context import ContextProxy, StreamlitHeaders
from streamlit.testing.v1 import AppTest

from pages.parts.request_check import describe_remote_sign
from tests.conftest import CHROMIUM_FLAGS, StreamlitServer
from tests.reverse_proxy import reverse_proxy
from tests.workspace import ROOT, Workspace, page_text

FOREIGN = "sync.example.com"
SCRIPTS = sorted((ROOT / "pages").glob("*.py"))
PATIENCE = 30_000  # milliseconds; never asserted
PLACES = ("/cohorts?export=4711", "/integrations", "")  # the first is what a new server is asked for first
LOCAL_HOSTS = ("localhost", "LOCALHOST:8501", "localhost.:8501", "127.0.0.1:8501", "127.9.9.9", "[::1]:8501")
FOREIGN_HOSTS = (
    FOREIGN,
    "192.0.2.7:8501",
    "0.0.0.0:8501",
    "localhost.example.com",
    "127.0.0.1.nip.io",
    "localhost@example.com",
    "example.com/localhost",
    "localhost:x",
    "[::1",
    "[fe80::1]",
    "",
)
FORWARDED_LINES = (
    "Forwarded: for=192.0.2.7",
    "Via: 1.1 proxy",
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-host: localhost",
    "X-Forwarded-Proto: https",
    "X-Real-IP: 127.0.0.1",
    "X-Original-Forwarded-For: 127.0.0.1",
    "X-Request-Id: 1",
    "CF-Connecting-IP: 192.0.2.7",
    "True-Client-IP: 192.0.2.7",
    "Remote-User: ann",
    "Via:",
)


@pytest.fixture(scope="module")
def outside(browser: Browser, chromium: str) -> Iterator[Browser]:
    """Start a browser that reaches this machine under a foreign name."""
    rules = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"
    launched = browser.browser_type.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, rules])
    yield launched
    launched.close()


def expect_refused(browser: Browser, url: str, reason: str, *places: str) -> None:
    """Every place says why and how to configure sign-in, and nothing else."""
    page = browser.new_page(reduced_motion="reduce")
    for place in places:
        page.goto(url + place)
        alert = page.get_by_test_id("stAlert")
        expect(alert).to_contain_text(reason, timeout=PATIENCE)
        expect(alert).to_contain_text("[auth]")
        expect(alert).to_contain_text("COHORT_SYNC_ADMINS")
        expect(page.get_by_text("WebEngage")).to_have_count(0)
        expect(page.get_by_role("button", name="Connect")).to_have_count(0)
    page.close()


def test_request_when_the_host_is_foreign_is_refused_from_the_first_on(
    streamlit_server: StreamlitServer, data_dir: Path, outside: Browser
) -> None:
    """A fresh server asked under a foreign name (a proxy, or DNS rebinding) shows no page, deep links included."""
    url = streamlit_server(data_dir).replace("127.0.0.1", FOREIGN)
    expect_refused(outside, url, f"addressed to “{FOREIGN}", *PLACES)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_of_a_page_when_run_alone_meets_the_door(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, script: Path
) -> None:
    """The first request of a new server runs the script of its page without app.py; it asks for access, too."""
    monkeypatch.setattr(ContextProxy, "headers", StreamlitHeaders([("Host", FOREIGN)]))
    app = AppTest.from_file(str(script), default_timeout=30).run()
    assert not app.exception and f"addressed to “{FOREIGN}" in page_text(app)
    assert [one.value for one in app.title] == ["Cohort Sync"] and not (app.button or app.text_input)


def test_request_when_a_proxy_forwards_it_is_refused(
    streamlit_server: StreamlitServer, data_dir: Path, browser: Browser
) -> None:
    """A reverse proxy that keeps a loopback Host is known by its headers; the direct road stays open."""
    url = streamlit_server(data_dir)
    upstream = url.removeprefix("http://")
    for line in ("X-Forwarded-For: 192.0.2.7", "X-Real-Ip: 192.0.2.7", "Forwarded: for=192.0.2.7", "Via: 1.1 proxy"):
        with reverse_proxy(upstream, added=(line,)) as port:
            expect_refused(browser, f"http://127.0.0.1:{port}", f"“{line.partition(':')[0]}”", "/integrations")
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{url}/integrations")
    expect(page.get_by_role("heading", name="Integrations")).to_be_visible(timeout=PATIENCE)
    page.close()


def test_request_when_a_proxy_hides_itself_is_refused_by_its_origin(
    streamlit_server: StreamlitServer, data_dir: Path, outside: Browser
) -> None:
    """The `proxy_pass` of nginx alone writes a loopback Host and adds no header: the browser's Origin is still foreign."""
    upstream = streamlit_server(
        data_dir, STREAMLIT_SERVER_ENABLE_CORS="false", STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION="false"
    ).removeprefix("http://")
    with reverse_proxy(upstream, host=upstream) as port:
        expect_refused(outside, f"http://{FOREIGN}:{port}", f"opened at “{FOREIGN}", "/integrations")


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_request_when_its_host_is_loopback_is_local(host: str) -> None:
    """Every usual way to write this machine, with the browser's own headers."""
    headers = [
        ("Host", host),
        ("Origin", f"http://{host}"),
        ("Upgrade", "websocket"),
        ("Sec-Fetch-Site", "same-origin"),
    ]
    assert describe_remote_sign(headers) == ""
    assert describe_remote_sign([("host", host)]) == ""


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_request_when_its_host_is_not_loopback_is_remote(host: str) -> None:
    """Names that only look like this machine, and none at all, are foreign, alone or beside a good one."""
    assert describe_remote_sign([("Host", host)])
    assert describe_remote_sign([("Host", "localhost"), ("Host", host)])
    assert describe_remote_sign([("Host", "localhost"), ("Origin", f"https://{host}")])


@pytest.mark.parametrize("line", FORWARDED_LINES)
def test_request_when_it_was_forwarded_is_remote(line: str) -> None:
    """Any trace of a proxy counts, whatever it says: who forwards cannot be believed."""
    name, _, value = line.partition(":")
    assert name in describe_remote_sign([("Host", "localhost"), (name, value.strip())])


def test_click_when_its_browser_is_gone_counts_only_for_a_known_local_session(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without headers a new session is refused; one whose requests came from this machine goes on."""
    local = workspace.page("integrations")
    monkeypatch.setattr(ContextProxy, "headers", StreamlitHeaders([]))
    assert "does not say which host it is for" in page_text(workspace.page("integrations"))
    assert "Integrations" in page_text(local.run())


def test_request_when_nothing_is_known_of_it_is_remote() -> None:
    """A click whose browser is gone already has no headers: that is no reason to trust it."""
    assert describe_remote_sign([])
    assert describe_remote_sign([("Host", "localhost"), ("Origin", "null")])
