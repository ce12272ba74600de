"""Show once, at the top of the page, what the last click did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.parts.formatting import format_error
from sync.errors import CohortSyncError

NOTICE_KEY = "_notice"


def flash_success(text: str) -> None:
    """Keep a success message for the next run of the page."""
    st.session_state[NOTICE_KEY] = ("done", text)


def flash_error(text: str) -> None:
    """Keep an error message for the next run of the page."""
    st.session_state[NOTICE_KEY] = ("failed", text)


def show_notices() -> None:
    """Show the message that was kept, and forget it."""
    kind, text = st.session_state.pop(NOTICE_KEY, ("", ""))
    if kind == "done":
        st.success(format_error(text), icon=":material/check_circle:")
    elif kind == "failed":
        st.error(format_error(text), icon=":material/error:")


def try_action(done: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call an action and keep its outcome as a message, with the sentence it returns, if it returns one.

    Return its result (True for none), None when it failed.
    """
    try:
        answer = action(*args, **kwargs)
    except CohortSyncError as error:
        flash_error(str(error))
        return None
    flash_success(f"{done} {answer}".strip() if isinstance(answer, str) else done)
    return answer if answer is not None else True
