"""Connect a side again while an answer to the former connection is awaited: what that answer says is not of the new one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState, SyncState
from tests.engine_workspace import EngineWorkspace, fan_ids, fans, last, later
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox
from tests.workspace import wait_until

LATE_MS = 1500  # how long the other side takes to answer, in milliseconds; never asserted


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort that was exported, and to which somebody was added."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(20)))
    found.export()
    found.set_members(*fans(*range(21)))
    return found


def connect_elsewhere(workspace: EngineWorkspace, side: str) -> None:
    """Connect one side by another address of it, as by another secret."""
    address = workspace.sandbox.url.replace("127.0.0.1", "localhost")
    with workspace.open() as service:
        if side == "Mixpanel":
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, address)
        else:
            service.connections.connect_webengage(LICENSE, API_KEY, address)


@pytest.mark.parametrize(("side", "path"), [("Mixpanel", "engage"), ("WebEngage", "bulk-users")])
def test_a_run_whose_connection_is_replaced_while_it_waits_goes_on_with_the_new_one(
    workspace: EngineWorkspace, side: str, path: str
) -> None:
    """The former one is refused, which says nothing about the sync any more; pausing it would need a person."""
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    workspace.sandbox.fault("late", path=path, ms=LATE_MS, code=401)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(workspace.run_queued)
        wait_until(lambda: workspace.sandbox.faults() == [])
        connect_elsewhere(workspace, side)
        working.result()
    later(workspace, 60)
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(21))
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.ACTIVE
        assert service.connections.list_problems() == {}


def connect_late(workspace: EngineWorkspace, side: str, meanwhile: Callable[[], object]) -> None:
    """Connect one side, and do something while its answer is awaited."""
    sandbox = workspace.sandbox

    def connect() -> None:
        with workspace.open() as service:
            if side == "Mixpanel":
                service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
            else:
                service.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)

    sandbox.fault("late", ms=LATE_MS, times=1)
    with ThreadPoolExecutor(1) as pool:
        asked_first = pool.submit(connect)
        wait_until(lambda: sandbox.faults() == [])
        meanwhile()
        asked_first.result()


@pytest.mark.parametrize("side", ["Mixpanel", "WebEngage"])
def test_a_connect_that_was_asked_for_before_another_one_and_is_answered_after_it_stores_nothing(
    workspace: EngineWorkspace, side: str
) -> None:
    """Two people correct a connection; what was typed later stays, and the other person reads why."""
    with pytest.raises(InvalidRequest, match="changed or disconnected while it was checked"):
        connect_late(workspace, side, lambda: connect_elsewhere(workspace, side))
    with workspace.open() as service:
        [project], [account] = service.connections.list_projects(), service.connections.list_accounts()
    assert "localhost" in (project.region if side == "Mixpanel" else account.data_center)


@pytest.mark.parametrize("side", ["Mixpanel", "WebEngage"])
def test_a_connect_during_which_the_key_is_rotated_is_stored(workspace: EngineWorkspace, side: str) -> None:
    """The stored secret is sealed again then, but nobody changed it: “was changed or disconnected” would not be so."""
    connect_elsewhere(workspace, side)

    def rotate() -> None:
        with workspace.open() as service:
            service.admin.rotate_key()

    connect_late(workspace, side, rotate)
    with workspace.open() as service:
        [project], [account] = service.connections.list_projects(), service.connections.list_accounts()
    assert "localhost" not in (project.region if side == "Mixpanel" else account.data_center)
