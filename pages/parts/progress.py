"""How far a run is, in one sentence and a share."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts.words import escape, people, result, short, when
from sync.model import Run, RunState

FAST, SLOW = 2.0, 10.0  # seconds between looks: while something runs, and while nothing does


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
    if run.state.over:
        return run.error or "Nothing more will be sent in this run."
    if run.state == RunState.HELD:
        return run.held_reason or "Waits for your yes before anything is sent."
    return _moving(run, now)


def _moving(run: Run, now: float) -> str:
    if run.cancel_wanted:
        return "Cancelling: what is on its way is finished first."
    if run.waiting:
        later = f" Continues at {when(run.not_before)}." if run.not_before > now else ""
        return f"{run.waiting}{later}"
    here = stand(run)
    if not here.total:
        return "Starts in a moment." if run.state == RunState.QUEUED else "Begins…"
    return f"{here.done:,} of {people(here.total)} {here.verb}{_speed(run, here, now)}"


def _speed(run: Run, here: Stand, now: float) -> str:
    rate = pace(run, here.done, now)
    if not rate:
        return ""
    return f" · {rate:,.0f} people a second · {short((here.total - here.done) / rate)} left"


def draw(run: Run) -> None:
    """Show a run that is under way: a bar while it moves, and its sentence."""
    if run.state in (RunState.PULLING, RunState.DELIVERING):
        st.progress(stand(run).share, text=escape(sentence(run)))
    else:
        st.caption(escape(sentence(run)))


def seconds_between_looks(runs: list[Run | None]) -> float:
    """Look often while anything moves, seldom otherwise."""
    return FAST if any(run and not run.state.over for run in runs) else SLOW
