"""Pages that Mixpanel refuses with 400: one behind the last page ends a reading, one of a lost session proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.model import RunState, SyncState
from tests.engine_workspace import (
    HOUR,
    MAPPED,
    EngineWorkspace,
    approve,
    expect_held,
    fan_ids,
    fans,
    keep_out,
    last,
    later,
    on_plan,
    patient_workspace,
)
from tests.sandbox.control import Sandbox, member


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


def test_a_page_behind_the_last_one_when_mixpanel_refuses_it_ends_the_reading(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It is not documented what Mixpanel answers there; 400 for a page behind one that was not full is an end, too."""
    workspace.set_members(*fans(*range(25)))
    workspace.export()
    sandbox.settings(untold="total")
    sandbox.fault("status", path="engage", page=3, code=400, times=0)
    workspace.set_members(*fans(*range(1, 26)))
    run = workspace.export()
    assert (run.state, run.entered, run.exited) == (RunState.SUCCEEDED, 1, 1)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@pytest.mark.parametrize("code", [400, 404, 410, 416, 422])
def test_a_page_behind_full_ones_with_the_announced_total_when_refused_ends_the_reading(
    workspace: EngineWorkspace, sandbox: Sandbox, code: int
) -> None:
    """One cohort in a thousand ends with a full page: where everybody announced is here, this says that nobody follows."""
    sandbox.fault("status", path="engage", page=2, code=code, times=0)
    workspace.set_members(*fans(*range(20)))
    assert workspace.export().state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(1, 21)))
    before = sandbox.meter().requests["/api/query/engage"]
    run = workspace.export()
    assert (run.state, run.entered, run.exited) == (RunState.SUCCEEDED, 1, 1)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)
    assert sandbox.meter().requests["/api/query/engage"] - before == 3


NO_WHOLE_TOTAL = pytest.mark.parametrize("settings", [{"untold": "total"}, {"total": "page"}], ids=str)


@NO_WHOLE_TOTAL
def test_a_page_behind_full_ones_without_a_total_when_refused_in_two_sessions_holds_the_run(
    exported: EngineWorkspace, sandbox: Sandbox, settings: dict[str, str]
) -> None:
    """Nothing says that everybody is here, as the session may end there each time: a person decides who leaves."""
    sandbox.settings(**settings)
    sandbox.fault("status", path="engage", page=2, code=400, times=0)
    expect_held(exported, sandbox, "refused the page after 20 members, twice; 28 would be removed")


@pytest.mark.parametrize("people", [10, 20])
def test_a_cohort_that_ends_with_a_full_page_without_a_total_is_exported_once_approved(
    workspace: EngineWorkspace, sandbox: Sandbox, people: int
) -> None:
    """Everybody was read, so the run does not try until its deadline, whatever Mixpanel answers behind the last page."""
    sandbox.settings(untold="total", behind_last=400)
    workspace.set_members(*fans(*range(people)))
    run = workspace.export()
    assert run.state is RunState.HELD and f"after {people} members, twice; 0 would be" in str(run.held_reason)
    assert approve(workspace, run).state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@NO_WHOLE_TOTAL
def test_pages_refused_at_different_places_prove_no_end(
    exported: EngineWorkspace, sandbox: Sandbox, settings: dict[str, str]
) -> None:
    """Two sessions that were lost: the second reading begins again, and only who is missing from both leaves."""
    sandbox.settings(**settings)
    exported.set_members(*fans(*range(3, 48)))
    sandbox.fault("status", path="engage", page=2, code=400)
    sandbox.fault("status", path="engage", page=3, code=400)
    run = exported.export()
    assert (run.state, run.exited, run.reading) == (RunState.SUCCEEDED, 3, 2)
    assert exported.holders() == sandbox.exportable(exported.cohort)


def test_a_session_lost_while_the_run_was_put_off_proves_no_end(exported: EngineWorkspace, sandbox: Sandbox) -> None:
    """It may have ended while the run waited for a limit, at the same page each time: the reading begins again."""
    sandbox.settings(untold="total")
    sandbox.fault("status", path="engage", page=3, code=503, times=3)
    later(exported, 7300)
    assert last(exported).state is RunState.QUEUED
    sandbox.fault("status", path="engage", page=3, code=400)
    later(exported, 400)
    assert (last(exported).state, last(exported).reading) == (RunState.SUCCEEDED, 1)


def test_somebody_not_exported_in_anothers_place_after_a_wait_makes_nobody_leave(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who stood on the pages before the wait is not in memory any more, so it is not known who is listed once more."""
    people = [*fans(*range(9)), member("$device:1"), *fans(*range(9, 48))]
    exported.set_members(*people)
    exported.export()
    sandbox.fault("status", path="engage", page=1, code=429, retry_after=300)
    sandbox.fault("displaced", page=1, by=1)
    run = exported.export()
    assert run.state is RunState.QUEUED and run.staged  # the device's page at least; others may have been on their way
    later(exported, 400)
    assert (last(exported).id, last(exported).state, last(exported).exited) == (run.id, RunState.SUCCEEDED, 0)
    assert exported.holders() == sandbox.exportable(exported.cohort)


@pytest.mark.parametrize("people", [11, 25])
@pytest.mark.parametrize("behind_last", [200, 404])
@pytest.mark.parametrize(
    "settings",
    [{"total": "page"}, {"total": "page", "total_on_later_pages": False}, {"untold": "page_size and total"}],
    ids=str,
)
def test_what_is_not_documented_together_with_a_refused_page_behind_the_last_one_is_understood(
    workspace: EngineWorkspace, sandbox: Sandbox, settings: dict[str, object], behind_last: int, people: int
) -> None:
    """Two such answers at once, as a total of each page that only the first one names, hold and fail no run."""
    sandbox.settings(behind_last=behind_last, **settings)
    workspace.set_members(*fans(*range(people)))
    assert workspace.export().state is RunState.SUCCEEDED
    workspace.set_members(*fans(*range(3, people + 3)))
    run = workspace.export()
    assert (run.state, run.entered, run.exited) == (RunState.SUCCEEDED, 3, 3)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_an_empty_second_page_when_only_the_first_one_names_its_own_total_makes_nobody_leave(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A total as large as the full page that names it may count no other: after an empty page, a person decides."""
    sandbox.settings(total="page", total_on_later_pages=False)
    sandbox.fault("empty_page", page=1, times=2)
    expect_held(exported, sandbox, "ended with an empty page after 10 members, twice; 38 would be removed")


def test_a_refused_second_page_when_the_total_may_count_the_first_one_only_holds_the_run(
    exported: EngineWorkspace, sandbox: Sandbox
) -> None:
    """A total that is as large as the one page there is proves nothing about others: a person decides who leaves."""
    sandbox.settings(total="page")
    sandbox.fault("status", path="engage", page=1, code=400, times=0)
    expect_held(exported, sandbox, "after 10 members, twice; 38 would be removed")


@pytest.mark.parametrize("code", [400, 404, 410, 416, 422])
def test_a_session_that_is_gone_starts_the_reading_over_however_mixpanel_says_so(
    exported: EngineWorkspace, sandbox: Sandbox, code: int
) -> None:
    """How an expired session is answered is not documented: no such answer to a later page is about the cohort."""
    exported.set_members(*fans(*range(3, 48)))
    sandbox.fault("status", path="engage", page=2, code=code)
    run = exported.export()
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 3)
    assert exported.holders() == sandbox.exportable(exported.cohort)


def test_a_cohort_that_is_deleted_while_it_is_read_pauses_its_sync(exported: EngineWorkspace, sandbox: Sandbox) -> None:
    """The reading begins again, and its first page says what is wrong."""
    sandbox.fault("status", path="engage", page=2, code=404, times=0)
    sandbox.fault("status", path="engage", page=0, code=404, after=1, times=0)
    run = exported.export()
    assert run.state is RunState.FAILED and "does not exist or was deleted" in str(run.error)
    with exported.open() as service:
        assert service.syncs.get(1).state is SyncState.PAUSED
    assert exported.holders() == sandbox.exportable(exported.cohort)


def test_a_first_export_whose_readings_lack_different_people_exports_those_of_both(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Neither adds up to the total, so the second one alone does not say who is in."""
    workspace.set_members(*fans(*range(35)))
    sandbox.fault("displaced", page=2, by=1)
    sandbox.fault("displaced", page=3, by=1, after=1)
    run = workspace.export()
    assert (run.state, run.reading, run.entered) == (RunState.SUCCEEDED, 2, 35)


def test_a_small_cohort_without_a_total_takes_one_query_while_nobody_leaves(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Small cohorts are many, and an hour has sixty queries."""
    sandbox.settings(untold="total")
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    asked = sandbox.meter().requests["/api/query/engage"]
    workspace.set_members(*fans(*range(6)))
    assert workspace.export().entered == 1
    assert sandbox.meter().requests["/api/query/engage"] - asked == 1


def test_a_member_listed_again_with_another_value_in_anothers_place_makes_nobody_leave(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Once as sent before and once otherwise is one person, so somebody is missing although the rows add up."""
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(25)))
    workspace.export(mapping=MAPPED)
    sandbox.fault("displaced", page=1, by=1, body={"plan": "silver"})
    run = workspace.export()
    assert (run.state, run.reading, run.entered, run.exited) == (RunState.SUCCEEDED, 2, 0, 0)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def count_queries(workspace: EngineWorkspace) -> int:
    """Return how many pages a refresh asks for, in which nobody enters or leaves."""
    before = workspace.sandbox.meter().requests["/api/query/engage"]
    run = workspace.export()
    assert (run.state, run.change_count, run.reading) == (RunState.SUCCEEDED, 0, 1)
    return workspace.sandbox.meter().requests["/api/query/engage"] - before


@pytest.mark.parametrize(
    ("settings", "by"),
    [({}, -25), ({"total": "page"}, 7)],
    ids=["its own among whole ones", "a whole one among own ones"],
)
def test_a_page_whose_total_counts_something_else_than_those_of_the_others_is_of_another_reading(
    workspace: EngineWorkspace, sandbox: Sandbox, settings: dict[str, str], by: int
) -> None:
    """A total counts the cohort, or the page it stands on; on all pages of a reading it is the same one of both."""
    sandbox.settings(**settings)
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    usual = count_queries(workspace)
    sandbox.fault("another_total", page=2, by=by)
    assert count_queries(workspace) > usual + 2  # pages 0 to 2 once more


def test_a_last_page_of_another_size_each_time_makes_nobody_leave(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """It begins two members later, and without a total nothing else shows that two are missing."""
    workspace.set_members(*fans(*range(25)))
    workspace.export()
    sandbox.settings(untold="total")
    sandbox.fault("another_page_size", page=2, by=1, times=0)
    workspace.export()
    for _ in range(5):
        later(workspace, HOUR)
    assert last(workspace).state in (RunState.FAILED, RunState.QUEUED)
    assert workspace.holders() == fan_ids(*range(25))


def test_a_page_is_tried_again_at_once_when_the_run_got_further_since_it_was_put_off(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Only a run that does not get on is put off after one try; this one has a page more than ever before."""
    workspace.set_members(*fans(*range(25)))
    sandbox.fault("status", path="engage", page=0, code=503, times=3)
    assert workspace.export().state is RunState.QUEUED
    sandbox.fault("status", path="engage", page=2, code=503)
    later(workspace, 400)
    assert last(workspace).state is RunState.SUCCEEDED and workspace.holders() == fan_ids(*range(25))


def test_a_run_that_fails_while_its_cohort_is_read_once_more_lists_nobody(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """What the first reading alone says was written down, and was never the plan."""
    workspace.set_members(*fans(*range(35)))
    workspace.export()
    sandbox.settings(untold="total")
    workspace.set_members(*fans(*range(3, 35)))
    sandbox.fault("status", path="engage", page=0, code=503, after=1, times=0)
    run = workspace.export()
    with workspace.open() as service:
        assert any("Reading the cohort again:" in one.message for one in service.runs.list_events(run.id))
    for _ in range(5):
        later(workspace, HOUR)
    run = workspace.get_run(run.id)
    assert (run.state, run.change_count) == (RunState.FAILED, 0)
    with workspace.open() as service:
        assert not list(service.runs.iterate_export_rows(run.id))


def test_somebody_listed_who_left_between_two_readings_becomes_false_with_this_run(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Who is in one reading only stays; but whoever is on the never-export list is removed by the next run in any case."""
    workspace.set_members(*fans(*range(48)))
    workspace.export()
    keep_out(workspace, "fan-7")
    sandbox.fault("displaced", page=3, by=1)
    sandbox.fault("status", path="engage", page=0, code=503, after=1, times=3)
    run = workspace.export()
    assert (run.state, run.reading) == (RunState.QUEUED, 2)
    workspace.set_members(*fans(*range(7), *range(8, 48)))
    later(workspace, 400)
    run = workspace.get_run(run.id)
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 1)
    assert workspace.holders() == fan_ids(*range(7), *range(8, 48))
