"""Find out whether sign-in is configured, and what is wrong when it is but cannot work.

Streamlit reads its secrets from every path of ``secrets.files``: by default ``~/.streamlit/secrets.toml``,
then ``.streamlit/secrets.toml`` of the working folder and of the folder of app.py. It caches what it
read and watches only the files that existed then, until the first change it cannot parse. Its cache
can therefore be out of date, so the files are read here, too.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from sync.settings import ACCESS_VARIABLES

SHARED_KEYS = ("redirect_uri", "cookie_secret")
PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")
# A client_id may belong to something else; these three keys are used for sign-in only, in any section.
TELLTALE_KEYS = frozenset({"redirect_uri", "cookie_secret", "server_metadata_url"})
CALLBACK = "/oauth2callback"  # the path on which Streamlit receives the provider's answer
BYTE_ORDER_MARK = "\ufeff"
sign_in_was_configured = threading.Event()  # set once this process has seen sign-in configured, correctly or not


class SecretsUnreadable(Exception):
    """A secrets file exists but cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """State of sign-in: ``required`` of everyone or not, and the ``problem`` that prevents it, if any."""

    required: bool
    problem: str = ""


def read_sign_in(env: Mapping[str, str]) -> SignIn:
    """Return the state of sign-in, from the files, Streamlit's copy of them, and the access settings.

    Once a process has seen sign-in configured, it keeps requiring it. Removing sign-in needs a restart.
    """
    paths = [str(path) for path in st.get_option("secrets.files")]
    try:
        on_disk, loaded = _read_files(paths), _read_loaded()
    except SecretsUnreadable as error:
        sign_in_was_configured.set()
        return SignIn(required=True, problem=str(error))
    listed = [name for name in ACCESS_VARIABLES if env.get(name, "").strip(" ,")]
    if listed or any(_is_meant_for_sign_in(secrets) for secrets in (on_disk, loaded)):
        sign_in_was_configured.set()
    if not sign_in_was_configured.is_set():
        return SignIn(required=False)
    return SignIn(required=True, problem=_find_problem(paths, on_disk, loaded, listed))


def _find_problem(
    paths: list[str], on_disk: Mapping[str, object], loaded: Mapping[str, object], listed: list[str]
) -> str:
    only_files = all(path.endswith(".toml") for path in paths)  # only Streamlit reads folders of secrets
    secrets = on_disk if only_files else {**on_disk, **loaded}
    if "auth" not in secrets and not _is_meant_for_sign_in(secrets):
        place = _shorten_path(paths[-1]) if paths else ".streamlit/secrets.toml"
        if listed:
            return (
                f"{listed[0]} is set, but {place} has no [auth] section. "
                f"Write one as docs/operations.md describes, or unset {_join_words(listed)}."
            )
        return (
            f"The [auth] section of {place} is not there any more. Put it back, "
            "or restart the pages to use them without sign-in on this machine only."
        )
    problem = find_auth_problem(secrets)
    if not problem and find_auth_problem(loaded):
        return "The secrets file was changed and is not in use yet. Reload this page. If that does not help, restart the pages."
    return problem


def find_auth_problem(secrets: Mapping[str, object]) -> str:
    """Return what is wrong with ``[auth]`` and how to correct it, an empty text when sign-in can work."""
    auth = secrets.get("auth")
    if auth is None:
        misspelt = next((name for name in secrets if name.strip().casefold() == "auth"), "")
        if misspelt:
            return f"[{misspelt}] must be [auth] in small letters. Correct it in secrets.toml."
        return "The keys for sign-in must stand below a line [auth]. Correct it in secrets.toml."
    if not isinstance(auth, Mapping):
        return "auth must be a section. Write [auth] on a line of its own in secrets.toml, and its keys below."
    default = auth.get("default", auth)  # Streamlit prefers this section for the provider without a name
    provider = default if isinstance(default, Mapping) else {}
    missing = [*_find_missing(auth, SHARED_KEYS), *_find_missing(provider, PROVIDER_KEYS)]
    named = [name for name, value in auth.items() if isinstance(value, Mapping) and name != "client_kwargs"]
    if named and "default" not in named and set(missing) & set(PROVIDER_KEYS):
        return (
            f"Cohort Sync uses one provider, without a name of its own. In secrets.toml, "
            f"write {_join_words(missing)} below [auth] itself, not below [auth.{named[0]}]."
        )
    if missing:
        return f"The [auth] section of secrets.toml has no {_join_words(missing, 'or')}. Add what is missing."
    if not str(auth["redirect_uri"]).endswith(CALLBACK):
        return f"redirect_uri in [auth] must be the address of these pages with {CALLBACK} at its end."
    return ""


def read_secrets_file(path: Path) -> Mapping[str, object]:
    """Return the content of a TOML file, empty when there is none. Raise SecretsUnreadable when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(BYTE_ORDER_MARK):
            raise SecretsUnreadable(
                f"{_shorten_path(path)} begins with an invisible mark. Save it as UTF-8 without a byte order mark."
            )
        return tomllib.loads(text)
    except FileNotFoundError:
        if path.is_symlink():
            raise SecretsUnreadable(
                f"{_shorten_path(path)} is a link to a file that is not there. Put the file back."
            ) from None
        return {}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SecretsUnreadable(
            f"{_shorten_path(path)} cannot be opened ({reason}). Let the user who runs the pages read it."
        ) from None
    except UnicodeDecodeError:
        raise SecretsUnreadable(f"{_shorten_path(path)} is not UTF-8 text. Save it as UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SecretsUnreadable(
            f"{_shorten_path(path)} cannot be read as TOML: {error}. Correct the file and save it."
        ) from None


def _read_files(paths: Iterable[str]) -> dict[str, object]:
    secrets: dict[str, object] = {}
    for path in paths:
        if path.endswith(".toml"):  # Streamlit treats every other path as a folder
            secrets.update(read_secrets_file(Path(path)))
    return secrets


def _read_loaded() -> Mapping[str, object]:
    """Return Streamlit's copy of the secrets. Raise SecretsUnreadable for any failure except a missing file."""
    try:
        return st.secrets.to_dict()
    except (OSError, ValueError, RecursionError) as error:
        if getattr(error, "error_id", "") == "no-secrets-found":
            return {}
        raise SecretsUnreadable(f"The secrets cannot be read: {error}") from None


def _is_meant_for_sign_in(secrets: Mapping[str, object]) -> bool:
    """Return whether sign-in was meant to be configured, even in a misspelt section or in none."""
    return any(
        name.strip().casefold() in {"auth", *TELLTALE_KEYS}
        or (isinstance(value, Mapping) and not TELLTALE_KEYS.isdisjoint(key.casefold() for key in value))
        for name, value in secrets.items()
    )


def _find_missing(section: Mapping[str, object], keys: Iterable[str]) -> list[str]:
    values = {key: section.get(key) for key in keys}
    return [key for key, value in values.items() if not (isinstance(value, str) and value.strip())]


def _join_words(names: list[str], word: str = "and") -> str:
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _shorten_path(path: str | Path) -> str:
    """Return a path relative to the project or the home folder, else only its name."""
    bases = [(Path.cwd(), "")]
    with suppress(RuntimeError):  # a container's user without a name has no home
        bases.append((Path.home(), "~/"))
    for base, prefix in bases:
        if Path(path).is_relative_to(base):
            return f"{prefix}{Path(path).relative_to(base)}"
    return f"…/{Path(path).name}"
