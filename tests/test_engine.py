"""One run and its surroundings: what may lie, fail, end or change while it is under way, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import itertools
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.engine import RunExecutor
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, RunState
from sync.packing import ID_SIZE
from sync.store import Store
from tests.engine_workspace import MAPPED, EngineWorkspace, on_plan
from tests.sandbox.control import PROJECT, Sandbox, member
from tests.workspace import FAST


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder."""
    return EngineWorkspace(data_dir, sandbox)


def test_someone_listed_twice_with_two_values_stands_once(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Whoever changed between two pages is one person all the same: never told false while they are in."""
    sandbox.settings(page_size=3)
    for plan, again in (("a", "b"), ("a", "b"), ("b", ""), ("c", "a"), ("a", "")):
        workspace.set_members(*(on_plan(f"fan-{number}", plan) for number in range(5)))
        if again:
            sandbox.fault("wrong_total", page=0, by=2)
            sandbox.fault("duplicate_ids", page=1, by=2, body={"plan": again})
        assert workspace.export(mapping=MAPPED).state is RunState.SUCCEEDED
        assert workspace.holders() == sandbox.exportable(workspace.cohort)
        with Store.open(workspace.data_dir) as store:
            assert sorted(store.snapshot.iterate_members(1)) == [f"fan-{number}" for number in range(5)]


def test_someone_listed_in_anothers_place_makes_nobody_leave(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """As many rows as announced, but one person twice: read again before the missing one is told to have left."""
    sandbox.settings(page_size=3)
    people = [member(f"fan-{number}") for number in range(5)]
    workspace.set_members(*people)
    workspace.export()
    sandbox.fault("displaced", page=1, by=1)
    run = workspace.export()
    assert (run.state, run.exited, run.unchanged) == (RunState.SUCCEEDED, 0, 5)
    workspace.set_members(*people[:4])
    assert workspace.export().exited == 1


@pytest.mark.parametrize("other", [member("$device:1"), member("x" * 101)], ids=["device", "too long"])
def test_somebody_not_exported_listed_in_anothers_place_makes_nobody_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, other: dict[str, object]
) -> None:
    """Who is not exported counts once too: as many rows as announced are no proof when one of those stands there twice."""
    sandbox.settings(page_size=3)
    people = [member("fan-0"), member("fan-1"), other, member("fan-3"), member("fan-4")]
    workspace.set_members(*people)
    workspace.export()
    sandbox.fault("displaced", page=1, by=1)
    assert (workspace.export().exited, workspace.holders()) == (0, sandbox.exportable(workspace.cohort))
    workspace.set_members(*people[:4])
    assert workspace.export().exited == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_member_listed_again_without_a_profile_makes_nobody_leave(
    workspace: EngineWorkspace, sandbox: Sandbox, known: bool
) -> None:
    """They count as exported and as anonymous, so the numbers add up although somebody is missing; on known pages too."""
    sandbox.settings(page_size=3)
    workspace.set_members(*(member(f"fan-{number}") for number in range(8)))
    for _ in range(3 if known else 1):
        workspace.export()
    sandbox.fault("displaced", page=1, by=1, body="no profile")
    run = workspace.export()
    assert (run.state, run.exited, run.reading) == (RunState.SUCCEEDED, 0, 2)
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_a_value_nobody_could_read_later_makes_its_page_garbled(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """The quick reading skips over values; a number out of range is found before the page is kept, and asked for again."""
    workspace.set_members(on_plan("fan-1", "gold"))
    body = '{"status": "ok", "page": 0, "total": 1, "results": [{"$distinct_id": "fan-1", "$properties": {"plan": 1e999}}]}'
    sandbox.fault("status", api="mixpanel", path="/engage", code=200, body=body)
    assert workspace.export(mapping=MAPPED).state is RunState.SUCCEEDED
    profile = sandbox.profile("fan-1")
    assert profile is not None and profile["attributes"]["Plan"] == "gold"


def full_while_an_answer_is_written(store: Store) -> Iterator[None]:
    """Let the disk be full when this connection writes its first answer, and have room again when it tries once more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = itertools.chain([0], itertools.repeat(limits[0]))
    store._db.create_function("disk", 0, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (next(room), limits[1])))
    store._db.execute("create temp trigger full after update of delivered on run begin select disk(); end")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_half_a_batch_is_never_the_whole_of_it(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """When the answer for one half of a batch could not be written, the run goes on with both halves."""
    workspace.set_members(*(member(f"fan-{number}") for number in range(20)))
    sandbox.poison("fan-3")
    with workspace.open() as service:
        run_id = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    with Store.open(workspace.data_dir) as store, contextlib.contextmanager(full_while_an_answer_is_written)(store):
        claimed = store.runs.claim_run("me", time.time())
        assert claimed is not None
        RunExecutor(store, claimed, "me", workspace.context()).execute()
    assert "database" in (workspace.get_run(run_id).wait_reason or "") and "disk" in (
        workspace.get_run(run_id).wait_reason or ""
    )
    workspace.ahead = 100.0
    workspace.run_queued()
    run = workspace.get_run(run_id)
    assert (run.state, run.delivered, run.rejected) == (RunState.SUCCEEDED, 19, 1)
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - {"fan-3"}


@pytest.fixture
def halved(workspace: EngineWorkspace, sandbox: Sandbox) -> int:
    """Plan a run of two batches; the first person is poison, and the tenth request meets what a test arms.

    Both batches, then halves of the first: 12 13, 6 6, 3 3, the first alone; the tenth has the other two of that three.
    """
    workspace.batches_a_minute = None  # the usual pace, at which requests leave in their order
    workspace.set_members(*(member(f"fan-{number:02}") for number in range(50)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        sandbox.poison(next(iter(service.runs.iterate_export_rows(run.id))).user_id)
        service.runs.approve(run.id)
    return run.id


def test_the_numbers_of_a_run_that_failed_half_way_add_up(
    workspace: EngineWorkspace, sandbox: Sandbox, halved: int
) -> None:
    """Someone rejected out of a batch that never settled takes nobody else's place among the delivered."""
    sandbox.fault("status", path="bulk-users", code=401, after=9)
    workspace.run_queued()
    run = workspace.get_run(halved)
    with workspace.open() as service:
        rows = Counter(row.outcome for row in service.runs.iterate_export_rows(halved))
    assert (run.state, run.entered, run.delivered, run.rejected) == (RunState.FAILED, 50, 25, 1)
    assert rows == {"accepted": 25, "rejected": 1, "unconfirmed": 24}


@pytest.mark.slow
def test_someone_rejected_and_then_taken_is_taken(workspace: EngineWorkspace, sandbox: Sandbox, halved: int) -> None:
    """Within one run the last answer counts, so that whoever leaves later is told false."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=9)
    workspace.run_queued()
    sandbox.clear_faults()
    with workspace.open() as service:
        assert len(service.runs.list_rejections(halved)) == 1
        with pytest.raises(InvalidRequest, match=f"Run {halved} .* under way"):
            service.syncs.retry_rejected(1)
    workspace.ahead = 400.0
    workspace.run_queued()
    run = workspace.get_run(halved)
    with workspace.open() as service:
        assert (run.delivered, run.rejected, service.runs.list_rejections(halved)) == (50, 0, ())
    workspace.set_members()
    workspace.export_and_approve()
    assert workspace.holders() == set()


def test_a_lost_key_pauses_the_sync_with_the_reason(workspace: EngineWorkspace) -> None:
    """The run fails, the person reads what to do, and after connecting again one click goes on."""
    workspace.set_members(member("fan-1"))
    with workspace.open() as service:
        run_id = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    (workspace.data_dir / "secret.key").unlink()
    workspace.run_queued()
    with workspace.open() as service:
        run, paused = service.runs.get(run_id), service.syncs.get(1)
    assert run.state is RunState.FAILED and paused.pause_reason and "connect again" in paused.pause_reason
    workspace.connect(workspace.sandbox)
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert workspace.holders() == {"fan-1"}


def test_a_failure_that_pauses_nothing_needs_a_person_all_the_same(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """An answer nobody documented fails the run; the sync stays active, and the status says that it failed."""
    sandbox.fault("status", path="engage", code=418)
    workspace.export()
    with workspace.open() as service:
        health = service.check_health()
        assert [one.id for one, _ in health.failed] == [1] and health.needs_attention
    workspace.export()
    with workspace.open() as service:
        assert not service.check_health().needs_attention
        assert replace(service.check_health(), disk_free=1000).needs_attention


def test_a_busy_list_of_cohorts_puts_an_empty_run_off(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Nobody was read, and whether the cohort still exists cannot be asked now: the run waits instead of failing."""
    with workspace.open() as service:
        run_id = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
    sandbox.fault("status", path="cohorts/list", code=503, retry_after=300)
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.QUEUED and "503" in (workspace.get_run(run_id).wait_reason or "")
    workspace.ahead = 400.0
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED


def test_a_busy_check_of_the_account_puts_a_run_off(workspace: EngineWorkspace, sandbox: Sandbox, halved: int) -> None:
    """A refused batch, and WebEngage too busy to say whether the account is right: the run waits and then goes on."""
    sandbox.fault("status", path="/users", code=503, retry_after=300)
    workspace.run_queued()
    assert workspace.get_run(halved).state is RunState.QUEUED
    workspace.ahead = 400.0
    workspace.run_queued()
    assert (
        workspace.get_run(halved).state,
        workspace.get_run(halved).delivered,
        workspace.get_run(halved).rejected,
    ) == (
        RunState.SUCCEEDED,
        49,
        1,
    )


@pytest.mark.slow
def test_a_sync_when_resumed_before_its_run_was_cancelled_is_refreshed_after_that(
    workspace: EngineWorkspace, sandbox: Sandbox, halved: int
) -> None:
    """What was cancelled stays so, also when a pause did it; no export gets lost, and the schedule stays."""
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=9)
    workspace.run_queued()
    with workspace.open() as service:
        scheduled = service.syncs.get(1).next_run_at
        service.syncs.pause(1)
        assert service.runs.get(halved).cancel_requested
        with pytest.raises(InvalidRequest, match="still being cancelled"):
            service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))
        service.syncs.resume(1)
        assert service.syncs.queue_due() == 0
    workspace.ahead = 400.0
    workspace.run_queued()  # also by a runner that runs once: it looks at what is due after the last run's end, too
    assert workspace.get_run(halved).state is RunState.CANCELLED
    again = workspace.get_run(halved + 1)
    assert (again.purpose, again.state, len(workspace.holders())) == ("refresh", RunState.SUCCEEDED, 49)
    with workspace.open() as service:
        assert service.syncs.queue_due() == 0 and service.syncs.get(1).next_run_at == scheduled


def test_a_one_time_export_when_it_is_still_being_cancelled_is_not_resumed(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """It has no schedule that could bring the next run, so the sentence says when to press again."""
    workspace.set_members(*(member(f"fan-{number:02}") for number in range(50)))
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=1)
    run = workspace.export(mode=Mode.ONE_TIME)
    with workspace.open() as service:
        service.syncs.pause(1)
        with pytest.raises(InvalidRequest, match=f"Run {run.id} of this cohort is still being cancelled"):
            service.syncs.resume(1)
    workspace.ahead = 400.0
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.resume(1)
    workspace.run_queued()
    assert len(workspace.holders()) == 50


def test_another_request_for_a_run_under_way_is_kept_or_refused(workspace: EngineWorkspace) -> None:
    """The mode changes with the plan; other properties, and a cohort being cleared, are refused with the reason."""
    workspace.set_members(on_plan("fan-1", "a"))
    with workspace.open() as service:
        first = service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.ONE_TIME, mapping=MAPPED))
        assert (
            service.syncs.start_export(
                PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, interval=900.0)
            ).started
            is False
        )
        with pytest.raises(InvalidRequest, match="other properties"):
            service.syncs.start_export(
                PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC, mapping=(("plan", "Other"),))
            )
    workspace.run_queued()
    with workspace.open() as service:
        assert service.runs.get(first.run_id).delivered == 1 and service.syncs.get(1).state.value == "active"
        assert (service.syncs.get(1).mode, service.syncs.get(1).interval_seconds) == (Mode.DYNAMIC, 900.0)
        service.syncs.stop(1, clear=True)
        with pytest.raises(InvalidRequest, match="is clearing this cohort"):
            service.syncs.start_export(PROJECT, workspace.cohort, ExportTerms(mode=Mode.DYNAMIC))


@pytest.mark.parametrize(("afterwards", "sent_before"), [(0, 2), (60, 2), (0, 1)])
def test_a_restore_takes_back_no_limit_no_audit_and_nobody_unconfirmed(
    workspace: EngineWorkspace, sandbox: Sandbox, tmp_path: Path, afterwards: int, sent_before: int
) -> None:
    """Whom a run of the copy was sending, or still to send, is sent again, in or out; limits and audit stay as they are."""
    workspace.batches_a_minute = FAST if sent_before > 1 else 60  # slowly: the third batch has not left then
    everybody = [member(f"fan-{number:02}") for number in range(60)]
    workspace.set_members(*everybody)
    sandbox.fault("status", path="bulk-users", code=429, retry_after=300, after=sent_before)
    run = workspace.export()
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "copy.db")
        service.syncs.change_interval(1, 900.0)
    workspace.ahead = 400.0
    workspace.run_queued()
    assert len(workspace.holders()) == 60
    if afterwards:
        workspace.set_members()
        workspace.export_and_approve()
    with workspace.open() as service:
        left = service.check_health().queries
        service.admin.restore(tmp_path / "copy.db")
        assert service.check_health().queries == left and "change interval" in [
            line.action for line in service.admin.list_audit()
        ]
    with contextlib.closing(sqlite3.connect(workspace.data_dir / "app.db")) as db:
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    workspace.set_members(*everybody[:afterwards])
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.CANCELLED
    workspace.export_and_approve()
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


@pytest.mark.parametrize(
    ("said", "left"),
    [("Too many requests", 58), ("1/5 queries running concurrently and 61/60 queries running in the last hour", 56)],
)
def test_only_a_refusal_that_names_the_hour_teaches_that_pages_count(
    workspace: EngineWorkspace, sandbox: Sandbox, said: str, left: int
) -> None:
    """One bare 429 on a later page does not make a large cohort wait for an hour every sixty pages from then on."""
    sandbox.settings(page_size=10)
    workspace.set_members(*(member(f"fan-{number}") for number in range(30)))
    sandbox.fault("status", path="engage", page=2, code=429, retry_after=300, body={"error": said})
    workspace.export()
    workspace.ahead += 301.0  # until then Mixpanel refuses more, whatever is left of the hour
    with workspace.open() as service:
        assert service.check_health().queries == ((PROJECT, left),)


def test_pages_of_a_run_that_sent_nobody_are_not_taken_for_known(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """A first export that failed while it read leaves nothing behind that a later one could mistake for sent."""
    sandbox.settings(page_size=10)
    workspace.set_members(*(member(f"fan-{number}") for number in range(25)))
    sandbox.fault("status", path="engage", page=2, code=418)
    assert workspace.export().state is RunState.FAILED
    sandbox.clear_faults()
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_someone_forgotten_while_a_run_is_under_way_comes_back_with_the_next(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Their plan is blanked and not sent; the pages that list them are not known afterwards."""
    workspace.set_members(*(member(f"fan-{number}") for number in range(30)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        assert service.admin.forget_person("fan-3").places >= 1
        service.runs.approve(run.id)
    workspace.run_queued()
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - {"fan-3"}
    assert workspace.export().entered == 1
    assert workspace.holders() == sandbox.exportable(workspace.cohort)


def test_somebody_who_only_seems_to_be_unchanged_is_sent(workspace: EngineWorkspace) -> None:
    """Pages are compared with half of each content hash; where the other half differs, the cohort is read once more."""
    workspace.set_members(*(on_plan(f"fan-{number}", "gold") for number in range(30)))
    workspace.export(mapping=MAPPED)
    with Store.open(workspace.data_dir) as store:
        (bounds,) = store.snapshot.ranges(1)
        people = store.snapshot.bucket(1, *bounds)
        people.records[ID_SIZE] ^= 0xFF  # of what was sent about the first one, only the half that is not compared
        store.snapshot.write(1, *bounds, people)
    run = workspace.export(mapping=MAPPED)
    assert (run.state, run.updated, run.unchanged) == (RunState.SUCCEEDED, 1, 29)
    assert workspace.export(mapping=MAPPED).unchanged == 30
