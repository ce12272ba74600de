"""Find out who uses this session and what they may do. Sign-in is Streamlit's own (OpenID Connect)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from pages.parts.formatting import escape_markdown
from pages.parts.request_check import describe_remote_sign, is_loopback
from pages.parts.sign_in import read_sign_in
from sync.errors import InvalidRequest
from sync.permissions import LOCAL_ACTOR, AccessLevel, Actor, actor_from_claims
from sync.redaction import redact_logs
from sync.service import Service

WAS_LOCAL = "_was_local"  # session key: whether the last request with headers came from this machine
UNKNOWN_NAME = "Somebody"
HOW_TO_CONFIGURE = (
    "To give others access, write an [auth] section into .streamlit/secrets.toml and list the admins in "
    "COHORT_SYNC_ADMINS, as described in docs/operations.md under Sign-in."
)
NOT_ONLY_LOOPBACK = (
    "Sign-in is not configured, so only this machine may reach these pages, but the server listens on {address}. "
    "Start it with --server.address 127.0.0.1. " + HOW_TO_CONFIGURE
)
NOT_LOCAL = (
    "Sign-in is not configured, so only a browser on this machine may open these pages. This request {sign}. "
    + HOW_TO_CONFIGURE
)
SIGN_IN_BROKEN = "Sign-in is not set up correctly, so nobody can sign in. {problem}"
SIGNED_OUT = Actor(UNKNOWN_NAME, AccessLevel.NOBODY, "Sign in to use Cohort Sync.")
_poll = threading.local()  # its ``actor`` is whom the poll that this thread draws was checked for


def current_actor() -> Actor:
    """Return the signed-in person, or the local actor when sign-in is not configured and the browser is on this machine."""
    checked: Actor | None = getattr(_poll, "actor", None)
    return checked or _identify_actor()


def _identify_actor() -> Actor:
    sign_in = read_sign_in(os.environ)
    if sign_in.problem:
        return Actor(UNKNOWN_NAME, AccessLevel.NOBODY, SIGN_IN_BROKEN.format(problem=sign_in.problem))
    if sign_in.required:
        claims = st.user.to_dict()
        return actor_from_claims(claims, os.environ) if claims.get("is_logged_in") is True else SIGNED_OUT
    problem = _find_remote_problem()
    return Actor(UNKNOWN_NAME, AccessLevel.NOBODY, problem) if problem else LOCAL_ACTOR


@contextmanager
def checked_access() -> Iterator[None]:
    """Check access once for all that one poll draws; rerun the whole page when it was lost, which shows the sign-in.

    Each check reads the sign-in settings again, and a poll is over in milliseconds. The rerun also closes an open dialog.
    """
    if getattr(_poll, "actor", None):  # a fragment inside another one, drawn by the same poll
        yield
        return
    actor = _identify_actor()
    if actor.level is AccessLevel.NOBODY:
        st.rerun()
    _poll.actor = actor
    try:
        yield
    finally:
        _poll.actor = None


def show_sign_in() -> None:
    """Show the sign-in button, or why the person has no access and what to do."""
    st.title("Cohort Sync")
    actor = current_actor()
    if actor is SIGNED_OUT:
        st.write("Sign in to see your cohorts.")
        st.button("Sign in", type="primary", on_click=st.login, icon=":material/login:")
        return
    st.error(escape_markdown(actor.refusal), icon=":material/lock:")
    if actor.name != UNKNOWN_NAME:
        st.button("Sign out", on_click=st.logout, icon=":material/logout:")


def show_signed_in_user() -> None:
    """Show the name and access level of the signed-in person, and the sign-out button."""
    actor = current_actor()
    if actor != LOCAL_ACTOR:
        st.caption(f":material/person: {escape_markdown(actor.name)} · {actor.level.name.lower()}")
        st.button("Sign out", on_click=st.logout, icon=":material/logout:", type="tertiary")


def _find_remote_problem() -> str:
    """Return why a request without sign-in is refused, an empty text when it comes from this machine."""
    address = str(st.get_option("server.address") or "every address")
    if not is_loopback(f"//[{address}]" if ":" in address else f"//{address}"):
        return NOT_ONLY_LOOPBACK.format(address=address)
    headers = st.context.headers
    if not headers:
        # The browser has disconnected. Its last click is still handled if the session was local before.
        return "" if st.session_state.get(WAS_LOCAL) else NOT_LOCAL.format(sign=describe_remote_sign([]))
    sign = describe_remote_sign((name, value) for name in headers for value in headers.get_all(name))
    st.session_state[WAS_LOCAL] = not sign
    return NOT_LOCAL.format(sign=sign) if sign else ""


def open_service(actor: Actor | None = None) -> Service:
    """Return the service for one drawing or one click, acting as ``actor`` or else the current actor.

    A download is written outside the page's script, where there is no request to identify the person. It
    passes the actor for whom its button was drawn. Raise InvalidRequest when sign-in was changed since then.
    """
    redact_logs("streamlit")
    return Service.open(os.environ, current_actor() if actor is None else _require_same_sign_in(actor))


def _require_same_sign_in(actor: Actor) -> Actor:
    sign_in = read_sign_in(os.environ)
    if sign_in.problem or sign_in.required == (actor == LOCAL_ACTOR):
        raise InvalidRequest("Sign-in was changed since this page was opened. Reload the page.")
    return actor


def is_allowed(level: AccessLevel) -> bool:
    """Return whether to show what needs this access level; the service checks it again."""
    return current_actor().level >= level
