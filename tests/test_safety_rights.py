"""Check the rights of each change that decides who is mailed: asked of the service itself, refused without a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync.guards import GuardLimits
from sync.model import RunState
from sync.permissions import AccessLevel, Actor, Forbidden
from sync.service import Service
from sync.steps import Steps
from sync.store import Store
from tests.engine_workspace import EngineWorkspace, fans
from tests.sandbox.control import LICENSE, PROJECT, Sandbox

Change = Callable[[Service], object]
BY_MARKETERS: dict[str, Change] = {
    "never-export add": lambda s: s.safety.add_never_export(LICENSE, ["fan-9"]),
    "never-export remove": lambda s: s.safety.remove_never_export(LICENSE, ["fan-1"]),
    "tripwire add": lambda s: s.safety.add_tripwires(PROJECT, None, ["fan-9"]),
    "tripwire remove": lambda s: s.safety.remove_tripwires(PROJECT, None, ["fan-2"]),
    "tripwire remove by number": lambda s: s.safety.delete_tripwires([1]),
    "guard": lambda s: s.guards.set_limits(1, GuardLimits(add_people=5)),
    "guard lift": lambda s: s.guards.lift(1),
    "guard put back": lambda s: s.guards.put_back(1),
    "approve": lambda s: s.runs.approve(1),
    "cancel": lambda s: s.runs.cancel(1),
    "undo": lambda s: s.runs.undo(1),
    "download": lambda s: list(s.runs.iterate_export_rows(1)),
}
BY_ADMINS: dict[str, Change] = {
    "second person": lambda s: s.admin.set_approval_limit(3),
    "forget a person": lambda s: s.admin.forget_person("fan-3"),
}


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort that is held after its first step, with a person on each list."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(30)))
    with found.open() as service:
        service.safety.add_never_export(LICENSE, ["fan-1"])
        service.safety.add_tripwires(PROJECT, None, ["nobody"])
    assert found.export(steps=Steps(first=5)).state is RunState.HELD
    return found


def read_state(workspace: EngineWorkspace) -> list[tuple[object, ...]]:
    """Return every row that a change could touch, but for runners."""
    tables = ("sync", "run", "batch_block", "never_export", "tripwire", "setting", "audit", "event", "snapshot_bucket")
    with workspace.open_database() as db:
        return [tuple(row) for table in tables for row in db.execute(f"select * from {table}")]


def open_as(workspace: EngineWorkspace, level: AccessLevel) -> Service:
    """Return the service as somebody with this level has it."""
    return Service(Store.open(workspace.data_dir), workspace.env, workspace.now, Actor("vic@example.com", level))


def test_changes_of_who_is_mailed_when_a_level_is_too_low_are_refused_and_leave_nothing(
    workspace: EngineWorkspace,
) -> None:
    """The service refuses each by itself, whatever page or program asks."""
    before = read_state(workspace)
    refused = [(AccessLevel.VIEWER, BY_MARKETERS | BY_ADMINS), (AccessLevel.MARKETER, BY_ADMINS)]
    for level, changes in refused:
        with open_as(workspace, level) as service:
            for change in changes.values():
                with pytest.raises(Forbidden):
                    change(service)
    assert read_state(workspace) == before


@pytest.mark.parametrize("name", [*BY_MARKETERS, *BY_ADMINS])
def test_changes_of_who_is_mailed_when_they_are_allowed_stand_in_the_audit_log(
    workspace: EngineWorkspace, name: str
) -> None:
    """One line at least, by the name of who did it."""
    level = AccessLevel.MARKETER if name in BY_MARKETERS else AccessLevel.ADMIN
    if name == "guard put back":  # of a guard that was not lifted nothing changes
        with workspace.open() as service:
            service.guards.lift(1)
    with open_as(workspace, level) as service:
        (BY_MARKETERS | BY_ADMINS)[name](service)
    with workspace.open() as service:
        lines = [line for line in service.admin.list_audit() if line.actor == "vic@example.com"]
    assert lines and any(name.startswith(line.action) for line in lines), lines
