"""When a sync is due: to the second, at most once, and also after a clock was put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.cadence import DailyTime, find_moment
from sync.errors import InvalidRequest
from sync.model import RunState, SyncState
from tests.sandbox.control import PROJECT, Sandbox, member
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

    def read_state(self) -> SyncState:
        """Return the state of the only sync."""
        with self.open() as service:
            return service.syncs.get(1).state

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


def test_an_interval_when_a_runner_is_late_keeps_the_times_it_always_had(clocked: ClockedWorkspace) -> None:
    """Every two hours from the export on; what was missed is one refresh, and nothing drifts."""
    for now, next_time in (
        ("2027-03-01 14:00", "2027-03-01 16:00"),
        ("2027-03-01 16:40", "2027-03-01 18:00"),
        ("2027-03-02 01:10", "2027-03-02 02:00"),
    ):
        clocked.set_clock(now, -1.0)
        if now.endswith("14:00"):
            assert clocked.queue_due() == 0
        clocked.set_clock(now)
        assert clocked.queue_due() == 1 and clocked.queue_due() == 0
        clocked.run_queued()
        assert clocked.read_next() == find_moment(next_time, "UTC")


@pytest.mark.parametrize(
    ("terms", "next_time"),
    [
        ({"daily": DailyTime.parse("09:00", "UTC")}, "2027-03-02 09:00"),
        ({"daily": DailyTime.parse("07:30", "Europe/Berlin")}, "2027-03-02 06:30"),
        ({"daily": DailyTime.parse("07:30", "UTC", "fri")}, "2027-03-05 07:30"),
        ({"interval": DAY}, "2027-03-02 13:00"),
        ({"daily": DailyTime.parse("07:30", "UTC")}, "2027-03-02 07:30"),
    ],
)
def test_another_time_of_day_that_an_export_asks_for_is_the_next_one(
    clocked: ClockedWorkspace, terms: dict[str, DailyTime], next_time: str
) -> None:
    """All of them are once a day or rarer; it is not refreshed once more at the time it had before."""
    clocked.refresh_at("07:30")
    clocked.set_clock("2027-03-01 13:00")
    clocked.export(**terms)
    assert clocked.read_next() == find_moment(next_time, "UTC")


def test_an_interval_that_becomes_another_one_begins_when_it_was_chosen(clocked: ClockedWorkspace) -> None:
    """Chosen at ten past one, every hour is due at ten past; so is it after the next refresh."""
    clocked.set_clock("2027-03-01 13:10")
    with clocked.open() as service:
        service.syncs.change_interval(1, HOUR)
    assert clocked.read_next() == find_moment("2027-03-01 14:10", "UTC")
    clocked.set_clock("2027-03-01 14:20")
    assert clocked.queue_due() == 1
    assert clocked.read_next() == find_moment("2027-03-01 15:10", "UTC")


@pytest.mark.parametrize("pause", [None, DAY])
def test_a_paused_sync_when_it_is_exported_with_its_terms_is_due_at_the_next_of_its_times(
    clocked: ClockedWorkspace, pause: float | None
) -> None:
    """Those it missed while it was paused are over, as the export has just sent everybody."""
    with clocked.open() as service:
        service.syncs.pause(1, pause and clocked.at + pause)
    clocked.set_clock("2027-03-01 19:00")
    clocked.export(interval=2 * HOUR)
    assert clocked.read_next() == find_moment("2027-03-01 20:00", "UTC")
    assert clocked.queue_due() == 0


def test_an_export_that_says_only_how_often_leaves_whom_and_what_it_sends_as_it_is(clocked: ClockedWorkspace) -> None:
    """Another User ID would be other people, and so would be their properties; nobody is sent once more."""
    people = [member(f"fan-{number}", customer=f"c-{number}", plan="gold") for number in range(3)]
    cohort = clocked.sandbox.add_cohort("Customers", people)
    clocked.export(cohort, id_property="customer", mapping=(("plan", "Plan"),))
    again = clocked.export(cohort, interval=6 * HOUR)
    assert (again.state, again.change_count) == (RunState.SUCCEEDED, 0)
    with clocked.open() as service:
        assert (service.syncs.get(2).id_property, service.syncs.get(2).interval_seconds) == ("customer", 6 * HOUR)
        assert service.cohorts.propose_export(PROJECT, cohort).mapping == (("plan", "Plan"),)
    assert clocked.sandbox.holding("Mixpanel - Customers")[0] == {"c-0", "c-1", "c-2"}


@pytest.mark.parametrize("end", ["2027-03-01 16:00", "2027-03-01 15:00"])
def test_the_end_of_a_sync_comes_at_its_second_and_before_a_refresh_that_is_due_then(
    clocked: ClockedWorkspace, end: str
) -> None:
    """A last day until midnight has no refresh at midnight."""
    with clocked.open() as service:
        service.syncs.change_interval(1, 2 * HOUR, ends_at=find_moment(end, "UTC"))
    clocked.set_clock("2027-03-01 14:00")
    assert clocked.queue_due() == 1
    clocked.run_queued()
    assert clocked.read_next() is None
    clocked.set_clock(end, -1.0)
    assert clocked.queue_due() == 0 and clocked.read_state() is SyncState.ACTIVE
    clocked.set_clock(end)
    assert clocked.queue_due() == 0 and clocked.read_state() is SyncState.FINISHED


@pytest.mark.parametrize("at", ["2027-03-01 15:00", "2027-03-02 16:00"])
def test_a_pause_ends_at_its_second_with_a_refresh_and_then_goes_on_as_before(
    clocked: ClockedWorkspace, at: str
) -> None:
    """It missed some times or none; the next one is that of every second hour from the export on."""
    with clocked.open() as service:
        service.syncs.pause(1, find_moment(at, "UTC"))
    clocked.set_clock(at, -1.0)
    assert clocked.queue_due() == 0 and clocked.read_state() is SyncState.PAUSED
    clocked.set_clock(at)
    assert clocked.queue_due() == 1 and clocked.read_state() is SyncState.ACTIVE
    following = find_moment(at, "UTC") + (HOUR if at.endswith("15:00") else 2 * HOUR)
    assert clocked.read_next() == following
    clocked.run_queued()
    assert clocked.queue_due() == 0


def test_a_pause_and_an_interval_at_their_bounds_are_taken_and_a_second_beyond_is_refused(
    clocked: ClockedWorkspace,
) -> None:
    """A pause until now is over; every five minutes and every thirty days can be chosen."""
    with clocked.open() as service:
        with pytest.raises(InvalidRequest, match="must lie ahead"):
            service.syncs.pause(1, clocked.at)
        for seconds in (300.0, 30 * DAY):
            service.syncs.change_interval(1, seconds)
            assert service.syncs.get(1).interval_seconds == seconds
        for seconds in (299.0, 30 * DAY + 1, float("nan")):
            with pytest.raises(InvalidRequest, match="at most every 5 minutes"):
                service.syncs.change_interval(1, seconds)
        with pytest.raises(InvalidRequest, match="in the past"):
            service.syncs.change_interval(1, DAY, ends_at=clocked.at)
        assert service.syncs.get(1).interval_seconds == 30 * DAY


def test_a_sync_goes_on_at_its_next_time_after_a_refresh_was_cancelled(clocked: ClockedWorkspace) -> None:
    """Somebody stopped one run of it, not the sync."""
    clocked.set_clock("2027-03-01 14:00")
    assert clocked.queue_due() == 1
    with clocked.open() as service:
        service.runs.cancel(2)
        assert service.runs.get(2).state is RunState.CANCELLED
    assert clocked.queue_due() == 0 and clocked.read_state() is SyncState.ACTIVE
    clocked.set_clock("2027-03-01 16:00")
    assert clocked.queue_due() == 1


def test_a_refresh_that_is_due_while_a_run_is_being_cancelled_comes_when_that_has_ended(
    clocked: ClockedWorkspace,
) -> None:
    """Its time is not used up by a run that reads nobody any more."""
    with clocked.open() as service:
        service.syncs.refresh_now(1)
    with clocked.open_store() as store:
        claimed = store.runs.claim_run("a runner", clocked.at)
    with clocked.open() as service:
        service.runs.cancel(2)
    clocked.set_clock("2027-03-01 14:00")
    assert claimed and clocked.queue_due() == 0
    clocked.set_clock("2027-03-01 14:30")
    clocked.run_queued()
    assert clocked.get_run(2).state is RunState.CANCELLED
    assert clocked.get_run(3).state is RunState.SUCCEEDED
    assert clocked.read_next() == find_moment("2027-03-01 16:00", "UTC")
