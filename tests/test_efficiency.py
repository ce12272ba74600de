"""No needless call and no needless memory: counts at the sandbox, never seconds."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import pytest

from sync.model import Mode, Run, RunState
from sync.runner import Runner
from tests.browser import connect, service
from tests.sandbox.control import LICENSE, PROJECT, Sandbox

ENGAGE, BULK = "/api/query/engage", f"/v1/accounts/{LICENSE}/bulk-users"
PAGE = 100  # members a page in these tests
PEOPLE = 1_250
FAST = 500_000  # batches a minute where pace is not what is tested
ROOM = 1_000_000  # bytes; the ids alone of 30,000 members are 2.5 MB as Python strings


class EfficiencyWorkspace:
    """A connected data folder and how often both sides were asked since the last look."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox = folder, sandbox
        sandbox.settings(page_size=PAGE, bulk_per_minute=FAST)
        connect(folder, sandbox)

    def carry(self) -> None:
        """Carry what is queued, here and now."""
        Runner({"COHORT_SYNC_DATA": str(self.folder)}, a_minute=FAST).run_once()

    def export(self, cohort: int) -> Run:
        """Export a cohort to the end; again, that is a refresh."""
        with service(self.folder) as here:
            run_id = here.start_export(PROJECT, cohort, Mode.DYNAMIC).run_id
        self.carry()
        with service(self.folder) as here:
            return here.get_run(run_id)

    def asked(self) -> tuple[int, int]:
        """How many pages were read and how many batches sent so far."""
        requests = self.sandbox.meter().requests
        return requests.get(ENGAGE, 0), requests.get(BULK, 0)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EfficiencyWorkspace:
    """A connected data folder."""
    return EfficiencyWorkspace(data_dir, sandbox)


def test_an_unchanged_cohort_costs_its_pages_and_nothing_else(workspace: EfficiencyWorkspace, sandbox: Sandbox) -> None:
    """As many reads as there are pages, no write, and no page is asked for that cannot exist."""
    cohort = sandbox.generate("Same", PEOPLE)
    workspace.export(cohort)
    pages, batches = workspace.asked()
    assert (pages, batches) == (math.ceil(PEOPLE / PAGE), math.ceil(PEOPLE / 25))
    assert workspace.export(cohort).unchanged == PEOPLE
    assert workspace.asked() == (2 * pages, batches)


def test_churn_costs_a_batch_for_each_25_who_changed(workspace: EfficiencyWorkspace, sandbox: Sandbox) -> None:
    """Of 1,250 people 60 leave and 60 come: 120 changes are five batches."""
    cohort = sandbox.generate("Changing", PEOPLE)
    workspace.export(cohort)
    batches = workspace.asked()[1]
    came, left = sandbox.churn(cohort, 60 / PEOPLE)
    run = workspace.export(cohort)
    assert (run.entered, run.exited) == (came, left) == (60, 60)
    assert workspace.asked()[1] - batches == math.ceil(120 / 25)


def test_pages_are_read_ahead_and_one_place_is_left(workspace: EfficiencyWorkspace, sandbox: Sandbox) -> None:
    """Four pages are on their way at once, never five: the pages people look at need the last place."""
    cohort = sandbox.generate("Slow", PEOPLE)
    sandbox.fault("slow", api="mixpanel", path="/engage", ms=150, times=0)
    workspace.export(cohort)
    assert sandbox.meter().queries_at_once[str(PROJECT)] == 4


def test_after_somebody_elses_traffic_the_run_yields_and_goes_on(
    workspace: EfficiencyWorkspace, sandbox: Sandbox
) -> None:
    """Refusals for the limit are waited out as long as WebEngage asks, cost no attempt, and nobody is missed."""
    cohort = sandbox.generate("Crowded", PEOPLE)
    sandbox.fault("status", api="webengage", path="bulk", code=429, retry_after=1, after=10, times=3)
    run = workspace.export(cohort)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, PEOPLE, 0)
    assert sandbox.holding("Mixpanel - Crowded")[0] == sandbox.exportable(cohort)
    assert workspace.asked()[1] == math.ceil(PEOPLE / 25) + 3


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort(workspace: EfficiencyWorkspace, sandbox: Sandbox) -> None:
    """A refresh without news needs hardly more for 30,000 members than for 3,000."""
    sandbox.settings(page_size=1000)
    peaks = []
    for people in (3_000, 30_000):
        cohort = sandbox.generate(f"Of {people}", people)
        workspace.export(cohort)
        with service(workspace.folder) as here:
            here.start_export(PROJECT, cohort, Mode.DYNAMIC)
        tracemalloc.start()
        workspace.carry()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < ROOM
