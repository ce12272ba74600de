"""Somebody is forgotten while their request waits in the memory of a runner: it leaves without them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import Clock, RetryPolicy, RunExecutor
from sync.model import Run, RunState
from sync.packing import FORGOTTEN, hash_id, pack, records_of
from sync.store import Store
from sync.store.staged import StagedPage
from tests.engine_workspace import EngineWorkspace, fan_ids, fans, last
from tests.sandbox.control import Sandbox
from tests.workspace import ATTRIBUTE


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of twenty, one request."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(20)))
    return found


def execute(workspace: EngineWorkspace, choose: Callable[[], str], a_minute: int | None = None) -> tuple[Run, str]:
    """Execute the queued run; while something of it waits, after its first request, forget the person chosen then."""
    forgotten: list[str] = []

    def skip(seconds: float) -> None:
        workspace.ahead += seconds
        if threading.current_thread() is threading.main_thread() and not forgotten and last(workspace).requests:
            forgotten.append(choose())
            with workspace.open() as service:
                service.admin.forget_person(forgotten[0])

    context = replace(workspace.context(), clock=Clock(workspace.now, skip), policy=RetryPolicy(delays=(5.0, 50.0)))
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        RunExecutor(store, claimed, "me", replace(context, batches_a_minute=a_minute or 30_000)).execute()
    assert forgotten
    return last(workspace), forgotten[0]


@pytest.mark.parametrize("code", [503, 429])
def test_a_request_that_is_sent_again_leaves_out_who_was_forgotten_meanwhile(
    workspace: EngineWorkspace, sandbox: Sandbox, code: int
) -> None:
    """Nobody of it had arrived; the others do."""
    sandbox.fault("status", path="bulk-users", code=code, retry_after=30)
    workspace.start_export()
    run, _ = execute(workspace, lambda: "fan-3")
    assert run.state is RunState.SUCCEEDED and sandbox.profile("fan-3") is None
    assert workspace.holders() == fan_ids(*range(20)) - {"fan-3"}


def test_a_batch_that_waits_for_its_turn_leaves_out_who_was_forgotten_meanwhile(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It was read from the plan before they were blanked there."""
    workspace.set_members(*fans(*range(60)))
    workspace.start_export()
    run, who = execute(workspace, lambda: min(fan_ids(*range(60)) - workspace.holders()), a_minute=1)
    assert run.state is RunState.SUCCEEDED and sandbox.profile(who) is None
    assert workspace.holders() == fan_ids(*range(60)) - {who}


def test_somebody_who_is_to_be_removed_and_is_forgotten_meanwhile_gets_no_false(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Forgetting says that WebEngage keeps them as true; a profile deleted there would come back with false."""
    workspace.export()
    workspace.set_members(*fans(*range(19)))
    sandbox.fault("status", path="bulk-users", code=503, retry_after=30)
    workspace.start_export()
    run, _ = execute(workspace, lambda: "fan-19")
    assert run.state is RunState.SUCCEEDED
    assert sandbox.holding(ATTRIBUTE) == (fan_ids(*range(20)), set())  # nobody was sent false


def test_somebody_whom_webengage_rejects_after_they_were_forgotten_is_not_kept_as_rejected(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Their id would be stored again with the reason."""
    workspace.set_members(*fans(3))
    sandbox.fault("status", path="bulk-users", code=503, retry_after=30)
    sandbox.poison("fan-3")
    workspace.start_export()
    run, _ = execute(workspace, lambda: "fan-3")
    with workspace.open() as service:
        assert run.state is RunState.SUCCEEDED and not service.runs.list_rejections(run.id)
        assert service.admin.forget_person("fan-3").places == 0


def test_a_batch_that_was_not_read_yet_of_a_block_that_was_leaves_out_who_was_forgotten(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Blocks of a thousand people are read and unsealed once; what is left of one is read again after a forget."""
    workspace.set_members(*fans(*range(2100)))
    workspace.start_export()

    def find_last_of_second_block() -> str:
        with workspace.open_store() as store:
            return store.batches.block(1, 1).ids[-1]

    run, who = execute(workspace, find_last_of_second_block, a_minute=60)
    assert run.state is RunState.SUCCEEDED and sandbox.profile(who) is None
    assert workspace.holders() == fan_ids(*range(2100)) - {who}


def test_somebody_who_is_forgotten_while_a_cohort_is_read_is_blank_in_the_pages_read_so_far(
    workspace: EngineWorkspace,
) -> None:
    """Their place stays, as the sealed values beside it keep theirs; nobody can be told from it."""
    workspace.start_export()
    with Store.open(workspace.data_dir) as store:
        salt = store.connections.get_salt()
        ids = sorted(["fan-1", "fan-2", "fan-3"], key=lambda one: hash_id(one, salt))
        page = StagedPage(reading=1, number=0, rows=3, anonymous=0, invalid=0, is_full=False, total=3)
        news = b"".join(records_of(ids, (), salt, salt))
        store.staged.add_page(1, replace(page, news=news, ids=pack(ids)))
    with workspace.open() as service:
        assert service.admin.forget_person("fan-2").places == 1
    with Store.open(workspace.data_dir) as store:
        (left,) = store.staged.news(1)
    assert left.ids == [FORGOTTEN if one == "fan-2" else one for one in ids]
