"""What the engine promises when the two APIs answer in every way their documents leave open."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.engine import RetryPolicy, reading
from sync.errors import InvalidRequest
from sync.model import Mode, Run, RunState
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member, odd
from tests.sandbox.odd import ID, IDS, NUMBERS, ROW, STRINGS
from tests.sandbox.readings import READINGS
from tests.test_engine import MAPPED, Desk, on_plan

PATIENT = RetryPolicy(delays=(0.01, 0.02), max_delay=1.0, postponements=(300.0, 1200.0, 3000.0))
HOUR, DAY = 3600.0, 86_400.0
SCHEMA_5 = Path(__file__).parent / "schemas" / "5.sql"


@pytest.fixture
def desk(data_dir: Path, sandbox: Sandbox) -> Desk:
    """A connected data folder, pages of ten, and a runner that is put off for minutes when it does not get on."""
    sandbox.settings(page_size=10)
    found = Desk(data_dir, sandbox)
    found.policy = PATIENT
    return found


def fans(*numbers: int) -> list[dict[str, object]]:
    """Members fan-0, fan-1, …"""
    return [member(f"fan-{number}") for number in numbers]


def later(workspace: Desk, seconds: float) -> None:
    """Let time go by, here and at both APIs, and carry what is due."""
    workspace.ahead += seconds
    workspace.sandbox.advance(seconds)
    workspace.work()


def last(workspace: Desk) -> Run:
    """The newest run."""
    with workspace.open() as service:
        return service.list_runs()[0]


# Who is in, and who leaves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [9, 10, 35, 40])
@pytest.mark.parametrize("reading_name", ["total_of_the_page", "no_total", "shuffled_members"])
def test_a_cohort_is_read_whole_whatever_its_totals_count(
    workspace: Desk, sandbox: Sandbox, reading_name: str, people: int
) -> None:
    """While a page is full the next one is asked for; a refresh then removes exactly who left."""
    kind = READINGS[reading_name](random.Random(1), [])
    sandbox.settings(**kind.settings | {"page_size": 10})
    workspace.members(*fans(*range(people)))
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.told() == sandbox.exportable(workspace.cohort)
    workspace.members(*fans(*range(3, people + 3)))
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.told() == sandbox.exportable(workspace.cohort)


@pytest.mark.parametrize("shape", ["empty_page", "short_page", "displaced"])
@pytest.mark.parametrize("untold", ["nothing", "total"])
def test_a_member_missing_from_one_reading_only_stays(
    workspace: Desk, sandbox: Sandbox, shape: str, untold: str
) -> None:
    """Two readings with two different gaps: nobody leaves who is in either of them."""
    workspace.members(*fans(*range(48)))
    workspace.export()
    sandbox.settings(untold=untold)
    sandbox.fault(shape, page=4, by=3)
    run = workspace.export()
    assert (run.state, run.exited) == (RunState.SUCCEEDED, 0)
    assert workspace.told() == sandbox.exportable(workspace.cohort)


def test_two_readings_that_never_add_up_hold_the_run_with_the_numbers(workspace: Desk, sandbox: Sandbox) -> None:
    """Mixpanel announces 35 and lists 34 different people twice: a person decides, and nobody has left until then."""
    workspace.members(*fans(*range(35)))
    workspace.export()
    sandbox.fault("displaced", page=3, by=1, times=2)
    run = workspace.export()
    assert run.state is RunState.HELD and run.held_reason is not None
    assert "announced 35 members and listed 34 different people, twice; 1 would leave" in run.held_reason
    assert workspace.told() == sandbox.exportable(workspace.cohort)


def test_gaps_that_move_between_readings_make_nobody_leave(workspace: Desk, sandbox: Sandbox) -> None:
    """Unstable paging hides one member in the first reading and another in the second; neither leaves."""
    workspace.members(*fans(*range(35)))
    workspace.export()
    sandbox.settings(paging="unstable")
    for _ in range(3):
        run = workspace.export()
        assert run.state in (RunState.SUCCEEDED, RunState.HELD)
        assert workspace.told() == sandbox.exportable(workspace.cohort)
        if run.state is RunState.HELD:
            with workspace.open() as service:
                service.cancel(run.id)


@pytest.mark.parametrize("kind", ["another_session", "another_total", "another_page_size"])
def test_a_page_of_another_reading_starts_the_reading_over(workspace: Desk, sandbox: Sandbox, kind: str) -> None:
    """A later page that names another session, total or size is never mixed in."""
    workspace.members(*fans(*range(35)))
    workspace.export()
    before = sandbox.meter().requests["/api/query/engage"]
    sandbox.fault(kind, page=2, by=1)
    run = workspace.export()
    assert (run.state, run.change_count) == (RunState.SUCCEEDED, 0)
    assert sandbox.meter().requests["/api/query/engage"] - before > 4


def test_pages_of_other_readings_for_ever_fail_the_run_in_time(workspace: Desk, sandbox: Sandbox) -> None:
    """Reading the same pages again and again is no progress: it ends at the deadline, and status says so."""
    workspace.members(*fans(*range(35)))
    workspace.export()
    sandbox.fault("another_total", page=2, by=1, times=0)
    workspace.export()
    for _ in range(8):
        later(workspace, HOUR)
    assert last(workspace).state is RunState.FAILED or last(workspace).error is None
    with workspace.open() as service:
        assert RunState.FAILED in {one.state for one in service.list_runs()}
    assert workspace.told() == sandbox.exportable(workspace.cohort)


def test_no_session_with_more_pages_to_come_is_held(workspace: Desk, sandbox: Sandbox) -> None:
    """Without a session the second page is of another reading: 10 of 35 are not the cohort."""
    workspace.members(*fans(*range(35)))
    sandbox.fault("null_session", page=0, times=0)
    run = workspace.export()
    assert run.state is RunState.HELD and "no session" in str(run.held_reason)
    assert workspace.told() == set()


def test_a_deleted_cohort_never_empties_webengage(workspace: Desk, sandbox: Sandbox) -> None:
    """Answered as an empty one, with the guard lifted and no query left to ask the list: the run waits."""
    workspace.members(*fans(*range(15)))
    workspace.export()
    with closing(sqlite3.connect(workspace.folder / "app.db")) as db, db:
        db.execute("update sync set guard_enabled = 0")
        for _ in range(59 - db.execute("select count(*) from mixpanel_query where not is_later_page").fetchone()[0]):
            db.execute(
                "insert into mixpanel_query (project_id, at, is_later_page, owner) values (?, ?, 0, 'x')",
                (PROJECT, workspace.now()),
            )
    with workspace.open() as service:
        service.sync_now(1)
    sandbox.settings(unknown_cohort=200)
    sandbox.delete_cohort(workspace.cohort)
    workspace.work()
    assert last(workspace).state is RunState.QUEUED
    later(workspace, 2 * HOUR)
    assert last(workspace).state is RunState.FAILED and "gone from Mixpanel" in str(last(workspace).error)
    assert len(workspace.told()) == 15


def test_nobody_read_is_held_even_with_the_guard_lifted(workspace: Desk, sandbox: Sandbox) -> None:
    """Lifting the guard is about many; nobody at all is always asked about. A lifted guard can be put back."""
    workspace.members(*fans(*range(15)))
    workspace.export()
    with workspace.open() as service:
        service._store.syncs.set_guard(1, False)
    workspace.members()
    assert workspace.export().state is RunState.HELD
    with workspace.open() as service:
        service.put_guard_back(1)
        assert service._store.syncs.get_sync(1).guard_enabled  # type: ignore[union-attr]


# Odd rows ------------------------------------------------------------------------------------------------------------

ODD = [(kind, ID) for kind in (*STRINGS, *NUMBERS, *IDS)] + [(kind, "plan") for kind in (*STRINGS, *NUMBERS)]


@pytest.mark.parametrize(("kind", "place"), [*ODD, ("null_row", ROW), ("half_emoji", "nobody_mapped")])
def test_one_odd_row_is_one_member_and_everybody_else_goes(
    workspace: Desk, sandbox: Sandbox, kind: str, place: str
) -> None:
    """An odd id is invalid by name, an odd value is missing; nothing is asked for twice."""
    workspace.members(*(on_plan(f"fan-{number}", "gold") for number in range(5)), odd(kind, "odd-1", place))
    run = workspace.export(MAPPED)
    assert (run.state, workspace.told()) == (RunState.SUCCEEDED, sandbox.exportable(workspace.cohort))
    assert run.invalid == (place in (ID, ROW))
    assert sandbox.meter().requests["/api/query/engage"] == 1


def test_a_page_of_more_people_than_two_bytes_count_is_read(workspace: Desk, sandbox: Sandbox) -> None:
    """70,000 members on one page."""
    sandbox.settings(page_size=70_000)
    cohort = sandbox.generate("Large", 70_000)
    with workspace.open() as service:
        run_id = service.start_export(PROJECT, cohort, Mode.DYNAMIC, dry_run=True).run_id
    workspace.work()
    assert workspace.run(run_id).entered == 70_000 - workspace.run(run_id).invalid - workspace.run(run_id).anonymous


# One attribute, one owner --------------------------------------------------------------------------------------------


def test_an_attribute_has_one_owner_whatever_its_case(workspace: Desk, sandbox: Sandbox) -> None:
    """Membership of another sync, another property, another cohort's name: refused, and the owner is named."""
    workspace.members(on_plan("fan-1", "gold"))
    other = sandbox.add_cohort("Others", [on_plan("fan-2", "x")])
    with workspace.open() as service:
        service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC, attribute="VIP", mapping=(("plan", "Plan"),))
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
                service.start_export(PROJECT, other, Mode.DYNAMIC, **wanted)  # type: ignore[arg-type]
        assert service.start_export(
            PROJECT, other, Mode.DYNAMIC, attribute="Other", mapping=(("plan", "Plan"),)
        ).started


# Requests and approvals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
def test_a_dry_run_nobody_approved_changes_nothing(workspace: Desk, sandbox: Sandbox, ended: str) -> None:
    """Not the mode, not the mapping, not the schedule, however it ended; the next refresh is what it was."""
    workspace.members(on_plan("fan-1", "gold"))
    workspace.export()
    with workspace.open() as service:
        before = service._store.syncs.get_sync(1)
    if ended == "failed":
        sandbox.fault("status", path="engage", code=418)
    with workspace.open() as service:
        run_id = service.start_export(PROJECT, workspace.cohort, Mode.ONE_TIME, dry_run=True, mapping=MAPPED).run_id
    workspace.work()
    with workspace.open() as service:
        if ended == "cancelled":
            service.cancel(run_id)
        after = service._store.syncs.get_sync(1)
        assert (
            before
            and after
            and (after.mode, after.interval_seconds, after.schedule_anchor, after.mapping)
            == (
                before.mode,
                before.interval_seconds,
                before.schedule_anchor,
                before.mapping,
            )
        )
        assert service.get_run(run_id).state.value == ended


def test_an_approved_dry_run_is_taken_over(workspace: Desk, sandbox: Sandbox) -> None:
    """What was held becomes the sync's mode, interval and mapping with the approval, and not before."""
    workspace.members(on_plan("fan-1", "gold"))
    with workspace.open() as service:
        run_id = service.start_export(
            PROJECT, workspace.cohort, Mode.DYNAMIC, interval=900.0, dry_run=True, mapping=MAPPED
        ).run_id
    workspace.work()
    with workspace.open() as service:
        assert (service.get_sync(1).mode, service.get_sync(1).state.value) == (Mode.ONE_TIME, "finished")
        service.approve(run_id)
    workspace.work()
    with workspace.open() as service:
        sync = service.get_sync(1)
    assert (sync.mode, sync.interval_seconds, sync.state.value) == (
        Mode.DYNAMIC,
        900.0,
        "active",
    ) and workspace.told() == {"fan-1"}
    profile = sandbox.profile("fan-1")
    assert profile is not None and profile["attributes"]["Plan"] == "gold"


def test_a_mapping_can_be_taken_back(workspace: Desk, sandbox: Sandbox) -> None:
    """An empty mapping sends the membership alone from then on."""
    workspace.members(on_plan("fan-1", "gold"))
    workspace.export(MAPPED)
    workspace.export(())
    workspace.members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    workspace.export()
    profile = sandbox.profile("fan-2")
    assert profile is not None and "Plan" not in profile["attributes"]


def test_an_approved_plan_that_is_old_is_made_again(workspace: Desk, sandbox: Sandbox) -> None:
    """The same people: it goes ahead; people it did not name: it is held again with both sets of numbers."""
    workspace.members(*fans(*range(20)))
    for strangers in (False, True):
        run = workspace.export(dry=True)
        if strangers:
            workspace.members(*fans(*range(5, 25)))
        workspace.ahead += 9 * DAY
        sandbox.advance(9 * DAY)
        with workspace.open() as service:
            service.approve(run.id)
        workspace.work()
        run = workspace.run(run.id)
        if strangers:
            assert run.state is RunState.HELD and "Approved: 0 enter" in str(run.held_reason)
            assert "10 people were not in the approved plan" in str(run.held_reason)
            with workspace.open() as service:
                service.approve(run.id)
            workspace.work()
        assert workspace.run(run.id).state is RunState.SUCCEEDED
        assert workspace.told() == sandbox.exportable(workspace.cohort)


def test_a_stopped_sync_that_is_exported_again_is_active(workspace: Desk, sandbox: Sandbox) -> None:
    """Even while a manual refresh is under way, which would have left it finished."""
    workspace.members(*fans(*range(5)))
    workspace.export()
    with workspace.open() as service:
        service.stop(1)
        service.sync_now(1)
        assert service.start_export(PROJECT, workspace.cohort, Mode.DYNAMIC).started is False
    workspace.work()
    with workspace.open() as service:
        assert service.get_sync(1).state.value == "active"


def test_a_leaver_whose_exit_was_rejected_is_in_no_list(workspace: Desk, sandbox: Sandbox) -> None:
    """They stand rejected, and are not among the unchanged of the next run."""
    workspace.members(*fans(*range(5)))
    workspace.export()
    sandbox.poison("fan-4")
    workspace.members(*fans(*range(4)), *fans(7))
    workspace.export()
    workspace.members(*fans(*range(4)), *fans(7, 8))
    run = workspace.export()
    with workspace.open() as service:
        assert "fan-4" not in {row.user_id for row in service.iterate_export_rows(run.id)}


def test_a_failed_resync_is_resumed_as_a_resync(workspace: Desk, sandbox: Sandbox) -> None:
    """Everybody is sent again, although the first try failed before its plan."""
    workspace.members(*fans(*range(5)))
    workspace.export()
    sandbox.fault("status", path="engage", code=403)
    with workspace.open() as service:
        service.resync(1)
    workspace.work()
    with workspace.open() as service:
        service.resume(1)
    workspace.work()
    assert (last(workspace).purpose, last(workspace).updated) == ("resync", 5)


def test_someone_taken_unheard_and_then_rejected_is_remembered(workspace: Desk, sandbox: Sandbox) -> None:
    """WebEngage took them without our hearing it: when they leave, they are sent false."""
    workspace.members(*fans(1, 2))
    sandbox.fault("vanish", path="bulk-users")
    sandbox.fault("status", path="bulk-users", code=503, times=50, retry_after=300)
    workspace.export()
    sandbox.clear_faults()
    sandbox.poison("fan-1")
    later(workspace, 400)
    sandbox.clear_faults()
    assert last(workspace).rejected == 1
    workspace.members(*fans(2))
    workspace.export()
    assert workspace.told() == {"fan-2"}


def test_a_refused_value_costs_nobody_the_membership(workspace: Desk, sandbox: Sandbox) -> None:
    """A lone rejection is tried once more with the membership alone, and that is said."""
    workspace.members(on_plan("fan-1", "gold"), on_plan("fan-2", "gold"))
    sandbox.fault("status", path="bulk-users", code=400, times=2)  # the batch of both, and fan-1 alone
    run = workspace.export(MAPPED)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, 2, 0)
    assert workspace.told() == {"fan-1", "fan-2"}
    with workspace.open() as service:
        assert [one.outcome for one in service.list_rejections(run.id)] == ["membership only"]


# Nothing waits for ever ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [500, 503])
def test_one_person_who_always_fails_stands_alone(workspace: Desk, sandbox: Sandbox, code: int) -> None:
    """30 newcomers, 20 leavers, one answered 500: everybody else is sent, and the one is rejected with the reason."""
    workspace.members(*fans(*range(100, 220)))
    workspace.export()
    sandbox.person_fails("fan-3", code=code)
    workspace.members(*fans(*range(30)), *fans(*range(120, 220)))
    workspace.export()
    for _ in range(5):
        if not last(workspace).state.is_final:
            later(workspace, 700)
    run = last(workspace)
    assert (run.state, run.rejected, run.delivered) == (RunState.SUCCEEDED, 1, 49)
    assert workspace.told() - {"fan-3"} == sandbox.exportable(workspace.cohort) - {"fan-3"}
    with workspace.open() as service:
        assert str(code) in service.list_rejections(run.id)[0].reason


@pytest.mark.parametrize("side", ["mixpanel", "webengage"])
def test_a_side_that_never_recovers_fails_the_run_at_its_deadline(workspace: Desk, sandbox: Sandbox, side: str) -> None:
    """Growing pauses, few queries, and after two intervals the run fails with the reason; status says so."""
    workspace.members(*fans(*range(5)))
    sandbox.fault("status", api=side, path="engage" if side == "mixpanel" else "bulk-users", code=500, times=0)
    workspace.export()
    for _ in range(9):
        later(workspace, 1800)
    with workspace.open() as service:
        runs = service.list_runs()
        assert runs[-1].state is RunState.FAILED and "No progress since" in str(runs[-1].error)
        assert not service.check_health().failed or service.check_health().needs_attention
    assert sandbox.meter().requests.get("/api/query/engage", 0) < 30


@pytest.mark.parametrize("people", [30, 500])
def test_when_everybody_is_refused_for_one_reason_the_run_fails_early(
    workspace: Desk, sandbox: Sandbox, people: int
) -> None:
    """The account is at fault, not the people: few requests, the reason, a paused sync, and nobody stands rejected."""
    workspace.members(*fans(*range(people)))
    sandbox.refuse_everybody("attribute limit reached")
    run = workspace.export()
    assert run.state is RunState.FAILED and "attribute limit reached" in str(run.error)
    assert sandbox.meter().requests[f"/v1/accounts/{LICENSE}/bulk-users"] <= 45
    with workspace.open() as service:
        assert service.get_sync(1).state.value == "paused" and service.check_health().rejected == 0
    sandbox.clear_faults()
    with workspace.open() as service:
        service.resume(1)
    workspace.work()
    assert workspace.told() == sandbox.exportable(workspace.cohort)


def test_a_few_bad_people_are_not_the_accounts_fault(workspace: Desk, sandbox: Sandbox) -> None:
    """One in every batch, all refused for the same reason: they stand rejected, everybody else is sent."""
    workspace.members(*fans(*range(100)))
    run = workspace.export(dry=True)
    with workspace.open() as service:
        order = [row.user_id for row in service.iterate_export_rows(run.id)]
        bad = order[3::25]
        sandbox.poison(*bad)
        service.approve(run.id)
    workspace.work()
    assert (workspace.run(run.id).state, workspace.run(run.id).rejected) == (RunState.SUCCEEDED, 4)
    assert workspace.told() == sandbox.exportable(workspace.cohort) - set(bad)


def test_an_error_of_our_own_fails_the_run_at_the_third_time(
    workspace: Desk, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """Asking for a page is no progress; the reason names the error, and the sync goes on with its next refresh."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    workspace.members(*fans(*range(5)))
    monkeypatch.setattr(reading, "records_of", broken)
    workspace.export()
    for _ in range(4):
        later(workspace, 300)
    run = workspace.run(1)
    assert run.state is RunState.FAILED and "ZeroDivisionError" in str(run.error)
    assert sandbox.meter().requests["/api/query/engage"] <= 3


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_broken_sync_leaves_queries_to_the_others_and_to_people(workspace: Desk, sandbox: Sandbox) -> None:
    """One page 0 that always fails, hour after hour: the healthy sync refreshes, and a preview is never refused."""
    workspace.members(*fans(*range(5)))
    sandbox.fault("status", path="engage", code=500, times=0)
    workspace.export()
    for _ in range(12):
        later(workspace, 300)
    assert sandbox.meter().requests["/api/query/engage"] <= 25
    with workspace.open() as service:
        left = service._store.rate_limits.queries_left(PROJECT, workspace.now())
    assert left >= 10


def test_ten_queries_an_hour_are_reserved_for_people(workspace: Desk) -> None:
    """Runs stop at fifty, divided among those that read; people at the pages go on to sixty."""
    workspace.members(*fans(1))
    other = workspace.sandbox.add_cohort("Others", fans(2))
    with workspace.open() as service:
        for cohort in (workspace.cohort, other):
            service.start_export(PROJECT, cohort, Mode.DYNAMIC)
        meters, now = service._store.rate_limits, workspace.now() + 2 * HOUR
        taken = [0, 0]
        for turn in range(80):
            taken[turn % 2] += (
                meters.acquire_query(PROJECT, now, later_page=False, at_once=999, sync_id=turn % 2 + 1).id is not None
            )
        assert taken == [25, 25]
        assert (
            sum(meters.acquire_query(PROJECT, now, later_page=False, at_once=999).id is not None for _ in range(20))
            == 10
        )


def test_what_a_refusal_taught_expires_after_a_day(workspace: Desk, sandbox: Sandbox) -> None:
    """One refusal of a later page that names the hour: pages count for a day, and no longer."""
    workspace.members(*fans(*range(30)))
    said = {"error": "1/5 queries running concurrently and 61/60 queries running in the last hour"}
    sandbox.fault("status", path="engage", page=2, code=429, retry_after=300, body=said)
    workspace.export()
    with workspace.open() as service:
        assert service._store.rate_limits.pages_count(PROJECT, workspace.now())
        assert not service._store.rate_limits.pages_count(PROJECT, workspace.now() + DAY + 1)


def test_one_accounts_exports_leave_lanes_to_the_others(workspace: Desk, sandbox: Sandbox) -> None:
    """Eight due runs of one account take half of the lanes; another account's run is claimed at once."""
    with workspace.open() as service:
        for number in range(9):
            cohort = sandbox.add_cohort(f"Cohort {number}", fans(number))
            service.start_export(PROJECT, cohort, Mode.DYNAMIC)
        runs = service._store.runs
        assert runs.has_claimable(workspace.now()) and not runs.has_claimable(workspace.now(), full_accounts=(LICENSE,))
        assert runs.claim_run("x", workspace.now(), full_accounts=(LICENSE,)) is None


def test_held_and_postponed_runs_make_nobody_take_the_write_lock(workspace: Desk) -> None:
    """Looking for work sees that there is none, without a claim."""
    workspace.members(*fans(1))
    workspace.export(dry=True)
    with workspace.open() as service:
        assert not service._store.runs.has_claimable(workspace.now())


# What the former engine stored ---------------------------------------------------------------------------------------


def test_a_former_snapshot_is_brought_forward_without_sending_anything(tmp_path: Path, sandbox: Sandbox) -> None:
    """Mapped or not, and with somebody rejected: a refresh finds everybody unchanged."""
    env = {"COHORT_SYNC_DATA": str(tmp_path)}
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.executescript(SCHEMA_5.read_text())
    sandbox.add_cohort(
        "Stored by schema 5", [member(f"fan-{n}", plan="gold" if n % 2 else "free") for n in range(30)], id=7
    )
    sandbox.add_cohort("Unmapped", [member(f"reader-{n}") for n in range(60)], id=8)
    sandbox.add_cohort("Half way", [member(f"guest-{n}") for n in range(60)], id=9)
    workspace = Desk.__new__(Desk)
    workspace.folder, workspace.sandbox, workspace.env, workspace.ahead, workspace.policy = (
        tmp_path,
        sandbox,
        env,
        0.0,
        PATIENT,
    )
    workspace.connect()
    with workspace.open() as service:
        assert [one.size for one in service.list_syncs()] == [60, 60, 29]
        service.sync_now(1)
        service.sync_now(2)
    workspace.work()
    with workspace.open() as service:
        runs = {run.sync_id: run for run in service.list_runs(limit=4)[::-1]}
        assert [(runs[one].unchanged, runs[one].change_count) for one in (1, 2)] == [(29, 0), (60, 0)]
        assert (runs[3].state, runs[3].entered, runs[3].updated) == (RunState.SUCCEEDED, 0, 60)
        assert len(list(service.iterate_export_rows(1))) == 30
    assert sandbox.holding("Mixpanel - Half way")[0] == {f"guest-{n}" for n in range(60)}
    assert sandbox.holding("Mixpanel - Unmapped") == (set(), set())
