"""Check who may approve what: nothing goes ahead that nobody approved, and no approval counts for what was not shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.permissions import LOCAL_ACTOR
from sync.steps import SMALL_SHARES, Steps
from tests.engine_workspace import HOUR, MAPPED, EngineWorkspace, approve, fans, last, later
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import click_button, page_text

ANN, BOB = "ann@example.com", "bob@example.com"
TEN = Steps(first=10)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of sixty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(60)))
    return found


@pytest.fixture
def with_pages(workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch, local_browser: None) -> EngineWorkspace:
    """Let the pages run in this process, on this workspace."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(workspace.data_dir))
    return workspace


def need_two_people(workspace: EngineWorkspace) -> None:
    """Require another person from more than twenty people on."""
    with workspace.open() as service:
        service.admin.set_approval_limit(20)


def hold_by_preview(workspace: EngineWorkspace) -> None:
    """Let the cohort grow after its preview, so that an export of it is held."""
    workspace.set_members(*fans(*range(10)))
    with workspace.open() as service:
        service.cohorts.preview(PROJECT, workspace.cohort)
    workspace.set_members(*fans(*range(60)))


def hold_by_tripwire(workspace: EngineWorkspace) -> None:
    """Set a tripwire for a member."""
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, None, ["fan-1"])


Hold = Callable[[EngineWorkspace], None]
HELD_BY = pytest.mark.parametrize("hold", [hold_by_preview, hold_by_tripwire, need_two_people])


@HELD_BY
def test_a_first_export_that_was_held_and_cancelled_is_never_sent_by_the_clock(
    workspace: EngineWorkspace, hold: Hold
) -> None:
    """Who says no to the plan ends the sync, or its schedule would send everybody two hours later."""
    hold(workspace)
    run = workspace.export()
    assert run.state is RunState.HELD
    with workspace.open() as service:
        service.runs.cancel(run.id)
        assert service.syncs.get(1).state is SyncState.FINISHED
        assert {line.action for line in service.admin.list_audit(5)} >= {"cancel", "stop"}
    later(workspace, 5 * HOUR)
    assert workspace.holders() == set() and last(workspace).id == run.id


@HELD_BY
@pytest.mark.parametrize("act", ["refresh_now", "resync", "retry_rejected", "pause and resume"])
def test_a_first_export_that_was_held_when_asked_for_in_another_way_is_held_again(
    workspace: EngineWorkspace, hold: Hold, act: str
) -> None:
    """Sync now, Resync, Retry and Resume go on with the same request, so nothing that holds it is got round."""
    hold(workspace)
    reason = workspace.export().held_reason
    with workspace.open() as service:
        if act == "pause and resume":
            service.syncs.pause(1)
            service.syncs.resume(1)
        else:
            service.runs.cancel(1)
            getattr(service.syncs, act)(1)
    workspace.run_queued()
    run = last(workspace)
    assert run.id == 2 and run.state is RunState.HELD and workspace.holders() == set()
    assert run.held_reason == f"Dry run: nothing is sent until a person approves. {reason}"


def test_a_dry_run_that_was_cancelled_when_the_cohort_is_synced_now_is_a_dry_run_again(
    workspace: EngineWorkspace,
) -> None:
    """What a person did not approve is not sent because of another button; approved, it becomes the sync asked for."""
    run = workspace.export(dry_run=True, mapping=MAPPED)
    with workspace.open() as service:
        service.runs.cancel(run.id)
        service.syncs.refresh_now(1)
    workspace.run_queued()
    again = last(workspace)
    assert again.state is RunState.HELD and again.dry_run and workspace.holders() == set()
    assert approve(workspace, again).state is RunState.SUCCEEDED and len(workspace.holders()) == 60
    with workspace.open() as service:
        assert (service.syncs.get(1).mode, service.syncs.get(1).state) == (Mode.DYNAMIC, SyncState.ACTIVE)


def test_a_first_step_that_failed_half_way_is_shown_again_before_anybody_else_is_sent(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Not an export to everybody, nor to other ten, whoever asks for it next; approved, it is the first step."""
    sandbox.fault("status", path="bulk-users", code=401, times=1)
    assert workspace.export(steps=TEN).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.HELD and workspace.holders() == set()
    assert approve(workspace, last(workspace)).steps_sent == 1 and len(workspace.holders()) == 10


@pytest.mark.parametrize("steps", [None, TEN])
def test_a_first_export_that_failed_while_it_was_read_goes_on_as_it_was_asked_for(
    workspace: EngineWorkspace, sandbox: Sandbox, steps: Steps | None
) -> None:
    """No plan was there to approve: it needs no other approval than it would have."""
    sandbox.fault("status", api="mixpanel", path="engage", code=401, times=1)
    assert workspace.export(steps=steps).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.refresh_now(1) if steps else service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is (RunState.HELD if steps else RunState.SUCCEEDED)
    assert len(workspace.holders()) == (10 if steps else 60)


def test_a_first_step_that_was_taken_back_is_shown_again(workspace: EngineWorkspace) -> None:
    """The take-back is the last run then, and has no request of its own."""
    run = workspace.export(steps=TEN)
    with workspace.open() as service:
        undo_id = service.runs.undo(run.id).run_id
    workspace.run_queued()
    approve(workspace, workspace.get_run(undo_id))
    assert workspace.holders() == set()
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.HELD and workspace.holders() == set()


def test_a_first_export_that_went_ahead_and_failed_goes_on_by_itself(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It was approved, or nothing held it: resuming sends the rest."""
    run = workspace.export(dry_run=True)
    sandbox.fault("status", path="bulk-users", code=401, times=1)
    assert approve(workspace, run).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def test_a_refused_refresh_leaves_its_sync_as_it_is(workspace: EngineWorkspace) -> None:
    """Only what never went ahead is ended; a later dry run that is cancelled changes nothing either."""
    workspace.export()
    workspace.set_members(*fans(*range(400)))
    for options in ({}, {"dry_run": True}):
        run = workspace.export(**options)
        assert run.state is RunState.HELD
        with workspace.open() as service:
            service.runs.cancel(run.id)
            assert service.syncs.get(1).state is SyncState.ACTIVE


def test_the_other_person_is_needed_after_a_change_of_who_asked_too(workspace: EngineWorkspace) -> None:
    """Who changed the request under way asked for it as well; the sentence names them, and who may decide."""
    need_two_people(workspace)
    with workspace.open_as(ANN) as ann:
        run_id = ann.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, interval=2 * HOUR)
        ).run_id
    with workspace.open_as(BOB) as bob:
        bob.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, interval=3 * HOUR))
    workspace.run_queued()
    for name, other in ((ANN, BOB), (BOB, ANN)):
        with workspace.open_as(name) as service:
            expected = (
                "Exports to more than 20 people need the approval of a second person, not only of the one who asked. "
                f"You requested run {run_id}, as did {other}, so somebody else decides: any other marketer or admin, on "
                "the page of this run."
            )
            assert service.runs.explain_refusal(run_id) == expected
            with pytest.raises(InvalidRequest) as refused:
                service.runs.approve(run_id)
            assert str(refused.value) == expected
    with workspace.open_as("eve@example.com") as eve:
        assert eve.runs.explain_refusal(run_id) == ""
        eve.runs.approve(run_id)
    workspace.run_queued()
    assert len(workspace.holders()) == 60


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (LOCAL_ACTOR.name, "approved by “python -m sync approve 1”"),
        ("root at the command line", "approved on the pages"),
    ],
)
def test_who_counts_as_one_person_is_told_where_the_other_one_approves(
    workspace: EngineWorkspace, name: str, words: str
) -> None:
    """Without sign-in all at the pages are one, and all at the command line."""
    need_two_people(workspace)
    with workspace.open_as(name) as service:
        service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))
    workspace.run_queued()
    with workspace.open_as(name) as service:
        assert words in service.runs.explain_refusal(1)


def test_the_page_of_a_run_offers_no_approval_to_the_person_who_asked(with_pages: EngineWorkspace) -> None:
    """It says who decides; cancelling, and taking a first step back, stay with everybody."""
    workspace = with_pages
    need_two_people(workspace)
    with workspace.open_as(LOCAL_ACTOR.name) as service:
        service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=TEN))
    workspace.run_queued()
    app = workspace.page("runs", run="1")
    assert {button.label for button in app.button} >= {"Take it back", "Cancel run"}
    assert not [button.label for button in app.button if button.label.startswith(("Send to", "Approve"))]
    assert "so somebody else decides" in page_text(app)
    with workspace.open() as service:
        service.admin.set_approval_limit(None)
    assert "Send to the other 50" in {button.label for button in workspace.page("runs", run="1").button}


def test_the_page_of_a_whole_export_offers_no_approval_to_the_person_who_asked(with_pages: EngineWorkspace) -> None:
    """Neither plainly nor by raising a limit."""
    workspace = with_pages
    need_two_people(workspace)
    with workspace.open_as(LOCAL_ACTOR.name) as service:
        service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))
    workspace.run_queued()
    app = workspace.page("runs", run="1")
    assert not [button.label for button in app.button if "pprove" in button.label]
    assert "so somebody else decides" in page_text(app)


def test_the_page_of_a_take_back_offers_no_approval_to_the_person_who_asked_for_it(with_pages: EngineWorkspace) -> None:
    """When it would set many people to true; cancelling stays."""
    workspace = with_pages
    workspace.export()
    for name in ("bob at the command line", LOCAL_ACTOR.name):
        with workspace.open_as(name) as service:
            back = service.runs.undo(last(workspace).id).run_id
        workspace.run_queued()
        if name != LOCAL_ACTOR.name:
            approve(workspace, workspace.get_run(back))
    need_two_people(workspace)
    app = workspace.page("runs", run=str(back))
    assert [button.label for button in app.button if " run" in button.label] == ["All runs", "Cancel run"]
    assert "so somebody else decides" in page_text(app)


def test_an_approval_counts_only_for_the_reason_that_was_shown(workspace: EngineWorkspace) -> None:
    """Of two people who press at once, one approves the step both saw, and nobody the step after it."""
    workspace.set_members(*fans(*range(700)))
    run = workspace.export(steps=Steps(shares=SMALL_SHARES))
    seen = run.held_reason
    with workspace.open_as(ANN) as ann:
        ann.runs.approve(run.id, seen=seen)
    with workspace.open_as(BOB) as bob, pytest.raises(InvalidRequest, match="nothing to approve"):
        bob.runs.approve(run.id, seen=seen)
    workspace.run_queued()
    before = workspace.holders()
    with workspace.open_as(BOB) as bob, pytest.raises(InvalidRequest, match="held for something else now"):
        bob.runs.approve(run.id, seen=seen)
    workspace.run_queued()
    assert workspace.get_run(run.id).steps_sent == 2 and workspace.holders() == before and len(before) < 200


def test_a_page_that_shows_an_earlier_reason_approves_nothing(with_pages: EngineWorkspace) -> None:
    """A browser left open while somebody else decided: its button no longer means what it says."""
    workspace = with_pages
    hold_by_tripwire(workspace)
    run = workspace.export()
    app = workspace.page("runs", run=str(run.id))
    with workspace.open() as service:
        service.runs.approve(run.id)
        service.safety.add_tripwires(PROJECT, None, ["fan-2"])
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.HELD
    click_button(app, "Approve")
    assert "held for something else now" in page_text(app)
    assert workspace.get_run(run.id).state is RunState.HELD
    click_button(app, "Approve")
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def ask_as_ann(workspace: EngineWorkspace, size: int, **options: Any) -> int:
    """Let Ann export so many people, where two people are needed above twenty; return the number of the run."""
    need_two_people(workspace)
    workspace.set_members(*fans(*range(size)))
    with workspace.open_as(ANN) as ann:
        run_id = ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, **options)).run_id
    workspace.run_queued()
    return run_id


def may_approve(workspace: EngineWorkspace, run_id: int) -> bool:
    """Return whether Ann may approve a run; try it."""
    with workspace.open_as(ANN) as ann:
        if ann.runs.explain_refusal(run_id):
            with pytest.raises(InvalidRequest, match="somebody else decides"):
                ann.runs.approve(run_id)
            return False
        ann.runs.approve(run_id)
    return True


def test_an_export_to_as_many_people_as_the_limit_needs_one_person(workspace: EngineWorkspace) -> None:
    """Above means above: twenty go by themselves, and who asked may approve a dry run of twenty."""
    run_id = ask_as_ann(workspace, 20)
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(20, 40)))
    with workspace.open_as(ANN) as ann:
        held = ann.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
    workspace.run_queued()
    assert may_approve(workspace, held)


def test_a_dry_run_of_many_people_when_its_asker_approves_is_refused(workspace: EngineWorkspace) -> None:
    """A dry run asks for an export as well."""
    assert not may_approve(workspace, ask_as_ann(workspace, 21, dry_run=True))


def test_a_plan_that_grew_beyond_the_limit_after_its_asker_approved_it_needs_the_other_person(
    workspace: EngineWorkspace,
) -> None:
    """An approval by one person is none for two, however the plan was made again."""
    run_id = ask_as_ann(workspace, 15, dry_run=True)
    assert may_approve(workspace, run_id)
    workspace.set_members(*fans(*range(60)))
    workspace.ahead += 5 * HOUR
    workspace.sandbox.advance(5 * HOUR)
    workspace.run_queued()
    run = workspace.get_run(run_id)
    assert run.state is RunState.HELD and "the approval of a second person" in str(run.held_reason)
    assert not may_approve(workspace, run_id) and workspace.holders() == set()


def test_each_step_counts_by_itself_where_two_people_are_needed(workspace: EngineWorkspace) -> None:
    """Who asked may try on a few, also after a dry run; a step above the limit is the other person's, as is the rest."""
    run_id = ask_as_ann(workspace, 700, steps=Steps(shares=SMALL_SHARES), dry_run=True)
    assert may_approve(workspace, run_id)
    workspace.run_queued()
    assert 0 < len(workspace.holders()) <= 20
    with workspace.open() as service:
        assert service.runs.count_steps(run_id).next > 20
    assert not may_approve(workspace, run_id)
