"""What is asked for while a run is under way happens, or is refused with a sentence: never "Done" for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync.errors import Refused
from sync.model import Mode
from sync.service import Service
from tests.conftest import Cli
from tests.sandbox.control import PROJECT, Sandbox
from tests.test_bad_input import refused
from tests.test_command_line import ATTRIBUTE, PEOPLE, answer, connected, export
from tests.test_keeping import Desk, desk

__all__ = ["connected", "desk"]


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


def test_sync_now_while_a_run_sends_what_it_read_before_is_refused(desk: Desk) -> None:
    """A run put off in the middle of sending does not see who entered since."""
    desk.sandbox.fault("status", path="bulk-users", code=429, retry_after=300, times=0)
    run_id = desk.export()
    with desk.open() as service, pytest.raises(Refused, match=f"Run {run_id} .* under way"):
        service.sync_now(1)


def held(desk: Desk) -> int:
    """A dry run that was planned and waits for a decision."""
    with desk.open() as service:
        run_id = service.export(PROJECT, desk.cohort, Mode.DYNAMIC, dry=True).run_id
    desk.work()
    return run_id


@pytest.mark.parametrize("ask", ["sync_now", "resync", "retry_rejected"])
def test_whatever_is_asked_while_a_run_is_held_is_refused_with_what_to_do(desk: Desk, ask: str) -> None:
    """A held run sends nothing by itself."""
    run_id = held(desk)
    with desk.open() as service, pytest.raises(Refused, match=f"Run {run_id} .* held .* approve or cancel"):
        getattr(service, ask)(1)


@pytest.mark.parametrize("dry", [True, False])
def test_an_export_while_a_run_is_held_is_refused(desk: Desk, dry: bool) -> None:
    """Neither "is on its way" nor "already under way" would be true."""
    run_id = held(desk)
    with desk.open() as service, pytest.raises(Refused, match=f"Run {run_id} .* held"):
        service.export(PROJECT, desk.cohort, Mode.DYNAMIC, dry=dry)


@pytest.mark.parametrize("first", [True, False], ids=["dry first", "dry second"])
def test_a_dry_run_and_an_export_do_not_pass_for_each_other(desk: Desk, first: bool) -> None:
    """A dry run asked for while an export waits would send; an export while a dry run waits would not."""
    with desk.open() as service:
        run_id = service.export(PROJECT, desk.cohort, Mode.DYNAMIC, dry=first).run_id
        assert service.export(PROJECT, desk.cohort, Mode.DYNAMIC, dry=first).run_id == run_id
        with pytest.raises(Refused, match=f"Run {run_id} .* under way; nothing was changed"):
            service.export(PROJECT, desk.cohort, Mode.DYNAMIC, dry=not first)


def test_an_interval_for_a_sync_that_is_finished_is_refused(desk: Desk) -> None:
    """It was noted as changed, and nothing changed."""
    desk.export()
    with desk.open() as service:
        service.stop(1)
        with pytest.raises(Refused, match="finished"):
            service.change_interval(1, 900.0)


def test_an_approval_of_a_run_that_is_being_cancelled_is_refused(desk: Desk) -> None:
    """The cancel goes first, so "it goes on" would not be true."""
    run_id = held(desk)
    with desk.open() as service:
        service._store.runs.want_cancel(run_id)
        with pytest.raises(Refused, match="being cancelled"):
            service.approve(run_id)


def test_a_one_time_export_with_an_interval_is_refused_by_the_service_too(desk: Desk) -> None:
    """Whoever asks; an interval that is ignored is a promise not kept."""
    with desk.open() as service, pytest.raises(Refused, match="never refreshed"):
        service.export(PROJECT, desk.cohort, Mode.ONE_TIME, every=7200.0)


def changes(service: Service) -> list[tuple[str, str, str]]:
    """What the audit says was changed, oldest first."""
    return [(one.what, one.before, one.after) for one in reversed(service.audit())]


def test_the_audit_says_what_is_sent_to_whom_and_how_often_before_and_after(desk: Desk) -> None:
    """Properties, mode, interval, account, attribute, guard and state of each change, by whoever asked."""
    base = "account sandbox1; attribute Mixpanel - Fans; "
    two_hours, hour = "dynamic, every 7200 s; ", "dynamic, every 3600 s; "
    only, more = "membership only; ", "membership and $email as email, $phone as phone; "
    with desk.open() as service:
        service.export(PROJECT, desk.cohort, Mode.DYNAMIC)
        service.export(PROJECT, desk.cohort, Mode.ONE_TIME)  # changes the mode of the run that waits
    desk.work()
    with desk.open() as service:
        service.export(PROJECT, desk.cohort, Mode.DYNAMIC, mapping=(("$email", "email"), ("$phone", "phone")))
    desk.work()
    with desk.open() as service:
        service.change_interval(1, 3600.0)
    desk.sandbox.set_members(desk.cohort, [])
    with desk.open() as service:
        service.sync_now(1)
    desk.work()
    with desk.open() as service:
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


def test_the_audit_when_a_paused_sync_is_paused_again_keeps_the_reason(desk: Desk) -> None:
    """What it was before is what it was, not what it usually is."""
    desk.export()
    with desk.open() as service:
        service._store.syncs.pause(1, "WebEngage was disconnected.")
        service.pause(1)
        assert changes(service)[-1] == ("pause", "paused: WebEngage was disconnected.", "paused")


def test_the_audit_when_an_account_is_connected_anew_says_where_it_was(desk: Desk) -> None:
    """Another data center is another place data goes to."""
    with desk.open() as service:
        service.check_webengage("sandbox1")
        line = next(one for one in service.audit() if one.what == "connect WebEngage")
        assert line.before == desk.sandbox.url
        service.export(PROJECT, desk.cohort, Mode.DYNAMIC)
        service.disconnect_webengage("sandbox1")
        assert service.audit()[0].after == "1 syncs paused: 1"
