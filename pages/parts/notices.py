"""What the last click did, said once at the top of the page; errors stay until the next click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.parts.words import trouble
from sync.errors import CohortSyncError

SLOT = "_notice"


def tell(text: str) -> None:
    """Keep a sentence for the next run of the page."""
    st.session_state[SLOT] = ("done", text)


def warn(text: str) -> None:
    """Keep the sentence of something that did not work for the next run of the page."""
    st.session_state[SLOT] = ("failed", text)


def show() -> None:
    """Say what was kept, once."""
    kind, text = st.session_state.pop(SLOT, ("", ""))
    if kind == "done":
        st.success(trouble(text), icon=":material/check_circle:")
    elif kind == "failed":
        st.error(trouble(text), icon=":material/error:")


def attempt(done: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what a button says and keep the outcome as a notice; None when it was refused."""
    try:
        answer = action(*args, **kwargs)
    except CohortSyncError as error:
        warn(str(error))
        return None
    tell(done)
    return answer if answer is not None else True
