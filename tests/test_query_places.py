"""Mixpanel's five queries at once: a place is free when Mixpanel is done, not when we stop waiting."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.errors import CohortSyncError, InvalidRequest, NoAnswer, RetryLater
from sync.model import Mode
from sync.service import Service
from sync.store import Store
from sync.store.export_requests import ExportRequest, Request
from sync.store.rate_limits import HOUR_SECONDS, QUERIES_AN_HOUR, SERVER_DEADLINE, QuerySlot
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import Workspace

NOW = 1_700_000_000.0
DAY = 86_400.0
AT_ONCE = 5  # Mixpanel docs
PATIENCE = 30.0  # seconds something awaited may take on a busy machine; never asserted
SLOW = 20_000.0  # milliseconds the sandbox takes for a query nobody waits for
IMPATIENT = 0.3  # seconds somebody waits for a list


@pytest.fixture
def store(data_dir: Path) -> Iterator[Store]:
    """Open a data folder's database."""
    with Store.open(data_dir) as opened:
        yield opened


def take(store: Store, now: float, **asked: bool) -> QuerySlot:
    """Ask for a place as a person does."""
    return store.rate_limits.acquire_query(PROJECT, now, **{"later_page": False, **asked})


def use_up_the_hour(store: Store, now: float) -> None:
    """Ask and have answered as many queries as an hour allows."""
    for _ in range(QUERIES_AN_HOUR):
        store.rate_limits.release_query(take(store, now), now)


def use_up_share(store: Store, now: float, sync_id: int) -> tuple[int, QuerySlot]:
    """Ask for a sync until the hour lets it ask no more; return how many queries it had, and the refusal."""
    for number in range(QUERIES_AN_HOUR + 1):
        slot = store.rate_limits.acquire_query(PROJECT, now, later_page=False, sync_id=sync_id)
        if slot.id is None:
            return number, slot
        store.rate_limits.release_query(slot, now)
    raise AssertionError(f"sync {sync_id} may ask for ever")


def start_reading(store: Store, cohort_id: int) -> int:
    """Export a cohort that is to be read; return its sync."""
    request = ExportRequest(PROJECT, cohort_id, "Fans", "lc", f"Cohort {cohort_id}", Request(Mode.ONE_TIME, None))
    sync_id = store.syncs.create(request, NOW, active=True)
    store.runs.enqueue_run(sync_id, "export", NOW)
    return sync_id


def test_the_hour_when_syncs_have_used_their_part_is_left_to_people(store: Store) -> None:
    """Ten of the sixty queries are for people; a sync waits until its own first one is an hour old."""
    store.rate_limits.release_query(take(store, NOW - 1000), NOW - 1000)
    assert use_up_share(store, NOW, 1)[0] == 50
    refused = store.rate_limits.acquire_query(PROJECT, NOW + 10, later_page=False, sync_id=2)
    assert (refused.id, refused.limit) == (None, "hourly")
    assert use_up_share(store, NOW + 10, 1)[1].wait == pytest.approx(HOUR_SECONDS - 10, abs=6)
    assert take(store, NOW + 10).id is not None


def test_the_hour_when_several_syncs_are_to_be_read_is_shared_by_them(store: Store) -> None:
    """One of two may ask half of what all may, and leaves the rest to the other."""
    first, second = start_reading(store, 7), start_reading(store, 8)
    assert use_up_share(store, NOW, first)[0] == use_up_share(store, NOW, second)[0] == 25


def test_a_sync_when_people_used_up_the_hour_waits_for_their_first_query(store: Store) -> None:
    """It asked nothing itself, so none of its own queries says when it may."""
    use_up_the_hour(store, NOW)
    asked, refused = use_up_share(store, NOW + 600, 1)
    assert asked == 0 and refused.wait == pytest.approx(HOUR_SECONDS - 600, abs=6)


def test_place_when_an_answer_came_is_free(store: Store) -> None:
    """The sixth query waits, and an answered one makes room."""
    tickets = [take(store, NOW) for _ in range(AT_ONCE)]
    assert take(store, NOW).limit == "concurrent"
    store.rate_limits.release_query(tickets[0], NOW + 1)
    assert take(store, NOW + 1).id is not None


def test_place_when_the_caller_gave_up_is_kept_until_mixpanels_deadline(store: Store) -> None:
    """A query that was given up counts for as long as Mixpanel may work on it, and the refusal names that time."""
    for _ in range(AT_ONCE):
        store.rate_limits.abandon_query(take(store, NOW))
    refused = take(store, NOW + 200)
    assert refused.limit == "concurrent" and refused.wait == SERVER_DEADLINE - 200
    assert take(store, NOW + SERVER_DEADLINE + 0.1).id is not None


def test_place_when_the_answer_is_still_awaited_is_kept_after_a_clock_was_set_forward(store: Store) -> None:
    """A query on its way keeps its place although by the new clock its time is over."""
    tickets = [take(store, NOW) for _ in range(AT_ONCE)]
    store.rate_limits.renew_queries(tickets, NOW + DAY)
    assert take(store, NOW + DAY + 60).limit == "concurrent"


def test_place_when_a_clock_was_set_back_is_neither_lost_nor_kept_until_that_date(store: Store) -> None:
    """Queries on their way by a clock of tomorrow still hold five places, for no longer than any query can."""
    for _ in range(AT_ONCE):
        take(store, NOW + DAY)
    assert take(store, NOW).limit == "concurrent"
    assert take(store, NOW + SERVER_DEADLINE + 0.1).id is not None


@pytest.mark.parametrize("ahead", [600.0, HOUR_SECONDS, 3 * HOUR_SECONDS, DAY, 365 * DAY])
def test_queries_when_dated_in_the_future_do_not_block_until_that_date(store: Store, ahead: float) -> None:
    """After a clock was set back, what it dated counts for an hour, and for another one when that date comes meanwhile."""
    use_up_the_hour(store, NOW + ahead)
    refused = take(store, NOW)
    assert refused.limit == "hourly" and refused.wait <= HOUR_SECONDS + 10
    minutes = (number * 60.0 for number in range(1, 200))
    free_after = next(after for after in minutes if take(store, NOW + after).id is not None)
    assert free_after <= (ahead if ahead <= HOUR_SECONDS else 0) + HOUR_SECONDS + 120


def test_the_wait_for_the_hour_is_until_its_first_query_is_an_hour_old(store: Store) -> None:
    """Queries of earlier hours, which the ledger keeps for a while, end no wait early."""
    store.rate_limits.release_query(take(store, NOW - 2 * HOUR_SECONDS), NOW)
    use_up_the_hour(store, NOW)
    refused = take(store, NOW + 600)
    assert refused.limit == "hourly" and HOUR_SECONDS - 600 <= refused.wait <= HOUR_SECONDS - 590


@pytest.mark.parametrize("ahead", [1800.0, 3 * HOUR_SECONDS, DAY])
def test_a_refusal_counts_although_an_earlier_one_was_dated_by_a_clock_that_was_set_back(
    store: Store, ahead: float
) -> None:
    """Until Mixpanel's time has come nothing is asked; what the clock of before said is no time at all."""
    store.rate_limits.block_until(42, NOW + ahead + 300, pages_count=False, now=NOW + ahead)
    store.rate_limits.block_until(42, NOW + 600, pages_count=False, now=NOW)
    refused = take(store, NOW + 1)
    assert refused.limit == "hourly" and 599 <= refused.wait <= HOUR_SECONDS


@pytest.mark.parametrize("back", [600.0, 1800.0, HOUR_SECONDS, DAY])
@pytest.mark.parametrize("asked", [1, 30, QUERIES_AN_HOUR])
def test_the_hour_when_a_clock_was_behind_for_a_while_is_not_exceeded(store: Store, back: float, asked: int) -> None:
    """However late the clock is put right: no sixty-first query within an hour of true time."""
    true_times: list[float] = []

    def ask(true_time: float, offset: float) -> None:
        slot = take(store, true_time + offset)
        if slot.id is not None:
            store.rate_limits.release_query(slot, true_time + offset)
            true_times.append(true_time)

    for number in range(asked):
        ask(NOW + 600 - asked + number, 0.0)
    for number in range(60):  # behind for half an hour, asking twice a minute
        ask(NOW + 600 + number * 30, -back)
    for number in range(300):  # put right
        ask(NOW + 2500 + number * 30, 0.0)
    for at, first in enumerate(true_times):
        assert sum(first <= one < first + HOUR_SECONDS for one in true_times[at:]) <= QUERIES_AN_HOUR
    assert len(true_times) > QUERIES_AN_HOUR


@pytest.mark.slow
@pytest.mark.parametrize(
    "offsets",
    [
        [0, -3600, 0],
        [0, -3600, -7200, -3600, 0],
        [-3600, 0],
        [-7200, -10_800, -9000, -3600, 0],
        [0, -1800, 0, -3600, 0],
        [-DAY, -DAY / 2, 0],
    ],
)
@pytest.mark.parametrize("per_clock", [5, 90])
def test_the_hour_when_a_clock_is_set_more_than_once_is_not_exceeded(
    store: Store, offsets: list[float], per_clock: int
) -> None:
    """Also when only heartbeats had seen the true time before; and some time after the last change it goes on as usual."""
    true_times: list[float] = []
    store.rate_limits.note_time(NOW - 30)
    for number in range(len(offsets) * per_clock + 300):
        true_time = NOW + number * 30
        now = true_time + offsets[min(number // per_clock, len(offsets) - 1)]
        store.rate_limits.note_time(now)
        slot = take(store, now)
        if slot.id is not None:
            store.rate_limits.release_query(slot, now)
            true_times.append(true_time)
    for at, first in enumerate(true_times):
        assert sum(first <= one < first + HOUR_SECONDS for one in true_times[at:]) <= QUERIES_AN_HOUR
    last_change = NOW + (len(offsets) - 1) * per_clock * 30
    assert sum(one > last_change for one in true_times) > QUERIES_AN_HOUR


def test_a_clock_when_it_was_years_ahead_for_a_moment_is_forgotten(store: Store) -> None:
    """One wrong heartbeat leaves no query waiting for its date, whenever the next looks come."""
    store.rate_limits.note_time(NOW + 365 * DAY)
    for minutes in (0, 70, 140):
        use_up_the_hour(store, NOW + minutes * 60)
    assert take(store, NOW + 141 * 60).limit == "hourly"


def kill_with_places(data_dir: Path, count: int) -> None:
    """Let another process take places and die with them."""
    code = (
        "import os, sys; from pathlib import Path; from sync.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "for _ in range(int(sys.argv[2])): store.rate_limits.acquire_query(42, float(sys.argv[3]), later_page=False)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(data_dir), str(count), str(NOW)], check=False, timeout=PATIENCE)


def test_places_of_a_killed_process_are_kept_while_mixpanel_may_work_on_them(store: Store, data_dir: Path) -> None:
    """Without any answer to compare with, only Mixpanel's deadline ends them."""
    kill_with_places(data_dir, AT_ONCE)
    store.rate_limits.release_dead_queries(NOW + 30)
    assert take(store, NOW + SERVER_DEADLINE - 1).limit == "concurrent"
    assert take(store, NOW + SERVER_DEADLINE + 1).id is not None


def test_places_of_a_killed_process_are_free_soon_where_mixpanel_answers_fast(store: Store, data_dir: Path) -> None:
    """Where answers took 12 seconds at most, a query is done after three times that; what was given up is not."""
    store.rate_limits.release_query(take(store, NOW - 60), NOW - 48)
    store.rate_limits.abandon_query(take(store, NOW))
    kill_with_places(data_dir, AT_ONCE - 1)
    store.rate_limits.release_dead_queries(NOW + 2)
    assert take(store, NOW + 35).limit == "concurrent"
    assert [take(store, NOW + 37).id is not None for _ in range(AT_ONCE)] == [True] * (AT_ONCE - 1) + [False]


@pytest.mark.slow
def test_twelve_lists_given_up_are_never_more_than_five_queries_at_mixpanel(data_dir: Path, sandbox: Sandbox) -> None:
    """Twelve impatient people, one after the other: five queries run on at Mixpanel, the others are refused."""
    with closing(Service(Store.open(data_dir), {"COHORT_SYNC_DATA": str(data_dir)})) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        sandbox.settings(latency=SLOW)
        errors: list[CohortSyncError] = []
        for _ in range(12):
            try:
                service.cohorts.list(PROJECT, fresh=True, patience=IMPATIENT)
            except CohortSyncError as problem:
                errors.append(problem)
        assert [type(one) for one in errors] == [NoAnswer] * AT_ONCE + [InvalidRequest] * (12 - AT_ONCE)
        assert "still answering 5 queries" in str(errors[-1])
    assert sandbox.meter().queries_at_once == {str(PROJECT): AT_ONCE}


def test_a_list_that_was_answered_with_an_error_frees_its_place(data_dir: Path, sandbox: Sandbox) -> None:
    """An answer is an answer, also a 500: twelve in a row are all asked."""
    with closing(Service(Store.open(data_dir), {"COHORT_SYNC_DATA": str(data_dir)})) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        sandbox.fault("status", path="cohorts/list", code=500, times=6)
        sandbox.fault("reset", path="cohorts/list", times=6)
        for _ in range(12):
            with pytest.raises(CohortSyncError, match=r"500|no connection"):
                service.cohorts.list(PROJECT, fresh=True)
        assert service.cohorts.list(PROJECT, fresh=True).problem is None


@pytest.mark.slow
def test_a_preview_when_ended_early_keeps_its_place(data_dir: Path, sandbox: Sandbox) -> None:
    """Whatever ends the waiting, be it Ctrl-C, Mixpanel goes on working: the place stays taken."""
    with Store.open(data_dir) as store, closing(sqlite3.connect(data_dir / "app.db")) as plain:
        service = Service(store, {"COHORT_SYNC_DATA": str(data_dir)})
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        cohort = sandbox.add_cohort("Fans", [])
        service.cohorts.list(PROJECT, fresh=True)
        sandbox.fault("stall", path="engage", seconds=PATIENCE)
        main = threading.main_thread().ident
        assert main
        interrupt = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
        interrupt.start()
        with contextlib.suppress(KeyboardInterrupt):
            service.cohorts.preview(PROJECT, cohort)
        running = plain.execute(
            "select count(*) from mixpanel_query where in_flight_until > at + 400 and owner = ''"
        ).fetchone()
        assert running == (1,)


def test_refreshes_of_large_cohorts_where_pages_count_take_a_query_for_each_page(connected: Workspace) -> None:
    """By what the last run was told, and of a cohort without a run by Mixpanel's count; read twice, they may be late."""
    other = connected.add_cohort(3, "Others")
    connected.add_cohort(3)
    connected.export(interval=HOUR_SECONDS)
    with connected.open_store() as store:
        store.rate_limits.block_until(PROJECT, connected.now(), pages_count=True, now=connected.now())
    with connected.open_database() as db:
        db.execute("update run set expected_total = 19500, page_size = 1000")
        db.execute("update cohort set count = 6001 where id = ?", (other,))
    with connected.open() as service:
        fits, sentence = service.hourly_fit.check(PROJECT, other, HOUR_SECONDS)
    assert fits and "27 of 50 queries in the busiest hour" in sentence
    assert "read twice it takes up to 54, and some refreshes are late" in sentence


def test_the_wait_that_mixpanel_asks_for_begins_with_its_answer(connected: Workspace) -> None:
    """An answer may take two minutes; counted from the question, another one would leave before Mixpanel's time."""
    connected.sandbox.fault("late", path="cohorts/list", code=429, retry_after=40, ms=1500)
    with connected.open() as service, pytest.raises(RetryLater):
        service.cohorts.list(fresh=True)
    answered_at = connected.now()
    with connected.open_store() as store:
        wait = store.rate_limits.acquire_query(PROJECT, answered_at, later_page=False).wait
    assert wait > 39
