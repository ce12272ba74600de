"""An export in steps: only the people of a step are sent, and the run is held until a person lets it go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.engine.executor import RunExecutor
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState, SyncState
from sync.packing import hash_id
from sync.steps import SMALL_SHARES, Steps
from sync.store import Store
from sync.wording import EXPORTED_ONCE, STOPPED, name_sync_state
from tests.engine_workspace import HOUR, MAPPED, EngineWorkspace, fans, last, later, on_plan
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member

TEN = Steps(first=10)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of sixty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(60)))
    return found


def start(workspace: EngineWorkspace, steps: Steps | None = None, *chosen: str, **options: object) -> Run:
    """Export in steps, and the runner works."""
    with workspace.open() as service:
        asked = {"mode": Mode.DYNAMIC} | options
        mode = asked.pop("mode")
        assert isinstance(mode, Mode)
        started = service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=mode, steps=steps, chosen=chosen, **asked)
        )
    workspace.run_queued()
    return workspace.get_run(started.run_id)


def approve(workspace: EngineWorkspace, run: Run) -> Run:
    """Approve a held run, and the runner works."""
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    return workspace.get_run(run.id)


def test_an_export_to_the_first_ten_when_approved_goes_on_to_everybody(workspace: EngineWorkspace) -> None:
    """Ten people are sent and nobody else, the run says what to look at, and the rest follows one approval."""
    run = start(workspace, TEN)
    assert run.state is RunState.HELD and len(workspace.holders()) == 10
    assert run.held_reason == (
        "Sent for 10 people so far; 50 wait for approval. In WebEngage, look at who was sent: attribute “Mixpanel - Fans”."
    )
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED and service.syncs.get(1).mode is Mode.ONE_TIME
    run = approve(workspace, run)
    assert run.state is RunState.SUCCEEDED and run.delivered == 60
    assert workspace.holders() == workspace.sandbox.exportable(workspace.cohort)
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.ACTIVE and service.syncs.get(1).size == 60
    assert workspace.export().change_count == 0  # the snapshot says the same, although ten were not sent in order


def test_a_first_step_of_so_many_people_sets_nobody_to_false(workspace: EngineWorkspace) -> None:
    """The first are those who are added or updated; who leaves, leaves with the rest."""
    workspace.export()
    workspace.set_members(*fans(*range(30, 90)))
    run = start(workspace, Steps(first=5))
    assert run.state is RunState.HELD and len(workspace.holders()) == 65
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert workspace.holders() == workspace.sandbox.exportable(workspace.cohort)


def test_an_export_to_certain_people_sends_to_those_of_them_who_are_in_the_cohort(workspace: EngineWorkspace) -> None:
    """Ids are compared letter by letter; who is not in the cohort is not sent."""
    run = start(workspace, None, "fan-3", "fan-59", "FAN-4", "nobody")
    assert run.state is RunState.HELD and workspace.holders() == {"fan-3", "fan-59"}
    assert approve(workspace, run).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def test_a_first_step_for_nobody_in_the_cohort_sends_nothing_and_is_held(workspace: EngineWorkspace) -> None:
    """A mistyped id never turns a try into an export to everybody."""
    run = start(workspace, None, "fan-nobody")
    assert run.state is RunState.HELD and workspace.holders() == set()
    assert str(run.held_reason).startswith("None of the people of the first step is in this plan")
    assert approve(workspace, run).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


@pytest.mark.slow
def test_an_export_step_by_step_sends_each_share_and_everybody_before_it(workspace: EngineWorkspace) -> None:
    """About 1 %, then 10 %, then all: by the hash of each id, at least one person, held after each."""
    workspace.set_members(*fans(*range(700)))
    run = start(workspace, Steps(shares=SMALL_SHARES))
    with Store.open(workspace.data_dir) as store:
        salt = store.connections.get_salt()
    with workspace.open() as service:
        assert service.runs.count_steps(run.id).next > service.runs.count_steps(run.id).sent
    told = []
    for share in SMALL_SHARES:
        assert run.state is RunState.HELD
        told.append(workspace.holders())
        expected = {one for one in workspace.sandbox.exportable(workspace.cohort) if is_within(one, salt, share)}
        assert told[-1] == expected
        run = approve(workspace, run)
    assert told[0] < told[1] and 1 <= len(told[0]) < 30 and 40 < len(told[1]) < 110
    assert run.state is RunState.SUCCEEDED and len(workspace.holders()) == 700


def is_within(user_id: str, salt: int, share: float) -> bool:
    """Return whether the hash of an id is within the first so many percent."""
    return int.from_bytes(hash_id(user_id, salt)) < int(share / 100 * 2**128)


@pytest.mark.parametrize("size", [1, 10])
def test_a_first_step_that_has_everybody_is_an_export(workspace: EngineWorkspace, size: int) -> None:
    """When nothing is held back there is nothing to approve."""
    workspace.set_members(*fans(*range(size)))
    assert start(workspace, TEN).state is RunState.SUCCEEDED and len(workspace.holders()) == size


def test_cancelling_after_a_step_keeps_what_was_sent_and_sends_nobody_else(workspace: EngineWorkspace) -> None:
    """Without a runner: the snapshot knows the ten, nothing is refreshed, and a later export sends the others."""
    run = start(workspace, TEN)
    with workspace.open() as service:
        assert "What it sent to 10 people stays in WebEngage; take the run back" in service.runs.cancel(run.id)
        assert service.runs.get(run.id).state is RunState.CANCELLED and service.runs.get(run.id).delivered == 10
        assert service.syncs.get(1).size == 10
        assert sum(row.outcome == "accepted" for row in service.runs.iterate_export_rows(run.id)) == 10
    later(workspace, 5 * HOUR)
    assert len(workspace.holders()) == 10 and last(workspace).id == run.id
    workspace.export_and_approve()
    assert len(workspace.holders()) == 60 and last(workspace).delivered == 50


def test_an_export_that_ended_after_a_step_is_called_stopped_also_when_it_was_taken_back(
    workspace: EngineWorkspace,
) -> None:
    """“Exported once” would say that everybody was sent; after the take-back, that anybody was."""
    run = start(workspace, TEN)
    with workspace.open() as service:
        service.runs.cancel(run.id)
        assert name_sync_state(service.syncs.list()[0]) == STOPPED
        undo_id = service.runs.undo(run.id).run_id
        workspace.run_queued()
        approve(workspace, workspace.get_run(undo_id))
        assert workspace.holders() == set() and name_sync_state(service.syncs.list()[0]) == STOPPED


def test_a_one_time_export_is_called_exported_once_until_everybody_is_taken_back(workspace: EngineWorkspace) -> None:
    """A dry run that is cancelled afterwards changes nothing of that."""
    run = workspace.export(mode=Mode.ONE_TIME)
    with workspace.open() as service:
        service.runs.cancel(start(workspace, mode=Mode.ONE_TIME, dry_run=True).id)
        assert name_sync_state(service.syncs.list()[0]) == EXPORTED_ONCE
        undo_id = service.runs.undo(run.id).run_id
        workspace.run_queued()
        approve(workspace, workspace.get_run(undo_id))
        assert workspace.holders() == set() and name_sync_state(service.syncs.list()[0]) == STOPPED


def test_a_step_that_is_sent_when_the_runner_dies_never_sends_more(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the answers and before the hold: the next claim holds the run, and sends nothing twice or beyond."""
    monkeypatch.setattr(RunExecutor, "_hold_after_step", die)
    with workspace.open() as service:
        run_id = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=TEN)).run_id
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("gone", workspace.now())
        assert claimed is not None
        with pytest.raises(Killed):
            RunExecutor(store, claimed, "gone", workspace.context()).execute()
    assert len(workspace.holders()) == 10
    monkeypatch.undo()
    workspace.ahead += 600.0
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.HELD and len(workspace.holders()) == 10


class Killed(BaseException):
    """The process ends here."""


def die(*_: object) -> None:
    """End the process, as a kill does: nothing is written any more."""
    raise Killed


@pytest.mark.slow
def test_a_guard_comes_before_the_first_step(workspace: EngineWorkspace) -> None:
    """Approving a guard lets only the first step go ahead."""
    workspace.set_members(*fans(*range(10)))
    workspace.export()
    workspace.set_members(*fans(*range(200)))
    run = start(workspace, Steps(first=5))
    assert run.state is RunState.HELD and "would be added" in str(run.held_reason) and len(workspace.holders()) == 10
    run = approve(workspace, run)
    assert run.state is RunState.HELD and "Sent for 5 people" in str(run.held_reason) and len(workspace.holders()) == 15
    assert approve(workspace, run).state is RunState.SUCCEEDED and len(workspace.holders()) == 200


def test_a_dry_run_in_steps_sends_the_first_step_only_when_approved(workspace: EngineWorkspace) -> None:
    """First nothing, then ten, then everybody."""
    run = start(workspace, TEN, dry_run=True)
    assert run.state is RunState.HELD and workspace.holders() == set()
    run = approve(workspace, run)
    assert run.state is RunState.HELD and len(workspace.holders()) == 10
    assert approve(workspace, run).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def test_a_person_put_on_the_never_export_list_between_steps_is_not_sent(workspace: EngineWorkspace) -> None:
    """Of the rest they are left out; of the step before, the next run removes them."""
    run = start(workspace, None, "fan-1")
    with workspace.open() as service:
        service.safety.add_never_export(LICENSE, ["fan-1", "fan-2"])
    run = approve(workspace, run)
    assert run.state is RunState.SUCCEEDED and "fan-2" not in workspace.holders() and len(workspace.holders()) == 59
    assert workspace.export().exited == 1 and len(workspace.holders()) == 58


def test_a_rest_that_was_approved_in_time_and_is_begun_too_late_is_read_again_and_shown(
    workspace: EngineWorkspace,
) -> None:
    """No runner worked for hours after the approval: nothing of the rest had left, and the cohort is another one."""
    run = start(workspace, TEN)
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.set_members(*fans(*range(40, 90)))
    later(workspace, 5 * HOUR)
    assert workspace.get_run(run.id).state is RunState.CANCELLED and len(workspace.holders()) == 10
    assert last(workspace).id != run.id and last(workspace).state is RunState.HELD


def test_a_rest_that_is_too_old_is_read_again_and_shown_before_it_is_sent(workspace: EngineWorkspace) -> None:
    """What a person approved the next day is not what was planned: a new run shows the plan of now."""
    run = start(workspace, TEN, mapping=MAPPED)
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(40, 90)))
    workspace.ahead += 5 * HOUR
    workspace.sandbox.advance(5 * HOUR)
    assert approve(workspace, run).state is RunState.CANCELLED and len(workspace.holders()) == 10
    new = last(workspace)
    assert new.id != run.id and new.state is RunState.HELD and len(workspace.holders()) == 10
    assert approve(workspace, new).state is RunState.SUCCEEDED
    assert workspace.holders() == workspace.sandbox.exportable(workspace.cohort)
    with workspace.open() as service:
        assert service.syncs.get(1).mode is Mode.DYNAMIC


def test_a_run_that_failed_before_its_plan_leaves_its_steps_to_the_next(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A refresh that goes on with a failed export never sends more than its first step either."""
    workspace.export()
    workspace.set_members(*fans(*range(90)))
    sandbox.fault("status", api="mixpanel", path="engage", code=401, times=1)
    run = start(workspace, TEN)
    assert run.state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.HELD and len(workspace.holders()) == 70


def test_pressing_start_again_with_other_steps_is_refused(workspace: EngineWorkspace) -> None:
    """An export to everybody never joins a run in steps unnoticed, nor the other way round."""
    with workspace.open() as service:
        first = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=TEN))
        assert not service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=TEN)
        ).started
        with pytest.raises(InvalidRequest, match=f"Run {first.run_id}"):
            service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))


@pytest.mark.parametrize(
    "steps",
    [
        Steps(first=0),
        Steps(first=1001),
        Steps(chosen=0),
        Steps(chosen=1001),
        Steps(shares=(10.0, 1.0)),
        Steps(shares=(10.0, 10.0)),
        Steps(shares=(0.0, 10.0)),
        Steps(shares=(100.0,)),
        Steps(),
        Steps(5, None, (1.0,)),
        Steps(5, 1),
    ],
)
def test_steps_nobody_can_mean_are_refused(workspace: EngineWorkspace, steps: Steps) -> None:
    """Nothing is stored then."""
    with workspace.open() as service:
        with pytest.raises(InvalidRequest):
            service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=steps))
        assert service.syncs.list() == ()


@pytest.mark.parametrize(
    "steps",
    [Steps(first=1), Steps(first=1000), Steps(chosen=1), Steps(chosen=1000), Steps(shares=(0.1, 99.9))],
)
def test_steps_at_their_borders_are_taken_and_kept_as_they_are(steps: Steps) -> None:
    """A first step may have a thousand people, and a share be nearly nobody or nearly everybody."""
    assert steps.find_problem() is None and Steps.parse(steps.dump()) == steps


@pytest.mark.parametrize("steps", [TEN, Steps(shares=SMALL_SHARES)])
def test_certain_people_and_another_first_step_at_once_are_refused(workspace: EngineWorkspace, steps: Steps) -> None:
    """Who names two people must not see ten others sent with them, nor one of the two ways ignored."""
    terms = ExportTerms(mode=Mode.DYNAMIC, steps=steps, chosen=("fan-3", "fan-59"))
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="Choose one way to begin"):
            service.syncs.start_export(PROJECT, workspace.cohort, terms)
        assert service.syncs.list() == ()


@pytest.fixture
def second_person(workspace: EngineWorkspace) -> EngineWorkspace:
    """Require another person from more than twenty people on."""
    with workspace.open() as service:
        service.admin.set_approval_limit(20)
    return workspace


def test_a_large_export_when_two_people_are_needed_is_approved_by_the_other_one(second_person: EngineWorkspace) -> None:
    """Who asked cannot approve it; the other one can. A small one needs nobody."""
    workspace = second_person
    with workspace.open_as("ann@example.com") as ann:
        run_id = ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    workspace.run_queued()
    run = workspace.get_run(run_id)
    assert run.state is RunState.HELD and workspace.holders() == set()
    assert run.held_reason == (
        "Exports to more than 20 people need the approval of a second person, not only of the one who asked."
    )
    with workspace.open_as("ann@example.com") as ann, pytest.raises(InvalidRequest, match="somebody else decides"):
        ann.runs.approve(run_id)
    with workspace.open_as("bob@example.com") as bob:
        bob.runs.approve(run_id)
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and len(workspace.holders()) == 60
    workspace.set_members(*fans(*range(70)))
    assert workspace.export().state is RunState.SUCCEEDED


def test_a_first_step_below_the_limit_needs_no_second_person_and_the_rest_does(second_person: EngineWorkspace) -> None:
    """One may try on ten alone; everybody is the other's decision."""
    workspace = second_person
    with workspace.open_as("ann@example.com") as ann:
        run_id = ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=TEN)).run_id
    workspace.run_queued()
    assert len(workspace.holders()) == 10
    with workspace.open_as("ann@example.com") as ann, pytest.raises(InvalidRequest, match="somebody else decides"):
        ann.runs.approve(run_id)
    with workspace.open_as("bob@example.com") as bob:
        bob.runs.approve(run_id)
    workspace.run_queued()
    assert len(workspace.holders()) == 60


def test_only_an_admin_sets_from_when_on_two_people_are_needed(workspace: EngineWorkspace) -> None:
    """It is off until then, and can be turned off again."""
    with workspace.open() as service:
        assert service.admin.get_approval_limit() is None
        service.admin.set_approval_limit(5)
        assert service.admin.get_approval_limit() == 5
        service.admin.set_approval_limit(None)
        assert service.admin.get_approval_limit() is None
        with pytest.raises(InvalidRequest):
            service.admin.set_approval_limit(-1)


def test_mapped_values_are_sent_with_the_first_step_too(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """What a person looks at in WebEngage is what everybody will have."""
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(30)), member("fan-none"))
    run = start(workspace, None, "fan-3", mapping=MAPPED)
    assert plan_of(sandbox, "fan-3") == "gold"
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert plan_of(sandbox, "fan-29") == "gold"


def plan_of(sandbox: Sandbox, user_id: str) -> object:
    """Return the mapped value WebEngage holds of a person."""
    return (sandbox.profile(user_id) or {})["attributes"]["Plan"]
