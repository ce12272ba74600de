"""Disconnect an account or a project: nothing goes on by itself into what is not there, and the reasons shown stay true."""

from __future__ import annotations

import pytest

from sync.errors import InvalidRequest
from sync.model import RunState, SyncState, format_utc_time
from sync.service import Service
from sync.views import SyncView
from tests.engine_workspace import HOUR
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME
from tests.workspace import Workspace

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


def test_the_reason_names_what_is_still_missing_when_one_of_two_is_connected_again(fans: Workspace) -> None:
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
        disconnect(service, "Mixpanel")
    assert reason() == "Mixpanel was disconnected; connect it again, then resume."
