"""Sign-in, the whole loop: a real identity provider on this machine, real pages, real Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from tests.browser import CLOSING, PRESSES, at_rest
from tests.browser.nginx import BASE_PATH, find_nginx, serve_behind_nginx
from tests.conftest import StreamlitServer, free_port

PATIENCE = 60_000  # milliseconds; never asserted
PROVIDER_FORM = "**/oauth2/authorize**"
Pages = Callable[..., str]


@pytest.fixture
def provider() -> Iterator[str]:
    """Start an OpenID Connect provider that knows three people; it says nothing about whether Max's address is his."""
    port = free_port()
    people: list[dict[str, object]] = [
        {"sub": "ann", "email": "ann@example.com", "email_verified": True},
        {"sub": "eve", "email": "eve@elsewhere.example", "email_verified": True},
        {"sub": "max", "email": "max@example.com"},
    ]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    for person in people:
        command += ["--user-claims", json.dumps(person)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    _wait_for(f"{url}/.well-known/openid-configuration")
    yield url
    process.kill()
    process.wait()


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} did not answer")


@pytest.fixture
def guarded_with(provider: str, streamlit_server: StreamlitServer, tmp_path: Path, data_dir: Path) -> Pages:
    """Start pages that ask for sign-in, with more environment variables."""

    def start(public_url: str = "", **environment: str) -> str:
        port, secrets = free_port(), tmp_path / "secrets.toml"
        public_url = public_url or f"http://127.0.0.1:{port}"
        secrets.write_text(f"""[auth]
redirect_uri = "{public_url}/oauth2callback"
cookie_secret = "a cookie secret of the tests, long enough"
client_id = "cohort-sync"
client_secret = "client-secret"
server_metadata_url = "{provider}/.well-known/openid-configuration"
""")
        return streamlit_server(data_dir, port=port, STREAMLIT_SECRETS_FILES=str(secrets), **environment)

    return start


@pytest.fixture
def guarded(guarded_with: Pages) -> str:
    """Pages that ask for sign-in; ann@example.com is an admin."""
    return guarded_with(COHORT_SYNC_ADMINS="ann@example.com")


def sign_in(page: Page, url: str, who: str) -> None:
    """Go through the provider's form and back; a press while the page is redrawn is lost, and pressed again as a person would."""
    page.goto(url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    at_rest(page)
    for _ in range(PRESSES):
        with suppress(Error):
            page.get_by_role("button", name="Sign in").click(timeout=CLOSING)
            page.wait_for_url(PROVIDER_FORM, timeout=CLOSING)
            break
    page.wait_for_url(PROVIDER_FORM, timeout=CLOSING)
    page.get_by_role("textbox").first.fill(who)
    page.get_by_role("button").first.click()


def says(page: Page, sentence: str) -> Locator:
    """Return the text with this sentence; a joiner that nobody sees keeps an address in it from becoming a link."""
    return page.get_by_text(re.compile(re.escape(sentence).replace("@", "\u2060?@")))


def test_a_listed_person_comes_in_and_goes_out(guarded: str, browser: Browser) -> None:
    """Ann signs in, sees the pages under her name, which is no link, and after signing out sees the door again."""
    page = browser.new_page(reduced_motion="reduce")
    sign_in(page, guarded, "ann")
    expect(says(page, "ann@example.com · admin")).to_be_visible(timeout=PATIENCE)
    expect(page.locator('a[href^="mailto:"]')).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()  # the provider asks once more
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    page.close()


def test_a_stranger_and_an_address_nobody_verified_are_named_and_kept_out(
    guarded_with: Pages, browser: Browser
) -> None:
    """Eve is in no list; Max is, but his provider does not say that the address is his. Both see why, and no page."""
    url = guarded_with(COHORT_SYNC_ADMINS="ann@example.com, max@example.com")
    for who, why in (
        ("eve", "nobody gave this address access"),
        ("max", "does not say that max@example.com is verified"),
    ):
        page = browser.new_page(reduced_motion="reduce")
        sign_in(page, url, who)
        expect(says(page, why)).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("Integrations")).to_have_count(0)
        page.close()


def test_sign_in_when_the_provider_is_trusted_needs_no_verified_claim(
    guarded_with: Pages, provider: str, browser: Browser
) -> None:
    """With the provider's issuer in COHORT_SYNC_TRUSTED_ISSUERS Max is an admin."""
    page = browser.new_page(reduced_motion="reduce")
    url = guarded_with(
        COHORT_SYNC_ADMINS="max@example.com", COHORT_SYNC_TRUSTED_ISSUERS=f"https://x.example, {provider}"
    )
    sign_in(page, url, "max")
    expect(says(page, "max@example.com · admin")).to_be_visible(timeout=PATIENCE)
    page.close()


def test_pages_when_secrets_break_under_a_running_server_close_for_everybody(
    guarded: str, tmp_path: Path, browser: Browser
) -> None:
    """A half-written file, and then none, shut Ann's open page, a reload and a stranger out; the mended file lets Ann in."""
    secrets = tmp_path / "secrets.toml"
    whole = secrets.read_text()
    page = browser.new_page(reduced_motion="reduce")
    sign_in(page, guarded, "ann")
    expect(says(page, "ann@example.com · admin")).to_be_visible(timeout=PATIENCE)
    secrets.write_text(whole[: whole.index("cookie_secret") + 20])
    expect(page.get_by_text("secrets.toml cannot be read as TOML")).to_be_visible(timeout=PATIENCE)
    _expect_closed(page, f"{guarded}/integrations", "secrets.toml cannot be read as TOML")
    stranger = browser.new_page(reduced_motion="reduce")
    _expect_closed(stranger, f"{guarded}/runs", "secrets.toml cannot be read as TOML")
    secrets.unlink()
    _expect_closed(stranger, guarded, "has no [auth] section")
    _expect_closed(page, f"{guarded}/cohorts", "has no [auth] section")
    secrets.write_text(whole)
    page.goto(guarded)
    expect(says(page, "ann@example.com · admin")).to_be_visible(timeout=PATIENCE)
    stranger.goto(guarded)
    expect(stranger.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    stranger.context.close()
    page.close()


def test_pages_when_a_new_server_finds_broken_secrets_stay_closed(
    streamlit_server: StreamlitServer, tmp_path: Path, data_dir: Path, browser: Browser
) -> None:
    """From the first request on, whatever is wrong with the file, the door is closed and the page names what to mend."""
    secrets, page = tmp_path / "secrets.toml", browser.new_page(reduced_motion="reduce")
    secrets.write_bytes(b"\xef\xbb\xbf[auth]\n")
    url = streamlit_server(data_dir, STREAMLIT_SECRETS_FILES=str(secrets))
    _expect_closed(page, f"{url}/runs", "without a byte order mark")
    secrets.write_text('[Auth]\nclient_id = "x"\n')
    _expect_closed(page, url, "[Auth] must be [auth]")
    secrets.write_text('[auth]\nredirect_uri = "http://localhost/oauth2callback"\ncookie_secret = "s"\n')
    _expect_closed(page, f"{url}/syncs", "no client_id, client_secret or server_metadata_url")
    secrets.write_text("[auth]\n[auth.google]\n" + 'client_id = "x"\n')
    _expect_closed(page, url, "[auth.google]")
    secrets.unlink()
    _expect_closed(page, f"{url}/integrations", "is not there any more")
    page.close()


def _expect_closed(page: Page, url: str, sentence: str) -> None:
    """Load a page and see the sentence and nothing of Cohort Sync's."""
    page.goto(url)
    expect(page.get_by_test_id("stAlert")).to_contain_text(sentence, timeout=PATIENCE)
    expect(page.get_by_text("WebEngage")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign in")).to_have_count(0)


def test_a_deep_link_on_a_fresh_server_meets_the_door(guarded: str, browser: Browser) -> None:
    """The first request of a new server, straight to a page and not signed in, shows the door and nothing else."""
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{guarded}/cohorts?export=4711")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("WebEngage")).to_have_count(0)
    page.close()


def test_without_sign_in_other_machines_are_kept_out(
    streamlit_server: StreamlitServer, data_dir: Path, browser: Browser
) -> None:
    """Pages that listen on every address without sign-in say what to do, and show nothing."""
    page = browser.new_page(reduced_motion="reduce")
    page.goto(streamlit_server(data_dir, STREAMLIT_SERVER_ADDRESS="0.0.0.0"))  # noqa: S104 - that is what is refused
    expect(page.get_by_text("Sign-in is not configured")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Connect")).to_have_count(0)
    page.close()


def test_pages_when_behind_nginx_with_a_base_path_work_as_documented(
    guarded_with: Pages, browser: Browser, tmp_path: Path
) -> None:
    """Through docs/nginx.conf: sign-in comes back to the base path, a page is live, and monitoring stays inside."""
    find_nginx()
    port = free_port()
    public = f"https://127.0.0.1:{port}/{BASE_PATH}"
    pages = guarded_with(
        public_url=public, COHORT_SYNC_ADMINS="ann@example.com", STREAMLIT_SERVER_BASE_URL_PATH=BASE_PATH
    )
    with (
        serve_behind_nginx(tmp_path, port, pages),
        browser.new_context(ignore_https_errors=True, reduced_motion="reduce") as context,
    ):
        page = context.new_page()
        sign_in(page, public, "ann")
        expect(says(page, "ann@example.com · admin")).to_be_visible(timeout=PATIENCE)
        assert page.url.startswith(f"{public}/")
        page.get_by_role("link", name="Runs").click()  # over the WebSocket
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible(timeout=PATIENCE)
        assert page.url == f"{public}/runs"
        page.reload()
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible(timeout=PATIENCE)
        for path in ("/healthz", "/metrics"):
            assert context.request.get(f"https://127.0.0.1:{port}{path}").status == 404
            assert "cohort_sync" not in context.request.get(f"{public}{path}").text()
