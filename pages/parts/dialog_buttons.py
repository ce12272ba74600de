"""The two buttons at the end of a dialog that asks for one decision."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def show_dialog_buttons(name: str, label: str, close: Callable[[], object], icon: str | None = None) -> bool:
    """Show Cancel, which calls ``close``, and a button that confirms; return whether that one was pressed.

    Their keys are ``name`` followed by "-cancel" and "-sure".
    """
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.button("Cancel", key=f"{name}-cancel")
        confirmed = st.button(label, key=f"{name}-sure", type="primary", icon=icon)
    if cancel:
        close()
        st.rerun()
    return confirmed
