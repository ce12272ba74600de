"""Somebody is forgotten while an answer is awaited that is about them: what is stored afterwards does not name them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.model import RunState
from sync.permissions import command_line_actor
from sync.service import Service
from tests.engine_workspace import MAPPED, EngineWorkspace, fans, last, on_plan
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import read_everything_stored, wait_until

SLOW_MS = 1500  # how long the other side takes to answer, in milliseconds; never asserted
REQUESTS_TO_ALL_ALONE = 10  # the page, and five people in parts of 5, 2 and 3, 1 and 1 and 1 and 2, 1 and 1
BAD_VALUE = {"response": {"status": "error", "message": "Invalid value for attribute"}}


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort."""
    return EngineWorkspace(data_dir, sandbox)


@contextmanager
def while_waiting(workspace: EngineWorkspace, work: Callable[[], object], path: str) -> Iterator[None]:
    """Let something work, do what is done inside while it waits for an answer from this path, and wait for its end."""
    workspace.sandbox.fault("slow", path=path, ms=SLOW_MS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        wait_until(lambda: all(one["kind"] != "slow" for one in workspace.sandbox.faults()))
        yield
        working.result()


def forget(workspace: EngineWorkspace, user_id: str) -> None:
    """Forget a person."""
    with workspace.open() as service:
        service.admin.forget_person(user_id)


def read_preview(workspace: EngineWorkspace) -> None:
    """Read a new preview of the cohort."""
    with workspace.open() as service:
        service.cohorts.preview(PROJECT, workspace.cohort, fresh=True)


def test_a_preview_that_is_answered_after_a_forget_is_stored_without_examples(workspace: EngineWorkspace) -> None:
    """Mixpanel named them before; the numbers stay, and nobody was to be left of the person here."""
    workspace.set_members(member("ann-7"), *fans(1, 2))
    with while_waiting(workspace, lambda: read_preview(workspace), "engage"):
        forget(workspace, "ann-7")
    assert b"ann-7" not in read_everything_stored(workspace.data_dir)
    with workspace.open() as service:
        known = service.cohorts.get_known(PROJECT, workspace.cohort)
        assert known is not None and (known.identified, known.sample) == (3, ())


@pytest.mark.parametrize("look", range(1, 6))
def test_the_numbers_of_a_list_that_are_stored_around_a_forget_keep_no_example(
    workspace: EngineWorkspace, look: int
) -> None:
    """The examples are those of the preview before, which has the person until the forget, whenever that comes."""
    workspace.set_members(member("ann-7"), *fans(1, 2))
    read_preview(workspace)
    with workspace.open() as service:
        reading = service.members.begin(PROJECT, workspace.cohort)
        while service.members.read_next(reading):
            pass
    looks = iter(range(1, 100))

    def now() -> float:
        if next(looks) == look:
            forget(workspace, "ann-7")
        return time.time()

    with Service(workspace.open_store(), workspace.env, now, command_line_actor()) as service:
        service.members.save_numbers(reading)
    assert b"ann-7" not in read_everything_stored(workspace.data_dir)


def test_somebody_forgotten_while_the_account_is_checked_is_not_kept_as_rejected(workspace: EngineWorkspace) -> None:
    """A refusal is followed by a check of the credentials, which WebEngage may take a minute for."""
    workspace.set_members(member("ann-7"))
    workspace.sandbox.poison("ann-7")
    workspace.start_export()
    with while_waiting(workspace, workspace.run_queued, "/users"):
        forget(workspace, "ann-7")
    run = last(workspace)
    assert (run.state, run.rejected) == (RunState.SUCCEEDED, 0)
    assert b"ann-7" not in read_everything_stored(workspace.data_dir)


def test_somebody_forgotten_while_they_are_sent_without_values_is_not_kept_with_the_reason(
    workspace: EngineWorkspace,
) -> None:
    """WebEngage refused a value of theirs, and takes them without it after they were forgotten."""
    workspace.set_members(on_plan("ann-7", "gold"))
    workspace.start_export(mapping=MAPPED)
    workspace.sandbox.fault("status", path="bulk-users", code=400, body=BAD_VALUE)
    workspace.sandbox.fault("slow", path="bulk-users", ms=SLOW_MS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(workspace.run_queued)
        wait_until(lambda: workspace.sandbox.faults() == [])
        forget(workspace, "ann-7")
        working.result()
    assert last(workspace).state is RunState.SUCCEEDED
    assert b"ann-7" not in read_everything_stored(workspace.data_dir)


def test_somebody_forgotten_while_their_request_waits_for_its_turn_is_no_witness(workspace: EngineWorkspace) -> None:
    """Whether the account is at fault is found out by sending somebody once more; a deleted profile would come back."""
    workspace.set_members(member("ann-7"))
    workspace.export()
    refused = fans(*range(5))
    workspace.set_members(member("ann-7"), *refused)
    workspace.sandbox.poison(*(str(one["id"]) for one in refused))
    workspace.sandbox.fault("slow", path="bulk-users", ms=SLOW_MS / 3, times=0)
    workspace.start_export()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(workspace.run_queued)
        wait_until(lambda: last(workspace).requests == REQUESTS_TO_ALL_ALONE)
        with workspace.open_store() as store:
            store.rate_limits.delay_account_until(LICENSE, workspace.now() + 2 * SLOW_MS / 1000)
        wait_until(lambda: last(workspace).requests > REQUESTS_TO_ALL_ALONE)
        forget(workspace, "ann-7")
        working.result()
    assert workspace.sandbox.meter().told_again == 0
    assert last(workspace).state is RunState.FAILED
