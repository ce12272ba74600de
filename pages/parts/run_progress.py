"""Describe how far a run is: one sentence, and a share for the progress bar."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from pages.parts.formatting import escape_markdown, format_duration_short, format_time, localize_times
from sync.model import Run, RunState
from sync.text import count_people
from sync.views import Overdue
from sync.wording import describe_run_changes

HOURLY_LIMIT_TEXT = "Mixpanel's hourly query limit is used up"
QUERY_LIMIT_TEXT = "Mixpanel's query limit is reached"
MINUTE_LIMIT_TEXT = "WebEngage's request limit is reached"
DECIDE = "Decide"  # the link to a held run, for who may
LATE_SECONDS = 15.0  # after which a queued run should have started


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """Progress of a run in its current phase: people done, people in total, and what was done with them.

    ``rejected``: as many of those done WebEngage did not take.
    """

    done: int
    total: int
    verb: str
    rejected: int = 0

    @property
    def share(self) -> float:
        """Return how much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def phase_progress(run: Run) -> PhaseProgress:
    """Return how far a run is in its current phase."""
    if run.state in (RunState.QUEUED, RunState.PULLING):
        return PhaseProgress(run.staged, run.expected_total or 0, "read from Mixpanel")
    done = run.delivered + run.rejected
    return PhaseProgress(done, run.change_count, "sent to WebEngage", run.rejected)


def label_link(run: Run, *, may_decide: bool) -> str:
    """Return what the link to a run under way is called: a held one waits for a decision."""
    return "See progress" if run.state != RunState.HELD else DECIDE if may_decide else "See run"


def measure_rate(run: Run, done: int, now: float) -> float | None:
    """Return the people per second since this tab first saw this phase of the run, None when unknown."""
    key = f"_pace-{run.id}-{run.state}"
    first_done, first_at = st.session_state.setdefault(key, (done, now))
    return (done - first_done) / (now - first_at) if done > first_done and now > first_at else None


def describe_run(run: Run, now: float | None = None) -> str:
    """Return one sentence: the result of a run, or how far and fast it is and what it waits for."""
    now = time.time() if now is None else now
    if run.state == RunState.SUCCEEDED:
        return describe_run_changes(run)
    if run.state == RunState.CANCELLED:
        return _describe_cancelled(run)
    if run.state.is_final:
        return localize_times(run.error or "")
    if run.state == RunState.HELD:
        return run.held_reason or "Needs approval before anything is sent."
    return _describe_moving(run, now)


def _describe_cancelled(run: Run) -> str:
    if not run.sent + run.rejected:
        return "Cancelled before anything was sent. WebEngage is unchanged."
    others = (
        (run.unconfirmed, "sent without an answer, so they may be changed there"),
        (run.rejected, "rejected by WebEngage"),
    )
    more = "".join(f"; {number:,} {what}" for number, what in others if number)
    if run.steps_sent:
        return f"Cancelled after a first step: {count_people(run.delivered)} sent to WebEngage{more}, and nobody else."
    people, were = count_people(run.change_count), "was" if run.delivered == 1 else "were"
    return (
        f"Cancelled after {run.delivered:,} of {people} {were} sent to WebEngage{more}. "
        "Nobody else is sent before another run starts."
    )


def _describe_moving(run: Run, now: float) -> str:
    if run.cancel_requested:
        return "Cancelling. Requests already on their way are finished first."
    if run.wait_reason:
        continues = f"; continues at {format_time(run.not_before)}" if run.not_before > now else ""
        return f"{_shorten_wait_reason(run.wait_reason)}{continues}."
    progress = phase_progress(run)
    if run.state == RunState.QUEUED and not progress.total:
        late = now - max(run.queued_at, run.not_before) > LATE_SECONDS
        return "Not started yet. Check that the runner is running." if late else "Starts in a moment."
    if not progress.total:
        return "Starting…"
    done = f"{progress.done - progress.rejected:,} of {count_people(progress.total)} {progress.verb}"
    rejected = f", {progress.rejected:,} rejected" if progress.rejected else ""
    return f"{done}{rejected}{_describe_rate(run, progress, now)}"


def _shorten_wait_reason(reason: str) -> str:
    """Return a short text for the usual limits; the run's history shows what the API answered."""
    if "last hour" in reason or "hourly" in reason:
        return HOURLY_LIMIT_TEXT
    if "answered 429" in reason:
        return MINUTE_LIMIT_TEXT if "WebEngage" in reason else QUERY_LIMIT_TEXT
    return localize_times(reason).rstrip(".")


def _describe_rate(run: Run, progress: PhaseProgress, now: float) -> str:
    rate = measure_rate(run, progress.done, now)
    if not rate:
        return ""
    left = format_duration_short((progress.total - progress.done) / rate)
    return f" · {count_people(max(1, round(rate)))} a second · {left} left"


def show_progress(run: Run) -> None:
    """Show the progress of an unfinished run: its sentence, with a bar while it reads or sends."""
    if run.state in (RunState.PULLING, RunState.DELIVERING):
        st.progress(phase_progress(run).share, text=escape_markdown(describe_run(run)))
    else:
        st.caption(escape_markdown(describe_run(run)))


def is_noticed(late: Overdue, now: float) -> bool:
    """Return whether to show that a sync is late: it needs a person, and not only since a moment ago."""
    return late.needs_person and now - late.since >= LATE_SECONDS
