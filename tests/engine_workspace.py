"""A data folder connected to the sandbox, with one cohort and a runner in this process, for tests of the engine."""

from __future__ import annotations

import time
from pathlib import Path

from sync.engine import Clock, RetryPolicy, RunContext
from sync.model import Run, RunState
from sync.permissions import AccessLevel, Actor
from sync.service import Service
from sync.store import Store
from sync.vault import Vault
from tests.sandbox.control import PROJECT, Member, Sandbox, member
from tests.workspace import ATTRIBUTE, FAST, Workspace

MAPPED = (("plan", "Plan"),)
CUSTOMER = "customer"  # a property that is the User ID
SOON = RetryPolicy(delays=(0.01, 0.02), max_delay=1.0, postponements=(0.2,))
PATIENT = RetryPolicy(delays=(0.01, 0.02), max_delay=1.0, postponements=(300.0, 1200.0, 3000.0))
HOUR, DAY = 3600.0, 86_400.0


class EngineWorkspace(Workspace):
    """A workspace connected to the sandbox, with the cohort "Fans" and a runner that hardly waits between tries."""

    def __init__(self, data_dir: Path, sandbox: Sandbox) -> None:
        """Connect an empty data folder, and add the cohort without members."""
        super().__init__(data_dir)
        self.connect(sandbox)
        self.policy = SOON
        self.cohort = sandbox.add_cohort("Fans", [])

    def open_as(self, name: str) -> Service:
        """Return the service as one of several admins has it."""
        return Service(Store.open(self.data_dir), self.env, self.now, Actor(name, AccessLevel.ADMIN))

    def set_members(self, *people: Member) -> None:
        """Put these people into the cohort."""
        self.sandbox.set_members(self.cohort, list(people))

    def context(self) -> RunContext:
        """Return what executing a run needs, for tests that do it themselves."""
        return RunContext(
            lambda: Vault.open(self.data_dir, self.env, must_exist=True),
            Clock(self.now, time.sleep),
            SOON,
            lambda: False,
            FAST,
        )

    def export_and_approve(self) -> None:
        """Export the cohort, and approve the run when it is held."""
        run = self.export()
        if run.state is RunState.HELD:
            with self.open() as service:
                service.runs.approve(run.id)
            self.run_queued()

    def back_up(self, file: Path) -> Path:
        """Write a backup, and return its file."""
        with self.open() as service:
            service.admin.write_backup(file)
        return file

    def restore(self, backup: Path) -> None:
        """Restore a backup beside the healthy database."""
        with self.open() as service:
            service.admin.restore(backup)

    def holders(self) -> set[str]:
        """Return whom WebEngage holds the attribute true for."""
        return self.sandbox.holding(ATTRIBUTE)[0]


def export_five(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder with an exported cohort of fan-0 to fan-4."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(5)))
    found.export()
    return found


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
    """Return the members fan-0, fan-1, …"""
    return [member(f"fan-{number}") for number in numbers]


def later(workspace: EngineWorkspace, seconds: float) -> None:
    """Let time go by, here and at both APIs, and let a runner do what is due."""
    workspace.ahead += seconds
    workspace.sandbox.advance(seconds)
    workspace.run_queued()


def last(workspace: EngineWorkspace) -> Run:
    """Return the newest run."""
    with workspace.open() as service:
        return service.runs.list()[0]


def customer(number: int, value: object = None, **more: object) -> Member:
    """Return the member fan-N with the property, c-N unless another value is given."""
    return member(f"fan-{number}", **{CUSTOMER: f"c-{number}" if value is None else value}, **more)


def customers(*numbers: int) -> list[Member]:
    """Return fan-0, fan-1, … who have the property."""
    return [customer(number) for number in numbers]


def customer_ids(*numbers: int) -> set[str]:
    """Return User IDs of the property."""
    return {f"c-{number}" for number in numbers}


def fan_ids(*numbers: int) -> set[str]:
    """Return distinct_ids."""
    return {f"fan-{number}" for number in numbers}


def approve(workspace: EngineWorkspace, run: Run) -> Run:
    """Approve a held run, and let a runner work."""
    assert run.state is RunState.HELD
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    return workspace.get_run(run.id)


def stop_and_clear(workspace: EngineWorkspace) -> None:
    """Stop the sync, and set everybody to false."""
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert workspace.holders() == set()


def expect_held(workspace: EngineWorkspace, sandbox: Sandbox, why: str) -> None:
    """Refresh, and expect the run to be held for this reason before anybody has left."""
    later(workspace, 7300)
    run = last(workspace)
    assert run.state is RunState.HELD and why in str(run.held_reason)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def refresh_when_due(workspace: EngineWorkspace) -> Run:
    """Let the next refresh be due, and return its run."""
    later(workspace, 7300)
    return last(workspace)


def count_sent(sandbox: Sandbox) -> int:
    """Return how many people WebEngage was sent so far."""
    return sandbox.meter().users_delivered


def watch(workspace: EngineWorkspace, *user_ids: str) -> None:
    """Set tripwires for these people in any cohort."""
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, user_ids)


def keep_out(workspace: EngineWorkspace, *user_ids: str) -> None:
    """Put people on the never-export list."""
    with workspace.open() as service:
        service.safety.add_never_export(None, user_ids)
