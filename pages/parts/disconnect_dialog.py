"""The question before a connection is taken away: which syncs it pauses."""

from __future__ import annotations

import streamlit as st

from pages.parts import notices
from pages.parts.formatting import format_plural
from pages.parts.navigation import clear_requests
from pages.parts.session import open_service
from sync.views import SyncView

TARGET_KEY = "_disconnect"


def request_disconnect(**target: int | str) -> None:
    """Remember what is to be disconnected; the page then asks."""
    st.query_params["setup"] = "disconnect"
    st.session_state[TARGET_KEY] = target


def _close_dialog() -> None:
    clear_requests("setup")
    st.session_state.pop(TARGET_KEY, None)


def show_disconnect_dialog() -> None:
    """Open the question, unless a reload forgot what it was about."""
    if st.session_state.get(TARGET_KEY):
        _ask_disconnect()
    else:
        clear_requests("setup")


@st.dialog("Disconnect?", on_dismiss=_close_dialog)
def _ask_disconnect() -> None:
    target = st.session_state[TARGET_KEY]
    with open_service() as service:
        affected = service.list_affected_syncs(**target)
    _show_consequences(affected)
    with st.container(horizontal=True, horizontal_alignment="right"):
        keep = st.button("Cancel", key="disconnect-cancel")
        sure = st.button("Disconnect", key="disconnect-sure", type="primary")
    if sure:
        _disconnect_target(target)
    if keep or sure:
        _close_dialog()
        st.rerun()


def _show_consequences(affected: tuple[SyncView, ...]) -> None:
    if not affected:
        st.markdown("No sync uses this connection. The stored secret is deleted.")
        return
    st.markdown(f"This deletes the stored secret and pauses {format_plural(len(affected), 'sync')}:")
    for sync in affected:
        st.text(f"• {sync.cohort_name}")
    st.markdown("People already in WebEngage stay as they are. Connect again and resume the syncs to go on.")


def _disconnect_target(target: dict[str, int | str]) -> None:
    with open_service() as service:
        action = service.disconnect_mixpanel if "project_id" in target else service.disconnect_webengage
        notices.try_action("Disconnected.", action, **target)
