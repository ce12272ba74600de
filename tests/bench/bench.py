"""Share what the benches need: a connected folder, a measured process, a table."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil

from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.service import Service
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox

ROOT = Path(__file__).resolve().parents[2]
LOOK = 0.02  # seconds between looks at a process
MEGABYTE = 2**20
PLENTY = 1_000_000  # a limit that is not what is measured
PACED = 490  # batches a minute
CHURN = 0.01  # of the people have news: half of them left, as many came


@dataclass
class Cost:
    """Cost of a process: seconds of wall clock, seconds of CPU, most megabytes."""

    wall: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    file: float = 0.0
    """The most megabytes app.db had meanwhile."""


def measured(*arguments: str, folder: Path | None = None) -> Cost:
    """Run a Python process to its end and watch it."""
    env = os.environ | {"COHORT_SYNC_LOG": "ERROR"} | ({"COHORT_SYNC_DATA": str(folder)} if folder else {})
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each start compiles the program, but nothing installed
    began, cost = time.monotonic(), Cost()
    process = psutil.Popen([sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            times = process.cpu_times()
            cost.cpu, cost.memory = times.user + times.system, max(cost.memory, process.memory_info().rss / MEGABYTE)
        except psutil.Error:
            break
        if folder:
            cost.file = max(cost.file, (folder / "app.db").stat().st_size / MEGABYTE)
        time.sleep(LOOK)
    if process.wait():
        raise RuntimeError(f"{arguments} failed")
    cost.wall = time.monotonic() - began
    return cost


@dataclass
class BenchWorkspace:
    """A sandbox and a data folder connected to it."""

    sandbox: Sandbox
    folder: Path
    held: list[Any] = field(default_factory=list)

    @classmethod
    def open(cls, **options: Any) -> Self:
        """Start a sandbox and connect to it."""
        holder = TemporaryDirectory()
        workspace = cls(Sandbox.start(empty=True, queries_per_hour=PLENTY, **options), Path(holder.name), [holder])
        with workspace.service() as service:
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, workspace.sandbox.url)
            service.connections.connect_webengage(LICENSE, API_KEY, workspace.sandbox.url)
        return workspace

    def service(self) -> Service:
        """Open the service on this folder."""
        return Service.open({"COHORT_SYNC_DATA": str(self.folder)})

    def export(self, cohort: int, mapping: tuple[tuple[str, str], ...] | None = None) -> int:
        """Queue an export and return its run."""
        with self.service() as service:
            return service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=mapping)).run_id

    @contextmanager
    def runners(self, number: int = 1) -> Iterator[list[psutil.Popen]]:
        """Keep so many runners at work, and ask them to stop at the end."""
        env = {"COHORT_SYNC_DATA": str(self.folder), "COHORT_SYNC_LOG": "ERROR", "PATH": ""}
        working = [psutil.Popen([sys.executable, "-m", "sync.runner"], cwd=ROOT, env=env) for _ in range(number)]
        try:
            yield working
        finally:
            for one in working:
                one.terminate()
            for one in working:
                one.wait()

    def measure_runner(self, *arguments: str) -> Cost:
        """Let a runner do what is queued, and measure it."""
        return measured("-m", "tests.bench.bench_runner", *arguments, folder=self.folder)

    def close(self) -> None:
        """Stop the sandbox and drop the folder."""
        self.sandbox.stop()
        self.held[0].cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Row = tuple[str, str, str]
"""What was measured, the figure, what was asked for."""


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
