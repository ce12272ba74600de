"""Poll the database while a page is open, in fragments that refresh by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.parts import notices
from pages.parts.session import checked_access
from sync.model import Run, RunState

STARTING_SECONDS = 0.25  # between two polls of a run that was just requested
MOVING_SECONDS = 2.0  # between two polls of a run that is under way
PAGE_SECONDS = 5.0  # between two polls of a whole list
IDLE_SECONDS = 3600.0  # between two polls of something that does not change by itself
STARTING_WINDOW_SECONDS = 5.0  # within which a requested run usually starts
Data = TypeVar("Data")


def poll(read: Callable[[], Data], runs: Callable[[Data], Iterable[Run | None]], draw: Callable[[Data], None]) -> None:
    """Draw what ``read`` returns, and redraw it as often as its runs require, at least every five seconds.

    The outer fragment only chooses the interval of the inner one. Both exist from the beginning,
    because a fragment may only fill containers of the page that it also filled in the full run.
    Neither reruns the whole page, which would close open dialogs.
    """

    poll_slowly(lambda: poll_item(read(), runs, read, draw))


def poll_slowly(draw: Callable[[], None]) -> None:
    """Draw, and redraw every five seconds."""
    start_fragment(draw, PAGE_SECONDS)


def start_fragment(draw: Callable[[], None], seconds: float | None) -> None:
    """Draw in a fragment, and redraw after so many seconds each, or only for its own widgets when that is None.

    Each drawing checks access, once for all inside it, and reruns the whole page when it was lost.
    Streamlit knows a fragment by the name of its function and its place. This adds the page to the name: else a late
    poll of the page that was left would be taken for one of this page, and be answered with the page that was left.
    """
    context = get_script_run_ctx()

    def refresh() -> None:
        with checked_access():
            draw()

    refresh.__qualname__ = f"{draw.__qualname__} of page {context.page_script_hash if context else ''}"
    st.fragment(run_every=seconds)(refresh)()


def redraw_page() -> NoReturn:
    """Draw the whole page again from within a poll; what the last click did stays to be read."""
    notices.keep_notice()
    st.rerun()


def forget_fragments() -> None:
    """Forget the fragments of this page; call it before another page is opened.

    A poll that the browser sends before it hears of the other page (a slow line, a busy computer) must find nothing to
    draw: Streamlit would answer it with this page, and the other one would go white.
    """
    if context := get_script_run_ctx():
        context.fragment_storage.clear()


def poll_item(
    data: Data, runs: Callable[[Data], Iterable[Run | None]], read: Callable[[], Data], draw: Callable[[Data], None]
) -> None:
    """Draw data that was just read; then read and redraw it, and nothing else, as often as its runs require."""
    first = [data]  # for the first drawing only; each later one reads again
    interval = choose_interval(runs(data), time.time())

    start_fragment(lambda: draw(first.pop() if first else read()), interval)


def choose_interval(runs: Iterable[Run | None], now: float) -> float:
    """Return the seconds until the next poll; a run that was just requested is polled most often."""
    moving = [run for run in runs if run and run.is_moving]
    if any(
        run.state == RunState.QUEUED and not run.wait_reason and now - run.queued_at < STARTING_WINDOW_SECONDS
        for run in moving
    ):
        return STARTING_SECONDS
    return MOVING_SECONDS if moving else IDLE_SECONDS
