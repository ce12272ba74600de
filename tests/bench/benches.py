"""The benches, one question each; figures are of this run on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.bench.bench import CHURN, PACED, PLENTY, BenchWorkspace, Cost, Row, measured
from tests.sandbox.control import LICENSE, PROJECT, SECRET, USERNAME, Meter

IDLE = "import time, sync.runner; time.sleep(1)"
BULK = f"/v1/accounts/{LICENSE}/bulk-users"


def refresh(members: int, repeats: int) -> Iterator[Row]:
    """Measure a refresh of many members without news, and with a hundredth of them changed."""
    with BenchWorkspace.open(bulk_per_minute=PLENTY) as workspace:
        cohort = workspace.sandbox.generate("Many", members)
        idle = measured("-c", IDLE, folder=workspace.folder)
        read, told = _first_export(workspace, cohort)
        first = Cost(file=max(read.file, told.file))
        yield (
            f"delivery of {members:,}: CPU per 1,000 people, each batch in flight and confirmed",
            f"{1000 * (told.cpu - idle.cpu) / members:.3f} s",
            "≤ 0.025 s",
        )
        reading = 1000 * (read.cpu - idle.cpu) / members
        yield f"first reading and plan of {members:,}: CPU per 1,000 people", f"{reading:.4f} s", ""
        plain = [
            measured("-m", "tests.bench.plain", workspace.sandbox.url, str(cohort), str(PROJECT), USERNAME, SECRET)
            for _ in range(repeats)
        ]
        calm = [_again(workspace) for _ in range(repeats)]
        yield from _against(members, calm, plain, idle)
        growth = max(one.memory for one in calm) - _tenth(members, repeats)
        yield f"no-change refresh: memory growth from {members // 10:,} to {members:,}", f"{growth:.0f} MB", "< 15 MB"
        before = workspace.sandbox.meter().requests[BULK]
        changed = [_changed(workspace, cohort) for _ in range(repeats)]
        writes = (workspace.sandbox.meter().requests[BULK] - before) / repeats
        yield f"1 % churn of {members:,}: writes", f"{writes:.0f}", f"{math.ceil(CHURN * members / 25)}"
        yield (
            "1 % churn: CPU against the plain script",
            f"{_cpu(changed) / _cpu(plain):.2f} × ({_cpu(changed):.1f} s)",
            "≤ 0.30 ×",
        )
        yield "largest database file", f"{max(one.file for one in (first, *changed, *calm)):.0f} MB", "≤ 120 MB"
        yield "database file afterwards", f"{(workspace.folder / 'app.db').stat().st_size / 2**20:.0f} MB", "smaller"


def _tenth(members: int, repeats: int) -> float:
    """Return the memory of the same refresh with a tenth of the members, in megabytes."""
    with BenchWorkspace.open(bulk_per_minute=PLENTY) as workspace:
        _first_export(workspace, workspace.sandbox.generate("A tenth", members // 10))
        return max(_again(workspace).memory for _ in range(repeats))


def _first_export(workspace: BenchWorkspace, cohort: int) -> tuple[Cost, Cost]:
    """Read and plan, held as a dry run; then deliver what was approved."""
    with workspace.service() as service:
        run_id = service.syncs.start_export(
            PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True, mapping=(("$email", "email"),))
        ).run_id
    read = workspace.measure_runner(str(PLENTY))
    with workspace.service() as service:
        service.runs.approve(run_id)
    return read, workspace.measure_runner(str(PLENTY))


def _again(workspace: BenchWorkspace) -> Cost:
    with workspace.service() as service:
        service.syncs.refresh_now(1)
    return workspace.measure_runner(str(PLENTY))


def _changed(workspace: BenchWorkspace, cohort: int) -> Cost:
    """Change a hundredth of the people, and refresh."""
    workspace.sandbox.churn(cohort, CHURN / 2)
    return _again(workspace)


def _cpu(costs: list[Cost]) -> float:
    return statistics.median(one.cpu for one in costs)


def _against(members: int, calm: list[Cost], plain: list[Cost], idle: Cost) -> Iterator[Row]:
    yield (
        f"no-change refresh of {members:,}: CPU against the plain script",
        f"{_cpu(calm) / _cpu(plain):.2f} × ({_cpu(calm):.1f} s of {_cpu(plain):.1f} s)",
        "≤ 0.20 ×",
    )
    yield (
        "no-change refresh: memory over an idle runner",
        f"{max(one.memory for one in calm) - idle.memory:.0f} MB",
        "≤ 16 MB",
    )
    yield "plain script: memory", f"{max(one.memory for one in plain):.0f} MB", ""


def ceiling(latencies: list[int], seconds: float) -> Iterator[Row]:
    """Measure how near to the paced rate delivery comes, at several latencies."""
    for latency in latencies:
        with BenchWorkspace.open(latency=latency) as workspace:
            rate, meter = _rate(workspace, seconds, runners=1)
            wanted = 0.95 if latency >= 2000 else 0.98
            yield (
                f"delivery at {latency} ms: share of {PACED} a minute",
                f"{rate:.3f}, {_refused(meter)}",
                f"≥ {wanted}, no 429",
            )
    with BenchWorkspace.open(latency=latencies[0]) as workspace:
        rate, meter = _rate(workspace, seconds, runners=2)
        yield f"two runners, one account, {latencies[0]} ms", f"{rate:.3f}, {_refused(meter)}", "≥ 0.98, no 429"


def _refused(meter: Meter) -> str:
    return f"{meter.refused.get('webengage', 0)} × 429, {meter.bulk_in_a_minute[LICENSE]} in the fullest minute"


def _rate(workspace: BenchWorkspace, seconds: float, runners: int) -> tuple[float, Meter]:
    """Deliver for a while and count what arrived between two moments well inside."""
    for number in range(runners):
        workspace.export(
            workspace.sandbox.generate(f"Part {number}", int(PACED / 60 * 25 * (seconds + 30) / runners), seed=number)
        )
    with workspace.runners(runners):
        while workspace.sandbox.meter().requests.get(BULK, 0) < PACED / 12:
            time.sleep(0.1)
        began, before = time.monotonic(), workspace.sandbox.meter().requests[BULK]
        time.sleep(seconds)
        meter = workspace.sandbox.meter()
        return (meter.requests[BULK] - before) / ((time.monotonic() - began) * PACED / 60), meter


def ahead(pages: int, latency: int) -> Iterator[Row]:
    """Measure how much reading ahead saves at a slow Mixpanel."""
    with BenchWorkspace.open(latency=latency, bulk_per_minute=PLENTY) as workspace:
        cohort = workspace.sandbox.generate("Slow", pages * 1000)
        workspace.export(cohort)
        workspace.measure_runner(str(PLENTY))
        cost = _again(workspace)
        meter = workspace.sandbox.meter()
        share = cost.wall / (pages * latency / 1000)
        yield f"{pages} pages at {latency} ms: time against one by one", f"{share:.2f} ×", "about a quarter"
        yield "queries at once, at most", f"{max(meter.queries_at_once.values())}", "≤ 4"


def fairness(latency: int) -> Iterator[Row]:
    """Measure how long a small cohort waits behind a large one of the same account."""
    with BenchWorkspace.open(latency=latency) as workspace:
        workspace.export(workspace.sandbox.generate("Large", 40_000))
        with workspace.runners():
            time.sleep(10)
            yield "a cohort of 100 behind one of 40,000: done after", f"{_small(workspace):.1f} s", "< 60 s"


def _small(workspace: BenchWorkspace) -> float:
    """Export a cohort of 100; return after how many seconds it was done."""
    began, small = time.monotonic(), workspace.export(workspace.sandbox.generate("Small", 100, seed=3))
    while not _over(workspace, small):
        time.sleep(0.2)
    return time.monotonic() - began


def _over(workspace: BenchWorkspace, run_id: int) -> bool:
    with workspace.service() as service:
        return service.runs.get(run_id).state.is_final


def small_behind_large(pages: int, latency: int) -> Iterator[Row]:
    """Measure how long a small cohort waits while a large one of the same project is being read."""
    with BenchWorkspace.open(latency=latency, bulk_per_minute=PLENTY) as workspace:
        workspace.export(workspace.sandbox.generate("Large", pages * 1000))
        with workspace.runners():
            time.sleep(3)
            yield (
                f"a cohort of 100 while {pages} pages at {latency} ms are read: done after",
                f"{_small(workspace):.1f} s",
                "< 60 s",
            )
