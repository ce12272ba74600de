"""The door: who sits here, and whether they may come in. Sign-in is Streamlit's own (OpenID Connect)."""

from __future__ import annotations

import os

import streamlit as st

from pages.parts.formatting import escape_markdown
from pages.parts.request_check import describe_remote_sign, is_loopback
from pages.parts.sign_in import read_sign_in
from sync.permissions import LOCAL_ACTOR, AccessLevel, Actor, actor_from_claims
from sync.redaction import redact_logs
from sync.service import Service

WAS_LOCAL = "_was_local"  # in the session: whether its last known request came from this machine
NAME_OUTSIDE = "Somebody"
HOW_TO_CONFIGURE = (
    "To let others in, write an [auth] section into .streamlit/secrets.toml and list the admins in "
    "COHORT_SYNC_ADMINS, as described in docs/operations.md under Sign-in."
)
LISTENS_WIDELY = (
    "Sign-in is not configured, so these pages may answer this machine only, but the server listens on {address}. "
    "Start it with --server.address 127.0.0.1. " + HOW_TO_CONFIGURE
)
REMOTE = (
    "Sign-in is not configured, so these pages answer only a browser on this machine, and this request {sign}. "
    + HOW_TO_CONFIGURE
)
NOT_WORKING = "Sign-in does not work, so nobody can come in. {problem}"
SIGNED_OUT = Actor(NAME_OUTSIDE, AccessLevel.NOBODY, "Sign in to use Cohort Sync.")


def current_actor() -> Actor:
    """Return who asks: the signed-in person, or anyone at this machine when sign-in is not configured."""
    sign_in = read_sign_in(os.environ)
    if sign_in.problem:
        return Actor(NAME_OUTSIDE, AccessLevel.NOBODY, NOT_WORKING.format(problem=sign_in.problem))
    if sign_in.required:
        return actor_from_claims(st.user.to_dict(), os.environ) if _is_signed_in() else SIGNED_OUT
    refusal = _refuse_remote()
    return Actor(NAME_OUTSIDE, AccessLevel.NOBODY, refusal) if refusal else LOCAL_ACTOR


def has_access() -> bool:
    """Return whether whoever sits here may come in."""
    return current_actor().level > AccessLevel.NOBODY


def close_when_refused() -> None:
    """Run the whole page again, which then shows the way in, when its reader lost access since it was drawn.

    For the parts of a page that refresh by themselves; closing an open dialog is right here.
    """
    if not has_access():
        st.rerun()


def show_sign_in() -> None:
    """Show what to do to those who may not come in."""
    st.title("Cohort Sync")
    here = current_actor()
    if here is SIGNED_OUT:
        st.write("Sign in to see your cohorts.")
        st.button("Sign in", type="primary", on_click=st.login, icon=":material/login:")
        return
    st.error(escape_markdown(here.refusal), icon=":material/lock:")
    if here.name != NAME_OUTSIDE:
        st.button("Sign out", on_click=st.logout, icon=":material/logout:")


def signed_in_user() -> None:
    """Show who is signed in and as what, with the way out."""
    here = current_actor()
    if here != LOCAL_ACTOR:
        st.caption(f":material/person: {escape_markdown(here.name)} · {here.level.name.lower()}")
        st.button("Sign out", on_click=st.logout, icon=":material/logout:", type="tertiary")


def _is_signed_in() -> bool:
    return st.user.to_dict().get("is_logged_in") is True


def _refuse_remote() -> str:
    """Return why a request without sign-in is refused; empty when it comes from this machine."""
    address = str(st.get_option("server.address") or "every address")
    if not is_loopback(f"//[{address}]" if ":" in address else f"//{address}"):
        return LISTENS_WIDELY.format(address=address)
    headers = st.context.headers
    if not headers:
        # The browser is gone already; its last click counts when it was known to be on this machine.
        return "" if st.session_state.get(WAS_LOCAL) else REMOTE.format(sign=describe_remote_sign([]))
    sign = describe_remote_sign((name, value) for name in headers for value in headers.get_all(name))
    st.session_state[WAS_LOCAL] = not sign
    return REMOTE.format(sign=sign) if sign else ""


def open_service() -> Service:
    """Open the service for one look or one click, in the name of whoever sits here."""
    redact_logs("streamlit")
    return Service.open(os.environ, current_actor())


def is_allowed(level: AccessLevel) -> bool:
    """Whether to offer what needs this grade; the service refuses it anyway."""
    return current_actor().level >= level
