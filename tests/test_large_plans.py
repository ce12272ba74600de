"""Plans of cohorts that are compared and written in many parts: the limits are set so low that a few hundred need them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import RunState
from tests.engine_workspace import (
    CUSTOMER,
    EngineWorkspace,
    customer_ids,
    customers,
    fan_ids,
    fans,
    patient_workspace,
)
from tests.sandbox.control import Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> EngineWorkspace:
    """Return a connected data folder, and let buckets, ranges, parts of a plan and counts of members be small."""
    monkeypatch.setattr("sync.store.snapshot.BUCKET_SIZE", 20)
    monkeypatch.setattr("sync.engine.planning.COMPARED_AT_ONCE", 2000)
    monkeypatch.setattr("sync.engine.planning.CHANGES_AT_ONCE", 30)
    monkeypatch.setattr("sync.engine.doubles.MEMBERS_AT_ONCE", 50)
    found = patient_workspace(data_dir, sandbox)
    sandbox.settings(page_size=60)
    return found


@pytest.mark.parametrize("id_property", ["", CUSTOMER], ids=["distinct_id", "property"])
def test_a_plan_in_many_parts_is_exactly_the_difference(workspace: EngineWorkspace, id_property: str) -> None:
    """Everybody who came or left is in it once, nobody else is, and one reading proves it."""
    make, ids = (customers, customer_ids) if id_property else (fans, fan_ids)
    workspace.set_members(*make(*range(200)))
    run = workspace.export(id_property=id_property)
    assert (run.state, run.entered, run.reading) == (RunState.SUCCEEDED, 200, 1)
    assert workspace.holders() == ids(*range(200))
    workspace.set_members(*make(*range(20, 235)))
    run = workspace.export()
    assert (run.state, run.entered, run.updated, run.exited) == (RunState.SUCCEEDED, 35, 0, 20)
    assert (run.unchanged, run.doubles, run.reading) == (180, 0, 1)
    assert workspace.holders() == ids(*range(20, 235))
