"""No road to a large export goes round the second person: of a sync without a schedule, whoever starts a run asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.service import Service
from tests.engine_workspace import EngineWorkspace, fans, last
from tests.sandbox.control import PROJECT, Sandbox

ANN, BOB = "ann@example.com", "bob@example.com"
ROADS: dict[str, Callable[[Service], object]] = {
    "sync now": lambda service: service.syncs.refresh_now(1),
    "retry": lambda service: service.syncs.retry_rejected(1),
    "resync": lambda service: service.syncs.resync(1),
}


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a cohort of three, where more than twenty people need two."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(3)))
    with found.open() as service:
        service.admin.set_approval_limit(20)
    return found


def export_as_ann(workspace: EngineWorkspace, mode: Mode) -> None:
    """Let Ann export the three, and the cohort grow to sixty."""
    with workspace.open_as(ANN) as ann:
        ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=mode))
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(60)))


def expect_held_for_bob(workspace: EngineWorkspace) -> None:
    """Expect that nobody was sent, that Ann may not approve, and that Bob may."""
    run = last(workspace)
    assert run.state is RunState.HELD and "the approval of a second person" in str(run.held_reason)
    assert len(workspace.holders()) <= 3
    with workspace.open_as(ANN) as ann, pytest.raises(InvalidRequest, match="somebody else decides"):
        ann.runs.approve(run.id)
    with workspace.open_as(BOB) as bob:
        bob.runs.approve(run.id)
    workspace.run_queued()
    assert len(workspace.holders()) == 60


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("before", ["one-time", "stopped"])
def test_a_run_of_a_sync_without_a_schedule_needs_the_other_person_than_who_started_it(
    workspace: EngineWorkspace, road: str, before: str
) -> None:
    """It moves no refresh forward: without this click nobody would be sent."""
    export_as_ann(workspace, Mode.ONE_TIME if before == "one-time" else Mode.DYNAMIC)
    with workspace.open_as(ANN) as ann:
        if before == "stopped":
            ann.syncs.stop(1)
        ROADS[road](ann)
    workspace.run_queued()
    expect_held_for_bob(workspace)


def test_resuming_a_one_time_export_needs_the_other_person_than_who_resumed_it(workspace: EngineWorkspace) -> None:
    """Its run failed half-way, and the cohort has grown since."""
    export_as_ann(workspace, Mode.ONE_TIME)
    with workspace.open_database() as db:
        db.execute("update sync set state = 'paused', pause_reason = 'The account was at fault.'")
    with workspace.open_as(ANN) as ann:
        ann.syncs.resume(1)
    workspace.run_queued()
    expect_held_for_bob(workspace)


@pytest.mark.parametrize("road", ROADS)
def test_a_run_of_a_sync_with_a_schedule_is_held_no_more_than_its_refresh(
    workspace: EngineWorkspace, road: str
) -> None:
    """The clock would send the same people within two hours."""
    export_as_ann(workspace, Mode.DYNAMIC)
    with workspace.open_as(ANN) as ann:
        ROADS[road](ann)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and len(workspace.holders()) == 60
