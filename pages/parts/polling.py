"""How pages keep reading what changes: polling intervals and the fragments that use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import streamlit as st

from pages.parts.run_progress import is_moving
from pages.parts.session import close_when_refused
from sync.model import Run, RunState

STARTING_SECONDS, MOVING_SECONDS, AROUND_SECONDS, IDLE_SECONDS = (
    0.25,
    2.0,
    5.0,
    3600.0,
)  # seconds between looks: just asked for, under way, at rest, never
STARTING_WINDOW_SECONDS = 5.0  # seconds in which a run that was just asked for begins
Seen = TypeVar("Seen")


def poll(read: Callable[[], Seen], runs: Callable[[Seen], Iterable[Run | None]], draw: Callable[[Seen], None]) -> None:
    """Draw what was read, and again: four times a second while a run begins, every two seconds while one moves, else every five.

    The outer fragment only sets the pace of the inner one, which exists from the beginning: a
    fragment may fill only those containers of the page that it filled in a whole run. Neither
    reruns the whole page, which would close open dialogs.
    """

    poll_slowly(lambda: poll_item(read(), runs, read, draw))


def poll_slowly(draw: Callable[[], None]) -> None:
    """Draw, and again every five seconds: what stands around things that are followed one by one."""

    def refresh() -> None:
        close_when_refused()
        draw()

    st.fragment(run_every=AROUND_SECONDS)(refresh)()


def poll_item(
    seen: Seen, runs: Callable[[Seen], Iterable[Run | None]], read: Callable[[], Seen], draw: Callable[[Seen], None]
) -> None:
    """Draw one thing that was just read, and again as often as its runs move, and nothing around it."""
    once = [seen]  # drawn at once; the looks after that read for themselves
    interval = poll_interval(runs(seen), time.time())

    def refresh() -> None:
        close_when_refused()
        draw(once.pop() if once else read())

    st.fragment(run_every=interval)(refresh)()


def poll_interval(runs: Iterable[Run | None], now: float) -> float:
    """Tell how soon to look again: whoever pressed Start Sync wants to see it begin."""
    moving = [run for run in runs if run and is_moving(run)]
    if any(
        run.state == RunState.QUEUED and not run.wait_reason and now - run.queued_at < STARTING_WINDOW_SECONDS
        for run in moving
    ):
        return STARTING_SECONDS
    return MOVING_SECONDS if moving else IDLE_SECONDS
