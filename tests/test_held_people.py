"""Specify who is in WebEngage while a run sends: counted by letters, exactly as the people themselves say."""

from __future__ import annotations

from itertools import cycle, product
from pathlib import Path

import pytest

from sync.model import BATCH_SIZE, Run, RunState
from sync.packing import UNCONFIRMED, hash_id
from sync.service.held_people import count_held, read_held
from sync.service.run_people import iterate_people
from sync.store import Store
from sync.store.batches import STATES
from tests.engine_workspace import MAPPED, PATIENT, EngineWorkspace, on_plan, patient_workspace
from tests.sandbox.control import Sandbox

EVERY_STATE = list(product(STATES, repeat=3))  # of three batches


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Export fan-0 … fan-59; plan to add twenty, update fan-20 … fan-39 and remove the first twenty."""
    found = patient_workspace(data_dir, sandbox)
    found.set_members(*(on_plan(f"fan-{number}", "free") for number in range(60)))
    found.export(mapping=MAPPED)
    found.set_members(*(on_plan(f"fan-{number}", "gold" if number < 40 else "free") for number in range(20, 80)))
    run = found.export(dry_run=True)
    assert (run.state, run.entered, run.updated, run.exited) == (RunState.HELD, 20, 20, 20)
    return found


def put_batches(workspace: EngineWorkspace, run_id: int, states: tuple[str, ...]) -> None:
    """Let the batches of a run be in these states, as they are while it sends."""
    with workspace.open_database() as db:
        db.executemany(
            "update batch set state = ? where run_id = ? and number = ?",
            [(state, run_id, number) for number, state in enumerate(states)],
        )


def reject_some(workspace: EngineWorkspace, run: Run) -> None:
    """Let WebEngage have rejected every fourth person of a run; of every other one an earlier try may be taken."""
    with workspace.open_store() as store:
        people = [(one.user_id, one.operation) for one in iterate_people(store, run.id)][::4]
    with workspace.open_database() as db:
        db.executemany(
            "insert into rejection (run_id, sync_id, user_id, kind, outcome, reason, at, active, may_be_sent) "
            "values (?, 1, ?, ?, 'rejected', 'no', 0, 0, ?)",
            [(run.id, user_id, kind, may) for (user_id, kind), may in zip(people, cycle((0, 1)), strict=False)],
        )


def compare_counts(workspace: EngineWorkspace) -> int:
    """Return how many are counted, after a look that it is as many as there are people."""
    with workspace.open_store() as store:
        sync = store.syncs.get_sync(1)
        counted = count_held(store, sync)
        assert counted == len(read_held(store, sync).true)
    return counted


def test_who_is_in_webengage_is_counted_as_the_people_say_whatever_batches_are_sent(workspace: EngineWorkspace) -> None:
    """Sixty before the run and after all of it; in between who was added or may be, and not who was removed for sure."""
    counts = set()
    for states in EVERY_STATE:
        put_batches(workspace, 2, states)
        counts.add(compare_counts(workspace))
    assert 60 in counts and len(counts) > 5


@pytest.mark.parametrize(("rejects", "forgets"), [(True, False), (False, True), (True, True)])
def test_who_is_in_webengage_is_counted_without_rejected_and_forgotten_people(
    workspace: EngineWorkspace, rejects: bool, forgets: bool
) -> None:
    """Who was rejected holds what they held, unless an earlier try may have been taken; who was forgotten counts no more."""
    if rejects:
        reject_some(workspace, workspace.get_run(2))
    for user_id in ("fan-0", "fan-25", "fan-50", "fan-70") if forgets else ():
        with workspace.open() as service:
            service.admin.forget_person(user_id)
    for states in EVERY_STATE:
        put_batches(workspace, 2, states)
        compare_counts(workspace)


def test_who_is_in_webengage_is_counted_once_while_the_end_of_a_run_is_recorded(workspace: EngineWorkspace) -> None:
    """Parts of the snapshot have its people already, and its batches still do."""
    put_batches(workspace, 2, ("confirmed",) * 3)
    before = compare_counts(workspace)
    with workspace.open_store() as store:
        _record_first_part(store)
        assert store.snapshot.count_members(1) != 60
    assert compare_counts(workspace) == before


def _record_first_part(store: Store) -> None:
    """Log what was sent, and put half of the people who were added into the snapshot, as a run does at its end."""
    store.batches.log(2, 0, "c" * (2 * BATCH_SIZE + 10))
    salt = store.connections.get_salt()
    added = [user_id for user_id, kind, _ in store.batches.iterate_sent(2) if kind == "add"][:10]
    people = store.snapshot.bucket(1, 0, 256)
    for user_id in added:
        people.put(hash_id(user_id, salt), user_id, UNCONFIRMED)
    store.snapshot.write(1, 0, 256, people)


def test_who_is_in_webengage_is_counted_once_while_an_unheard_removal_is_taken_back(workspace: EngineWorkspace) -> None:
    """The take-back adds people who may be there still, so they are in the snapshot and in its plan."""
    workspace.policy = PATIENT
    workspace.sandbox.fault("vanish", path="bulk-users", times=0)
    with workspace.open() as service:
        service.runs.approve(2)
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.cancel(2)
        workspace.run_queued()
        if service.syncs.get(1).pause_reason:
            service.syncs.resume(1)
            workspace.run_queued()
        number = service.runs.undo(2).run_id
    workspace.run_queued()
    assert workspace.get_run(number).entered > 0
    for states in EVERY_STATE:
        put_batches(workspace, number, states)
        compare_counts(workspace)
