"""Set the clock back between two exports: WebEngage's pace and its wish to wait last as long as they would have."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sync.model import RunState
from tests.engine_workspace import EngineWorkspace, fan_ids, fans, last, patient_workspace
from tests.sandbox.control import Sandbox
from tests.workspace import wait_until


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Export thirty people."""
    found = patient_workspace(data_dir, sandbox)
    found.set_members(*fans(*range(30)))
    assert found.export().state is RunState.SUCCEEDED
    return found


@pytest.mark.parametrize("back", [300.0, 2700.0, 3600.0])
def test_an_export_after_the_clock_was_set_back_does_not_wait_for_the_former_time(
    workspace: EngineWorkspace, back: float
) -> None:
    """The next slot of the pace was half a second away; WebEngage asked for nothing."""
    workspace.ahead = -back
    workspace.set_members(*fans(*range(33)))
    run = workspace.export()
    assert (run.state, run.wait_reason) == (RunState.SUCCEEDED, None)
    assert workspace.holders() == fan_ids(*range(33))


def test_a_run_under_way_when_the_clock_is_set_back_goes_on_at_its_pace(workspace: EngineWorkspace) -> None:
    """It may look at the pace before the runner's next heartbeat does."""
    workspace.batches_a_minute = 60
    workspace.set_members(*fans(*range(130)))
    run_id = workspace.start_export()
    runner = threading.Thread(target=workspace.run_queued)
    runner.start()
    wait_until(lambda: workspace.get_run(run_id).delivered > 0)
    workspace.ahead = -2700.0
    runner.join()
    run = workspace.get_run(run_id)
    assert (run.state, run.wait_reason) == (RunState.SUCCEEDED, None)
    assert len(workspace.holders()) == 130


def test_a_wait_that_webengage_asked_for_lasts_as_long_when_the_clock_is_set_back(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Neither an hour more nor nothing at all."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=900, times=1)
    workspace.set_members(*fans(*range(33)))
    assert workspace.export().state is RunState.QUEUED
    workspace.ahead = -2700.0
    workspace.run_queued()
    run = last(workspace)
    assert run.state is RunState.QUEUED and 800 < run.not_before - workspace.now() <= 901
    workspace.ahead += 905.0
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED
