"""How far a run is, in one sentence and a share; and how pages keep looking at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from pages.parts.door import close_when_refused
from pages.parts.words import escape, local, people, result, short, when
from sync.model import Run, RunState

BEGIN, FAST, SLOW, IDLE = 0.25, 2.0, 5.0, 3600.0  # seconds between looks: just asked for, under way, at rest, never
SOON = 5.0  # seconds in which a run that was just asked for begins
HOURLY = "Mixpanel's hourly limit of queries is used up"
MINUTE = "WebEngage takes no more requests just now"
Seen = TypeVar("Seen")
LATE = 15.0  # seconds after which a queued run should have been begun


def live(read: Callable[[], Seen], runs: Callable[[Seen], Iterable[Run | None]], draw: Callable[[Seen], None]) -> None:
    """Draw what was read, and again: four times a second while a run begins, every two seconds while one moves, else every five.

    The outer fragment only sets the pace of the inner one, which exists from the beginning: a
    fragment may fill only those containers of the page that it filled in a whole run. Neither
    reruns the whole page, which would close open dialogs.
    """

    slowly(lambda: follow(read(), runs, read, draw))


def slowly(draw: Callable[[], None]) -> None:
    """Draw, and again every five seconds: what stands around things that are followed one by one."""

    def refresh() -> None:
        close_when_refused()
        draw()

    st.fragment(run_every=SLOW)(refresh)()


def follow(
    seen: Seen, runs: Callable[[Seen], Iterable[Run | None]], read: Callable[[], Seen], draw: Callable[[Seen], None]
) -> None:
    """Draw one thing that was just read, and again as often as its runs move, and nothing around it."""
    once = [seen]  # drawn at once; the looks after that read for themselves
    every = look_every(runs(seen), time.time())

    def refresh() -> None:
        close_when_refused()
        draw(once.pop() if once else read())

    st.fragment(run_every=every)(refresh)()


def look_every(runs: Iterable[Run | None], now: float) -> float:
    """Tell how soon to look again: whoever pressed Start Sync wants to see it begin."""
    moving = [run for run in runs if run and busy(run)]
    if any(run.state == RunState.QUEUED and not run.waiting and now - run.queued_at < SOON for run in moving):
        return BEGIN
    return FAST if moving else IDLE


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a run stands: how many of how many, and what that is called."""

    done: int
    total: int
    verb: str

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def stand(run: Run) -> Stand:
    """Tell how far a run is in its present phase."""
    if run.state in (RunState.QUEUED, RunState.PULLING):
        return Stand(run.staged, run.expected or 0, "read from Mixpanel")
    return Stand(run.delivered + run.rejected, run.changes, "told to WebEngage")


def pace(run: Run, done: int, now: float) -> float | None:
    """Measure people a second since this tab first saw this phase of the run."""
    key = f"_pace-{run.id}-{run.state}"
    first_done, first_at = st.session_state.setdefault(key, (done, now))
    return (done - first_done) / (now - first_at) if done > first_done and now > first_at else None


def sentence(run: Run, now: float | None = None) -> str:
    """Say where a run is, how fast it goes and what it waits for."""
    now = time.time() if now is None else now
    if run.state == RunState.SUCCEEDED:
        return f"{result(run)}" + (f", {run.rejected:,} rejected" if run.rejected else "")
    if run.state == RunState.CANCELLED:
        return _ended_early(run)
    if run.state.over:
        return local(run.error or "")
    if run.state == RunState.HELD:
        return run.held_reason or "Waits for your yes before anything is sent."
    return _moving(run, now)


def _ended_early(run: Run) -> str:
    told = run.delivered + run.rejected
    if not told:
        return "Cancelled before anything was sent; WebEngage is as it was."
    return f"Cancelled after {told:,} of {people(run.changes)} were told to WebEngage; the next sync tells the rest."


def _moving(run: Run, now: float) -> str:
    if run.cancel_wanted:
        return "Cancelling: what is on its way is finished first."
    if run.waiting:
        later = f": continues at {when(run.not_before)}" if run.not_before > now else ""
        return f"{_reason(run.waiting)}{later}."
    here = stand(run)
    if run.state == RunState.QUEUED and not here.total:
        late = now - max(run.queued_at, run.not_before) > LATE
        return "Not begun yet: is the runner working?" if late else "Starts in a moment."
    if not here.total:
        return "Begins…"
    return f"{here.done:,} of {people(here.total)} {here.verb}{_speed(run, here, now)}"


def _reason(waiting: str) -> str:
    """Say the waits everybody meets in few words; the run's timeline has what was answered."""
    if "last hour" in waiting or "hourly limit" in waiting:
        return HOURLY
    return MINUTE if "WebEngage" in waiting and "answered 429" in waiting else local(waiting).rstrip(".")


def _speed(run: Run, here: Stand, now: float) -> str:
    rate = pace(run, here.done, now)
    if not rate:
        return ""
    return f" · {people(max(1, round(rate)))} a second · {short((here.total - here.done) / rate)} left"


def draw(run: Run) -> None:
    """Show a run that is under way: a bar while it moves, and its sentence."""
    if run.state in (RunState.PULLING, RunState.DELIVERING):
        st.progress(stand(run).share, text=escape(sentence(run)))
    else:
        st.caption(escape(sentence(run)))


def busy(run: Run | None) -> bool:
    """Whether a run is under way; one that waits for a person moves only when somebody acts."""
    return bool(run and not run.state.over and run.state != RunState.HELD)
