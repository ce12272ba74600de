"""Requests while a run is under way take effect, or are refused with a sentence; "Done" is never said for nothing."""

from __future__ import annotations

import json

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.service import Service
from tests.sandbox.control import PROJECT, Sandbox
from tests.workspace import ATTRIBUTE, Workspace, assert_refused, make_fans

PEOPLE = make_fans(60)


@pytest.mark.parametrize("command", ["resync", "retry"])
def test_resync_and_retry_while_a_run_is_under_way_are_refused_and_work_afterwards(
    connected: Workspace, sandbox: Sandbox, command: str
) -> None:
    """Exit 1 and a sentence that names the run; nothing was changed, so the same command works when it has ended."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    sandbox.poison("fan-7")
    connected.export_by_command(cohort)
    waiting = connected.read_json("sync-now", "1")["run_id"]
    assert_refused(connected.run_cli(command, "1"), f"Run {waiting} of this cohort is under way")
    assert json.loads(connected.run_cli("status", "--json").stdout)["rejected"] == 1  # nobody was forgiven
    sandbox.clear_faults()
    connected.read_json("cancel", str(waiting))
    before = sandbox.meter().users_delivered
    asked = connected.read_json(command, "1")
    assert (asked["done"], asked["started"], asked["run_id"]) == (True, True, waiting + 1)
    connected.export_by_command(cohort)
    assert sandbox.meter().users_delivered - before == (59 if command == "resync" else 1)
    assert sandbox.exportable(cohort) - sandbox.holding(ATTRIBUTE)[0] == ({"fan-7"} if command == "resync" else set())


def test_sync_now_while_a_run_has_yet_to_read_says_that_run(connected: Workspace, sandbox: Sandbox) -> None:
    """The run that waits will read the cohort as it is then: nothing is started twice, and that is said."""
    cohort = sandbox.add_cohort("Fans", PEOPLE)
    first = connected.read_json("export", str(cohort), "--mode", "dynamic")
    again = connected.read_json("sync-now", "1")
    assert (again["run_id"], again["started"]) == (first["run_id"], False)
    said = connected.run_cli("sync-now", "1").stdout
    assert "already under way" in said and "Done" not in said


def test_sync_now_while_a_run_sends_what_it_read_before_is_refused(fans: Workspace) -> None:
    """A run put off in the middle of sending does not see who entered since."""
    fans.sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run_id = fans.export().id
    with fans.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* under way"):
        service.syncs.refresh_now(1)


def hold_run(fans: Workspace) -> int:
    """Plan a dry run that is held until a person decides; return its number."""
    return fans.export(dry_run=True).id


@pytest.mark.parametrize("ask", ["refresh_now", "resync", "retry_rejected"])
def test_a_request_when_a_run_is_held_is_refused_with_what_to_do(fans: Workspace, ask: str) -> None:
    """A held run sends nothing by itself."""
    run_id = hold_run(fans)
    with fans.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* held .* approve or cancel"):
        getattr(service.syncs, ask)(1)


@pytest.mark.parametrize("dry", [True, False])
def test_an_export_while_a_run_is_held_is_refused(fans: Workspace, dry: bool) -> None:
    """Neither "is on its way" nor "already under way" would be true."""
    run_id = hold_run(fans)
    with fans.open() as service, pytest.raises(InvalidRequest, match=f"Run {run_id} .* held"):
        service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=dry))


@pytest.mark.parametrize("first", [True, False], ids=["dry first", "dry second"])
def test_an_export_when_a_dry_run_waits_is_not_taken_for_it(fans: Workspace, first: bool) -> None:
    """A dry run asked for while an export waits would send; an export while a dry run waits would not."""
    with fans.open() as service:
        run_id = service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=first)).run_id
        assert (
            service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=first)).run_id
            == run_id
        )
        with pytest.raises(InvalidRequest, match=f"Run {run_id} .* under way; nothing was changed"):
            service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=not first))


def test_an_interval_for_a_sync_that_is_finished_is_refused(fans: Workspace) -> None:
    """It was noted as changed, and nothing changed."""
    fans.export()
    with fans.open() as service:
        service.syncs.stop(1)
        with pytest.raises(InvalidRequest, match="finished"):
            service.syncs.change_interval(1, 900.0)


def test_an_approval_of_a_run_that_is_being_cancelled_is_refused(fans: Workspace) -> None:
    """The cancel goes first, so "it goes on" would not be true."""
    run_id = hold_run(fans)
    with fans.open_store() as store:
        store.runs.request_cancel(run_id)
    with fans.open() as service, pytest.raises(InvalidRequest, match="being cancelled"):
        service.runs.approve(run_id)


def test_a_one_time_export_with_an_interval_is_refused_by_the_service_too(fans: Workspace) -> None:
    """No caller gets round it; an interval that is ignored is a promise not kept."""
    with fans.open() as service, pytest.raises(InvalidRequest, match="never refreshed"):
        service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.ONE_TIME, interval=7200.0))


def changes(service: Service) -> list[tuple[str, str, str]]:
    """Return what the audit says was changed, oldest first."""
    return [(one.action, one.before, one.after) for one in reversed(service.admin.list_audit())]


def test_the_audit_when_a_sync_is_changed_has_its_settings_before_and_after(fans: Workspace) -> None:
    """Properties, mode, interval, account, attribute, guard and state of each change, and who asked."""
    base = "account sandbox1; attribute Mixpanel - Fans; "
    two_hours, hour = "dynamic, every 2 hours; ", "dynamic, every hour; "
    only, more = "membership only; ", "membership and $email as email, $phone as phone; "
    with fans.open() as service:
        service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC))
        service.syncs.start_export(
            PROJECT, fans.cohort, ExportTerms(mode=Mode.ONE_TIME)
        )  # changes the mode of the run that waits
    fans.run_queued()
    with fans.open() as service:
        service.syncs.start_export(
            PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=(("$email", "email"), ("$phone", "phone")))
        )
    fans.run_queued()
    with fans.open() as service:
        service.syncs.change_interval(1, 3600.0)
    fans.sandbox.set_members(fans.cohort, [])
    with fans.open() as service:
        service.syncs.refresh_now(1)
    fans.run_queued()
    with fans.open() as service:
        service.runs.approve(3, always=True)
        found = changes(service)
    on, off = "guard on; active", "guard off; active"
    assert [one for one in found if one[0] in ("export", "change", "change interval", "guard")] == [
        ("export", "", two_hours + base + only + on),
        ("change", two_hours + base + only + on, "one-time; " + base + only + on),
        ("export", "one-time; " + base + only + "guard on; finished", two_hours + base + more + on),
        ("change interval", two_hours + base + more + on, hour + base + more + on),
        ("guard", hour + base + more + on, hour + base + more + off),
    ]


def test_the_audit_when_a_paused_sync_is_paused_again_keeps_the_reason(fans: Workspace) -> None:
    """What it was before is what it was, not what it usually is."""
    fans.export()
    with fans.open_store() as store:
        store.syncs.pause_sync(1, "WebEngage was disconnected.")
    with fans.open() as service:
        service.syncs.pause(1)
        assert changes(service)[-1] == ("pause", "paused: WebEngage was disconnected.", "paused")


def test_the_audit_when_an_account_is_connected_again_has_the_former_data_center(fans: Workspace) -> None:
    """Another data center is another place data goes to."""
    with fans.open() as service:
        service.connections.check_webengage("sandbox1")
        line = next(one for one in service.admin.list_audit() if one.action == "connect WebEngage")
        assert line.before == fans.sandbox.url
        service.syncs.start_export(PROJECT, fans.cohort, ExportTerms(mode=Mode.DYNAMIC))
        service.connections.disconnect_webengage("sandbox1")
        assert service.admin.list_audit()[0].after == "1 sync paused: 1"
