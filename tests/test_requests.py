"""Requests and approvals, and the owner of each attribute."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.cadence import DailyTime
from sync.engine import Clock, RunExecutor
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from sync.store import Store
from tests.conftest import Cli
from tests.engine_workspace import (
    DAY,
    HOUR,
    MAPPED,
    EngineWorkspace,
    fan_ids,
    fans,
    last,
    later,
    on_plan,
    patient_workspace,
)
from tests.sandbox.control import PROJECT, Sandbox, member


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder."""
    return patient_workspace(data_dir, sandbox)


# One attribute, one owner --------------------------------------------------------------------------------------------


def test_an_attribute_has_one_owner_whatever_its_case(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Membership of another sync, another property, another cohort's name: refused, and the owner is named."""
    workspace.set_members(on_plan("fan-1", "gold"))
    other = sandbox.add_cohort("Others", [on_plan("fan-2", "x")])
    with workspace.open() as service:
        service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, attribute="VIP", mapping=(("plan", "Plan"),))
        )
        for wanted, named in (
            ({"mapping": (("churned", "vip"),)}, "Fans"),
            ({"mapping": (("tier", "PLAN"),)}, "“plan”"),
            ({"attribute": "plan"}, "“plan”"),
            ({"attribute": "vip"}, "Fans"),
            ({"attribute": "Other", "mapping": (("x", "other"),)}, "own attribute"),
            ({"mapping": (("x", "A"), ("y", "a"))}, "two properties"),
            ({"mapping": (("x", "A"), ("x", "B"))}, "two attributes"),
        ):
            with pytest.raises(InvalidRequest, match=named):
                service.syncs.start_export(PROJECT, other, ExportTerms(mode=Mode.DYNAMIC, **wanted))  # type: ignore[arg-type]
        assert service.syncs.start_export(
            PROJECT, other, ExportTerms(mode=Mode.DYNAMIC, attribute="Other", mapping=(("plan", "Plan"),))
        ).started


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"mapping": (("plan", "smsOptIn"),)}, "“smsOptIn” is an opt-in"),
        ({"interval": 60.0}, "at most every 5 minutes"),
        ({"interval": 31 * DAY}, "at least every 30 days"),
        ({"interval": 7200.0, "daily": DailyTime("07:30", "UTC")}, "a time of day or at an interval"),
        ({"mode": Mode.ONE_TIME, "interval": 7200.0}, "has no interval"),
        ({"mode": Mode.ONE_TIME, "ends_at": 9e9}, "no time of day and no end"),
    ],
)
def test_an_export_that_cannot_be_is_refused_by_the_service_and_stores_nothing(
    workspace: EngineWorkspace, wanted: dict[str, Any], words: str
) -> None:
    """Whoever asks: what the pages and commands do not offer is refused below them, too."""
    workspace.set_members(on_plan("fan-1", "gold"))
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match=words):
            service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(**{"mode": Mode.DYNAMIC} | wanted))
        assert not service.syncs.list() and not service.runs.list()


@pytest.mark.parametrize("seconds", [60.0, 31 * DAY])
def test_an_interval_out_of_bounds_is_refused_and_the_former_one_stays(
    workspace: EngineWorkspace, seconds: float
) -> None:
    """Five minutes to thirty days, as for a new sync."""
    workspace.set_members(on_plan("fan-1", "gold"))
    workspace.start_export()
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="at least every 30 days and at most every 5 minutes"):
            service.syncs.change_interval(1, seconds)
        assert service.syncs.get(1).interval_seconds == 7200.0


# Requests and approvals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ended", "code"), [("cancelled", 0), ("failed", 418), ("failed", 404), ("failed", 401)])
def test_a_dry_run_nobody_approved_changes_nothing(
    workspace: EngineWorkspace, sandbox: Sandbox, ended: str, code: int
) -> None:
    """Not the mode, not the mapping, not the schedule, nor is it paused, however it ended; the next refresh is what it was."""
    workspace.set_members(on_plan("fan-1", "gold"))
    workspace.export()
    with workspace.open_store() as store:
        before = store.syncs.get_sync(1)
    if ended == "failed":
        sandbox.fault("status", path="engage", code=code)
    with workspace.open() as service:
        run_id = service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.ONE_TIME, dry_run=True, mapping=MAPPED)
        ).run_id
    workspace.run_queued()
    with workspace.open() as service, workspace.open_store() as store:
        if ended == "cancelled":
            service.runs.cancel(run_id)
        after = store.syncs.get_sync(1)
        assert (
            before
            and after
            and (after.mode, after.state, after.interval_seconds, after.schedule_anchor, after.mapping)
            == (
                before.mode,
                before.state,
                before.interval_seconds,
                before.schedule_anchor,
                before.mapping,
            )
        )
        assert service.runs.get(run_id).state.value == ended


def test_an_approved_dry_run_is_taken_over(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """What was held becomes the sync's mode, interval and mapping with the approval, and not before."""
    workspace.set_members(on_plan("fan-1", "gold"))
    with workspace.open() as service:
        run_id = service.syncs.start_export(
            PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, interval=900.0, dry_run=True, mapping=MAPPED)
        ).run_id
    workspace.run_queued()
    with workspace.open() as service:
        assert (service.syncs.get(1).mode, service.syncs.get(1).state.value) == (Mode.ONE_TIME, "finished")
        service.runs.approve(run_id)
    workspace.run_queued()
    with workspace.open() as service:
        sync = service.syncs.get(1)
    assert (sync.mode, sync.interval_seconds, sync.state.value) == (
        Mode.DYNAMIC,
        900.0,
        "active",
    ) and workspace.holders() == {"fan-1"}
    profile = sandbox.profile("fan-1")
    assert profile is not None and profile["attributes"]["Plan"] == "gold"


def test_a_mapping_can_be_taken_back(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """An empty mapping sends the membership alone from then on."""
    workspace.set_members(on_plan("fan-1", "gold"))
    workspace.export(mapping=MAPPED)
    workspace.export(mapping=())
    workspace.set_members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    workspace.export()
    profile = sandbox.profile("fan-2")
    assert profile is not None and "Plan" not in profile["attributes"]


@pytest.mark.slow
def test_an_approved_plan_that_is_old_is_made_again(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The same people: it goes ahead; people it did not name: it is held again with both sets of numbers."""
    workspace.set_members(*fans(*range(20)))
    for strangers in (False, True):
        run = workspace.export(dry_run=True)
        if strangers:
            workspace.set_members(*fans(*range(5, 25)))
        workspace.ahead += 9 * DAY
        sandbox.advance(9 * DAY)
        with workspace.open() as service:
            service.runs.approve(run.id)
        workspace.run_queued()
        run = workspace.get_run(run.id)
        if strangers:
            assert run.state is RunState.HELD and "Approved: no changes" in str(run.held_reason)
            assert "10 people were not in the approved plan" in str(run.held_reason)
            with workspace.open() as service:
                service.runs.approve(run.id)
            workspace.run_queued()
        assert workspace.get_run(run.id).state is RunState.SUCCEEDED
        assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_another_interval_that_was_chosen_before_the_export_went_ahead_stays(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The next run goes on with the request that failed, and with the times chosen since."""
    workspace.set_members(*fans(*range(10)))
    sandbox.fault("status", api="mixpanel", path="engage", code=401, times=1)
    assert workspace.export(interval=2 * HOUR).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.change_interval(1, 0, DailyTime("07:30", "Europe/Berlin"), 2088968462.602746)
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED
    with workspace.open() as service:
        sync = service.syncs.get(1)
        assert (sync.daily, sync.ends_at) == (DailyTime("07:30", "Europe/Berlin"), 2088968462.602746)


def test_a_one_time_export_that_failed_gets_no_time_of_day_from_its_dynamic_sync(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The next run goes on with the one-time export as it was asked for, and ends the sync."""
    workspace.set_members(*fans(*range(10)))
    workspace.export(interval=2 * HOUR)
    sandbox.fault("status", api="mixpanel", path="engage", code=401, times=1)
    assert workspace.export(mode=Mode.ONE_TIME).state is RunState.FAILED
    with workspace.open() as service:
        service.syncs.change_interval(1, 0, DailyTime("07:30", "Europe/Berlin"))
        service.syncs.resume(1)
    workspace.run_queued()
    assert last(workspace).state is RunState.SUCCEEDED
    with workspace.open() as service:
        sync = service.syncs.get(1)
        assert (sync.mode, sync.state, sync.daily) == (Mode.ONE_TIME, SyncState.FINISHED, None)


def test_a_stopped_sync_that_is_exported_again_is_active(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Even while a manual refresh is under way, which would have left it finished."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    with workspace.open() as service:
        service.syncs.stop(1)
        service.syncs.refresh_now(1)
        assert service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).started is False
    workspace.run_queued()
    with workspace.open() as service:
        assert service.syncs.get(1).state.value == "active"


def test_start_sync_while_a_refresh_is_being_sent_changes_the_sync_at_once(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The plan has gone ahead; how often is asked for now, and counts from now, not when the run ends."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    workspace.set_members(*fans(*range(6)))
    sandbox.fault("status", path="bulk-users", code=503, times=1)
    began: list[float] = []

    def ask(seconds: float) -> None:
        workspace.ahead += seconds
        if threading.current_thread() is threading.main_thread() and last(workspace).state is RunState.DELIVERING:
            with workspace.open() as service:
                terms = ExportTerms(mode=Mode.DYNAMIC, interval=3600.0)
                assert service.syncs.start_export(PROJECT, workspace.cohort, terms).started is False
                assert service.syncs.get(1).interval_seconds == 3600.0
            began.append(workspace.now())

    with workspace.open() as service:
        service.syncs.refresh_now(1)
    context = replace(workspace.context(), clock=Clock(workspace.now, ask))
    with Store.open(workspace.data_dir) as store:
        claimed = store.runs.claim_run("me", workspace.now())
        assert claimed is not None
        RunExecutor(store, claimed, "me", context).execute()
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(6))
    with workspace.open() as service:
        assert service.syncs.get(1).next_run_at == pytest.approx(began[0] + 3600.0, abs=1.0)


@pytest.mark.slow
def test_a_leaver_whose_exit_was_rejected_is_in_no_list(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """They stand rejected, and are not among the unchanged of the next run."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    sandbox.poison("fan-4")
    workspace.set_members(*fans(*range(4)), *fans(7))
    workspace.export()
    workspace.set_members(*fans(*range(4)), *fans(7, 8))
    run = workspace.export()
    with workspace.open() as service:
        assert "fan-4" not in {row.user_id for row in service.runs.iterate_export_rows(run.id)}


def leave_rejected(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Let fan-4 leave, WebEngage reject that once, and later take everything again."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    sandbox.poison("fan-4")
    workspace.set_members(*fans(*range(4)))
    assert workspace.export().rejected == 1 and "fan-4" in workspace.holders()
    sandbox.clear_faults()


def test_who_comes_back_after_a_rejected_removal_is_removed_when_they_leave_again(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Leaving again is another change than the one that was rejected; while they are in, nothing stands rejected."""
    leave_rejected(workspace, sandbox)
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    with workspace.open() as service:
        assert service.check_health().rejected == 0
    workspace.set_members(*fans(*range(4)))
    assert (workspace.export().exited, "fan-4" in workspace.holders()) == (1, False)


def test_who_is_put_on_the_never_export_list_is_removed_also_after_a_rejected_removal(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The list promises false with the next run, so it is tried once more, for these people only."""
    leave_rejected(workspace, sandbox)
    assert workspace.export().change_count == 0
    with workspace.open() as service:
        service.safety.add_never_export(None, ["fan-4"])
    assert (workspace.export().exited, "fan-4" in workspace.holders()) == (1, False)


def test_a_failed_resync_is_resumed_as_a_resync(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Everybody is sent again, although the first try failed before its plan."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    sandbox.fault("status", path="engage", code=403)
    with workspace.open() as service:
        service.syncs.resync(1)
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert (last(workspace).purpose, last(workspace).updated) == ("resync", 5)


def test_someone_taken_unheard_and_then_rejected_is_remembered(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """WebEngage took them without our hearing it: when they leave, they are sent false."""
    workspace.set_members(*fans(1, 2))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", path="bulk-users", code=503, times=50, retry_after=300)
    workspace.export()
    sandbox.clear_faults()
    sandbox.poison("fan-1")
    later(workspace, 400)
    sandbox.clear_faults()
    assert last(workspace).rejected == 1
    workspace.set_members(*fans(2))
    workspace.export()
    assert workspace.holders() == {"fan-2"}


def test_a_refused_value_costs_nobody_the_membership(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A lone rejection is tried once more with the membership alone, and that is said."""
    workspace.set_members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    sandbox.fault("status", path="bulk-users", code=400, times=2)  # the batch of both, and fan-1 alone
    run = workspace.export(mapping=MAPPED)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, 2, 0)
    assert workspace.holders() == {"fan-1", "fan-2"}
    with workspace.open() as service:
        assert [one.outcome for one in service.runs.list_rejections(run.id)] == ["membership only"]


def test_a_property_is_unmapped_and_a_guard_put_back_by_command(
    workspace: EngineWorkspace, sandbox: Sandbox, cli: Cli
) -> None:
    """`export --unmap` leaves one property out and keeps the others; `guard --reset` holds again."""
    workspace.set_members(member("fan-1", plan="gold", tier="a"))
    workspace.export(mapping=(("plan", "Plan"), ("tier", "Tier")))
    arguments = ("export", str(workspace.cohort), "--mode", "dynamic", "--unmap")
    assert cli(workspace.data_dir, *arguments, "nothing").returncode == 1
    assert cli(workspace.data_dir, *arguments, "plan", "--wait").returncode == 0
    with workspace.open() as service, workspace.open_store() as store:
        assert service.cohorts.propose_export(PROJECT, workspace.cohort).mapping == (("tier", "Tier"),)
        store.syncs.set_guard(1, False)
    assert "lifted" in cli(workspace.data_dir, "guard", "1").stdout
    assert '"enabled": true' in cli(workspace.data_dir, "guard", "1", "--reset", "--json").stdout


def test_a_cohort_whose_pages_never_fit_the_hour_is_refused_before_the_export(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """While pages are known to count as queries, 60 pages cannot be read; the refusal says what to do."""
    sandbox.settings(page_size=1000)
    cohort = sandbox.generate("Large", 60_000)
    with workspace.open() as service, workspace.open_store() as store:
        service.cohorts.list(PROJECT, fresh=True)
        store.rate_limits.block_until(PROJECT, 0.0, pages_count=True, now=workspace.now())
        with pytest.raises(InvalidRequest, match="COHORT_SYNC_PAGE_SIZE"):
            service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        workspace.ahead = DAY + 1
        assert service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).started
