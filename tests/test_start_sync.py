"""Start Sync waits ten seconds and asks Mixpanel once, whatever Mixpanel does."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sync.errors import ApiError, InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
from tests.browser import connect, service
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import Workspace, click_button, page_text

LIST = "/api/query/cohorts/list"
PATIENCE = 1.5  # seconds, in place of ten
BEFORE_A_SECOND_TRY = PATIENCE + 2.5  # seconds; a second wait, or the client's usual 130 s, would be longer


@pytest.fixture
def cohort(workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> int:
    """Add a cohort whose list was read long ago, so that the old one is not fresh."""
    for module in ("syncs", "cohorts"):
        monkeypatch.setattr(f"sync.service.{module}.LIST_PATIENCE", PATIENCE)
    number = sandbox.add_cohort("Fans", [member("a")])
    connect(workspace.data_dir, sandbox)
    with service(workspace.data_dir) as here:
        here.cohorts.list()
    age_the_list(workspace)
    return number


def age_the_list(workspace: Workspace) -> None:
    """Let the list of cohorts be a thousand seconds old."""
    with closing(sqlite3.connect(workspace.data_dir / "app.db")) as db, db:
        db.execute("update mixpanel_project set cohorts_read_at = cohorts_read_at - 1000")


def queries(workspace: Workspace) -> int:
    """Return how many queries were taken from the project's hour; the sandbox counts one that was given up only later."""
    with closing(sqlite3.connect(workspace.data_dir / "app.db")) as db:
        return int(db.execute("select count(*) from mixpanel_query").fetchone()[0])


TROUBLE = {
    "slow": {"kind": "slow", "ms": 6_000},
    "silent": {"kind": "stall", "seconds": 6},
    "too many queries": {"kind": "status", "code": 429, "retry_after": 600},
    "broken": {"kind": "status", "code": 503},
    "garbled": {"kind": "garbled"},
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_start_sync_when_mixpanel_is_in_trouble_starts_with_the_last_list_after_one_query(
    workspace: Workspace, sandbox: Sandbox, cohort: int, trouble: dict[str, object]
) -> None:
    """One query, one wait; the run is queued all the same, and the next page does not wait for the list again."""
    sandbox.fault(path=LIST, times=0, **trouble)  # type: ignore[arg-type]
    before, began = queries(workspace), time.monotonic()
    with service(workspace.data_dir) as here:
        assert here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).started
        assert here.cohorts.list().problem
    assert time.monotonic() - began < BEFORE_A_SECOND_TRY
    assert queries(workspace) - before == 1


@pytest.mark.slow
def test_the_click_when_mixpanel_is_slow_waits_once_and_asks_once(
    workspace: Workspace, sandbox: Sandbox, cohort: int
) -> None:
    """What the dialog draws again around the click asks for nothing, nor does the page after it."""
    sandbox.fault("slow", path=LIST, ms=6_000, times=0)
    before, began = queries(workspace), time.monotonic()
    with service(workspace.data_dir) as here:
        proposal = here.cohorts.propose_export(PROJECT, cohort)
        assert here.cohorts.check_attribute(PROJECT, cohort, proposal.attribute) is None
        here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=proposal.mode, license_code=proposal.license_code))
        assert [one.name for one in here.cohorts.list(PROJECT).cohorts] == ["Fans"]
    assert time.monotonic() - began < BEFORE_A_SECOND_TRY
    assert queries(workspace) - before == 1


@pytest.mark.slow
def test_the_page_when_the_list_is_old_and_mixpanel_slow_shows_the_last_one(
    workspace: Workspace, sandbox: Sandbox, cohort: int
) -> None:
    """Only a person who asks for a new list, or who has none, waits longer."""
    sandbox.fault("slow", path=LIST, ms=6_000, times=0)
    began = time.monotonic()
    with service(workspace.data_dir) as here:
        assert "did not answer" in str(here.cohorts.list().problem) or "timed out" in str(here.cohorts.list().problem)
        assert time.monotonic() - began < BEFORE_A_SECOND_TRY
        sandbox.clear_faults()
        sandbox.fault("slow", path=LIST, ms=2_500, times=1)
        assert here.cohorts.list(fresh=True).problem is None


def test_the_button_when_the_preview_failed_does_not_ask_for_it_again(
    workspace: Workspace, sandbox: Sandbox, cohort: int
) -> None:
    """A preview that Mixpanel could not give is said once; the click is for Start Sync alone."""
    sandbox.fault("status", path="/api/query/engage", code=503, times=0)
    dialog = workspace.page("cohorts", export=str(cohort))
    assert "503" in page_text(dialog)
    asked = sandbox.meter().requests["/api/query/engage"]
    click_button(dialog, "Start Sync")
    assert sandbox.meter().requests["/api/query/engage"] == asked
    with service(workspace.data_dir) as here:
        assert len(here.runs.list()) == 1


def test_a_cohort_that_is_nowhere_costs_one_query(workspace: Workspace, sandbox: Sandbox, cohort: int) -> None:
    """A list just read is not read again to look for what it does not have."""
    before = queries(workspace)
    with service(workspace.data_dir) as here:
        with pytest.raises(InvalidRequest, match="does not list a cohort 999"):
            here.syncs.start_export(PROJECT, 999, ExportTerms(mode=Mode.DYNAMIC))
        age_the_list(workspace)
        with pytest.raises(InvalidRequest, match="does not list a cohort 999"):
            here.cohorts.preview(PROJECT, 999)
    assert queries(workspace) - before == 2


@contextmanager
def dripping(answer: bytes) -> Iterator[str]:
    """Serve an answer byte by byte, so that no single wait is ever long."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                for byte in answer:
                    if ended.wait(0.2):
                        return
                    try:
                        caller.send(bytes((byte,)))
                    except OSError:
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nX-Wait: " + b"x" * 200, b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 200],
    ids=["head", "body"],
)
def test_start_sync_when_the_answer_drips_ends_its_wait_all_the_same(
    workspace: Workspace, sandbox: Sandbox, cohort: int, answer: bytes
) -> None:
    """The wait is over by the clock, not by the gaps between bytes, in the head of the answer too."""
    with dripping(answer) as url, service(workspace.data_dir) as here:
        with closing(sqlite3.connect(workspace.data_dir / "app.db")) as db, db:
            db.execute("update mixpanel_project set region = ?", (url,))
        began = time.monotonic()
        assert here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).started
        assert time.monotonic() - began < BEFORE_A_SECOND_TRY
        assert "did not answer" in str(here.cohorts.list().problem)


def test_a_list_that_failed_is_asked_for_again_when_a_person_asks(
    workspace: Workspace, sandbox: Sandbox, cohort: int
) -> None:
    """For a minute the last failure is shown without a query; "Refresh list" and a new connection ask at once."""
    sandbox.fault("status", path=LIST, code=503, times=1)
    with service(workspace.data_dir) as here:
        assert here.cohorts.list().problem and here.cohorts.list().problem
        before = queries(workspace)
        assert here.cohorts.list(fresh=True).problem is None
        assert queries(workspace) - before == 1
        age_the_list(workspace)
        sandbox.fault("status", path=LIST, code=503, times=1)
        assert here.cohorts.list().problem
        here.connections.check_mixpanel(PROJECT)
        assert here.cohorts.list().problem is None


@pytest.mark.slow
def test_the_first_list_when_it_cannot_be_read_is_an_error_at_once(
    workspace: Workspace, sandbox: Sandbox, cohort: int
) -> None:
    """Without any list there is nothing to trust."""
    with closing(sqlite3.connect(workspace.data_dir / "app.db")) as db, db:
        db.execute("update mixpanel_project set cohorts_read_at = null")
    sandbox.fault("slow", path=LIST, ms=6_000, times=0)
    began = time.monotonic()
    with service(workspace.data_dir) as here, pytest.raises(ApiError, match=r"answer|timed out"):
        here.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
    assert time.monotonic() - began < BEFORE_A_SECOND_TRY
