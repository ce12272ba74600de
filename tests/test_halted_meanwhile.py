"""Stop, pause, cancel or take back an export while another person's request for it waits: nobody is sent after that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sync.config_file.parsing import parse_configuration
from sync.errors import CohortSyncError, InvalidRequest
from sync.guards import GuardLimits
from sync.model import SyncState
from sync.service import Service
from tests.sandbox.control import API_KEY, LICENSE, PROJECT
from tests.workspace import ATTRIBUTE, Workspace, click_button, page_text, wait_until

SLOW_MS = 1500  # how long the other side takes to answer, in milliseconds; never asserted
HALTED = "since you were shown it"


def clear(workspace: Workspace) -> None:
    """Stop the sync and set everybody to false, with the end of that run."""
    with workspace.open() as service:
        service.syncs.stop(1, clear=True)
    workspace.run_queued()


def take_back(workspace: Workspace) -> None:
    """Take back what the first run sent, with the end of that run."""
    with workspace.open() as service:
        undo_id = service.runs.undo(1).run_id
    workspace.run_queued()
    with workspace.open() as service:
        service.runs.approve(undo_id)
    workspace.run_queued()


def pause(workspace: Workspace) -> None:
    """Pause the sync."""
    with workspace.open() as service:
        service.syncs.pause(1)


def while_waiting(workspace: Workspace, work: Callable[[], object], path: str, act: Callable[[], object]) -> None:
    """Let something work, act while it waits for an answer from this path, and pass its exception on."""
    workspace.sandbox.fault("slow", path=path, ms=SLOW_MS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        wait_until(lambda: working.done() or workspace.sandbox.faults() == [])
        act()
        working.result()


@pytest.mark.parametrize("halt", [clear, pause])
def test_an_export_that_was_halted_while_start_sync_asked_mixpanel_is_not_started(
    fans: Workspace, halt: Callable[[Workspace], None]
) -> None:
    """The list of cohorts may take ten seconds; what was decided in them came last."""
    fans.export()
    with pytest.raises(InvalidRequest, match=HALTED):
        while_waiting(fans, fans.start_export, "cohorts/list", lambda: halt(fans))
    with fans.open() as service:
        assert service.syncs.get(1).state in (SyncState.FINISHED, SyncState.PAUSED)
        assert service.syncs.get(1).last_run.state.is_final


@pytest.mark.slow
@pytest.mark.parametrize("halt", [clear, take_back])
def test_a_dialog_that_was_open_while_the_export_was_halted_starts_it_at_the_second_click_only(
    fans: Workspace, halt: Callable[[Workspace], None]
) -> None:
    """Its fields are those of before; who reads the sentence and clicks once more means it."""
    fans.export()
    page = fans.page("cohorts", export=str(fans.cohort))
    halt(fans)
    click_button(page, "Start Sync")
    assert HALTED in page_text(page)
    assert fans.sandbox.holding(ATTRIBUTE)[0] == set()
    click_button(page, "Start Sync")
    fans.run_queued()
    assert len(fans.sandbox.holding(ATTRIBUTE)[0]) == 30


def write_file(workspace: Workspace, *lines: str) -> bytes:
    """Return a configuration that connects the account under another address, which waits, and changes the sync."""
    account = workspace.sandbox.url.replace("127.0.0.1", "localhost")
    sync = "".join(f"  {line}\n" for line in (f"cohort: {workspace.cohort}", "mode: dynamic", *lines))
    accounts = f"accounts:\n- license_code: {LICENSE}\n  data_center: {account}\n"
    return f"version: 1\n{accounts}syncs:\n- project: {PROJECT}\n{sync}".encode()


def apply(workspace: Workspace, content: bytes) -> None:
    """Apply a configuration."""
    env = workspace.env | {"WEBENGAGE_API_KEY": API_KEY}
    with Service(workspace.open_store(), env, workspace.now) as service:
        service.configuration.apply(parse_configuration(content), lambda _: [])


@pytest.mark.parametrize(
    ("before", "halt", "lines"),
    [
        (lambda _: None, clear, ("every: 1h", "mapping: [{property: $email, attribute: email}]")),
        (pause, take_back, ("state: active",)),
        (pause, pause, ("state: paused", "paused_until: 2099-01-01T00:00:00Z")),
    ],
    ids=["exported with other terms", "resumed", "paused until a time"],
)
def test_a_sync_that_was_halted_while_apply_connected_is_left_as_it_is(
    fans: Workspace,
    before: Callable[[Workspace], None],
    halt: Callable[[Workspace], None],
    lines: tuple[str, ...],
) -> None:
    """The file was compared with what was here; applied once more, it says what it would do to what is here now."""
    fans.export()
    before(fans)
    content = write_file(fans, *lines)
    with pytest.raises(CohortSyncError, match=HALTED):
        while_waiting(fans, lambda: apply(fans, content), "/users", lambda: halt(fans))
    with fans.open() as service:
        sync = service.syncs.get(1)
    assert sync.state is not SyncState.ACTIVE and sync.resume_at is None
    assert sync.last_run.state.is_final


def test_a_limit_that_was_changed_while_apply_connected_and_that_the_file_does_not_name_stays(fans: Workspace) -> None:
    """Only the limit of the file is changed."""
    fans.export()
    content = write_file(fans, "guard: {add_people: 7}")

    def lower() -> None:
        with fans.open() as service:
            service.guards.set_limits(1, GuardLimits(remove_people=3))

    while_waiting(fans, lambda: apply(fans, content), "/users", lower)
    with fans.open() as service:
        assert service.guards.get(1).limits == GuardLimits(add_people=7, remove_people=3)
