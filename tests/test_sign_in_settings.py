"""Faults in the secrets that configure sign-in each give a sentence that says what to do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pages.parts.sign_in import SecretsUnreadable, find_auth_problem, read_secrets_file
from tests.workspace import Workspace, page_text

PROVIDER = {"client_id": "c", "client_secret": "s", "server_metadata_url": "https://id.example/x"}
SHARED = {"redirect_uri": "https://sync.example.com/oauth2callback", "cookie_secret": "long and random"}
WHOLE = SHARED | PROVIDER


@pytest.mark.parametrize(
    "auth", [WHOLE, WHOLE | {"client_kwargs": {"scope": "openid"}}, SHARED | {"default": PROVIDER}], ids=repr
)
def test_auth_when_it_is_whole_has_no_problem(auth: dict[str, object]) -> None:
    """The provider stands in [auth] itself or in [auth.default]."""
    assert find_auth_problem({"auth": auth}) == ""


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("value", [None, "", "  ", 7])
def test_auth_when_a_key_is_missing_or_blank_names_it(key: str, value: object) -> None:
    """A blank cookie_secret would let anyone sign a cookie; a blank anything else fails late."""
    assert f"no {key}." in find_auth_problem({"auth": WHOLE | {key: value}})


@pytest.mark.parametrize(
    ("secrets", "named"),
    [
        ({"Auth": WHOLE}, "[Auth] must be [auth]"),
        ({"AUTH": WHOLE}, "[AUTH] must be [auth]"),
        (WHOLE, "below a line [auth]"),
        ({"oauth": WHOLE}, "below a line [auth]"),
        ({"auth": "x"}, "auth must be a section"),
        ({"auth": SHARED | {"google": PROVIDER}}, "not below [auth.google]"),
        ({"auth": {"default": "x"} | WHOLE}, "no client_id, client_secret or server_metadata_url"),
        ({"auth": WHOLE | {"redirect_uri": "https://sync.example.com"}}, "/oauth2callback"),
    ],
)
def test_auth_when_it_is_wrong_says_what_to_correct(secrets: dict[str, object], named: str) -> None:
    """A misspelt section, none, a named provider, an address without the callback."""
    assert named in find_auth_problem(secrets)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"[auth]\nclient_id = ", "at end of document"),
        (b"[auth]\nclient_id = 'x\ncookie_secret = 'y'", "line 2"),
        (b"[auth", "TOML"),
        (b"\xef\xbb\xbf[auth]", "byte order mark"),
        ("[auth]".encode("utf-16"), "not UTF-8"),
        (b"a = " + b"[" * 100_000, "TOML"),
    ],
)
def test_file_when_it_cannot_be_parsed_says_why(tmp_path: Path, content: bytes, named: str) -> None:
    """Half a line, a byte order mark, another encoding, nesting without end; never a folder above the file."""
    path = tmp_path / "secrets.toml"
    path.write_bytes(content)
    with pytest.raises(SecretsUnreadable, match=r"secrets\.toml") as caught:
        read_secrets_file(path)
    assert named in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_file_when_it_is_missing_is_empty_but_a_dangling_link_is_not(tmp_path: Path) -> None:
    """A link whose file is gone (an unmounted volume) was put there by somebody."""
    path = tmp_path / "secrets.toml"
    assert read_secrets_file(path) == {}
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(SecretsUnreadable, match="link"):
        read_secrets_file(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretsUnreadable, match="cannot be opened"):
        read_secrets_file(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["COHORT_SYNC_ADMINS", "COHORT_SYNC_MARKETERS", "COHORT_SYNC_VIEWERS", "COHORT_SYNC_TRUSTED_ISSUERS"]
)
def test_pages_when_a_setting_of_sign_in_is_set_without_it_are_closed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each of them closes the pages and is named; an empty one means nothing."""
    # A process remembers that it saw sign-in; this one must forget it for the tests after this one.
    monkeypatch.setattr("pages.parts.sign_in.sign_in_was_configured", threading.Event())
    monkeypatch.setenv(name, " , ")
    assert "Integrations" in page_text(workspace.page("integrations"))
    monkeypatch.setenv(name, "@example.com")
    closed = workspace.page("integrations")
    assert f"{name} is set" in page_text(closed) and "WebEngage" not in page_text(closed) and not closed.button
    monkeypatch.delenv(name)
    assert "is not there any more" in page_text(workspace.page("integrations"))
