"""The never-export list and tripwires: who is on them, is never sent, and what happens where they meet approvals."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.model import Mode, RunState
from sync.service.safety import parse_csv, parse_lines
from sync.store.rate_limits import RateLimits
from sync.store.safety_lists import mask_id
from tests.engine_workspace import ATTRIBUTE, DAY, EngineWorkspace, fans, later
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import read_everything_stored


@pytest.fixture
def workspace(data_dir: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return a connected data folder with an empty cohort."""
    return EngineWorkspace(data_dir, sandbox)


def keep_out(workspace: EngineWorkspace, *user_ids: str) -> None:
    """Put people on the never-export list."""
    with workspace.open() as service:
        service.safety.add_never_export(None, user_ids, "asked for it")


def let_in(workspace: EngineWorkspace, *user_ids: str) -> None:
    """Take people off the never-export list."""
    with workspace.open() as service:
        assert service.safety.remove_never_export(None, user_ids) == len(user_ids)


def refresh(workspace: EngineWorkspace) -> int:
    """Refresh the sync; return the number of the run."""
    with workspace.open() as service:
        run_id = service.syncs.refresh_now(1).run_id
    workspace.run_queued()
    return run_id


def test_people_on_the_list_are_never_sent_and_counted(workspace: EngineWorkspace, sandbox: Sandbox) -> None:
    """Preview and run count them; WebEngage never hears of them, and a run without news still knows them."""
    keep_out(workspace, "fan-1", "fan-3", "somebody else")
    workspace.set_members(*fans(*range(5)), member("$device:1"))
    with workspace.open() as service:
        seen = service.cohorts.preview(PROJECT, workspace.cohort)
        assert (seen.identified, seen.never_exported) == (5, 2)
        assert {one.id for one in seen.sample if one.eligibility.value == "on the never-export list"} == {
            "fan-1",
            "fan-3",
        }
    run = workspace.export()
    assert (run.state, run.entered, run.identified, run.never_exported) == (RunState.SUCCEEDED, 3, 5, 2)
    assert workspace.holders() == {"fan-0", "fan-2", "fan-4"}
    assert sandbox.profile("fan-1") is None
    again = workspace.get_run(refresh(workspace))
    assert (again.change_count, again.never_exported, again.identified) == (0, 2, 5)


@pytest.mark.slow
def test_people_put_on_the_list_later_are_set_to_false_and_come_back_when_taken_off(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """Also when Mixpanel's pages say nothing new, and when far more than a fifth leaves: the list is a person's deed."""
    workspace.set_members(*fans(*range(150)))
    workspace.export()
    assert workspace.get_run(refresh(workspace)).change_count == 0  # the pages are known now
    listed = [f"fan-{number}" for number in range(120)]
    keep_out(workspace, *listed)
    run = workspace.get_run(refresh(workspace))
    assert (run.state, run.exited, run.removed_by_list, run.never_exported) == (RunState.SUCCEEDED, 120, 120, 120)
    assert workspace.holders() == {f"fan-{number}" for number in range(120, 150)}
    assert sandbox.holding(ATTRIBUTE)[1] == set(listed)
    assert workspace.get_run(refresh(workspace)).change_count == 0
    let_in(workspace, "fan-7")
    assert workspace.get_run(refresh(workspace)).entered == 1
    assert "fan-7" in workspace.holders()


def test_people_put_on_the_list_after_a_plan_was_made_are_not_sent_by_its_approval(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """The list wins over an approval, at once and when the plan has grown old; the numbers say what was sent."""
    workspace.set_members(*fans(*range(60)))
    run = workspace.export(dry_run=True)
    keep_out(workspace, "fan-1", "fan-2")
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert (run.state, run.entered, run.delivered, run.never_exported) == (RunState.SUCCEEDED, 58, 58, 2)
    assert workspace.holders() == sandbox.exportable(workspace.cohort) - {"fan-1", "fan-2"}
    assert sandbox.profile("fan-1") is None
    with workspace.open() as service:
        assert len(list(service.runs.iterate_export_rows(run.id))) == 58
    assert workspace.get_run(refresh(workspace)).change_count == 0


def test_somebody_who_left_and_is_put_on_the_list_after_the_plan_was_made_is_set_to_false_by_it(
    workspace: EngineWorkspace,
) -> None:
    """The list keeps people from being sent as members; nobody is kept from being removed."""
    workspace.set_members(*fans(*range(10)))
    workspace.export()
    workspace.set_members(*fans(*range(1, 10)))
    run = workspace.export(dry_run=True)
    keep_out(workspace, "fan-0")
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert (run.state, run.exited, run.delivered) == (RunState.SUCCEEDED, 1, 1)
    assert "fan-0" in workspace.sandbox.holding(ATTRIBUTE)[1]


def test_an_old_approval_goes_ahead_when_only_the_list_changed(workspace: EngineWorkspace) -> None:
    """Planned again, those put on the list leave without another approval, though the approved plan did not name them."""
    workspace.set_members(*fans(*range(10)))
    workspace.export()
    workspace.set_members(*fans(*range(12)))
    run = workspace.export(dry_run=True)
    with workspace.open() as service:
        service.runs.approve(run.id)
    keep_out(workspace, "fan-1", "fan-11")
    workspace.ahead = DAY
    workspace.sandbox.advance(DAY)
    workspace.run_queued()
    run = workspace.get_run(run.id)
    assert (run.state, run.entered, run.exited, run.removed_by_list) == (RunState.SUCCEEDED, 1, 1, 1)
    assert workspace.holders() == {f"fan-{number}" for number in (0, *range(2, 11))}


def test_people_put_on_the_list_while_a_run_sends_are_not_sent(
    workspace: EngineWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is about to leave is made again without them."""
    workspace.set_members(*fans(*range(50)))
    find_slot, asked = RateLimits.next_slot, []

    def put_on_the_list_first(self: RateLimits, license_code: str, now: float) -> float:
        if not asked:
            asked.append(now)
            keep_out(workspace, "fan-1")
        return find_slot(self, license_code, now)

    monkeypatch.setattr(RateLimits, "next_slot", put_on_the_list_first)  # asked just before a request is marked
    run = workspace.export()
    assert asked and (run.state, run.entered, run.delivered) == (RunState.SUCCEEDED, 49, 49)
    assert workspace.holders() == {f"fan-{number}" for number in range(50)} - {"fan-1"}


@pytest.mark.slow
def test_people_put_on_the_list_while_their_request_fails_are_not_sent_again_with_it(
    workspace: EngineWorkspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their request is on its way when they are listed, WebEngage does not take it, and the next try is without them."""
    workspace.set_members(*fans(*range(400)))
    run_id = workspace.export(dry_run=True).id
    with workspace.open() as service:
        first = next(iter(service.runs.iterate_export_rows(run_id))).user_id
        service.runs.approve(run_id)
    sandbox.fault("stall", path="bulk-users", seconds=1.0, times=1)
    workspace.batches_a_minute = None  # the usual pace, at which requests wait for their slots
    find_slot, asked = RateLimits.next_slot, []

    def put_on_the_list_after_the_first_requests(self: RateLimits, license_code: str, now: float) -> float:
        asked.append(now)
        if len(asked) == 3:  # the second time it is asked while the requests are marked
            keep_out(workspace, first)
        return find_slot(self, license_code, now)

    monkeypatch.setattr(RateLimits, "next_slot", put_on_the_list_after_the_first_requests)
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and len(workspace.holders()) == 399
    assert sandbox.profile(first) is None


def test_people_put_on_the_list_after_a_kill_are_not_sent_again_with_its_requests(
    workspace: EngineWorkspace, sandbox: Sandbox
) -> None:
    """However late in the plan the request stands that a killed runner left on its way."""
    workspace.set_members(*fans(*range(1_700)))
    run_id = workspace.export(dry_run=True).id
    with workspace.open() as service:
        last = list(service.runs.iterate_export_rows(run_id))[-1].user_id
    with workspace.open_store() as store:
        store.batches.mark_in_flight(run_id, [1_700 // 25 - 1])
    keep_out(workspace, last)
    with workspace.open() as service:
        service.runs.approve(run_id)
    workspace.run_queued()
    assert workspace.get_run(run_id).state is RunState.SUCCEEDED and len(workspace.holders()) == 1_699
    assert sandbox.profile(last) is None


def test_a_tripwire_in_the_reading_holds_the_run_and_names_only_a_label(workspace: EngineWorkspace) -> None:
    """In its own cohort or in any; not in another one, and also when nothing else changed."""
    workspace.set_members(*fans(*range(5)))
    workspace.export()
    with workspace.open() as service:
        service.safety.add_tripwires(None, workspace.sandbox.add_cohort("Others"), ["fan-3"])
    assert workspace.get_run(refresh(workspace)).state is RunState.SUCCEEDED
    with workspace.open() as service:
        service.safety.add_tripwires(None, workspace.cohort, ["fan-3"])
        service.safety.add_tripwires(None, None, ["fan-4", "not here"])
    run = workspace.get_run(refresh(workspace))
    assert run.state is RunState.HELD
    assert str(run.held_reason) == (
        "Tripwire: 2 people who must never be in this cohort are in it (f•••3, f•••4). Check the cohort's rule in Mixpanel."
    )
    with workspace.open() as service:
        assert service.check_health().needs_attention
        service.runs.approve(run.id)
    workspace.ahead = DAY
    workspace.sandbox.advance(DAY)
    workspace.run_queued()  # an old plan, made again: the same tripwires were approved
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED
    with workspace.open() as service:
        assert service.safety.remove_tripwires(None, workspace.cohort, ["fan-3"]) == 1
        service.safety.delete_tripwires([one.id for one in service.safety.list_tripwires() if one.cohort_id is None])


def test_a_tripwire_on_the_never_export_list_holds_and_is_not_sent(workspace: EngineWorkspace) -> None:
    """The list removes quietly, the tripwire says that the cohort is wrong: both happen."""
    keep_out(workspace, "fan-1")
    with workspace.open() as service:
        service.safety.add_tripwires(None, None, ["fan-1"])
    workspace.set_members(*fans(*range(4)))
    run = workspace.export()
    assert run.state is RunState.HELD and "Tripwire: 1 person" in str(run.held_reason)
    with workspace.open() as service:
        service.runs.approve(run.id)
    workspace.run_queued()
    assert workspace.get_run(run.id).state is RunState.SUCCEEDED
    assert workspace.holders() == {"fan-0", "fan-2", "fan-3"}


def test_the_lists_leak_nobody_and_outlast_forgetting_and_restoring(workspace: EngineWorkspace, tmp_path: Path) -> None:
    """No file holds an id; forgetting blanks the label; a restore takes nobody off, and brings back who was on it."""
    keep_out(workspace, "secret-person-1")
    with workspace.open() as service:
        service.admin.write_backup(tmp_path / "backup")
        service.safety.remove_never_export(None, ["secret-person-1"])
    keep_out(workspace, "secret-person-2")
    with workspace.open() as service:
        service.safety.add_tripwires(None, None, ["secret-person-3"], "a colleague")
        service.admin.restore(tmp_path / "backup")
        labels = [one.label for one in service.safety.list_never_export()]
        assert sorted(labels) == [mask_id("secret-person-1"), mask_id("secret-person-2")] == ["se•••1", "se•••2"]
        assert [one.note for one in service.safety.list_tripwires()] == ["a colleague"]
        found = service.admin.forget_person("secret-person-2")
        assert found.kept_on_lists == 1
        assert {one.label for one in service.safety.list_never_export()} == {"se•••1", "(forgotten)"}
    workspace.set_members(member("secret-person-2"), member("fan-1"))
    assert workspace.export().state is RunState.SUCCEEDED
    assert workspace.holders() == {"fan-1"}
    stored = read_everything_stored(workspace.data_dir)
    assert b"secret-person" not in stored


def test_a_backup_of_another_database_is_refused_while_people_are_on_the_lists(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """Hashes of one database mean nothing in another, so the restore would let these people be exported."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    other.set_members(member("a"))
    other.export()
    with other.open() as service:
        service.admin.write_backup(tmp_path / "backup")
    keep_out(workspace, "fan-1")
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="of another database"):
            service.admin.restore(tmp_path / "backup")
        assert len(service.safety.list_never_export()) == 1


def test_ids_that_cannot_be_are_refused_without_being_quoted(workspace: EngineWorkspace) -> None:
    """An empty list, a too long id, a file in another encoding, an account that is not connected."""
    assert parse_lines(" a \n\n b\r\n'007\n'ann") == ["a", "b", "007", "'ann"]
    with workspace.open() as service:
        for ids in ([], ["fan-1", "x" * 101], ["  "]):
            with pytest.raises(InvalidRequest) as problem:
                service.safety.add_never_export(LICENSE, ids)
            assert "xxx" not in str(problem.value)
        for columns in (b"name,Customer\nZoe,a\n", b"a;1\nb;2\n"):  # which column has the ids would be a guess
            with pytest.raises(InvalidRequest, match="No column of the file is called User ID"):
                parse_csv(columns)
        with pytest.raises(InvalidRequest, match="UTF-8"):
            parse_csv("Zoë".encode("latin-1"))
        with pytest.raises(InvalidRequest, match="not connected"):
            service.safety.add_never_export("other", ["a"])
        assert service.safety.list_never_export() == ()


def test_a_note_that_is_too_long_and_an_entry_that_is_none_are_refused(workspace: EngineWorkspace) -> None:
    """Nobody is put on the list or taken off it then."""
    with workspace.open() as service:
        with pytest.raises(InvalidRequest, match="at most 200 characters"):
            service.safety.add_never_export(LICENSE, ["fan-1"], "x" * 201)
        service.safety.add_never_export(LICENSE, ["fan-1"], "x" * 200)
        with pytest.raises(InvalidRequest, match="not an entry of the list"):
            service.safety.remove_never_export(LICENSE, keys=["no hash"])
        (kept,) = service.safety.list_never_export(LICENSE)
        assert service.safety.remove_never_export(LICENSE, keys=[kept.key]) == 1


@pytest.mark.parametrize("state", ["one-time", "paused", "stopped", "held"])
def test_who_stays_true_because_no_refresh_comes_is_said_when_listed(workspace: EngineWorkspace, state: str) -> None:
    """Put on the list they would be mailed all the same, by the attribute that nothing sets to false."""
    workspace.set_members(*fans(*range(30)))
    workspace.export(mode=Mode.ONE_TIME if state == "one-time" else Mode.DYNAMIC)
    if state == "held":
        workspace.export(dry_run=True)
    with workspace.open() as service:
        if state == "paused":
            service.syncs.pause(1)
        if state == "stopped":
            service.syncs.stop(1)
        assert service.safety.add_never_export(LICENSE, ["fan-3", "stranger"]).stay_true == ("Fans",)
        assert service.safety.add_never_export(LICENSE, ["fan-3"]).stay_true == ("Fans",)
        assert service.safety.add_never_export(LICENSE, ["fan-99"]).stay_true == ()


def test_who_leaves_with_the_next_refresh_is_said_to_stay_nowhere(workspace: EngineWorkspace) -> None:
    """An active sync sets them to false by itself."""
    workspace.set_members(*fans(*range(30)))
    workspace.export()
    with workspace.open() as service:
        assert service.safety.add_never_export(LICENSE, ["fan-3"]).stay_true == ()
    assert "fan-3" in workspace.holders()
    later(workspace, 7300)
    assert "fan-3" not in workspace.holders()


def test_a_preview_from_before_somebody_was_listed_is_shown_no_more(workspace: EngineWorkspace) -> None:
    """It would promise to export them, and its number is what a first export is compared with."""
    workspace.set_members(*fans(*range(5)))
    with workspace.open() as service:
        service.cohorts.preview(PROJECT, workspace.cohort)
        assert service.cohorts.get_known(PROJECT, workspace.cohort)
        service.safety.add_never_export(None, ["fan-1"])
        assert service.cohorts.get_known(PROJECT, workspace.cohort) is None


def test_a_tripwire_that_is_set_for_any_cohort_after_one_for_this_cohort_is_not_new(workspace: EngineWorkspace) -> None:
    """The readings since the first one looked for the person already."""
    with workspace.open_store() as store:
        store.safety_lists.add_tripwires(PROJECT, workspace.cohort, ["old", "other"], "", "ann", 10.0)
        store.safety_lists.add_tripwires(PROJECT, None, ["old", "new"], "", "ann", 20.0)
        found = store.safety_lists.list_tripwires_since(PROJECT, workspace.cohort, 15.0)
        assert found == frozenset(store.safety_lists.hash_ids(["new"]))
