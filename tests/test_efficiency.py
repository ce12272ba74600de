"""No needless call and no needless memory: counts at the sandbox, never seconds."""

from __future__ import annotations

import math
import sqlite3
import tracemalloc
from functools import partial
from typing import Any

import pytest

from sync.model import RunState
from tests.sandbox.control import LICENSE, PROJECT, Sandbox
from tests.workspace import Workspace

ENGAGE, BULK = "/api/query/engage", f"/v1/accounts/{LICENSE}/bulk-users"
PAGE = 100  # members a page in these tests
PEOPLE = 1_250
FAST = 500_000  # batches a minute where pace is not what is tested
ROOM = 1_500_000  # bytes; their hashes are 0.9 MB, the ids alone of 30,000 members 2.5 MB as Python strings


@pytest.fixture
def measured(connected: Workspace) -> Workspace:
    """Connect the workspace to small pages and lift the limit of batches."""
    connected.sandbox.settings(page_size=PAGE, bulk_per_minute=FAST)
    connected.batches_a_minute = FAST
    return connected


def count_requests(sandbox: Sandbox) -> tuple[int, int]:
    """Return how many pages were read and how many batches sent so far."""
    requests = sandbox.meter().requests
    return requests.get(ENGAGE, 0), requests.get(BULK, 0)


def test_a_refresh_when_nothing_changed_costs_its_pages_only(measured: Workspace, sandbox: Sandbox) -> None:
    """As many reads as there are pages, no write, and no page is asked for that cannot exist."""
    cohort = sandbox.generate("Same", PEOPLE)
    measured.export(cohort)
    pages, batches = count_requests(sandbox)
    assert (pages, batches) == (math.ceil(PEOPLE / PAGE), math.ceil(PEOPLE / 25))
    assert measured.export(cohort).unchanged == PEOPLE
    assert count_requests(sandbox) == (2 * pages, batches)


def test_a_refresh_when_members_changed_costs_a_batch_for_each_25(measured: Workspace, sandbox: Sandbox) -> None:
    """Of 1,250 people 60 leave and 60 come: 120 changes are five batches."""
    cohort = sandbox.generate("Changing", PEOPLE)
    measured.export(cohort)
    batches = count_requests(sandbox)[1]
    came, left = sandbox.churn(cohort, 60 / PEOPLE)
    run = measured.export(cohort)
    assert (run.entered, run.exited) == (came, left) == (60, 60)
    assert count_requests(sandbox)[1] - batches == math.ceil(120 / 25)


def test_a_run_when_reading_pages_ahead_leaves_one_query_free(measured: Workspace, sandbox: Sandbox) -> None:
    """Four pages are on their way at once, never five: the pages people look at need the last place."""
    cohort = sandbox.generate("Slow", PEOPLE)
    sandbox.fault("slow", api="mixpanel", path="/engage", ms=150, times=0)
    measured.export(cohort)
    assert sandbox.meter().queries_at_once[str(PROJECT)] == 4


class Watched(sqlite3.Connection):
    """A connection that counts the transactions in which nothing was written."""

    empty = 0
    _wrote = True

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Execute, and remember whether this transaction wrote."""
        self._wrote = (self._wrote or not sql.lstrip().startswith(("select", "pragma"))) and sql != "begin immediate"
        return super().execute(sql, *values)

    def executemany(self, sql: str, values: Any, /) -> sqlite3.Cursor:
        """Execute for each; this writes."""
        self._wrote = True
        return super().executemany(sql, values)

    def commit(self) -> None:
        """Commit, and count it when nothing was written since the transaction began."""
        Watched.empty += not self._wrote
        self._wrote = True
        super().commit()


@pytest.mark.slow
def test_a_run_when_it_awaits_a_slow_page_takes_no_write_lock_for_nothing(
    measured: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every transaction keeps others from writing; there is one when a page came, or another can be asked for."""
    cohort = sandbox.generate("Slow", PEOPLE)
    run_id = measured.start_export(cohort)
    sandbox.fault("slow", api="mixpanel", path="/engage", ms=2_000)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    monkeypatch.setattr(Watched, "empty", 0)
    measured.run_queued()
    assert measured.get_run(run_id).state is RunState.SUCCEEDED
    assert Watched.empty == 0


@pytest.mark.slow
def test_a_run_when_webengage_answers_429_waits_and_misses_nobody(measured: Workspace, sandbox: Sandbox) -> None:
    """Refusals for the limit are waited out as long as WebEngage asks, cost no attempt, and nobody is missed."""
    cohort = sandbox.generate("Crowded", PEOPLE)
    sandbox.fault("status", api="webengage", path="bulk", code=429, retry_after=1, after=10, times=3)
    run = measured.export(cohort)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, PEOPLE, 0)
    assert sandbox.holding("Mixpanel - Crowded")[0] == sandbox.exportable(cohort)
    assert count_requests(sandbox)[1] == math.ceil(PEOPLE / 25) + 3


@pytest.mark.slow
def test_memory_when_the_cohort_is_twice_as_large_hardly_grows(measured: Workspace, sandbox: Sandbox) -> None:
    """A refresh without news needs hardly more for 60,000 members than for 30,000: their hashes, and never their ids."""
    sandbox.settings(page_size=1000)
    peaks = []
    for people in (30_000, 60_000):
        cohort = sandbox.generate(f"Of {people}", people)
        measured.export(cohort)
        measured.start_export(cohort)
        tracemalloc.start()
        measured.run_queued()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < ROOM
