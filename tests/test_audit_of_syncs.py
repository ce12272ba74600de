"""Read later what was asked of a sync: a line in the audit log for each request, and the history of its runs."""

from __future__ import annotations

import pytest

from sync.cadence import DailyTime
from sync.errors import InvalidRequest
from sync.model import Mode, RunState, format_utc_time
from sync.permissions import AccessLevel, Actor, Forbidden
from sync.service import Service
from sync.store import Store
from tests.engine_workspace import EngineWorkspace, fans
from tests.sandbox.control import LICENSE, PROJECT, Sandbox, member
from tests.workspace import Workspace

HOUR = 3600.0
MAPPED = (("plan", "Plan"),)
TERMS = "account sandbox1; attribute Mixpanel - Fans; membership only; guard on; active"


@pytest.fixture
def workspace(workspace: Workspace, sandbox: Sandbox) -> EngineWorkspace:
    """Connect a data folder, with a cohort of three."""
    found = EngineWorkspace(workspace.data_dir, sandbox)
    found.set_members(*fans(0, 1, 2))
    return found


def read_audit(workspace: Workspace) -> list[tuple[str, str, str, str, int | None]]:
    """Return the lines about syncs and runs, oldest first: what, of which, before, after, and the run."""
    with workspace.open() as service:
        lines = reversed(service.admin.list_audit())
    return [
        (one.action, one.target, one.before, one.after, one.run_id)
        for one in lines
        if one.target.startswith("sync") or ", cohort " in one.target
    ]


def read_history(workspace: Workspace, run_id: int) -> list[str]:
    """Return what happened to a run, oldest first."""
    with workspace.open() as service:
        return [one.message for one in service.runs.list_events(run_id)]


def test_every_request_about_a_sync_leaves_one_line_with_what_was_before_and_after(workspace: EngineWorkspace) -> None:
    """Who reads the log a year later sees each button that was pressed, and which run it began."""
    workspace.export(dry_run=True)
    with workspace.open() as service:
        service.runs.approve(1)
    workspace.run_queued()
    for ask in ("refresh_now", "retry_rejected", "resync"):
        with workspace.open() as service:
            getattr(service.syncs, ask)(1)
        workspace.run_queued()
    until = workspace.now() + HOUR
    with workspace.open() as service:
        service.syncs.change_interval(1, 6 * HOUR)
        service.syncs.pause(1, until)
        service.syncs.pause(1)
        service.syncs.resume(1)
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.stop(1)
        service.syncs.stop(1, clear=True)
    two, six = f"dynamic, every 2 hours; {TERMS}", f"dynamic, every 6 hours; {TERMS}"
    paused_until = f"paused: Paused by a person until {format_utc_time(until)}."
    assert read_audit(workspace) == [
        ("dry run", f"project {PROJECT}, cohort {workspace.cohort}", "", two, 1),
        ("refresh", "sync 1", "", "", 2),
        ("retry", "sync 1", "", "", 3),
        ("resync", "sync 1", "", "", 4),
        ("change interval", "sync 1", two, six, None),
        ("pause", "sync 1", "active", paused_until, None),
        ("pause", "sync 1", paused_until, "paused", None),
        ("resume", "sync 1", "paused: Paused by a person.", "active", 5),
        ("stop", "sync 1", "active", "finished", None),
        ("stop and clear", "sync 1", "finished", "finished", 6),
    ]


def test_an_export_again_leaves_its_terms_before_and_after(workspace: EngineWorkspace) -> None:
    """What was asked for is in the line, though the sync takes it over only with its run."""
    workspace.export()
    workspace.start_export(daily=DailyTime.parse("07:30", "UTC"))
    assert read_audit(workspace)[-1] == (
        "export",
        f"project {PROJECT}, cohort {workspace.cohort}",
        f"dynamic, every 2 hours; {TERMS}",
        f"dynamic, at 07:30 UTC; {TERMS}",
        2,
    )
    workspace.start_export(interval=6 * HOUR)
    assert read_audit(workspace)[-1] == (
        "change",
        "sync 1",
        f"dynamic, at 07:30 UTC; {TERMS}",
        f"dynamic, every 6 hours; {TERMS}",
        2,
    )


def test_a_request_about_a_sync_that_is_refused_leaves_no_line(workspace: EngineWorkspace) -> None:
    """A log that says somebody stopped a sync that goes on would be believed."""
    workspace.export(mode=Mode.ONE_TIME)
    before = read_audit(workspace)
    with workspace.open() as service:
        for ask, values in (
            ("pause", (1,)),
            ("resume", (1,)),
            ("change_interval", (1, 6 * HOUR)),
            ("stop", (7,)),
            ("refresh_now", (7,)),
        ):
            with pytest.raises(InvalidRequest):
                getattr(service.syncs, ask)(*values)
    assert read_audit(workspace) == before


def test_the_history_of_a_run_begins_with_who_or_what_began_it(workspace: EngineWorkspace) -> None:
    """The page of a run shows it: an export, somebody who asked, a time that had come, or the end of a pause."""
    workspace.export()
    with workspace.open() as service:
        service.syncs.refresh_now(1)
    workspace.run_queued()
    workspace.ahead = 2 * HOUR + 1
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.pause(1)
        service.syncs.resume(1)
    workspace.run_queued()
    with workspace.open() as service:
        service.syncs.pause(1, workspace.now() + 60.0)
    workspace.ahead += 61.0
    workspace.run_queued()
    assert [read_history(workspace, number)[0] for number in range(1, 6)] == [
        "Export requested: dynamic, attribute “Mixpanel - Fans”.",
        "Refresh requested.",
        "The refresh is due.",
        "Resumed by a person.",
        "Resumed: its pause was to end now.",
    ]


def test_a_first_export_that_has_yet_to_be_planned_shows_the_terms_it_was_asked_for(workspace: EngineWorkspace) -> None:
    """Nobody asks a second time because the page seems to have forgotten the last day or the properties."""
    ends_at = workspace.now() + 30 * 24 * HOUR
    workspace.start_export(interval=6 * HOUR, ends_at=ends_at, mapping=MAPPED, id_property="customer")
    with workspace.open() as service:
        sync, proposed = service.syncs.get(1), service.cohorts.propose_export(PROJECT, workspace.cohort)
    assert (sync.mode, sync.interval_seconds, sync.ends_at) == (Mode.DYNAMIC, 6 * HOUR, ends_at)
    assert (sync.id_property, proposed.mapping) == ("customer", MAPPED)


def test_an_attribute_of_an_export_that_is_only_tried_is_free_for_another_property(
    workspace: EngineWorkspace,
) -> None:
    """Nobody approved the first one yet, so it keeps nothing from the cohort that is really sent."""
    workspace.set_members(member("a", plan="gold"), member("b", plan="gold"))
    other = workspace.sandbox.add_cohort("Other", [member("c", tier="one")])
    workspace.start_export(mapping=MAPPED, dry_run=True)
    assert workspace.export(other, mapping=(("tier", "Plan"),)).state is RunState.SUCCEEDED


def test_a_look_at_names_is_in_the_audit_log_also_after_the_clock_was_set_back(workspace: EngineWorkspace) -> None:
    """One line stands for an hour; a line of tomorrow, by a clock that was wrong, stands for nothing."""

    def look() -> int:
        actor = Actor("mo@example.com", AccessLevel.MARKETER)
        with Service(Store.open(workspace.data_dir), workspace.env, workspace.now, actor) as service:
            service.members.list(service.members.begin(PROJECT, workspace.cohort), reveal=True)
        with workspace.open() as service:
            return [one.action for one in service.admin.list_audit()].count("show names and e-mail addresses")

    workspace.ahead = 24 * HOUR
    assert (look(), look()) == (1, 1)
    workspace.ahead = 0.0
    assert (look(), look()) == (2, 2)
    workspace.ahead = HOUR + 1
    assert look() == 3


@pytest.mark.parametrize("side", ["Mixpanel", "WebEngage"])
def test_a_disconnect_says_which_syncs_it_paused_and_its_runs_say_why_they_end(
    workspace: EngineWorkspace, side: str
) -> None:
    """The page of the run says that nobody pressed Cancel there, and the log which syncs wait for a person now."""
    workspace.export()
    workspace.start_export(interval=6 * HOUR)
    with workspace.open_store() as store:
        assert store.runs.claim_run("a runner", workspace.now())
    with workspace.open() as service:
        if side == "Mixpanel":
            service.connections.disconnect_mixpanel(PROJECT)
        else:
            service.connections.disconnect_webengage(LICENSE)
        line = service.admin.list_audit()[0]
    assert (line.action, line.before, line.after) == (f"disconnect {side}", "connected", "1 sync paused: 1")
    assert "Cancel requested, since it was disconnected." in read_history(workspace, 2)


def test_who_looks_at_members_is_in_the_audit_log_and_who_may_not_see_names_leaves_no_line_of_it(
    workspace: EngineWorkspace,
) -> None:
    """A viewer sees the list with masked values; that somebody saw names is said of nobody who did not."""
    viewer = Actor("vic@example.com", AccessLevel.VIEWER)
    with Service(Store.open(workspace.data_dir), workspace.env, workspace.now, viewer) as service:
        for _ in range(2):
            reading = service.members.begin(PROJECT, workspace.cohort)
        with pytest.raises(Forbidden):
            service.members.list(reading, reveal=True)
        with pytest.raises(Forbidden):
            service.members.note_download(reading, "3 members")
    with workspace.open() as service:
        lines = [(one.actor, one.action, one.target) for one in service.admin.list_audit()]
        service.members.note_download(reading, "3 members")
        downloaded = service.admin.list_audit()[0]
    assert [line for line in lines if line[0] == "vic@example.com"] == [
        ("vic@example.com", "view members", f"project {PROJECT}, cohort {workspace.cohort}")
    ]
    assert (downloaded.action, downloaded.target, downloaded.after) == (
        "download",
        f"project {PROJECT}, members of cohort {workspace.cohort}",
        "3 members",
    )
