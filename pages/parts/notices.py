"""Show at the top of the page what the last click did, until the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from pages.parts.callbacks import finish, once
from pages.parts.formatting import format_error
from sync.errors import CohortSyncError

NOTICE_KEY = "_notice"
READING_SECONDS = 20.0  # a message stays so long at least, however often a poll draws the page again


@dataclass(frozen=True, slots=True)
class Notice:
    """A message, when a whole page first showed it, and whether the next drawing is to show it again.

    ``turn``: other than that of the message whose place it takes, so that the browser counts its seconds again.
    """

    text: str
    is_error: bool
    turn: int
    seen_at: float | None = None
    stays: bool = True


def flash_success(text: str) -> None:
    """Keep a success message for the next run of the page, also when a newer click comes meanwhile."""
    finish(_keep)(text, is_error=False)


def flash_error(text: str) -> None:
    """Keep an error message for the next run of the page, also when a newer click comes meanwhile."""
    finish(_keep)(text, is_error=True)


def _keep(text: str, *, is_error: bool) -> None:
    former: Notice | None = st.session_state.get(NOTICE_KEY)
    st.session_state[NOTICE_KEY] = Notice(text=text, is_error=is_error, turn=1 - former.turn if former else 0)


def show_notice() -> Notice | None:
    """Show the message that was kept, and return it for ``note_seen``; forget one that was seen."""
    notice: Notice | None = st.session_state.get(NOTICE_KEY)
    if notice is None:
        return None
    if not notice.stays:
        del st.session_state[NOTICE_KEY]
        return None
    with st.container(key=f"notice-{notice.turn}"):
        if notice.is_error:
            st.error(format_error(notice.text), icon=":material/error:")
        else:
            st.success(format_error(notice.text), icon=":material/check_circle:")
    return notice


def note_seen(shown: Notice | None) -> None:
    """Let the message go with the next click; call it when the page was drawn to its end, since a drawing may be interrupted."""
    is_newest = st.session_state.get(NOTICE_KEY) is shown
    if shown is not None and is_newest:
        seen_at = time.monotonic() if shown.seen_at is None else shown.seen_at
        st.session_state[NOTICE_KEY] = replace(shown, seen_at=seen_at, stays=False)


def keep_notice() -> None:
    """Let the message stay through a redraw that nobody clicked for, unless it was there for long enough to be read."""
    notice: Notice | None = st.session_state.get(NOTICE_KEY)
    if notice and notice.seen_at is not None and time.monotonic() - notice.seen_at < READING_SECONDS:
        st.session_state[NOTICE_KEY] = replace(notice, stays=True)


def try_action(done: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call an action and keep its outcome as a message, with the sentence it returns, if it returns one.

    Return its result (True for none), None when it failed.
    """
    try:
        answer = once(action, *args, **kwargs)
    except CohortSyncError as error:
        flash_error(str(error))
        return None
    flash_success(f"{done} {answer}".strip() if isinstance(answer, str) else done)
    return answer if answer is not None else True
