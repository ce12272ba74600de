"""What is asked for while a run is under way happens, or is refused with a sentence: never "Done" for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import Mode
from sync.service import Service
from tests.conftest import Cli
from tests.sandbox.control import PROJECT, Sandbox
from tests.test_bad_input import refused
from tests.test_command_line import ATTRIBUTE, PEOPLE, answer, connected, export
from tests.test_maintenance import MaintenanceWorkspace, workspace

__all__ = ["connected", "workspace"]


@pytest.mark.parametrize("command", ["resync", "retry"])
def test_resync_and_retry_while_a_run_is_under_way_are_refused_and_work_afterwards(
    cli: Cli, connected: Path, sandbox: Sandbox, command: str
) -> None:
    """Exit 1 and a sentence that names the run; nothing was changed, so the same command works when it has ended."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.poison("fan-7")
    export(cli, connected, cohort)
    waiting = answer(cli, connected, "sync-now", "1")["run_id"]
    refused(cli(connected, command, "1"), f"Run {waiting} of this cohort is under way")
    assert json.loads(cli(connected, "status", "--json").stdout)["rejected"] == 1  # nobody was forgiven
    sandbox.clear_faults()
    answer(cli, connected, "cancel", str(waiting))
    before = sandbox.meter().users_delivered
    asked = answer(cli, connected, command, "1")
    assert (asked["done"], asked["started"], asked["run_id"]) == (True, True, waiting + 1)
    export(cli, connected, cohort)
    assert sandbox.meter().users_delivered - before == (59 if command == "resync" else 1)
    assert sandbox.exportable(cohort) - sandbox.holding(ATTRIBUTE)[0] == ({"fan-7"} if command == "resync" else set())


def test_sync_now_while_a_run_has_yet_to_read_says_that_run(cli: Cli, connected: Path, sandbox: Sandbox) -> None:
    """The run that waits will read the cohort as it is then: nothing is started twice, and that is said."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    first = answer(cli, connected, "export", str(cohort), "--mode", "dynamic")
    again = answer(cli, connected, "sync-now", "1")
    assert (again["run_id"], again["started"]) == (first["run_id"], False)
    said = cli(connected, "sync-now", "1").stdout
    assert "already under way" in said and "Done" not in said


def test_sync_now_while_a_run_sends_what_it_read_before_is_refused(workspace: MaintenanceWorkspace) -> None:
    """A run put off in the middle of sending does not see who entered since."""
    workspace.sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run_id = workspace.export()
    with workspace.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* under way"):
        service.sync_now(1)


def held(workspace: MaintenanceWorkspace) -> int:
    """A dry run that was planned and waits for a decision."""
    with workspace.open() as service:
        run_id = service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, dry_run=True).run_id
    workspace.work()
    return run_id


@pytest.mark.parametrize("ask", ["sync_now", "resync", "retry_rejected"])
def test_whatever_is_asked_while_a_run_is_held_is_refused_with_what_to_do(
    workspace: MaintenanceWorkspace, ask: str
) -> None:
    """A held run sends nothing by itself."""
    run_id = held(workspace)
    with workspace.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* held .* approve or cancel"):
        getattr(service, ask)(1)


@pytest.mark.parametrize("dry", [True, False])
def test_an_export_while_a_run_is_held_is_refused(workspace: MaintenanceWorkspace, dry: bool) -> None:
    """Neither "is on its way" nor "already under way" would be true."""
    run_id = held(workspace)
    with workspace.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* held"):
        service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, dry_run=dry)


@pytest.mark.parametrize("first", [True, False], ids=["dry first", "dry second"])
def test_a_dry_run_and_an_export_do_not_pass_for_each_other(workspace: MaintenanceWorkspace, first: bool) -> None:
    """A dry run asked for while an export waits would send; an export while a dry run waits would not."""
    with workspace.open() as service:
        run_id = service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, dry_run=first).run_id
        assert service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, dry_run=first).run_id == run_id
        with pytest.raises(InvalidRequest, match=f"Run {run_id} .* under way; nothing was changed"):
            service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, dry_run=not first)


def test_an_interval_for_a_sync_that_is_finished_is_refused(workspace: MaintenanceWorkspace) -> None:
    """It was noted as changed, and nothing changed."""
    workspace.export()
    with workspace.open() as service:
        service.stop(1)
        with pytest.raises(InvalidRequest, match="finished"):
            service.change_interval(1, 900.0)


def test_an_approval_of_a_run_that_is_being_cancelled_is_refused(workspace: MaintenanceWorkspace) -> None:
    """The cancel goes first, so "it goes on" would not be true."""
    run_id = held(workspace)
    with workspace.open() as service:
        service._store.runs.request_cancel(run_id)
        with pytest.raises(InvalidRequest, match="being cancelled"):
            service.approve(run_id)


def test_a_one_time_export_with_an_interval_is_refused_by_the_service_too(workspace: MaintenanceWorkspace) -> None:
    """Whoever asks; an interval that is ignored is a promise not kept."""
    with workspace.open() as service, pytest.raises(InvalidRequest, match="never refreshed"):
        service.start_export(PROJECT, workspace.cohort, Mode.ONE_TIME, interval=7200.0)


def changes(service: Service) -> list[tuple[str, str, str]]:
    """What the audit says was changed, oldest first."""
    return [(one.action, one.before, one.after) for one in reversed(service.list_audit())]


def test_the_audit_says_what_is_sent_to_whom_and_how_often_before_and_after(workspace: MaintenanceWorkspace) -> None:
    """Properties, mode, interval, account, attribute, guard and state of each change, by whoever asked."""
    base = "account sandbox1; attribute Mixpanel - Fans; "
    two_hours, hour = "dynamic, every 7200 s; ", "dynamic, every 3600 s; "
    only, more = "membership only; ", "membership and $email as email, $phone as phone; "
    with workspace.open() as service:
        service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC)
        service.start_export(PROJECT, workspace.cohort, Mode.ONE_TIME)  # changes the mode of the run that waits
    workspace.work()
    with workspace.open() as service:
        service.start_export(
            PROJECT, workspace.cohort, Mode.DYNAMIC, mapping=(("$email", "email"), ("$phone", "phone"))
        )
    workspace.work()
    with workspace.open() as service:
        service.change_interval(1, 3600.0)
    workspace.sandbox.set_members(workspace.cohort, [])
    with workspace.open() as service:
        service.sync_now(1)
    workspace.work()
    with workspace.open() as service:
        service.approve(3, always=True)
        found = changes(service)
    on, off = "guard on; active", "guard off; active"
    assert [one for one in found if one[0] in ("export", "change", "change interval", "guard")] == [
        ("export", "", two_hours + base + only + on),
        ("change", two_hours + base + only + on, "one-time; " + base + only + on),
        ("export", "one-time; " + base + only + "guard on; finished", two_hours + base + more + on),
        ("change interval", two_hours + base + more + on, hour + base + more + on),
        ("guard", hour + base + more + on, hour + base + more + off),
    ]


def test_the_audit_when_a_paused_sync_is_paused_again_keeps_the_reason(workspace: MaintenanceWorkspace) -> None:
    """What it was before is what it was, not what it usually is."""
    workspace.export()
    with workspace.open() as service:
        service._store.syncs.pause_sync(1, "WebEngage was disconnected.")
        service.pause(1)
        assert changes(service)[-1] == ("pause", "paused: WebEngage was disconnected.", "paused")


def test_the_audit_when_an_account_is_connected_anew_says_where_it_was(workspace: MaintenanceWorkspace) -> None:
    """Another data center is another place data goes to."""
    with workspace.open() as service:
        service.check_webengage("sandbox1")
        line = next(one for one in service.list_audit() if one.action == "connect WebEngage")
        assert line.before == workspace.sandbox.url
        service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC)
        service.disconnect_webengage("sandbox1")
        assert service.list_audit()[0].after == "1 syncs paused: 1"
