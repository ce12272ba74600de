"""Poll the database while a page is open, in fragments that refresh by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import streamlit as st

from pages.parts.run_progress import is_moving
from pages.parts.session import recheck_access
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

    def refresh() -> None:
        recheck_access()
        draw()

    st.fragment(run_every=PAGE_SECONDS)(refresh)()


def poll_item(
    data: Data, runs: Callable[[Data], Iterable[Run | None]], read: Callable[[], Data], draw: Callable[[Data], None]
) -> None:
    """Draw data that was just read; then read and redraw it, and nothing else, as often as its runs require."""
    first = [data]  # for the first drawing only; each later one reads again
    interval = choose_interval(runs(data), time.time())

    def refresh() -> None:
        recheck_access()
        draw(first.pop() if first else read())

    st.fragment(run_every=interval)(refresh)()


def choose_interval(runs: Iterable[Run | None], now: float) -> float:
    """Return the seconds until the next poll; a run that was just requested is polled most often."""
    moving = [run for run in runs if run and is_moving(run)]
    if any(
        run.state == RunState.QUEUED and not run.wait_reason and now - run.queued_at < STARTING_WINDOW_SECONDS
        for run in moving
    ):
        return STARTING_SECONDS
    return MOVING_SECONDS if moving else IDLE_SECONDS
