"""The question before a connection is taken away: which syncs it pauses."""

from __future__ import annotations

import streamlit as st

from pages.parts import notices
from pages.parts.desk import open_service
from pages.parts.wishes import drop
from pages.parts.words import plural
from sync.views import SyncView

TARGET = "_disconnect"


def want(**target: int | str) -> None:
    """Remember what is to be disconnected; the page then asks."""
    st.query_params["setup"] = "disconnect"
    st.session_state[TARGET] = target


def _closed() -> None:
    drop("setup")
    st.session_state.pop(TARGET, None)


def ask() -> None:
    """Open the question, unless a reload forgot what it was about."""
    if st.session_state.get(TARGET):
        _question()
    else:
        drop("setup")


@st.dialog("Disconnect?", on_dismiss=_closed)
def _question() -> None:
    target = st.session_state[TARGET]
    with open_service() as service:
        affected = service.affected(**target)
    _consequences(affected)
    with st.container(horizontal=True, horizontal_alignment="right"):
        keep = st.button("Cancel", key="disconnect-cancel")
        sure = st.button("Disconnect", key="disconnect-sure", type="primary")
    if sure:
        _disconnect(target)
    if keep or sure:
        _closed()
        st.rerun()


def _consequences(affected: tuple[SyncView, ...]) -> None:
    if not affected:
        st.markdown("No sync uses this connection. The stored secret is deleted.")
        return
    st.markdown(f"This deletes the stored secret and pauses {plural(len(affected), 'sync')}:")
    for sync in affected:
        st.text(f"• {sync.cohort_name}")
    st.markdown("People already in WebEngage stay as they are. Connect again and resume the syncs to go on.")


def _disconnect(target: dict[str, int | str]) -> None:
    with open_service() as service:
        action = service.disconnect_mixpanel if "project_id" in target else service.disconnect_webengage
        notices.attempt("Disconnected.", action, **target)
