"""Disconnect an account or a project: nothing goes on by itself into what is not there, and the reasons shown stay true."""

from __future__ import annotations

import pytest

from sync.errors import ConfigurationError, InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState, format_utc_time
from sync.records import SyncView
from sync.service import Service
from sync.service.connections import name_account
from tests.engine_workspace import HOUR
from tests.sandbox.control import API_KEY, API_KEY_2, LICENSE, LICENSE_2, PROJECT, SECRET, USERNAME
from tests.workspace import Workspace, make_fans

SIDES = pytest.mark.parametrize("side", ["WebEngage", "Mixpanel"])


def disconnect(service: Service, side: str) -> tuple[SyncView, ...]:
    """Disconnect one side."""
    if side == "WebEngage":
        return service.connections.disconnect_webengage(LICENSE)
    return service.connections.disconnect_mixpanel(PROJECT)


def connect(fans: Workspace, service: Service, side: str) -> None:
    """Connect one side again."""
    if side == "WebEngage":
        service.connections.connect_webengage(LICENSE, API_KEY, fans.sandbox.url)
    else:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, fans.sandbox.url)


def check(service: Service, side: str) -> None:
    """Check the stored secret of one side."""
    if side == "WebEngage":
        service.connections.check_webengage(LICENSE)
    else:
        service.connections.check_mixpanel(PROJECT)


def work_later(fans: Workspace, seconds: float) -> None:
    """Let time go by, and a runner work."""
    fans.ahead += seconds
    fans.sandbox.advance(seconds)
    fans.run_queued()


@SIDES
@pytest.mark.parametrize("is_back", [False, True])
def test_a_pause_until_a_time_ends_with_a_person_once_a_side_was_disconnected(
    fans: Workspace, side: str, is_back: bool
) -> None:
    """A refresh could only fail; and who connects again is told to resume, so nothing may go on before that."""
    fans.export()
    with fans.open() as service:
        until = fans.now() + HOUR
        service.syncs.pause(1, until)
        assert [one.id for one in service.connections.list_affected_syncs()] == [1]
        assert [one.id for one in disconnect(service, side)] == [1]
        sync = service.syncs.get(1)
        assert sync.resume_at is None and sync.pause_reason == (
            f"{side} was disconnected; connect it again, then resume. It was paused until {format_utc_time(until)}."
        )
        assert [one.id for one in service.check_health().paused] == [1]
        if is_back:
            connect(fans, service, side)
    work_later(fans, 5 * HOUR)
    with fans.open() as service:
        assert len(service.runs.list()) == 1 and service.syncs.get(1).state is SyncState.PAUSED
        if not is_back:
            connect(fans, service, side)
        reason = service.syncs.get(1).pause_reason or ""
        assert reason.startswith(f"{side} was disconnected and is connected again; resume it to go on.")
        service.syncs.resume(1)
    fans.run_queued()
    with fans.open() as service:
        assert service.runs.list()[0].state is RunState.SUCCEEDED


@SIDES
def test_a_pause_until_a_time_is_refused_while_a_side_is_not_connected(fans: Workspace, side: str) -> None:
    """It would end by itself; without a time nothing does."""
    fans.export()
    with fans.open() as service:
        disconnect(service, side)
        with pytest.raises(InvalidRequest, match=r"is not connected"):
            service.syncs.pause(1, fans.now() + HOUR)
        assert service.syncs.get(1).resume_at is None
        service.syncs.pause(1)
        assert f"{side} was disconnected" in (service.syncs.get(1).pause_reason or "")


@SIDES
def test_a_pause_that_outlived_its_connection_does_not_end_by_itself(fans: Workspace, side: str) -> None:
    """Stored by an earlier version, or brought by a restore."""
    fans.export()
    with fans.open() as service:
        disconnect(service, side)
    with fans.open_store() as store:
        store.syncs.pause_sync(1, "Paused by a person.", fans.now() + HOUR)
    work_later(fans, 5 * HOUR)
    with fans.open() as service:
        sync = service.syncs.get(1)
        assert (sync.state, sync.resume_at, len(service.runs.list())) == (SyncState.PAUSED, None, 1)
        assert sync.pause_reason == f"{side} was disconnected; connect it again, then resume."


@SIDES
def test_the_reason_names_what_is_still_missing_when_one_of_two_is_connected_again(fans: Workspace, side: str) -> None:
    """“Connected again” is said only when resuming works, and no more once it does not."""
    fans.export()

    def reason() -> str:
        with fans.open() as service:
            return service.syncs.get(1).pause_reason or ""

    with fans.open() as service:
        disconnect(service, "Mixpanel")
        disconnect(service, "WebEngage")
        connect(fans, service, "Mixpanel")
    assert reason() == "WebEngage was disconnected; connect it again, then resume."
    with fans.open() as service:
        connect(fans, service, "WebEngage")
    assert reason() == "WebEngage was disconnected and is connected again; resume it to go on."
    with fans.open() as service:
        disconnect(service, side)
    assert reason() == f"{side} was disconnected; connect it again, then resume."


@SIDES
@pytest.mark.parametrize("stopped", [False, True], ids=["active", "stopped"])
def test_a_run_under_way_when_a_side_is_disconnected_is_cancelled(fans: Workspace, side: str, stopped: bool) -> None:
    """A runner has the secret in memory, also for the refresh of a sync that is stopped and so is not paused."""
    fans.export()
    with fans.open() as service:
        if stopped:
            service.syncs.stop(1)
        run_id = service.syncs.refresh_now(1).run_id
        assert len(disconnect(service, side)) == (not stopped)
        run = service.runs.get(run_id)
        assert run.cancel_requested or run.state is RunState.CANCELLED
        assert service.syncs.get(1).state is (SyncState.FINISHED if stopped else SyncState.PAUSED)


def test_a_sync_that_goes_nowhere_by_itself_keeps_its_reason_when_a_side_is_disconnected(fans: Workspace) -> None:
    """It is not one of those the question names, and why it is paused is still what has to be mended."""
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
        reason = service.syncs.get(1).pause_reason
        assert service.connections.list_affected_syncs(license_code=LICENSE) == ()
        assert disconnect(service, "WebEngage") == () and service.syncs.get(1).pause_reason == reason


def test_the_syncs_of_another_account_go_on_when_one_is_disconnected(fans: Workspace) -> None:
    """Only those that are sent there are paused, and only their runs are cancelled."""
    fans.export()
    other = fans.add_cohort(3, "Others")
    with fans.open() as service:
        service.connections.connect_webengage(LICENSE_2, API_KEY_2, fans.sandbox.url)
        service.connections.use_account(PROJECT, LICENSE_2)
    fans.export(other)
    with fans.open() as service:
        run_id = service.syncs.refresh_now(2).run_id
        assert [one.id for one in service.connections.list_affected_syncs(PROJECT, LICENSE)] == [1]
        assert [one.id for one in disconnect(service, "WebEngage")] == [1]
        assert service.syncs.get(2).state is SyncState.ACTIVE
    fans.run_queued()
    assert fans.get_run(run_id).state is RunState.SUCCEEDED


def test_the_syncs_of_another_project_go_on_when_one_is_disconnected(fans: Workspace) -> None:
    """Several projects export to one account; only those of the project that is gone are paused."""
    fans.export()
    fans.sandbox.add_project(77)
    other = fans.sandbox.add_cohort("Others", make_fans(3), project=77)
    with fans.open() as service:
        service.connections.connect_mixpanel(77, USERNAME, SECRET, fans.sandbox.url)
        run_id = service.syncs.start_export(77, other, ExportTerms(mode=Mode.DYNAMIC)).run_id
        assert [one.id for one in service.connections.list_affected_syncs(77, LICENSE)] == [2]
        assert [one.id for one in disconnect(service, "Mixpanel")] == [1]
        assert service.syncs.get(2).state is SyncState.ACTIVE
    fans.run_queued()
    assert fans.get_run(run_id).state is RunState.SUCCEEDED


@SIDES
@pytest.mark.parametrize("ended_by", ["connect", "disconnect"])
def test_a_refused_secret_is_called_so_until_another_is_connected_or_it_is_disconnected(
    fans: Workspace, side: str, ended_by: str
) -> None:
    """A person who has just put in a secret that works, or took the old one out, reads of no refusal."""
    fans.sandbox.fault("status", api=side.lower(), code=401, times=1)
    with fans.open() as service:
        with pytest.raises(ConfigurationError):
            check(service, side)
        (problem,) = service.connections.list_problems().values()
        assert "answered 401" in problem
        if ended_by == "connect":
            connect(fans, service, side)
        else:
            disconnect(service, side)
        assert service.connections.list_problems() == {}


def test_a_run_refused_before_the_last_check_is_no_problem_of_the_connection(fans: Workspace) -> None:
    """The sync stays paused until a person resumes it; its account works again, which the check has shown."""
    fans.sandbox.fault("status", api="webengage", path="bulk-users", code=401)
    fans.export()
    with fans.open() as service:
        assert "answered 401" in service.connections.list_problems()[name_account(LICENSE)]
        assert list(service.connections.list_problems()) == [name_account(LICENSE)]
        fans.ahead += 60.0
        service.connections.check_webengage(LICENSE)
        assert service.syncs.get(1).state is SyncState.PAUSED and service.connections.list_problems() == {}
        service.syncs.pause(1, fans.now() + HOUR)
        assert service.connections.list_problems() == {}


def test_an_account_that_is_not_connected_is_chosen_for_nothing(fans: Workspace) -> None:
    """A mistyped license code would send new exports nowhere."""
    with fans.open() as service:
        with pytest.raises(ConfigurationError, match="is not connected"):
            service.connections.use_account(PROJECT, "elsewhere")
        assert service.connections.list_projects()[0].license_code == LICENSE
        assert service.connections.use_account(PROJECT, f" {LICENSE} ").license_code == LICENSE
