"""The benches of many: fifty accounts at their full rate, sixty dynamic syncs within their two hours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from sync.export_terms import ExportTerms
from sync.model import DEFAULT_INTERVAL, MAX_ATTRIBUTES, Mode, RunState
from tests.bench.bench import CHURN, PACED, PLENTY, BenchWorkspace, Cost, Row, cpu_of
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Meter

HEAD_START = 60  # seconds of work an account has beyond what is measured
LATER = 3700.0  # seconds; more than Mixpanel's hour


def accounts(number: int, seconds: float, runners: int) -> Iterator[Row]:
    """Many WebEngage accounts at their full rate at once, on one machine, the sandbox included."""
    with BenchWorkspace.open(latency=200) as workspace:
        paths = [add_customer(workspace, one, int(PACED / 60 * 25 * (seconds + HEAD_START))) for one in range(number)]
        with workspace.runners(runners) as working:
            while not all(workspace.sandbox.meter().requests.get(path) for path in paths):
                time.sleep(0.5)
            began, before, busy = time.monotonic(), workspace.sandbox.meter(), sum(map(cpu_of, working))
            time.sleep(seconds)
            after, took, spent = workspace.sandbox.meter(), time.monotonic() - began, sum(map(cpu_of, working)) - busy
    rates = [(after.requests[path] - before.requests[path]) / (took * PACED / 60) for path in paths]
    yield (
        f"{number} accounts at 200 ms, {runners} runners: share of {PACED} a minute, slowest and middle",
        f"{min(rates):.2f}, {statistics.median(rates):.2f}; {after.refused.get('webengage', 0)} × 429",
        "each at its full rate",
    )
    yield (
        f"{number} accounts at once: cores the runners kept busy",
        f"{spent / took:.2f}",
        "two, shared with the sandbox",
    )


def add_customer(workspace: BenchWorkspace, one: int, people: int) -> str:
    """Connect a project and an account of its own, queue an export; where its batches will arrive."""
    project, license_code = workspace.sandbox.add_project(1000 + one, f"Customer {one}"), f"many{one}"
    workspace.sandbox.add_account(license_code, "key-of-many")
    cohort = workspace.sandbox.generate(f"Account {one}", people, project=project, seed=one)
    with workspace.service() as service:
        service.connections.connect_mixpanel(project, USERNAME, SECRET, workspace.sandbox.url)
        service.connections.connect_webengage(license_code, "key-of-many", workspace.sandbox.url)
        service.connections.use_account(project, license_code)
        service.syncs.start_export(project, cohort, ExportTerms(mode=Mode.ONE_TIME))
    return f"/v1/accounts/{license_code}/bulk-users"


def sixty(syncs: int, people: int, latency: int) -> Iterator[Row]:
    """Dynamic syncs of one project, all due at once, within both APIs' limits; accounts hold 25 attributes each.

    Pressing Start Sync so often uses up an hour's queries, and ten of each hour are kept for people. So the first
    exports are carried in the two hours after that, and their refreshes, all due at once, in the two hours that they
    have: both clocks are moved on.
    """
    with BenchWorkspace.open(latency=latency, bulk_per_minute=PLENTY) as workspace:
        cohorts = [add_dynamic_sync(workspace, one, people) for one in range(syncs)]
        workspace.sandbox.settings(queries_per_hour=60)
        _later(workspace, PLENTY, 0.0, LATER)
        _later(workspace, PLENTY, LATER, 2 * LATER)
        for one in cohorts:
            workspace.sandbox.churn(one, CHURN / 2)
        workspace.sandbox.settings(bulk_per_minute=500)
        before = workspace.sandbox.meter()
        all_due = 2 * LATER + DEFAULT_INTERVAL
        at_once = _later(workspace, PACED, 2 * LATER, all_due)
        first_hour = _count_succeeded(workspace, syncs)
        others = _later(workspace, PACED, all_due, all_due + LATER)
        after, done = workspace.sandbox.meter(), _count_succeeded(workspace, syncs)
    batches = _more(before, after, "/bulk-users")
    yield (
        f"{syncs} dynamic syncs of {people:,}, 1 % changed, {latency} ms: done in the first hour, and in two",
        f"{first_hour} in {at_once.wall:.0f} s, {done} with {others.wall:.0f} s of the second; "
        f"{at_once.cpu + others.cpu:.1f} s CPU ({_more(before, after, '/engage')} pages, {batches} batches, "
        f"{sum(after.refused.values())} × 429)",
        f"{syncs} inside 7,200 s",
    )


def _count_succeeded(workspace: BenchWorkspace, syncs: int) -> int:
    """Return of how many syncs the newest run succeeded."""
    with workspace.service() as service:
        newest = {run.sync_id: run for run in reversed(service.runs.list(limit=3 * syncs))}
    return sum(run.state is RunState.SUCCEEDED and run.purpose == "refresh" for run in newest.values())


def _later(workspace: BenchWorkspace, pace: int, was: float, later: float) -> Cost:
    """Carry everything that is due so many seconds from now, by our clock and by the sandbox's."""
    workspace.sandbox.advance(later - was)
    return workspace.measure_runner(str(pace), str(later))


def _more(before: Meter, after: Meter, path: str) -> int:
    return sum(after.requests[one] - before.requests.get(one, 0) for one in after.requests if one.endswith(path))


def add_dynamic_sync(workspace: BenchWorkspace, one: int, people: int) -> int:
    """Queue the first export of a dynamic sync; each 25 begin a new account."""
    cohort = workspace.sandbox.generate(f"Dynamic {one}", people, seed=one)
    with workspace.service() as service:
        if one % MAX_ATTRIBUTES == 0:
            workspace.sandbox.add_account(f"sixty{one}", "key-of-sixty")
            service.connections.connect_webengage(f"sixty{one}", "key-of-sixty", workspace.sandbox.url)
            service.connections.use_account(PROJECT, f"sixty{one}")
        service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    return cohort
