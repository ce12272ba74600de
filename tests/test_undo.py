"""Taking back a run: the exact inverse of what it sent, shown first, and never over what a later run changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState, SyncState
from sync.steps import Steps
from tests.engine_workspace import HOUR, MAPPED, PATIENT, EngineWorkspace, approve, fans, last, later, on_plan
from tests.sandbox.control import LICENSE, PROJECT, Sandbox


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of thirty, exported once."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(30)))
    assert found.export().state is RunState.SUCCEEDED
    return found


def take_back(workspace: EngineWorkspace, run: Run, *, approved: bool = True) -> Run:
    """Take a run back, and the runner works; then approve."""
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
    workspace.run_queued()
    undo = workspace.get_run(undo_id)
    assert undo.state is RunState.HELD
    if not approved:
        return undo
    with workspace.open() as service:
        service.runs.approve(undo_id)
    workspace.run_queued()
    return workspace.get_run(undo_id)


def names(*numbers: int) -> set[str]:
    """Return user ids."""
    return {f"fan-{number}" for number in numbers}


def test_taking_back_a_refresh_sets_everybody_it_changed_to_what_they_were(workspace: EngineWorkspace) -> None:
    """Those added become false, those removed true, nobody else is sent; the plan is shown first."""
    workspace.set_members(*fans(*range(5, 40)))
    run = workspace.export()
    assert (run.entered, run.exited) == (10, 5)
    undo = take_back(workspace, run, approved=False)
    assert undo.held_reason == (
        "A message that was sent cannot be unsent. Taking back run 2 would set “Mixpanel - Fans” to false for 10 people "
        "and to true for 5 people. The sync is paused then, or its next refresh would send the same again."
    )
    assert workspace.holders() == names(*range(5, 40))
    with workspace.open() as service:
        service.runs.approve(undo.id)
    workspace.run_queued()
    undo = workspace.get_run(undo.id)
    assert undo.state is RunState.SUCCEEDED and (undo.entered, undo.updated, undo.exited) == (5, 0, 10)
    assert workspace.holders() == names(*range(30))
    with workspace.open() as service:
        view = service.syncs.get(1)
        assert view.size == 30 and view.state is SyncState.PAUSED
        assert "Run 2 was taken back" in str(view.pause_reason)


def test_a_sync_whose_run_was_taken_back_sends_nothing_until_a_person_resumes_it(workspace: EngineWorkspace) -> None:
    """Then the cohort of now counts, once a person approves whom it adds, and everything is in step again."""
    workspace.set_members(*fans(*range(5, 40)))
    take_back(workspace, workspace.export())
    later(workspace, 9 * HOUR)
    assert workspace.holders() == names(*range(30))
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert approve(workspace, last(workspace)).state is RunState.SUCCEEDED
    assert workspace.holders() == names(*range(5, 40))


@pytest.mark.slow
def test_people_changed_by_a_later_run_stay_as_they_are(workspace: EngineWorkspace) -> None:
    """Whoever a later run added, removed or updated again is that run's business."""
    workspace.set_members(*fans(*range(40)))
    run = workspace.export()  # adds 30 to 39
    workspace.set_members(*fans(*range(35)))
    workspace.export()  # removes 35 to 39
    workspace.set_members(*fans(*range(36)))
    workspace.export()  # adds 35 again
    undo = take_back(workspace, run)
    assert "Changed by a later run, so left as they are: 1 person." in str(undo.held_reason)
    assert workspace.holders() == names(*range(30), 35)


@pytest.mark.slow
def test_taking_back_any_run_of_a_random_history_inverts_it_but_for_later_changes(workspace: EngineWorkspace) -> None:
    """Against a record of who every run changed, kept beside it."""
    chance, before = random.Random(5), [names(*range(30))]
    changed: list[tuple[set[str], set[str]]] = [(before[0], set())]
    for _ in range(4):
        now = set(chance.sample(range(60), chance.randrange(20, 40)))
        workspace.set_members(*fans(*now))
        assert workspace.export().state is RunState.SUCCEEDED
        changed.append((names(*now) - before[-1], before[-1] - names(*now)))
        before.append(names(*now))
    number = 3
    later_on = set().union(*(added | removed for added, removed in changed[number:]))
    added, removed = (people - later_on for people in changed[number - 1])
    undo = take_back(workspace, workspace.get_run(number))
    assert workspace.holders() == (before[-1] - added) | removed
    assert (undo.exited, undo.entered) == (len(added & before[-1]), len(removed))


@pytest.mark.slow
def test_taking_back_a_take_back_sends_the_run_again(workspace: EngineWorkspace) -> None:
    """A mistake in taking back can be taken back, too."""
    workspace.set_members(*fans(*range(5, 40)))
    undo = take_back(workspace, workspace.export())
    take_back(workspace, undo)
    assert workspace.holders() == names(*range(5, 40))
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).change_count == 0  # without mapped values it is known what was sent


def test_taking_back_a_run_with_mapped_values_says_that_they_stay(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Former values are not stored, so the plan says so; membership is inverted all the same."""
    with workspace.open() as service:
        service.syncs.stop(1)
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(32)))
    run = workspace.export(mapping=MAPPED)
    assert (run.entered, run.updated) == (2, 30)
    undo = take_back(workspace, run)
    assert (
        "Updated, and left with the values they have, since former values are personal data and are not kept: 30 people."
    ) in str(undo.held_reason)
    assert workspace.holders() == names(*range(30))
    assert (sandbox.profile("fan-3") or {})["attributes"]["Plan"] == "gold"


def test_somebody_on_the_never_export_list_stays_out_when_their_removal_is_taken_back(
    workspace: EngineWorkspace,
) -> None:
    """Also when they were put on it after the plan was shown."""
    workspace.set_members(*fans(*range(20)))
    run = workspace.export()
    with workspace.open() as service:
        service.safety.add_never_export(LICENSE, ["fan-25"])
    undo = take_back(workspace, run, approved=False)
    assert "On the never-export list, so kept out: 1 person." in str(undo.held_reason)
    with workspace.open() as service:
        service.safety.add_never_export(LICENSE, ["fan-26"])
        service.runs.approve(undo.id)
    workspace.run_queued()
    assert workspace.holders() == names(*range(30)) - names(25, 26)


@pytest.mark.slow
def test_taking_back_a_first_step_cancels_the_rest_at_once(data_dir: Path, sandbox: Sandbox) -> None:
    """Tried on ten, looked, taken back: nobody is left with the attribute, and no runner was needed to cancel."""
    workspace = EngineWorkspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(60)))
    with workspace.open() as service:
        run_id = service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=Steps(first=10))
        ).run_id
    workspace.run_queued()
    assert len(workspace.holders()) == 10
    undo = take_back(workspace, workspace.get_run(run_id))
    assert workspace.get_run(run_id).state is RunState.CANCELLED and workspace.get_run(run_id).delivered == 10
    assert undo.exited == 10 and workspace.holders() == set() and len(sandbox.holding("Mixpanel - Fans")[1]) == 10
    with workspace.open() as service:
        assert service.syncs.get(1).size == 0 and service.syncs.get(1).state is SyncState.FINISHED


def test_clearing_when_a_removal_was_rejected_before_tries_that_person_again(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Everybody is asked to become false; who is rejected again stands as such, and nobody is left true unasked."""
    sandbox.poison("fan-29")
    workspace.set_members(*fans(*range(29)))
    assert workspace.export().rejected == 1 and "fan-29" in workspace.holders()
    sandbox.clear_faults()
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert (last(workspace).exited, workspace.holders()) == (30, set())


def test_taking_back_what_was_cleared_sets_everybody_to_true_again(workspace: EngineWorkspace) -> None:
    """Stop and clear was a mistake: the finished sync has its people back, and is not refreshed."""
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert workspace.holders() == set()
    undo = take_back(workspace, last(workspace))
    assert workspace.holders() == names(*range(30))
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.FINISHED
        assert not [one for one in service.runs.list_events(undo.id) if one.message.startswith("Paused")]


def test_somebody_who_was_forgotten_since_is_not_taken_back(workspace: EngineWorkspace) -> None:
    """Their id is known no more; everybody else is set to what they were."""
    workspace.set_members(*fans(*range(20)))
    run = workspace.export()
    with workspace.open() as service:
        service.admin.forget_person("fan-25")
    undo = take_back(workspace, run)
    assert undo.entered == 9 and workspace.holders() == names(*range(30)) - names(25)


def test_a_take_back_that_is_cancelled_changes_nothing(workspace: EngineWorkspace) -> None:
    """Neither WebEngage nor the sync."""
    undo = take_back(workspace, workspace.get_run(1), approved=False)
    with workspace.open() as service:
        service.runs.cancel(undo.id)
        assert service.syncs.get(1).state is SyncState.ACTIVE
    assert workspace.holders() == names(*range(30)) and workspace.get_run(undo.id).state is RunState.CANCELLED


def test_a_take_back_approved_days_later_is_sent_as_it_was_shown(workspace: EngineWorkspace) -> None:
    """No cohort is read for it, so it does not get old."""
    workspace.set_members(*fans(*range(40)))
    undo = take_back(workspace, workspace.export(), approved=False)
    workspace.ahead += 50 * HOUR
    workspace.sandbox.advance(50 * HOUR)
    with workspace.open() as service:
        service.runs.approve(undo.id)
    workspace.run_queued()
    assert workspace.get_run(undo.id).state is RunState.SUCCEEDED and workspace.holders() == names(*range(30))


def test_what_cannot_be_taken_back_is_refused(workspace: EngineWorkspace) -> None:
    """A run under way, one that sent nothing, one there is not; and a second one while the first is held."""
    quiet = workspace.export()
    workspace.set_members(*fans(*range(31)))
    with workspace.open() as service:
        busy = service.syncs.refresh_now(1).run_id
        for run_id, words in ((quiet.id, "changed nobody"), (busy, "still under way"), (99, "There is no run 99")):
            with pytest.raises(InvalidRequest, match=words):
                service.runs.undo(run_id)
        service.runs.cancel(busy)
    take_back(workspace, workspace.get_run(1), approved=False)
    with workspace.open() as service, pytest.raises(InvalidRequest, match="is held and waits for a decision"):
        service.runs.undo(1)


def test_a_take_back_that_fails_half_way_says_so_where_the_sync_is_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who mends the key and resumes would send everybody again; taken back again, everybody is false."""
    run = workspace.get_run(1)
    undo = take_back(workspace, run, approved=False)
    sandbox.fault("status", path="bulk-users", code=401, times=1)
    with workspace.open() as service:
        service.runs.approve(undo.id)
    workspace.run_queued()
    assert workspace.get_run(undo.id).state is RunState.FAILED and workspace.holders()
    with workspace.open() as service:
        reason = str(service.syncs.get(1).pause_reason)
        assert service.syncs.get(1).state is SyncState.PAUSED
    assert reason.startswith("Taking back run 1 failed half-way: WebEngage") and "Take it back again" in reason
    take_back(workspace, run)
    assert workspace.holders() == set()


def test_a_take_back_when_cancelled_stays_so_when_its_sync_is_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A take-back pauses its sync; resumed before the runner ended it, it sends nobody any more."""
    undo = take_back(workspace, workspace.get_run(1), approved=False)
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=1)
    with workspace.open() as service:
        service.runs.approve(undo.id)
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.cancel(undo.id)
        service.syncs.resume(1)
    left = workspace.holders()
    later(workspace, HOUR)
    assert workspace.get_run(undo.id).state is RunState.CANCELLED
    later(workspace, 0.0)
    assert last(workspace).state is RunState.HELD and "taken back" in str(last(workspace).held_reason)
    assert workspace.holders() == left and 0 < len(left) < 30


def test_taking_back_what_may_have_arrived_without_an_answer_changes_it_back(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """WebEngage took the request and its answer was lost: nobody knows, so everybody in it is set to what they were."""
    workspace.set_members(*fans(*range(5, 40)))
    workspace.policy = PATIENT
    sandbox.fault("vanish", path="bulk-users", times=0)
    run = workspace.export()
    with workspace.open() as service:
        service.runs.cancel(run.id)
    workspace.run_queued()
    sandbox.clear_faults()
    assert workspace.get_run(run.id).state is RunState.CANCELLED and workspace.holders() == names(*range(5, 40))
    take_back(workspace, run)
    assert workspace.holders() == names(*range(30))


def test_a_run_that_waits_for_its_first_approval_is_not_taken_back(workspace: EngineWorkspace) -> None:
    """Nothing of it was sent: it is cancelled by whoever means that, and stays as it is otherwise."""
    run = workspace.export(dry_run=True)
    with workspace.open() as service, pytest.raises(InvalidRequest, match="still under way"):
        service.runs.undo(run.id)
    assert workspace.get_run(run.id).state is RunState.HELD


def test_a_take_back_that_sets_many_people_to_true_needs_the_other_person(workspace: EngineWorkspace) -> None:
    """Bob takes back at once what Ann exported; Ann alone cannot take that back, or she would have sent it by herself."""
    with workspace.open() as service:
        service.admin.set_approval_limit(20)
    with workspace.open_as("bob@example.com") as bob:
        back = bob.runs.undo(1).run_id
    workspace.run_queued()
    with workspace.open_as("bob@example.com") as bob:
        assert bob.runs.explain_refusal(back) == ""
        bob.runs.approve(back)
    workspace.run_queued()
    assert workspace.holders() == set()
    with workspace.open_as("ann@example.com") as ann:
        again = ann.runs.undo(back).run_id
    workspace.run_queued()
    with workspace.open_as("ann@example.com") as ann:
        assert "somebody else decides" in ann.runs.explain_refusal(again)
        with pytest.raises(InvalidRequest, match="second person"):
            ann.runs.approve(again)
    with workspace.open_as("bob@example.com") as bob:
        bob.runs.approve(again)
    workspace.run_queued()
    assert len(workspace.holders()) == 30


def test_a_refresh_after_a_take_back_that_would_add_people_is_held(workspace: EngineWorkspace) -> None:
    """However small, however often it is cancelled, and also by the clock: whoever was taken back is not sent unseen."""
    take_back(workspace, workspace.get_run(1))
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    run = last(workspace)
    assert run.state is RunState.HELD and run.held_reason == (
        "Run 1 was taken back, and nothing was sent since: 30 people would be added. Check the cohort before you approve."
    )
    with workspace.open() as service:
        service.runs.cancel(run.id)
    later(workspace, 3 * HOUR)
    run = last(workspace)
    assert run.state is RunState.HELD and "was taken back" in str(run.held_reason) and workspace.holders() == set()
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    assert len(workspace.holders()) == 30
    workspace.set_members(*fans(*range(35)))
    later(workspace, 3 * HOUR)
    assert last(workspace).state is RunState.SUCCEEDED and len(workspace.holders()) == 35


def test_an_export_after_a_take_back_is_not_held_for_it(workspace: EngineWorkspace) -> None:
    """Who exports the cohort once more asked for these people, with the preview before their eyes."""
    take_back(workspace, workspace.get_run(1))
    assert workspace.export().state is RunState.SUCCEEDED and len(workspace.holders()) == 30


def test_a_refresh_after_a_take_back_needs_the_other_person_where_the_export_did(workspace: EngineWorkspace) -> None:
    """Who asked for the export cannot send it alone by resuming what somebody else took back."""
    workspace.set_members(*fans(*range(60)))
    with workspace.open() as service:
        service.admin.set_approval_limit(20)
    with workspace.open_as("ann@example.com") as ann:
        run_id = ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    workspace.run_queued()
    with workspace.open_as("bob@example.com") as bob:
        bob.runs.approve(run_id)
    workspace.run_queued()
    take_back(workspace, workspace.get_run(run_id))
    with workspace.open_as("ann@example.com") as ann:
        ann.syncs.resume(1)
    workspace.run_queued()
    run = last(workspace)
    assert run.state is RunState.HELD and "the approval of a second person" in str(run.held_reason)
    with workspace.open_as("ann@example.com") as ann, pytest.raises(InvalidRequest, match="somebody else decides"):
        ann.runs.approve(run.id)
    with workspace.open_as("bob@example.com") as bob:
        bob.runs.approve(run.id)
    workspace.run_queued()
    assert len(workspace.holders()) == 60
