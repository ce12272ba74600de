"""A data folder connected to the sandbox, with one cohort and a runner in this process, for tests of the engine."""

from __future__ import annotations

import time
from pathlib import Path

from sync.engine import Clock, RetryPolicy, RunContext
from sync.model import Mode, Run, RunState
from sync.permissions import AccessLevel, Actor
from sync.property_values import Forms
from sync.runner import Runner
from sync.service import Service
from sync.store import Store
from sync.vault import Vault
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Member, Sandbox, member

ATTRIBUTE = "Mixpanel - Fans"
MAPPED = (("plan", "Plan"),)
SOON = RetryPolicy(delays=(0.01, 0.02), max_delay=1.0, postponements=(0.2,))
PATIENT = RetryPolicy(delays=(0.01, 0.02), max_delay=1.0, postponements=(300.0, 1200.0, 3000.0))
HOUR, DAY = 3600.0, 86_400.0


class EngineWorkspace:
    """A connected data folder with one cohort, and a runner in this process."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox, self.env = folder, sandbox, {"COHORT_SYNC_DATA": str(folder)}
        self.ahead, self.policy = 0.0, SOON
        self.cohort = sandbox.add_cohort("Fans", [])
        self.connect()

    def connect(self) -> None:
        """Connect both sides."""
        with self.open() as service:
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, self.sandbox.url)
            service.connections.connect_webengage(LICENSE, API_KEY, self.sandbox.url)

    def now(self) -> float:
        """Return the time, moved ahead by tests that have to wait."""
        return time.time() + self.ahead

    def open(self) -> Service:
        """Return the service on this folder."""
        return Service(Store.open(self.folder), self.env, self.now)

    def open_as(self, name: str) -> Service:
        """Return the service as one of several admins has it."""
        return Service(Store.open(self.folder), self.env, self.now, Actor(name, AccessLevel.ADMIN))

    def members(self, *people: Member) -> None:
        """Put these people into the cohort."""
        self.sandbox.set_members(self.cohort, list(people))

    def work(self) -> None:
        """Carry what can be carried."""
        Runner(self.env, Clock(self.now, time.sleep), self.policy).run_once()

    def context(self) -> RunContext:
        """Return what executing a run needs, for tests that do it themselves."""
        return RunContext(
            lambda: Vault.open(self.folder, self.env, must_exist=True), Clock(self.now, time.sleep), SOON, lambda: False
        )

    def export(
        self, mapping: tuple[tuple[str, str], ...] | None = None, *, dry: bool = False, forms: Forms = ()
    ) -> Run:
        """Start Sync, and the runner works."""
        with self.open() as service:
            run_id = service.syncs.start_export(
                PROJECT, self.cohort, Mode.DYNAMIC, mapping=mapping, dry_run=dry, forms=forms
            ).run_id
        self.work()
        return self.run(run_id)

    def export_and_approve(self) -> None:
        """Start Sync, and say yes when the run is held."""
        run = self.export()
        if run.state is RunState.HELD:
            with self.open() as service:
                service.runs.approve(run.id)
            self.work()

    def run(self, run_id: int) -> Run:
        """Return a run as it is now."""
        with self.open() as service:
            return service.runs.get(run_id)

    def told(self) -> set[str]:
        """Whom WebEngage holds the attribute true for."""
        return self.sandbox.holding(ATTRIBUTE)[0]


def on_plan(name: str, plan: str) -> Member:
    """Return a member with a mapped property."""
    return member(name, plan=plan)


def patient_workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder, pages of ten, and a runner that is put off for minutes when it does not get on."""
    sandbox.settings(page_size=10)
    found = EngineWorkspace(data_dir, sandbox)
    found.policy = PATIENT
    return found


def fans(*numbers: int) -> list[dict[str, object]]:
    """Members fan-0, fan-1, …"""
    return [member(f"fan-{number}") for number in numbers]


def later(workspace: EngineWorkspace, seconds: float) -> None:
    """Let time go by, here and at both APIs, and carry what is due."""
    workspace.ahead += seconds
    workspace.sandbox.advance(seconds)
    workspace.work()


def last(workspace: EngineWorkspace) -> Run:
    """Return the newest run."""
    with workspace.open() as service:
        return service.runs.list()[0]
