"""Show at the top of the page what the last click did, until the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import streamlit as st

from pages.parts.formatting import format_error
from pages.parts.memory import recall
from pages.parts.session import open_service
from sync.errors import CohortSyncError
from sync.service import Service

NOTICE = "notice"  # in the memory of the browser session
READING_SECONDS = 20.0  # a message stays so long at least, however often a poll draws the page again
GLANCE_SECONDS = 2.0  # a click that comes sooner was made before the message was read, and does not take it away


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
    """Keep a success message for the next run of the page."""
    _keep(text, is_error=False)


def flash_error(text: str) -> None:
    """Keep an error message for the next run of the page."""
    _keep(text, is_error=True)


def _keep(text: str, *, is_error: bool) -> None:
    former: Notice | None = recall().get(NOTICE)
    recall()[NOTICE] = Notice(text=text, is_error=is_error, turn=1 - former.turn if former else 0)


def show_notice() -> Notice | None:
    """Show the message that was kept, and return it for ``note_seen``; forget one that was seen."""
    notice: Notice | None = recall().get(NOTICE)
    if notice is None:
        return None
    if not notice.stays and not _is_seen_since(notice, GLANCE_SECONDS):
        del recall()[NOTICE]
        return None
    with st.container(key=f"notice-{notice.turn}"):
        if notice.is_error:
            st.error(format_error(notice.text), icon=":material/error:")
        else:
            st.success(format_error(notice.text), icon=":material/check_circle:")
    return notice


def note_seen(shown: Notice | None) -> None:
    """Let the message go with the next click; call it when the page was drawn to its end, since a drawing may be interrupted."""
    is_newest = recall().get(NOTICE) is shown
    if shown is not None and is_newest:
        seen_at = time.monotonic() if shown.seen_at is None else shown.seen_at
        recall()[NOTICE] = replace(shown, seen_at=seen_at, stays=False)


def keep_notice() -> None:
    """Let the message stay through a redraw that nobody clicked for, unless it was there for long enough to be read."""
    notice: Notice | None = recall().get(NOTICE)
    if notice and _is_seen_since(notice, READING_SECONDS):
        recall()[NOTICE] = replace(notice, stays=True)


def _is_seen_since(notice: Notice, seconds: float) -> bool:
    """Return whether a whole page first showed a message within so many seconds."""
    return notice.seen_at is not None and time.monotonic() - notice.seen_at < seconds


def try_action(done: str, action: Callable[[Service], Any]) -> Any:
    """Do something with the service and keep the outcome as a message, with the sentence it returns, if it returns one.

    Return its result (True for none), None when it failed.
    """
    try:
        with open_service() as service:
            answer = action(service)
    except CohortSyncError as error:
        flash_error(str(error))
        return None
    flash_success(f"{done} {answer}".strip() if isinstance(answer, str) else done)
    return answer if answer is not None else True


def act_and_redraw(done: str, action: Callable[[Service], object]) -> NoReturn:
    """Do something with the service, keep the outcome as a message, and draw the page again."""
    try_action(done, action)
    st.rerun()
