"""Times of day, ends and pauses that end by themselves: what a person may ask for in a random life."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from sync.cadence import DailyTime, find_moment
from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.drill.acts import HOUR, Acts
from tests.sandbox.control import PROJECT

DAY = 24 * HOUR
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")
TIMES = ("00:00", "01:30", "02:30", "07:30", "23:59")
ON_DAYS = ("", "", "mon-fri", "sun")
ENDS = (None, None, 2 * HOUR, 3 * DAY, 30 * DAY)  # seconds from now
# The days before a clock changes in one of the zones, in the year in which lives begin.
CLOCK_CHANGES = tuple(
    find_moment(text, "UTC")
    for text in ("2036-03-08 20:00", "2036-03-29 12:00", "2036-10-25 12:00", "2036-11-01 20:00")
)


def export_at_a_time(acts: Acts) -> None:
    """Export one of the cohorts every day at a time, or at an interval, with an end or without one."""
    book, daily, ends_at = acts.random.choice(acts.cohorts), _draw_daily(acts), _draw_end(acts)
    with closing(acts.service()) as service:
        started = service.syncs.start_export(
            PROJECT, book.id, ExportTerms(mode=Mode.DYNAMIC, daily=daily, ends_at=ends_at)
        )
        run = service.runs.get(started.run_id)
    if not run.request:  # its plan went ahead already, so the sync is changed at once
        acts.take_terms(started.sync_id)


def change_times(acts: Acts) -> None:
    """Change when one of the syncs is refreshed, and until when."""
    daily, ends_at = _draw_daily(acts), _draw_end(acts)
    with closing(acts.service()) as service:
        sync_id = acts.choose_sync(service)
        service.syncs.change_interval(sync_id, 7200.0, daily, ends_at)
    acts.take_terms(sync_id)


def pause_until(acts: Acts) -> None:
    """Pause one of the syncs for a while."""
    with closing(acts.service()) as service:
        seconds = acts.random.choice([300.0, HOUR, 30 * HOUR])
        service.syncs.pause(acts.choose_sync(service), until=acts.now() + seconds)


def let_days_pass(acts: Acts) -> None:
    """Let a day pass; now and then it is the day on which a clock changes."""
    ahead = [moment - acts.now() for moment in CLOCK_CHANGES if moment > acts.now()]
    if ahead and acts.random.random() < 0.3:
        acts.pass_time(ahead[0])
        acts.tally["clock change"] += 1
    else:
        acts.pass_time(acts.random.choice([12 * HOUR, DAY, DAY + 60.0]))


def _draw_daily(acts: Acts) -> DailyTime | None:
    daily = DailyTime.parse(acts.random.choice(TIMES), acts.random.choice(ZONES), acts.random.choice(ON_DAYS))
    return daily if acts.random.random() < 0.8 else None


def _draw_end(acts: Acts) -> float | None:
    seconds = acts.random.choice(ENDS)
    return None if seconds is None else acts.now() + seconds


TIME_ACTIONS: tuple[Callable[[Acts], None], ...] = (
    *(export_at_a_time, export_at_a_time, export_at_a_time, change_times, change_times),
    *(pause_until, pause_until, let_days_pass, let_days_pass, let_days_pass),
)
