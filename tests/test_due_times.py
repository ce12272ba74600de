"""When a sync is due: to the second, at most once, and also after a clock was put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.cadence import DailyTime, find_moment
from sync.model import RunState
from tests.sandbox.control import Sandbox
from tests.workspace import Workspace

HOUR, DAY = 3600.0, 86400.0


class ClockedWorkspace(Workspace):
    """A workspace whose clock is set by hand, in UTC."""

    at = 0.0

    def now(self) -> float:
        """Return the time that was set."""
        return self.at

    def set_clock(self, text: str, seconds: float = 0.0) -> None:
        """Set the clock to a moment, such as ``2027-03-01 12:00``, and so many seconds."""
        self.at = find_moment(text, "UTC") + seconds

    def queue_due(self) -> int:
        """Queue what is due now; return the number of runs."""
        with self.open() as service:
            return service.syncs.queue_due()

    def read_next(self) -> float | None:
        """Return when the only sync is refreshed next."""
        with self.open() as service:
            return service.syncs.get(1).next_run_at

    def refresh_at(self, at: str, zone: str = "UTC", days: str = "") -> None:
        """Refresh the sync at a time of day from now on."""
        with self.open() as service:
            service.syncs.change_interval(1, DAY, DailyTime.parse(at, zone, days))


@pytest.fixture
def clocked(data_dir: Path, sandbox: Sandbox) -> ClockedWorkspace:
    """Connect a workspace whose cohort was exported at noon of a Monday, every two hours from then on."""
    workspace = ClockedWorkspace(data_dir)
    workspace.connect(sandbox)
    workspace.set_clock("2027-03-01 12:00")
    workspace.add_cohort(3)
    assert workspace.export(interval=2 * HOUR).state is RunState.SUCCEEDED
    return workspace


@pytest.mark.parametrize(
    ("days", "ahead", "wrong", "right"),
    [
        ("", 3 * DAY, "2027-03-05 07:30", "2027-03-02 07:30"),
        ("", 20 * HOUR, "2027-03-03 07:30", "2027-03-02 07:30"),
        ("mon-fri", 4 * DAY, "2027-03-08 07:30", "2027-03-02 07:30"),
        ("mon", 6 * DAY, "2027-03-08 07:30", "2027-03-08 07:30"),
        ("mon", 8 * DAY, "2027-03-15 07:30", "2027-03-08 07:30"),
    ],
)
def test_a_time_of_day_when_the_clock_was_days_ahead_comes_at_its_next_time_once_that_is_put_right(
    clocked: ClockedWorkspace, days: str, ahead: float, wrong: str, right: str
) -> None:
    """Nobody waits until the day that the wrong clock had reached; only the schedule moves, and nothing is queued."""
    clocked.set_clock("2027-03-01 12:00", ahead)
    clocked.refresh_at("07:30", "UTC", days)
    assert clocked.read_next() == find_moment(wrong, "UTC")
    clocked.set_clock("2027-03-01 12:00")
    assert clocked.queue_due() == 0
    assert clocked.read_next() == find_moment(right, "UTC")
    clocked.set_clock(right)
    assert clocked.queue_due() == 1


@pytest.mark.parametrize("back", [1.0, 600.0, HOUR])
def test_a_time_of_day_when_the_clock_goes_back_a_little_after_it_does_not_come_twice(
    clocked: ClockedWorkspace, back: float
) -> None:
    """An hour at most, as where a clock showed local time: this day's refresh was done."""
    clocked.refresh_at("07:30")
    clocked.set_clock("2027-03-02 07:30", 0.5)
    assert clocked.queue_due() == 1
    clocked.run_queued()
    clocked.set_clock("2027-03-02 07:30", 0.5 - back)
    assert clocked.queue_due() == 0
    clocked.set_clock("2027-03-02 07:30", 2.0)
    assert clocked.queue_due() == 0
    assert clocked.read_next() == find_moment("2027-03-03 07:30", "UTC")


def test_a_time_of_day_on_weekdays_when_it_is_friday_evening_is_not_due_before_monday(
    clocked: ClockedWorkspace,
) -> None:
    """Its next time is far ahead and right, so no runner takes the write lock for it."""
    clocked.set_clock("2027-03-05 12:00")
    clocked.refresh_at("07:30", "UTC", "mon-fri")
    with clocked.open_store() as store:
        for hours in range(67):
            assert store.syncs.list_due(clocked.at + hours * HOUR) == ()
        assert len(store.syncs.list_due(find_moment("2027-03-08 07:30", "UTC"))) == 1


def test_a_time_of_day_when_the_clock_changes_is_not_taken_for_one_that_is_too_far_ahead(
    clocked: ClockedWorkspace,
) -> None:
    """In autumn a day has twenty-five hours."""
    clocked.set_clock("2027-10-30 05:31")
    clocked.refresh_at("07:30", "Europe/Berlin")
    with clocked.open_store() as store:
        assert store.syncs.list_due(clocked.at) == ()
    assert clocked.read_next() == find_moment("2027-10-31 06:30", "UTC")


def test_a_time_zone_that_is_not_known_any_more_when_its_time_is_days_ahead_pauses_its_sync_and_stops_no_runner(
    clocked: ClockedWorkspace,
) -> None:
    """Nobody has to wait for Monday to hear of it, and whatever else is due is queued."""
    clocked.refresh_at("07:30", "Europe/Berlin", "sun")
    with clocked.open_database() as db:
        db.execute("update sync set daily_zone = 'Mars/Base'")
    assert clocked.queue_due() == 0
    with clocked.open() as service:
        assert "“Mars/Base” is not a time zone" in str(service.syncs.get(1).pause_reason)
