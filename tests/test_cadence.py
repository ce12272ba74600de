"""When syncs are refreshed: a time of day over both clock changes, ends, pauses that end, and the hourly limit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sync.cadence import DailyTime, find_moment
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.permissions import command_line_actor
from sync.service import Service
from sync.service.hourly_fit import find_unkept_limits
from sync.store import Store
from sync.store.rate_limits import SYNC_QUERIES_AN_HOUR
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import Workspace, make_fans

BERLIN = "Europe/Berlin"
HOUR, DAY = 3600.0, 86400.0


def parse_utc(text: str) -> float:
    """Return a moment in UTC in seconds since 1970."""
    return find_moment(text, "UTC")


def open_at(workspace: Workspace, clock: list[float]) -> Service:
    """Open the service with a clock that is set by hand."""
    return Service(Store.open(workspace.data_dir), workspace.env, lambda: clock[0], command_line_actor())


@pytest.mark.parametrize(("zone", "start"), [(BERLIN, "2027-03-26 12:00"), (BERLIN, "2027-10-29 12:00")])
def test_a_sync_when_refreshed_at_a_time_of_day_keeps_it_over_the_clock_change(
    connected: Workspace, sandbox: Sandbox, zone: str, start: str
) -> None:
    """Its next times are 07:30 there, whatever UTC says; missed days merge into one run; nothing is due twice."""
    clock = [parse_utc(start)]
    connected.add_cohort(3)
    with open_at(connected, clock) as service:
        service.syncs.start_export(
            PROJECT, connected.cohort, ExportTerms(mode=Mode.DYNAMIC, daily=DailyTime.parse("07:30", zone))
        )
        seen = []
        for _ in range(4):
            due = service.syncs.get(1).next_run_at or 0.0
            seen.append(datetime.fromtimestamp(due, ZoneInfo(zone)))
            clock[0] = due + 1
            service.syncs.queue_due()
            assert service.syncs.queue_due() == 0 and (service.syncs.get(1).next_run_at or 0.0) > clock[0]
    assert {(one.hour, one.minute) for one in seen} == {(7, 30)}
    assert len({one.date() for one in seen}) == 4


def test_a_sync_when_its_end_has_come_is_finished_and_refreshed_no_more(connected: Workspace) -> None:
    """The end applies to a paused sync too, is written in its history, and an end in the past is refused."""
    connected.add_cohort(3)
    connected.export(interval=300.0, ends_at=connected.now() + 1000.0)
    connected.ahead = 400.0
    with connected.open() as service:
        assert service.syncs.queue_due() == 1
        service.syncs.pause(1)
    connected.ahead = 1001.0
    with connected.open() as service:
        assert service.syncs.queue_due() == 0
        assert service.syncs.get(1).state is SyncState.FINISHED
        with pytest.raises(InvalidRequest, match="past"):
            connected.start_export(ends_at=connected.now() - 1)


def test_a_sync_when_its_end_comes_while_its_first_export_waits_is_finished_with_it(connected: Workspace) -> None:
    """The people are sent, as somebody asked for that; no refresh follows, and nothing is active again."""
    connected.add_cohort(3)
    run_id = connected.start_export(interval=300.0, ends_at=connected.now() + 1000.0)
    connected.ahead = 1001.0
    connected.run_queued()
    with connected.open() as service:
        assert service.runs.get(run_id).state is RunState.SUCCEEDED
        assert (service.syncs.get(1).state, service.syncs.get(1).next_run_at) == (SyncState.FINISHED, None)
        assert service.syncs.queue_due() == 0


def test_a_refresh_when_it_is_held_until_the_end_of_its_sync_is_not_sent_any_more(connected: Workspace) -> None:
    """Nobody can approve it after the end, runner or not; it is cancelled, and what a person asks for later can be sent."""
    cohort = connected.add_cohort(3)
    connected.export(interval=300.0, ends_at=connected.now() + 1000.0)
    connected.sandbox.set_members(cohort, make_fans(400))
    connected.ahead = 400.0
    connected.run_queued()
    held = connected.get_run(2)
    connected.ahead = 1001.0
    with connected.open() as service:
        assert held.state is RunState.HELD and "The last refresh" in service.runs.explain_refusal(held.id)
        with pytest.raises(
            InvalidRequest, match=r"The last refresh of this sync was due before .* export the cohort again"
        ):
            service.runs.approve(held.id)
        service.syncs.queue_due()
        assert (service.runs.get(held.id).state, service.syncs.get(1).state) == (RunState.CANCELLED, SyncState.FINISHED)
        later = service.syncs.refresh_now(1).run_id
    connected.run_queued()
    with connected.open() as service:
        service.runs.approve(later)
    connected.run_queued()
    assert connected.get_run(later).state is RunState.SUCCEEDED


@pytest.mark.parametrize("approved_before", [False, True])
def test_a_refresh_when_it_is_held_only_after_the_end_of_its_sync_is_not_sent_any_more(
    connected: Workspace, approved_before: bool
) -> None:
    """It was due, or even approved, before the end, and is held later: nobody is left with a run that cannot be approved."""
    cohort = connected.add_cohort(3)
    connected.export(interval=300.0, ends_at=connected.now() + 1000.0)
    connected.sandbox.set_members(cohort, make_fans(400))
    connected.ahead = 400.0
    with connected.open() as service:
        assert service.syncs.queue_due() == 1
    if approved_before:
        connected.run_queued()
        connected.ahead = 990.0
        with connected.open() as service:
            service.runs.approve(2)
        connected.sandbox.set_members(cohort, make_fans(900))
    connected.ahead = 1001.0
    connected.run_queued()
    with connected.open() as service:
        assert service.syncs.queue_due() == 0
        assert (service.runs.get(2).state, service.syncs.get(1).state) == (RunState.CANCELLED, SyncState.FINISHED)
        assert len(connected.sandbox.holding("Mixpanel - Fans")[0]) == 3
        assert service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.ONE_TIME)).started


def test_a_refresh_when_somebody_asked_for_a_later_end_meanwhile_is_theirs_and_stays(connected: Workspace) -> None:
    """Their request is on the refresh under way, so the end of the former terms neither cancels it nor refuses an approval."""
    cohort, start = connected.add_cohort(3), connected.now()
    connected.export(interval=300.0, ends_at=start + 1000.0)
    connected.sandbox.set_members(cohort, make_fans(400))
    connected.ahead = 400.0
    with connected.open() as service:
        service.syncs.queue_due()
    connected.start_export(interval=300.0, ends_at=start + 5000.0)
    connected.run_queued()
    connected.ahead = 1001.0
    with connected.open() as service:
        service.syncs.queue_due()
        assert (service.runs.get(2).state, service.syncs.get(1).state) == (RunState.HELD, SyncState.FINISHED)
        service.runs.approve(2)
    connected.run_queued()
    with connected.open() as service:
        sync = service.syncs.get(1)
        assert service.runs.get(2).state is RunState.SUCCEEDED
        assert (sync.state, sync.ends_at) == (SyncState.ACTIVE, start + 5000.0)


def test_an_export_when_it_is_held_until_the_end_of_its_sync_can_still_be_approved(connected: Workspace) -> None:
    """Somebody asked for it, so somebody decides; the sync is finished with it."""
    connected.add_cohort(3)
    held = connected.export(interval=300.0, ends_at=connected.now() + 1000.0, dry_run=True)
    connected.ahead = 1001.0
    with connected.open() as service:
        service.syncs.queue_due()
        service.runs.approve(held.id)
    connected.run_queued()
    with connected.open() as service:
        assert service.runs.get(held.id).state is RunState.SUCCEEDED
        assert service.syncs.get(1).state is SyncState.FINISHED


def test_a_time_zone_that_is_not_known_any_more_pauses_its_sync_and_no_other(connected: Workspace) -> None:
    """Another machine may have other zones: the sync says so, and the others are refreshed at their times."""
    connected.add_cohort(3)
    connected.export(daily=DailyTime.parse("07:30", BERLIN))
    connected.export(connected.add_cohort(2, "Others"))
    with connected.open_database() as db:
        db.execute("update sync set daily_zone = 'Mars/Base' where id = 1")
    connected.ahead = 2 * DAY
    with connected.open() as service:
        assert service.syncs.queue_due() == 1 and service.runs.list()[0].sync_id == 2
        sync = service.syncs.get(1)
        assert sync.state is SyncState.PAUSED and "“Mars/Base” is not a time zone" in str(sync.pause_reason)
        assert service.syncs.queue_due() == 0
        with pytest.raises(InvalidRequest, match="“Mars/Base” is not a time zone"):
            service.syncs.resume(1)
        assert service.syncs.get(1).state is SyncState.PAUSED
        service.syncs.start_export(PROJECT, sync.cohort_id, ExportTerms(mode=Mode.DYNAMIC, interval=3600.0))


def test_a_pause_until_a_time_when_it_has_come_ends_by_itself(connected: Workspace) -> None:
    """It needs nobody, unless it should have ended and has not; then the sync is refreshed at once."""
    connected.add_cohort(3)
    connected.export()
    with connected.open() as service:
        service.syncs.pause(1, until=connected.now() + HOUR)
        assert service.check_health().paused == ()
        assert "until 2" in (service.syncs.get(1).pause_reason or "")
    connected.ahead = HOUR + 100
    with connected.open() as service:
        assert [one.id for one in service.check_health().paused] == [1]  # no runner ended it
        assert service.syncs.queue_due() == 1
        sync = service.syncs.get(1)
        assert (sync.state, sync.resume_at, sync.pause_reason) == (SyncState.ACTIVE, None, None)
        service.syncs.pause(1, until=connected.now() + HOUR)
    with connected.open_store() as store:  # another reason takes its place, and no longer ends by itself
        store.syncs.pause_sync(1, "WebEngage was disconnected.")
        sync_now = store.syncs.get_sync(1)
        assert sync_now and sync_now.resume_at is None


def test_a_time_of_day_when_it_is_only_tried_becomes_the_syncs_with_the_approval(connected: Workspace) -> None:
    """A dry run carries it; the schedule of a sync under way changes with the approval, not before."""
    connected.add_cohort(3)
    connected.export()
    daily = DailyTime.parse("07:30", BERLIN, "mon-fri")
    held = connected.export(daily=daily, dry_run=True)
    with connected.open() as service:
        assert service.syncs.get(1).daily is None
        service.runs.approve(held.id)
    connected.run_queued()
    with connected.open() as service:
        sync = service.syncs.get(1)
        assert sync.daily == daily and sync.next_run_at == daily.find_next(connected.now())
        service.syncs.change_interval(1, 7200.0)
        assert (service.syncs.get(1).daily, service.syncs.get(1).interval_seconds) == (None, 7200.0)


def test_a_stored_schedule_when_it_is_half_or_wrong_is_refused_by_the_database(connected: Workspace) -> None:
    """A time without a zone, a time that is none, a pause's end without a pause."""
    connected.add_cohort(3)
    connected.export()
    for change in (
        "daily_at = '07:30'",
        "daily_zone = 'UTC'",
        "daily_at = '25:00', daily_zone = 'UTC', daily_days = 'mon'",
        "resume_at = 1.0",
    ):
        with pytest.raises(sqlite3.IntegrityError), connected.open_database() as db:
            db.execute(f"update sync set {change}")


def test_a_schedule_when_given_by_command_is_kept_and_what_does_not_go_together_is_wrong_usage(
    connected: Workspace,
) -> None:
    """--at with --zone, --days and --until; the answer says how all syncs fit the hour; pause takes --until."""
    cohort = str(connected.add_cohort(3))
    export = ("export", cohort, "--mode", "dynamic", "--at", "7:30", "--zone", BERLIN)
    done = connected.run_command(*export, "--days", "mon-fri", "--until", "2099-03-31")
    assert done.exit_code == 0 and "fit Mixpanel's limit: 1 of" in done.output, done.output
    connected.run_queued()
    with connected.open() as service:
        sync = service.syncs.get(1)
        assert sync.daily == DailyTime("07:30", BERLIN, "mon,tue,wed,thu,fri")
        assert sync.ends_at == find_moment("2099-04-01", BERLIN)
    for wrong in (
        (*export, "--every", "2h"),
        ("export", cohort, "--mode", "one-time", "--at", "07:30"),
        ("export", cohort, "--mode", "dynamic", "--days", "mon"),
        ("export", cohort, "--mode", "dynamic", "--at", "half past"),
        ("pause", "1", "--until", "soon"),
    ):
        assert connected.run_command(*wrong).exit_code == 2, wrong
    alone = connected.run_command("export", cohort, "--mode", "dynamic", "--zone", BERLIN)
    assert alone.exit_code == 2 and "--zone to --at or --until" in alone.output
    assert connected.run_command("pause", "1", "--until", "2099-01-07 08:00", "--zone", BERLIN).exit_code == 0
    with connected.open() as service:
        assert service.syncs.get(1).resume_at == parse_utc("2099-01-07 07:00")


def test_syncs_when_they_do_not_fit_the_hour_are_said_before_saving_and_alerted(connected: Workspace) -> None:
    """More refreshes at one time than Mixpanel's queries allow: the command says which hour, and so does the alert."""
    connected.add_cohort(3)
    connected.export(interval=300.0)
    with connected.open_database() as db:
        columns = [row[1] for row in db.execute("pragma table_info(sync)") if row[1] != "id"]
        for number in range(5):
            values = {"cohort_id": 900_000 + number, "attribute": f"'Busy {number}'"}
            chosen = ", ".join(str(values.get(name, name)) for name in columns)
            db.execute(f"insert into sync ({', '.join(columns)}) select {chosen} from sync where id = 1")
    with connected.open() as service:
        fits, sentence = service.hourly_fit.check(PROJECT, connected.cohort, 300.0)
        assert not fits and "need 72 Mixpanel queries in the hour from 20" in sentence
        assert service.hourly_fit.check(PROJECT, connected.cohort, DAY)[0] is (SYNC_QUERIES_AN_HOUR >= 61)
    with connected.open_store() as store:
        assert find_unkept_limits(store, store.syncs.list_views(), connected.now())[PROJECT].queries == 72
    warned = connected.run_command("export", str(connected.cohort), "--mode", "dynamic", "--every", "5m")
    assert warned.exit_code == 0 and "some will be late" in warned.stderr


def test_a_sync_of_an_earlier_schema_names_its_next_refresh_only_if_that_comes(tmp_path: Path) -> None:
    """As scheduled; none of one that ends before; the end of a pause."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript((Path(__file__).parent / "schemas" / "22.sql").read_text())
    with Store.open(tmp_path) as store:
        found = {one.id: one.next_run_at for one in store.syncs.list_views()}
    assert found == {1: 1790007200.0, 2: None, 3: 1800000000.0}
