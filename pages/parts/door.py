"""The door: who sits here, and whether they may come in. Sign-in is Streamlit's own (OpenID Connect)."""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from pages.parts.words import escape
from sync.access import LOCAL, Grade, Person, person_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OUTSIDE = Person("Somebody", Grade.NOBODY)
CLOSED = (
    "Sign-in is not configured, so these pages may answer this machine only, but the server listens on **{address}**. "
    "Start it with `--server.address 127.0.0.1`, or configure sign-in as described in docs/operations.md."
)


def person() -> Person:
    """Who asks: the signed-in person, or anyone at this machine when sign-in is not configured."""
    if not sign_in_configured():
        return LOCAL if _serves_loopback_only() else OUTSIDE
    return person_of(st.user.to_dict(), os.environ) if st.user.is_logged_in else OUTSIDE


def is_open() -> bool:
    """Whether whoever sits here may come in."""
    return person().grade > Grade.NOBODY


def show_way_in() -> None:
    """Say what to do for those who may not come in."""
    st.title("Cohort Sync")
    if not sign_in_configured():
        address = escape(str(st.get_option("server.address") or "every address"))
        st.error(CLOSED.format(address=address), icon=":material/lock:")
    elif st.user.is_logged_in:
        st.error(
            f"{escape(person().name)} is signed in, but nobody gave this address access to Cohort Sync; ask its admin.",
            icon=":material/lock:",
        )
        st.button("Sign out", on_click=st.logout, icon=":material/logout:")
    else:
        st.write("Sign in to see your cohorts.")
        st.button("Sign in", type="primary", on_click=st.login, icon=":material/login:")


def name_plate() -> None:
    """Say who is signed in and as what, with the way out."""
    if sign_in_configured():
        here = person()
        st.caption(f":material/person: {escape(here.name)} · {here.grade.name.lower()}")
        st.button("Sign out", on_click=st.logout, icon=":material/logout:", type="tertiary")


def sign_in_configured() -> bool:
    """Whether `[auth]` stands in Streamlit's secrets."""
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False


def _serves_loopback_only() -> bool:
    return st.get_option("server.address") in LOOPBACK
