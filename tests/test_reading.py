"""Decide who is in a cohort and who has left it, whatever Mixpanel's pages say."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.export_terms import ExportTerms
from sync.model import Mode, RunState, SyncState
from tests.engine_workspace import (
    HOUR,
    MAPPED,
    EngineWorkspace,
    expect_held,
    fans,
    last,
    later,
    on_plan,
    patient_workspace,
)
from tests.sandbox.control import PROJECT, Sandbox, odd
from tests.sandbox.odd import ID, IDS, NUMBERS, ROW, STRINGS
from tests.sandbox.readings import READINGS


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder."""
    return patient_workspace(data_dir, sandbox)


@pytest.fixture
def exported(workspace: EngineWorkspace) -> EngineWorkspace:
    """Return a data folder with an exported cohort of 48, on five pages."""
    workspace.set_members(*fans(*range(48)))
    workspace.export()
    return workspace


# Who is in, and who leaves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [9, 10, 35, 40])
@pytest.mark.parametrize("reading_name", ["total_of_the_page", "no_total", "shuffled_members"])
def test_a_cohort_is_read_whole_whatever_its_totals_count(
    workspace: EngineWorkspace, sandbox: Sandbox, reading_name: str, people: int
) -> None:
    """While a page is full the next one is asked for; a refresh then removes exactly who left.

    Without a total, a reading that ends with an empty page is approved by a person before anybody leaves.
    """
    kind = READINGS[reading_name](random.Random(1), [])
    sandbox.settings(**kind.settings | {"page_size": 10})
    workspace.set_members(*fans(*range(people)))
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)
    workspace.set_members(*fans(*range(3, people + 3)))
    ends_with_an_empty_page = people % 10 == 0 and reading_name != "shuffled_members"
    run = workspace.export()
    assert run.state is (RunState.HELD if ends_with_an_empty_page else RunState.SUCCEEDED)
    if ends_with_an_empty_page:
        with workspace.open() as service:
            service.runs.approve(run.id)
        workspace.run_queued()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@pytest.mark.parametrize("shape", ["empty_page", "short_page", "displaced"])
@pytest.mark.parametrize("untold", ["nothing", "total"])
def test_a_member_missing_from_one_reading_only_stays(
    workspace: EngineWorkspace, sandbox: Sandbox, shape: str, untold: str
) -> None:
    """Two readings with two different gaps: nobody leaves who is in either of them."""
    workspace.set_members(*fans(*range(48)))
    workspace.export()
    sandbox.settings(untold=untold)
    sandbox.fault(shape, page=4, by=3)
    run = workspace.export()
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 0)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_cohort_that_is_cut_off_in_both_readings_without_a_total_holds_the_run(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Nothing says that more members follow the empty pages: a person decides, and nobody has left until then."""
    sandbox.settings(untold="total")
    sandbox.fault("empty_page", page=3, times=2)
    sandbox.fault("empty_page", page=4, times=2)
    expect_held(exported, sandbox, "ended with an empty page after 30 members, twice; 18")


@pytest.mark.parametrize(
    "settings", [{"untold": "total"}, {"untold": "page_size and total"}, {"total": "page"}], ids=str
)
@pytest.mark.parametrize(
    ("shape", "page", "listed"), [("short_page", 1, 43), ("short_page", 3, 43), ("empty_page", 2, 38)]
)
def test_the_same_odd_page_in_both_readings_without_a_total_holds_the_run(
    exported: EngineWorkspace, sandbox: Sandbox, settings: dict[str, str], shape: str, page: int, listed: int
) -> None:
    """Members came after a page that was not full, so some are missing from it: nobody leaves without a person."""
    sandbox.settings(**settings)
    sandbox.fault(shape, page=page, times=2)
    expect_held(exported, sandbox, f"than on one after it ({listed} in all), twice; {48 - listed}")


def test_a_first_page_that_is_short_without_a_total_makes_nobody_leave(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It looks like the whole cohort; since 43 would leave, it is read again, and the page behind it is asked for."""
    sandbox.settings(untold="total")
    sandbox.fault("short_page", page=0, times=2)
    expect_held(exported, sandbox, "(43 in all), twice; 5 would be removed")


@pytest.mark.parametrize(("people", "shape"), [(8, "short_page"), (15, "short_page"), (25, "empty_page")])
def test_a_first_page_that_is_short_without_a_total_is_read_again_when_the_preview_had_more(
    workspace: EngineWorkspace, sandbox: Sandbox, people: int, shape: str
) -> None:
    """Nothing else says that a first export lacks people; where the cohort has shrunk, it costs a few queries."""
    sandbox.settings(untold="total")
    workspace.set_members(*fans(*range(people)))
    sandbox.fault(shape, page=0)
    run = workspace.export(previewed=people)
    assert (run.state, run.entered, run.reading) == (RunState.SUCCEEDED, people, 2)
    workspace.set_members(*fans(*range(people + 1)))
    assert (workspace.export(previewed=people).reading, workspace.holders()) == (
        1,
        sandbox.exportable(workspace.cohort),
    )


@pytest.mark.parametrize("page", [2, 4])
def test_a_session_that_ends_behind_a_short_page_starts_the_reading_over(
    exported: EngineWorkspace, sandbox: Sandbox, page: int
) -> None:
    """The total announces the page that is refused, so it exists: asking for it again in the same session is in vain."""
    before = sandbox.meter().requests["/api/query/engage"]
    sandbox.fault("short_page", page=page - 1)
    sandbox.fault("expired_session", page=page)
    run = exported.export()
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 0)
    assert sandbox.meter().requests["/api/query/engage"] - before <= 10


@pytest.mark.slow
def test_somebody_forgotten_while_a_cohort_is_read_is_not_left_out(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Their page holds a hash only, since they were in the snapshot: it is read again, and they are sent as new."""
    workspace.set_members(*fans(*range(48)))
    workspace.export()
    sandbox.fault("status", path="engage", page=3, code=503, times=3)
    workspace.set_members(*fans(*range(49)))
    later(workspace, 7300)
    assert last(workspace).wait_reason is not None
    with workspace.open() as service, workspace.open_store() as store:
        assert service.admin.forget_person("fan-3").places > 0
        assert store.snapshot.count_members(1) == 47
    later(workspace, 400)
    run = last(workspace)
    assert (run.state, run.entered, run.exited) == (RunState.SUCCEEDED, 2, 0)
    with workspace.open_store() as store:
        assert store.snapshot.count_members(1) == 49


def test_a_page_that_is_too_large_pauses_the_sync_and_says_which_properties(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same page would be as large at the next refresh, so a person is told what to unmap."""
    workspace.set_members(*(on_plan(f"fan-{number}", "x" * 1000) for number in range(5)))
    monkeypatch.setattr("sync.http_client.MAX_BODY_BYTES", 2000)
    run = workspace.export(mapping=MAPPED)
    assert run.state is RunState.FAILED and "cannot be read with plan" in str(run.error)
    with workspace.open() as service:
        assert service.syncs.list()[0].state is SyncState.PAUSED
    assert sandbox.meter().requests["/api/query/engage"] == 1


@pytest.mark.parametrize("name", ["fan-", "$device:"])
@pytest.mark.parametrize("total", [{}, {"total": 2}])
def test_a_page_that_comes_again_and_again_ends_the_reading(
    workspace: EngineWorkspace, sandbox: Sandbox, total: dict[str, int], name: str
) -> None:
    """Full each time and always the same people: it would be read for ever, and fill the disk; the run is put off instead."""
    workspace.set_members(*fans(0, 1))
    people = [{"$distinct_id": f"{name}{number}", "$properties": {"$created": "2026"}} for number in range(2)]
    body = {"page_size": 2, "session_id": "s", "status": "ok", "results": people} | total
    sandbox.fault("status", path="/engage", code=200, body=body, times=200)
    run = workspace.export()
    assert "lists the same people as a page before it" in str(run.wait_reason)
    assert sandbox.meter().requests["/api/query/engage"] < 50 and workspace.holders() == set()


def test_a_total_far_above_the_members_there_are_costs_a_few_pages(exported: EngineWorkspace, sandbox: Sandbox) -> None:
    """It may count those without a profile, too: after some empty pages nobody else comes, and the run is held."""
    sandbox.set_members(exported.cohort, fans(*range(47)))
    before = sandbox.meter().requests["/api/query/engage"]
    sandbox.fault("wrong_total", by=3000, times=0)
    later(exported, 7300)
    run = last(exported)
    assert run.state is RunState.HELD and "announced 3,047 members and sent 47, twice; 1 would be" in str(
        run.held_reason
    )
    assert sandbox.meter().requests["/api/query/engage"] - before < 40


def test_a_session_without_a_name_is_none(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Later pages would be of another reading: the run is held with the numbers, and not read again and again."""
    workspace.set_members(*fans(*range(4)))
    people = [{"$distinct_id": f"fan-{number}", "$properties": {"$created": "2026"}} for number in range(2)]
    body = {"page": 0, "page_size": 2, "session_id": "", "status": "ok", "total": 4, "results": people}
    sandbox.fault("status", path="/engage", page=0, code=200, body=body, times=0)
    run = workspace.export()
    assert run.state is RunState.HELD and "no session to read on in after 2 members" in str(run.held_reason)


@pytest.mark.slow
def test_a_row_without_a_readable_id_in_anothers_place_makes_nobody_leave(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Whether two such rows are one that is listed twice nobody can say: it is read again, as somebody would leave."""
    people = [*fans(*range(9)), odd("null"), *fans(*range(10, 25))]
    workspace.set_members(*people)
    workspace.export()
    workspace.set_members(*people[1:])
    assert (workspace.export().exited, last(workspace).reading) == (1, 1)
    workspace.set_members(*people)
    workspace.export()
    sandbox.fault("displaced", page=1, by=1)
    run = workspace.export()
    assert (run.state, run.exited, run.reading) == (RunState.SUCCEEDED, 0, 2)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_gaps_that_move_between_readings_make_nobody_leave(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Unstable paging hides one member in the first reading and another in the second; neither leaves."""
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    sandbox.settings(paging="unstable")
    for _ in range(3):
        run = workspace.export()
        assert run.state in (RunState.SUCCEEDED, RunState.HELD)
        assert workspace.holders() == sandbox.exportable(workspace.cohort)
        if run.state is RunState.HELD:
            with workspace.open() as service:
                service.runs.cancel(run.id)


@pytest.mark.parametrize("kind", ["another_session", "another_total", "another_page_size"])
def test_a_page_of_another_reading_starts_the_reading_over(
    workspace: EngineWorkspace, sandbox: Sandbox, kind: str
) -> None:
    """A later page that names another session, total or size is never mixed in."""
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    before = sandbox.meter().requests["/api/query/engage"]
    sandbox.fault(kind, page=2, by=1)
    run = workspace.export()
    assert (run.state, run.change_count) == (RunState.SUCCEEDED, 0)
    assert sandbox.meter().requests["/api/query/engage"] - before > 4


@pytest.mark.slow
def test_pages_of_other_readings_for_ever_fail_the_run_in_time(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Reading the same pages again and again is no progress: it ends at the deadline, and status says so."""
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    sandbox.fault("another_total", page=2, by=1, times=0)
    workspace.export()
    for _ in range(8):
        later(workspace, HOUR)
    assert last(workspace).state is RunState.FAILED or last(workspace).error is None
    with workspace.open() as service:
        assert RunState.FAILED in {one.state for one in service.runs.list()}
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_no_session_with_more_pages_to_come_is_held(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Without a session the second page is of another reading: 10 of 35 are not the cohort."""
    workspace.set_members(*fans(*range(35)))
    sandbox.fault("null_session", page=0, times=0)
    run = workspace.export()
    assert run.state is RunState.HELD and "no session" in str(run.held_reason)
    assert workspace.holders() == set()


def test_a_deleted_cohort_never_empties_webengage(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Answered as an empty one, with the guard lifted and no query left to ask the list: the run waits."""
    workspace.set_members(*fans(*range(15)))
    workspace.export()
    with closing(sqlite3.connect(workspace.data_dir / "app.db")) as db, db:
        db.execute("update sync set guard_enabled = 0")
        for _ in range(59 - db.execute("select count(*) from mixpanel_query where not is_later_page").fetchone()[0]):
            db.execute(
                "insert into mixpanel_query (project_id, at, is_later_page, owner) values (?, ?, 0, 'x')",
                (PROJECT, workspace.now()),
            )
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    sandbox.settings(unknown_cohort=200)
    sandbox.delete_cohort(workspace.cohort)
    workspace.run_queued()
    assert last(workspace).state is RunState.QUEUED
    later(workspace, 2 * HOUR)
    assert last(workspace).state is RunState.FAILED and "gone from Mixpanel" in str(last(workspace).error)
    assert len(workspace.holders()) == 15


def test_nobody_read_is_held_even_with_the_guard_lifted(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Lifting the guard is about many; nobody at all is always asked about. A lifted guard can be put back."""
    workspace.set_members(*fans(*range(15)))
    workspace.export()
    with workspace.open_store() as store:
        store.syncs.set_guard(1, False)
    workspace.set_members()
    assert workspace.export().state is RunState.HELD
    with workspace.open() as service, workspace.open_store() as store:
        service.guards.put_back(1)
        assert store.syncs.get_sync(1).guard_enabled  # type: ignore[union-attr]


# Odd rows ------------------------------------------------------------------------------------------------------------

ODD = [(kind, ID) for kind in (*STRINGS, *NUMBERS, *IDS)] + [(kind, "plan") for kind in (*STRINGS, *NUMBERS)]


@pytest.mark.parametrize(("kind", "place"), [*ODD, ("null_row", ROW), ("half_emoji", "nobody_mapped")])
def test_one_odd_row_is_one_member_and_everybody_else_goes(
    workspace: EngineWorkspace, sandbox: Sandbox, kind: str, place: str
) -> None:
    """An odd id is invalid by name, an odd value is missing; nothing is asked for twice."""
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(5)), odd(kind, "odd-1", place))
    run = workspace.export(mapping=MAPPED)
    assert (run.state, workspace.holders()) == (RunState.SUCCEEDED, sandbox.exportable(workspace.cohort))
    assert run.invalid == (place in (ID, ROW))
    assert sandbox.meter().requests["/api/query/engage"] == 1


@pytest.mark.slow
def test_a_page_of_more_people_than_two_bytes_count_is_read(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """70,000 members on one page."""
    sandbox.settings(page_size=70_000)
    cohort = sandbox.generate("Large", 70_000)
    with workspace.open() as service:
        run_id = service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC, dry_run=True)).run_id
    workspace.run_queued()
    assert (
        workspace.get_run(run_id).entered
        == 70_000 - workspace.get_run(run_id).invalid - workspace.get_run(run_id).anonymous
    )
