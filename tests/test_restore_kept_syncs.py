"""Restore a backup from before a cohort was first exported: the cohort is kept whole, with all that belongs to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, SyncState
from sync.records import Event, ExportRow, RejectionView
from sync.service import Service
from tests.engine_workspace import EngineWorkspace, fan_ids, fans, keep_out, later
from tests.sandbox.control import API_KEY_2, LICENSE, LICENSE_2, PROJECT, SECRET, USERNAME, Sandbox

SECOND = "Mixpanel - Seconds"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Return a backup of the database from before anything was connected."""
    with Service.open({"COHORT_SYNC_DATA": str(tmp_path / "new")}) as service:
        service.admin.write_backup(tmp_path / "empty.db")
    return tmp_path / "empty.db"


@pytest.fixture
def workspace(empty: Path, sandbox: Sandbox) -> EngineWorkspace:
    """Return that folder, connected since, with a cohort of which one person was rejected, in the first of two accounts."""
    found = EngineWorkspace(empty.parent / "new", sandbox)
    found.cohort = sandbox.add_cohort("Seconds", fans(*range(10, 14)))
    sandbox.poison("fan-13")
    found.export()
    return found


def read_history(workspace: EngineWorkspace) -> tuple[tuple[Event, ...], tuple[RejectionView, ...], list[ExportRow]]:
    """Return what the page of the first run shows."""
    with workspace.open() as service:
        rows = sorted(service.runs.iterate_export_rows(1), key=lambda row: row.user_id)
        return service.runs.list_events(1), service.runs.list_rejections(1), rows


def test_the_history_of_a_kept_cohort_is_kept(workspace: EngineWorkspace, empty: Path) -> None:
    """Its run's page says what happened, whom it sent and who was rejected; restoring again adds no line once more."""
    before = read_history(workspace)
    assert all(before) and {row.outcome for row in before[2]} == {"accepted", "rejected"}
    for _ in range(2):
        workspace.restore(empty)
        assert read_history(workspace) == before


def test_the_attribute_of_a_kept_cohort_is_free_for_no_property(
    workspace: EngineWorkspace, sandbox: Sandbox, empty: Path
) -> None:
    """Values of a property would be written over who is in the cohort."""
    workspace.restore(empty)
    thirds = sandbox.add_cohort("Thirds", fans(1))
    terms = ExportTerms(mode=Mode.DYNAMIC, mapping=(("plan", SECOND),))
    with workspace.open() as service, pytest.raises(InvalidRequest, match=SECOND):
        service.syncs.start_export(PROJECT, thirds, terms)


def test_both_accounts_of_a_kept_cohort_are_kept(workspace: EngineWorkspace, sandbox: Sandbox, empty: Path) -> None:
    """That of the cohort, without which it could not be cleared, and the one to which its project exports from now on."""
    with workspace.open() as service:
        service.connections.connect_webengage(LICENSE_2, API_KEY_2, sandbox.url)
        service.connections.use_account(PROJECT, LICENSE_2)
    workspace.restore(empty)
    with workspace.open() as service:
        assert {one.license_code for one in service.connections.list_accounts()} == {LICENSE, LICENSE_2}
        assert service.connections.list_projects()[0].license_code == LICENSE_2
        service.syncs.stop(1, clear=True)
    workspace.run_queued()
    assert sandbox.holding(SECOND)[0] == set()


def test_a_backup_of_another_database_without_any_cohort_is_refused_while_people_would_be_lost(
    workspace: EngineWorkspace, tmp_path: Path, sandbox: Sandbox
) -> None:
    """There is room for the cohort, but its people could be found by no hash."""
    (tmp_path / "other").mkdir()
    other = EngineWorkspace(tmp_path / "other", sandbox)
    keep_out(other, "fan-30")
    with other.open() as service:
        service.admin.write_backup(tmp_path / "other.db")
    with workspace.open() as service, pytest.raises(InvalidRequest, match=r"“Seconds”.*clear"):
        service.admin.restore(tmp_path / "other.db")


def test_a_kept_cohort_that_was_exported_once_stays_as_it_is(
    workspace: EngineWorkspace, sandbox: Sandbox, empty: Path
) -> None:
    """Nothing refreshes it, so there is nothing to pause, and it is not named as paused."""
    thirds = sandbox.add_cohort("Thirds", fans(20, 21))
    run = workspace.export(thirds, mode=Mode.ONE_TIME)
    with workspace.open() as service:
        state = service.syncs.get(run.sync_id).state
        report = service.admin.restore(empty)
        assert (sorted(report.kept), report.paused) == (["Seconds", "Thirds"], ("Seconds",))
        assert service.syncs.get(run.sync_id).state is state
    later(workspace, 7300)
    assert sandbox.holding("Mixpanel - Thirds")[0] == fan_ids(20, 21)


def test_cohorts_of_several_projects_are_named_with_their_project(
    workspace: EngineWorkspace, sandbox: Sandbox, empty: Path
) -> None:
    """Both may have one of this name, and only one of them is to be looked at."""
    sandbox.add_project(77, "Shop", username=USERNAME, secret=SECRET, role="admin")
    with workspace.open() as service:
        service.connections.connect_mixpanel(77, USERNAME, SECRET, sandbox.url)
        seconds = sandbox.add_cohort("Seconds", fans(*range(20, 24)), project=77)
        service.syncs.start_export(77, seconds, ExportTerms(mode=Mode.ONE_TIME, attribute="Shop seconds"))
        [own] = [one.name for one in service.connections.list_projects() if one.id == PROJECT]
    workspace.run_queued()
    with workspace.open() as service:
        report = service.admin.restore(empty)
    assert sorted(report.kept) == sorted([f"Seconds ({own})", "Seconds (Shop)"]) and report.paused == (
        f"Seconds ({own})",
    )


def test_a_kept_cohort_that_is_paused_until_a_time_goes_on_then(
    workspace: EngineWorkspace, sandbox: Sandbox, empty: Path
) -> None:
    """Somebody said so after the backup, of this cohort; the time they named stays."""
    with workspace.open() as service:
        service.syncs.pause(1, workspace.now() + 50_000)
        before = service.syncs.get(1)
    workspace.restore(empty)
    with workspace.open() as service:
        after = service.syncs.get(1)
    assert (after.state, after.resume_at, after.pause_reason) == (
        SyncState.PAUSED,
        before.resume_at,
        before.pause_reason,
    )
