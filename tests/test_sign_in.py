"""Sign-in, the whole loop: a real identity provider on this machine, real pages, real Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import StreamlitServer, free_port

PATIENCE = 60_000  # milliseconds; never asserted
Pages = Callable[..., str]


@pytest.fixture
def provider() -> Iterator[str]:
    """An OpenID Connect provider that knows two people."""
    port = free_port()
    people = [{"sub": "ann", "email": "ann@example.com"}, {"sub": "eve", "email": "eve@elsewhere.example"}]
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
def guarded(provider: str, streamlit_server: StreamlitServer, tmp_path: Path, data_dir: Path) -> str:
    """Pages that ask for sign-in; ann@example.com is an admin."""
    port, secrets = free_port(), tmp_path / "secrets.toml"
    secrets.write_text(f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "a cookie secret of the tests, long enough"
client_id = "cohort-sync"
client_secret = "client-secret"
server_metadata_url = "{provider}/.well-known/openid-configuration"
""")
    return streamlit_server(
        data_dir, port=port, STREAMLIT_SECRETS_FILES=str(secrets), COHORT_SYNC_ADMINS="ann@example.com"
    )


def sign_in(page: Page, url: str, who: str) -> None:
    """Go through the provider's form and back."""
    page.goto(url)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/oauth2/authorize**", timeout=PATIENCE)
    page.get_by_role("textbox").first.fill(who)
    page.get_by_role("button").first.click()


def test_a_listed_person_comes_in_and_goes_out(guarded: str, browser: Browser) -> None:
    """Ann signs in, sees the pages under her name, and after signing out sees the door again."""
    page = browser.new_page()
    sign_in(page, guarded, "ann")
    expect(page.get_by_text("ann@example.com · admin")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()  # the provider asks once more
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    page.close()


def test_a_stranger_is_named_and_kept_out(guarded: str, browser: Browser) -> None:
    """Whoever is in no list sees why, and no page."""
    page = browser.new_page()
    sign_in(page, guarded, "eve")
    expect(page.get_by_text("nobody gave this address access")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Integrations")).to_have_count(0)
    page.close()


@pytest.mark.parametrize("place", ["runs", "integrations", "cohorts?export=4711", "syncs"])
def test_a_deep_link_on_a_fresh_server_meets_the_door(guarded: str, browser: Browser, place: str) -> None:
    """The first request of a new server, straight to a page and not signed in, shows the door and nothing else."""
    page = browser.new_page()
    page.goto(f"{guarded}/{place}")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("WebEngage")).to_have_count(0)
    page.close()


def test_without_sign_in_other_machines_are_kept_out(
    streamlit_server: StreamlitServer, data_dir: Path, browser: Browser
) -> None:
    """Pages that listen on every address without sign-in say what to do, and show nothing."""
    page = browser.new_page()
    page.goto(streamlit_server(data_dir, STREAMLIT_SERVER_ADDRESS="0.0.0.0"))  # noqa: S104 - that is what is refused
    expect(page.get_by_text("Sign-in is not configured")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Connect")).to_have_count(0)
    page.close()
