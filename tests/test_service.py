"""One service, composed of topics over one shared state."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sync.alerting.quiet_hours import Schedule
from sync.export_terms import ExportTerms
from sync.guards import GuardLimits
from sync.model import DEFAULT_INTERVAL, Mode, RunState
from sync.permissions import AccessLevel, Actor, Forbidden
from sync.service import Service
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

ROOT = Path(__file__).parents[1]


@pytest.fixture
def service(data_dir: Path, sandbox: Sandbox) -> Service:
    """Return a service with both sides connected."""
    found = Service.open({"COHORT_SYNC_DATA": str(data_dir)})
    found.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
    found.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
    return found


def test_restore_when_it_reopens_the_store_every_topic_uses_the_new_one(
    service: Service, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A topic that kept the former store would use a closed database, or show what happened after the backup."""
    fans, others = (sandbox.add_cohort(name, [member("a")]) for name in ("Fans", "Others"))
    with service:
        topics = service.connections, service.cohorts, service.syncs, service.runs, service.admin
        known = service.syncs.start_export(PROJECT, fans, ExportTerms(mode=Mode.DYNAMIC))
        service.admin.write_backup(tmp_path / "copy.db")
        service.syncs.change_interval(known.sync_id, 3600.0)
        service.runs.cancel(known.run_id)
        service.admin.restore(tmp_path / "copy.db")
        connections, cohorts, syncs, runs, admin = topics
        assert [one.id for one in connections.list_projects()] == [PROJECT]
        assert syncs.get(known.sync_id).interval_seconds == DEFAULT_INTERVAL
        assert runs.get(known.run_id).state is RunState.QUEUED
        assert admin.list_audit()[0].action == "restore"
        assert [one.id for one in cohorts.list(PROJECT).cohorts] == [fans, others]
        # with its requests, cohorts and runs
        started = syncs.start_export(PROJECT, others, ExportTerms(mode=Mode.DYNAMIC))
        assert runs.get(started.run_id).sync_id == started.sync_id


def test_pause_when_a_run_is_queued_cancels_it_through_the_runs(service: Service, sandbox: Sandbox) -> None:
    """Topics that need each other work in one transaction, with one line each in the audit log."""
    cohort = sandbox.add_cohort("Fans", [member("a")])
    with service:
        started = service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC))
        service.syncs.pause(started.sync_id)
        assert service.runs.get(started.run_id).state.is_final
        actions = [line.action for line in service.admin.list_audit()]
        assert actions[:2] == ["cancel", "pause"]


@pytest.mark.parametrize("topic", ["connections", "cohorts", "syncs", "runs", "admin"])
def test_topic_when_the_actor_has_no_access_refuses_every_request(data_dir: Path, topic: str) -> None:
    """Each public method refuses before it looks at what it was asked for."""
    with Service.open({"COHORT_SYNC_DATA": str(data_dir)}, Actor("nora@example.com", AccessLevel.NOBODY)) as service:
        held = getattr(service, topic)
        requests = [getattr(held, name) for name in dir(held) if not name.startswith("_") and name != "actor"]
        assert requests
        for request in requests:
            with pytest.raises(Forbidden):
                request()


def find_calls_by_name(source: str) -> list[int]:
    """Return the lines where an attribute is taken by a name that only the running program knows."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "methodcaller", "attrgetter")
        and not all(isinstance(value, ast.Constant) for value in node.args[node.func.id == "getattr" :][:1])
    ]


def test_pages_when_they_ask_the_service_write_the_request_out() -> None:
    """A request taken by a computed name is found by no search, no type check and no renaming."""
    assert find_calls_by_name("getattr(service, action)(1)") == [1]
    assert find_calls_by_name('getattr(error, "field", "")') == []
    pages = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
    assert len(pages) > 5
    assert {str(page): find_calls_by_name(page.read_text(encoding="utf-8")) for page in pages} == {
        str(page): [] for page in pages
    }


def test_settings_when_saved_as_they_are_add_nothing_to_the_audit(service: Service, sandbox: Sandbox) -> None:
    """A line that names no change would look like one; those that did change something stay the newest."""
    fans = sandbox.add_cohort("Fans", [member("a")])
    with service:
        sync_id = service.syncs.start_export(PROJECT, fans, ExportTerms(mode=Mode.DYNAMIC)).sync_id
        for _ in range(2):
            service.admin.set_retention(rejections=12, detail=3)
            service.admin.set_approval_limit(500)
            service.guards.set_limits(sync_id, GuardLimits(add_people=7))
            service.guards.lift(sync_id)
            service.alerts.set_schedule(Schedule(quiet_from="22:00", quiet_to="06:00"))
        actions = [line.action for line in service.admin.list_audit()]
        assert actions[:6] == ["alert times", "guard", "guard", "second person", "retention", "retention"]
        assert "export" in actions[6]
