"""How far a run is, in one sentence and a share; and how pages keep looking at it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts.formatting import (
    escape_markdown,
    format_changes,
    format_duration_short,
    format_people,
    format_time,
    localize_times,
)
from sync.model import Run, RunState

HOURLY_LIMIT_TEXT = "Mixpanel's hourly limit of queries is used up"
MINUTE_LIMIT_TEXT = "WebEngage takes no more requests just now"
LATE_SECONDS = 15.0  # seconds after which a queued run should have been begun


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """Where a run stands: how many of how many, and what that is called."""

    done: int
    total: int
    verb: str

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def phase_progress(run: Run) -> PhaseProgress:
    """Tell how far a run is in its present phase."""
    if run.state in (RunState.QUEUED, RunState.PULLING):
        return PhaseProgress(run.staged, run.expected_total or 0, "read from Mixpanel")
    return PhaseProgress(run.delivered + run.rejected, run.change_count, "told to WebEngage")


def measure_rate(run: Run, done: int, now: float) -> float | None:
    """Measure people a second since this tab first saw this phase of the run."""
    key = f"_pace-{run.id}-{run.state}"
    first_done, first_at = st.session_state.setdefault(key, (done, now))
    return (done - first_done) / (now - first_at) if done > first_done and now > first_at else None


def describe_run(run: Run, now: float | None = None) -> str:
    """Say where a run is, how fast it goes and what it waits for."""
    now = time.time() if now is None else now
    if run.state == RunState.SUCCEEDED:
        return f"{format_changes(run)}" + (f", {run.rejected:,} rejected" if run.rejected else "")
    if run.state == RunState.CANCELLED:
        return _describe_cancelled(run)
    if run.state.is_final:
        return localize_times(run.error or "")
    if run.state == RunState.HELD:
        return run.held_reason or "Waits for your yes before anything is sent."
    return _describe_moving(run, now)


def _describe_cancelled(run: Run) -> str:
    told = run.delivered + run.rejected
    if not told:
        return "Cancelled before anything was sent; WebEngage is as it was."
    return f"Cancelled after {told:,} of {format_people(run.change_count)} were told to WebEngage; the next sync tells the rest."


def _describe_moving(run: Run, now: float) -> str:
    if run.cancel_requested:
        return "Cancelling: what is on its way is finished first."
    if run.wait_reason:
        later = f": continues at {format_time(run.not_before)}" if run.not_before > now else ""
        return f"{_short_reason(run.wait_reason)}{later}."
    here = phase_progress(run)
    if run.state == RunState.QUEUED and not here.total:
        late = now - max(run.queued_at, run.not_before) > LATE_SECONDS
        return "Not begun yet: is the runner working?" if late else "Starts in a moment."
    if not here.total:
        return "Begins…"
    return f"{here.done:,} of {format_people(here.total)} {here.verb}{_describe_rate(run, here, now)}"


def _short_reason(waiting: str) -> str:
    """Say the waits everybody meets in few words; the run's timeline has what was answered."""
    if "last hour" in waiting or "hourly limit" in waiting:
        return HOURLY_LIMIT_TEXT
    return (
        MINUTE_LIMIT_TEXT
        if "WebEngage" in waiting and "answered 429" in waiting
        else localize_times(waiting).rstrip(".")
    )


def _describe_rate(run: Run, here: PhaseProgress, now: float) -> str:
    rate = measure_rate(run, here.done, now)
    if not rate:
        return ""
    return f" · {format_people(max(1, round(rate)))} a second · {format_duration_short((here.total - here.done) / rate)} left"


def show_progress(run: Run) -> None:
    """Show a run that is under way: a bar while it moves, and its sentence."""
    if run.state in (RunState.PULLING, RunState.DELIVERING):
        st.progress(phase_progress(run).share, text=escape_markdown(describe_run(run)))
    else:
        st.caption(escape_markdown(describe_run(run)))


def is_moving(run: Run | None) -> bool:
    """Whether a run is under way; one that waits for a person moves only when somebody acts."""
    return bool(run and not run.state.is_final and run.state != RunState.HELD)
