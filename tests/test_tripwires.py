"""Tripwires that are set while a run is under way, and for members who are not exported: they hold it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState, SyncState
from sync.steps import SMALL_SHARES, Steps
from sync.store.rate_limits import RateLimits
from tests.engine_workspace import (
    CUSTOMER,
    HOUR,
    EngineWorkspace,
    approve,
    customer_ids,
    customers,
    fans,
    keep_out,
    last,
    later,
    patient_workspace,
    watch,
)
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import page_text

TEN = Steps(first=10)


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder to a cohort of sixty."""
    found = EngineWorkspace(data_dir, sandbox)
    found.set_members(*fans(*range(60)))
    return found


@pytest.mark.parametrize("who", ["fan-59", "fan-0", "fan-30"])
def test_a_tripwire_set_between_two_steps_holds_the_run_before_the_next_one(
    workspace: EngineWorkspace, who: str
) -> None:
    """Whether the person was sent already or not: nobody else is sent, the run says why, and an approval lets it go on."""
    run = workspace.export(steps=TEN)
    before = workspace.holders()
    assert len(before) == 10
    watch(workspace, who)
    run = approve(workspace, run)
    assert run.state is RunState.HELD and workspace.holders() == before
    assert run.held_reason == (
        f"Tripwire: 1 person who must never be in this cohort is in it ({who[0]}•••{who[-1]}). Check the cohort's rule in "
        "Mixpanel. This was found after the plan was made: 10 people are sent, 50 wait for approval."
    )
    run = approve(workspace, run)
    assert run.state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def test_a_run_that_was_held_while_it_did_not_get_on_has_its_whole_deadline_again(
    data_dir: Path, sandbox: Sandbox
) -> None:
    """The hours a person took to decide are no hours without progress: one more outage puts it off and does not fail it."""
    workspace = patient_workspace(data_dir, sandbox)
    workspace.set_members(*fans(*range(30)))
    workspace.export()
    workspace.set_members(*fans(*range(10)))
    removed = workspace.export()
    with workspace.open() as service:
        undo = service.runs.undo(removed.id).run_id
    workspace.run_queued()
    sandbox.fault("status", path="bulk-users", code=503, times=0)
    run = approve(workspace, workspace.get_run(undo))
    assert run.wait_reason and run.stalled_since
    watch(workspace, "fan-15")
    later(workspace, 400)
    workspace.ahead += 5 * HOUR
    run = approve(workspace, workspace.get_run(undo))
    assert run.state is RunState.QUEUED and "503" in str(run.wait_reason)
    with workspace.open() as service:
        assert not any(one.needs_person for one in service.syncs.list_overdue())


def test_a_tripwire_set_before_the_last_of_three_steps_holds_it(workspace: EngineWorkspace) -> None:
    """Each step looks again, not only the second."""
    workspace.set_members(*fans(*range(500)))
    run = approve(workspace, workspace.export(steps=Steps(shares=SMALL_SHARES)))
    before = workspace.holders()
    assert run.steps_sent == 2 and 1 < len(before) < 200
    watch(workspace, "fan-7")
    run = approve(workspace, run)
    assert run.state is RunState.HELD and "Tripwire" in str(run.held_reason) and workspace.holders() == before


def test_a_tripwire_set_while_a_plan_waits_for_approval_holds_it_again(workspace: EngineWorkspace) -> None:
    """Who approves a dry run approves what its page says, which named nobody."""
    run = workspace.export(dry_run=True)
    watch(workspace, "fan-5")
    run = approve(workspace, run)
    assert run.state is RunState.HELD and "0 people are sent, 60 wait" in str(run.held_reason)
    assert workspace.holders() == set()


def test_a_tripwire_for_somebody_who_is_not_in_the_cohort_lets_the_next_step_go(workspace: EngineWorkspace) -> None:
    """Nor does one for somebody who leaves it, or one for another cohort."""
    workspace.export()
    workspace.set_members(*fans(*range(3, 90)))
    run = workspace.export(steps=TEN)
    watch(workspace, "fan-2", "a stranger")
    with workspace.open() as service:
        service.safety.add_tripwires(PROJECT, workspace.sandbox.add_cohort("Others"), ["fan-5"])
    assert approve(workspace, run).state is RunState.SUCCEEDED


def test_a_tripwire_for_an_unchanged_member_holds_the_next_step(workspace: EngineWorkspace) -> None:
    """Somebody exported long ago, about whom this run says nothing, is in the cohort all the same."""
    workspace.export()
    workspace.set_members(*fans(*range(90)))
    run = workspace.export(steps=TEN)
    watch(workspace, "fan-2")
    assert approve(workspace, run).state is RunState.HELD and len(workspace.holders()) == 70


def test_a_tripwire_set_while_people_are_being_sent_stops_the_rest(
    workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests on their way are heard and recorded; nobody else is sent before a person says so."""
    workspace.set_members(*fans(*range(600)))
    watch_while_sending(monkeypatch, workspace, "fan-5")
    run = workspace.export()
    sent = len(workspace.holders())
    assert run.state is RunState.HELD and 0 < sent < 600 and run.delivered == sent
    assert f"{sent} people are sent, {600 - sent} wait for approval" in str(run.held_reason)
    with workspace.open() as service:
        assert service.syncs.get(1).state is SyncState.ACTIVE
        with pytest.raises(InvalidRequest, match="is held and waits"):
            service.syncs.refresh_now(1)
        service.runs.cancel(run.id)
    workspace.run_queued()
    with workspace.open() as service:
        assert service.runs.get(run.id).state is RunState.CANCELLED and service.syncs.get(1).size == sent


@pytest.mark.usefixtures("local_browser")
def test_the_page_of_a_run_that_a_tripwire_stopped_half_way_says_that_a_part_was_sent(
    workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """“Nothing has been sent yet … Cancelling leaves WebEngage unchanged” stood below “25 people are sent”."""
    monkeypatch.setenv("COHORT_SYNC_DATA", str(workspace.data_dir))
    workspace.set_members(*fans(*range(600)))
    watch_while_sending(monkeypatch, workspace, "fan-5")
    run = workspace.export()
    shown = page_text(workspace.page("runs", run=str(run.id)))
    assert f"{run.delivered} people are sent" in shown and "Nothing has been sent yet" not in shown
    assert "A part of this run has been sent already" in shown and "leaves WebEngage unchanged" not in shown
    assert "Before this run" in shown and "In WebEngage now" not in shown


@pytest.mark.slow
def test_a_rest_that_is_approved_too_late_is_read_again(
    workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held while it was being sent and approved the next day: who left the cohort meanwhile never becomes true."""
    workspace.set_members(*fans(*range(600)))
    watch_while_sending(monkeypatch, workspace, "fan-5")
    run = workspace.export()
    monkeypatch.undo()
    sent = workspace.holders()
    assert run.state is RunState.HELD and 0 < len(sent) < 600
    workspace.set_members(*fans(*range(550)))
    workspace.ahead += 20 * HOUR
    workspace.sandbox.advance(20 * HOUR)
    assert approve(workspace, run).state is RunState.CANCELLED and workspace.holders() == sent
    new = last(workspace)
    assert new.id != run.id and new.state is RunState.HELD and workspace.holders() == sent
    assert approve(workspace, new).state is RunState.SUCCEEDED
    assert workspace.holders() == workspace.sandbox.exportable(workspace.cohort)


def watch_while_sending(monkeypatch: pytest.MonkeyPatch, workspace: EngineWorkspace, who: str) -> list[float]:
    """Set a tripwire when the first requests have left and others wait for their slots; return the times of the slots."""
    find_slot, asked = RateLimits.next_slot, []
    workspace.batches_a_minute = None  # the usual pace, at which requests wait for their slots

    def watch_after_the_first_requests(self: RateLimits, license_code: str, now: float) -> float:
        asked.append(now)
        if len(asked) == 3:  # the second time it is asked while the requests are marked
            watch(workspace, who)
        return find_slot(self, license_code, now)

    monkeypatch.setattr(RateLimits, "next_slot", watch_after_the_first_requests)
    return asked


def test_a_tripwire_set_when_everybody_was_sent_waits_for_the_next_run(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an answer is waited for, so there is nothing to approve."""
    workspace.set_members(*fans(*range(20)))
    sandbox.fault("slow", path="bulk-users", ms=600.0)
    asked = watch_while_sending(monkeypatch, workspace, "fan-5")
    assert workspace.export().state is RunState.SUCCEEDED and len(asked) >= 3
    assert workspace.export().state is RunState.HELD


@pytest.mark.parametrize("who", ["$device:1", "x" * 101])
def test_a_tripwire_for_a_member_who_is_not_exported_holds_the_run(workspace: EngineWorkspace, who: str) -> None:
    """A device or an id too long for WebEngage is never sent; that it is in the cohort says that the cohort is wrong."""
    watch(workspace, who)
    workspace.set_members(*fans(*range(3)), member(who))
    run = workspace.export()
    assert run.state is RunState.HELD and "Tripwire: 1 person" in str(run.held_reason) and workspace.holders() == set()
    assert approve(workspace, run).state is RunState.SUCCEEDED and len(workspace.holders()) == 3


@pytest.mark.parametrize("who", ["$device:1", "fan-3"])
def test_a_tripwire_for_a_member_who_is_not_sent_holds_the_next_step(workspace: EngineWorkspace, who: str) -> None:
    """A device, or somebody on the never-export list: it is known between two steps that they are in the cohort."""
    keep_out(workspace, "fan-3")
    workspace.set_members(*fans(*range(60)), member("$device:1"))
    run = workspace.export(steps=TEN)
    watch(workspace, who)
    assert approve(workspace, run).state is RunState.HELD and len(workspace.holders()) == 10


def test_somebody_listed_between_two_steps_and_watched_before_the_third_holds_it(workspace: EngineWorkspace) -> None:
    """Taken out of the plan they are in the cohort all the same."""
    workspace.set_members(*fans(*range(500)))
    run = workspace.export(steps=Steps(shares=SMALL_SHARES))
    with workspace.open() as service:
        rows = list(service.runs.iterate_export_rows(run.id))
    who = rows[-1].user_id  # of the last step
    keep_out(workspace, who)
    run = approve(workspace, run)
    assert run.steps_sent == 2
    watch(workspace, who)
    run = approve(workspace, run)
    assert run.state is RunState.HELD and "Tripwire" in str(run.held_reason)
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert workspace.holders() == workspace.sandbox.exportable(workspace.cohort) - {who}


def test_a_tripwire_for_somebody_rejected_before_holds_the_next_step(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who is not tried again is in neither plan nor snapshot, and is in the cohort."""
    sandbox.poison("fan-4")
    assert workspace.export().rejected == 1
    workspace.set_members(*fans(*range(90)))
    run = workspace.export(steps=TEN)
    watch(workspace, "fan-4")
    assert approve(workspace, run).state is RunState.HELD


def test_the_lists_when_a_property_is_the_user_id_find_members_by_their_distinct_id_between_steps(
    workspace: EngineWorkspace,
) -> None:
    """What was listed or watched under the distinct_id counts as it does in the plan."""
    workspace.set_members(*customers(*range(40)), member("fan-99"))
    run = workspace.export(steps=TEN, id_property=CUSTOMER)
    sent = workspace.holders()
    left = sorted(customer_ids(*range(40)) - sent)
    assert run.state is RunState.HELD and len(sent) == 10
    keep_out(workspace, left[0].replace("c-", "fan-"))
    watch(workspace, left[1].replace("c-", "fan-"), "fan-99")
    run = approve(workspace, run)
    assert run.state is RunState.HELD and "2 people who must never be" in str(run.held_reason)
    assert workspace.holders() == sent
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert workspace.holders() == customer_ids(*range(40)) - {left[0]}


def test_a_run_held_for_a_late_tripwire_when_cancelled_keeps_what_was_sent(workspace: EngineWorkspace) -> None:
    """The snapshot knows the ten; the next export is held for the tripwire from its plan on."""
    run = workspace.export(steps=TEN)
    watch(workspace, "fan-59")
    approve(workspace, run)
    with workspace.open() as service:
        service.runs.cancel(run.id)
        assert service.runs.get(run.id).state is RunState.CANCELLED and service.syncs.get(1).size == 10
    assert workspace.export().state is RunState.HELD and len(workspace.holders()) == 10


def test_a_take_back_says_that_it_would_set_a_tripwire_to_true(workspace: EngineWorkspace) -> None:
    """Of somebody it sets to false a tripwire says nothing; one set after its plan holds it again."""
    workspace.export()
    workspace.set_members(*fans(*range(50)), member("new"))
    removed = workspace.export()
    watch(workspace, "fan-55", "new")
    with workspace.open() as service:
        undo_id = service.runs.undo(removed.id).run_id
    workspace.run_queued()
    undo = workspace.get_run(undo_id)
    assert "Tripwire: 1 person who must never be in this cohort is to be set to true (f•••5)." in str(undo.held_reason)
    watch(workspace, "fan-56", "fan-1")
    undo = approve(workspace, undo)
    assert undo.state is RunState.HELD and "1 person" in str(undo.held_reason) and "f•••6" in str(undo.held_reason)
    assert "fan-56" not in workspace.holders()
    assert approve(workspace, undo).state is RunState.SUCCEEDED and len(workspace.holders()) == 60


def test_a_clear_goes_ahead_whatever_tripwires_there_are(workspace: EngineWorkspace) -> None:
    """Everybody becomes false: no tripwire speaks against that."""
    workspace.export()
    watch(workspace, "fan-3")
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    watch(workspace, "fan-4")
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == set()


def test_a_tripwire_in_an_old_rest_holds_the_new_run_that_reads_again(workspace: EngineWorkspace) -> None:
    """A rest too old to be sent is planned again by another run, which finds the tripwire itself."""
    run = workspace.export(steps=TEN)
    watch(workspace, "fan-59")
    workspace.ahead += 5 * HOUR
    workspace.sandbox.advance(5 * HOUR)
    assert approve(workspace, run).state is RunState.CANCELLED
    assert "Tripwire" in str(last(workspace).held_reason) and len(workspace.holders()) == 10


def test_ids_that_no_tripwire_can_have_are_refused(workspace: EngineWorkspace) -> None:
    """An empty one, and one longer than Mixpanel's."""
    for who in ("", " ", "x" * 1001):
        with pytest.raises(InvalidRequest):
            watch(workspace, who)
