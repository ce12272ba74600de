"""Ask as monitoring does: /healthz and /metrics of the pages' process, for this machine only unless asked."""

from __future__ import annotations

import json
import shutil
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.routing import Route

from pages.parts.monitoring import list_routes
from sync.views import DISK_LOW_BYTES
from tests.conftest import StreamlitServer
from tests.sandbox.control import PROJECT
from tests.workspace import ROOT, Workspace

NUMBERS = {"runner", "due", "held", "paused", "failed", "overdue", "not_cleared", "not_notified", "rejected", "meters"}
NUMBERS |= {"disk_free", "needs_person", "problems"}
HERE, ELSEWHERE = ("127.0.0.1", 40000), ("192.0.2.7", 40000)
DASHBOARD = ROOT / "docs" / "grafana.json"


def ask(path: str, client: tuple[str, int] = HERE, **headers: str) -> tuple[int, str]:
    """Ask the routes as they are served beside the pages; return the status and the text."""
    named = {"Host": "127.0.0.1:8501"} | headers
    raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    [route] = [one for one in list_routes() if isinstance(one, Route) and one.path == path]
    answer = route.endpoint(Request({"type": "http", "client": client, "headers": raw}))
    return answer.status_code, answer.body.decode()


def read_metrics() -> dict[str, float]:
    """Return every metric by its name, as Prometheus's own parser reads it."""
    status, text = ask("/metrics", **{"X-Prometheus-Scrape-Timeout-Seconds": "10"})
    assert status == 200
    return {
        sample.name + "".join(sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_when_no_runner_works_is_503_with_the_reason(workspace: Workspace) -> None:
    """Nothing is exported without a runner; with one it is 200 and ok."""
    assert ask("/healthz") == (503, "No runner is working (state: not running).\n")
    with workspace.open_store() as store:
        store.runners.record_heartbeat("a-runner", workspace.now())
    assert ask("/healthz") == (200, "ok\n")


def test_health_when_the_disk_is_nearly_full_is_503_with_the_number(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says how little is left, as `status` and the documents do."""
    with workspace.open_store() as store:
        store.runners.record_heartbeat("a-runner", workspace.now())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=DISK_LOW_BYTES - 1))
    assert ask("/healthz") == (503, "Less than 200 MB of disk are free.\n")


def test_health_when_the_database_cannot_be_opened_is_503_with_the_reason(workspace: Workspace) -> None:
    """A damaged file is the reason; no traceback, no empty database."""
    workspace.open().close()
    for name in ("app.db", "app.db-wal"):
        (workspace.data_dir / name).write_bytes(b"not a database" * 1000)
    for path in ("/healthz", "/metrics"):
        status, text = ask(path)
        assert status == 503 and "app.db" in text and text.count("\n") == 1


@pytest.mark.timeout(25)  # less than a command waits for a lock
def test_health_when_the_database_is_locked_is_503_with_the_reason_within_seconds(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitoring gives up after ten seconds, so the answer comes before."""
    monkeypatch.setattr("pages.parts.monitoring.WAIT_SECONDS", 0.2)
    workspace.open().close()
    with closing(sqlite3.connect(workspace.data_dir / "app.db", isolation_level=None)) as other:
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        for path in ("/healthz", "/metrics"):
            status, text = ask(path)
            assert status == 503 and "locked" in text and text.count("\n") == 1


def test_health_when_the_database_was_moved_away_is_503_and_makes_no_new_one(workspace: Workspace) -> None:
    """An empty database would look healthy."""
    workspace.open().close()
    (workspace.data_dir / "app.db").rename(workspace.data_dir / "moved.db")
    for path in ("/healthz", "/metrics"):
        status, text = ask(path)
        assert status == 503 and "app.db" in text
    assert not (workspace.data_dir / "app.db").exists()


def test_metrics_when_read_by_prometheus_are_the_numbers_of_status(fans: Workspace) -> None:
    """Every number of `status --json` is in /metrics, as Prometheus's parser reads it."""
    fans.export()
    with fans.open() as service:
        service.syncs.pause(1)
    told = json.loads(fans.run_cli("status", "--json").stdout)
    assert set(told) == NUMBERS, "a new number belongs into /metrics, too"
    metrics = read_metrics()
    assert metrics["cohort_sync_runner_up"] == told["runner"]["alive"]
    assert metrics["cohort_sync_runners"] == told["runner"]["runners"]
    assert metrics["cohort_sync_due_runs"] == told["due"]["runs"]
    assert metrics["cohort_sync_paused_syncs"] == len(told["paused"]) == 1
    for name in ("failed", "overdue", "not_cleared"):
        assert metrics[f"cohort_sync_{name}_syncs"] == len(told[name])
    assert metrics["cohort_sync_not_notified_recipients"] == len(told["not_notified"])
    assert metrics["cohort_sync_held_runs"] == told["held"]
    assert metrics["cohort_sync_rejected_people"] == told["rejected"]
    assert metrics["cohort_sync_needs_person"] == told["needs_person"] == 1
    assert metrics["cohort_sync_healthy"] == (not told["problems"]) == 0
    assert metrics["cohort_sync_disk_free_bytes"] > 0
    assert metrics[f"cohort_sync_mixpanel_queries_left{PROJECT}"] == told["meters"][0]["queries_left"]


def test_metrics_have_each_number_of_status_under_one_name(workspace: Workspace) -> None:
    """Of two names for one number nobody knows which one to watch, or what makes them differ."""
    about = {
        "alert addresses and webhooks": {"alert", "webhook", "notified"},
        "clears": {"clear"},
        "approvals": {"held", "approv"},
    }
    names = read_metrics()
    for what, words in about.items():
        assert len([name for name in names if any(word in name for word in words)]) == 1, what


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        (ELSEWHERE, {}),
        (ELSEWHERE, {"Host": "127.0.0.1:8501"}),
        (HERE, {"X-Forwarded-For": "192.0.2.7"}),
        (HERE, {"Host": "sync.example.com"}),
        (HERE, {"Via": "1.1 proxy"}),
    ],
)
def test_monitoring_when_asked_from_elsewhere_is_not_found_unless_set(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, client: tuple[str, int], headers: dict[str, str]
) -> None:
    """Another machine, a proxy and another host get 404; COHORT_SYNC_PUBLIC_HEALTH=yes opens both."""
    for path in ("/healthz", "/metrics"):
        assert ask(path, client, **headers) == (404, "Not found.\n")
    monkeypatch.setenv("COHORT_SYNC_PUBLIC_HEALTH", "yes")
    assert ask("/healthz", client, **headers)[0] == 503 and ask("/metrics", client, **headers)[0] == 200


def test_monitoring_when_served_beside_the_pages_answers(
    streamlit_server: StreamlitServer, workspace: Workspace
) -> None:
    """`streamlit run app.py` serves the pages and both addresses, and no stranger's."""
    url = streamlit_server(workspace.data_dir)
    with pytest.raises(urllib.error.HTTPError) as health:
        urllib.request.urlopen(f"{url}/healthz")
    assert health.value.code == 503 and health.value.read() == b"No runner is working (state: not running).\n"
    with urllib.request.urlopen(f"{url}/metrics") as metrics:
        assert b"cohort_sync_runner_up 0.0" in metrics.read()
    with urllib.request.urlopen(url) as page, urllib.request.urlopen(f"{url}/runs") as deep:
        assert b"<title>Streamlit</title>" in page.read() and deep.status == 200
    stranger = urllib.request.Request(f"{url}/metrics", headers={"Host": "sync.example.com"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(stranger)


def test_dashboard_when_imported_asks_only_for_metrics_that_exist(workspace: Workspace) -> None:
    """Every expression of docs/grafana.json names a metric of /metrics."""
    text = DASHBOARD.read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    known = {line.split()[2] for line in ask("/metrics")[1].splitlines() if line.startswith("# HELP")}
    asked = {target["expr"].split("{")[0].split(" ")[0] for panel in panels for target in panel["targets"]}
    assert asked <= known and len(asked) >= 10 and all(panel["datasource"] for panel in panels)
