"""Answer what monitoring asks of the pages' process: `/healthz` (does it work?) and `/metrics` for Prometheus.

Both are served beside the pages, by the Starlette application in which Streamlit runs. Without sign-in they
answer this machine only; COHORT_SYNC_PUBLIC_HEALTH=yes opens them to everybody who reaches the pages.
Neither says anything about a person, nor the name of a cohort.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pages.parts.request_check import describe_remote_sign, is_loopback
from sync.errors import CohortSyncError
from sync.permissions import AccessLevel, Actor
from sync.service import Service
from sync.settings import Settings
from sync.views import Health

HEALTH_PATH, METRICS_PATH = "/healthz", "/metrics"
OK, NOT_FOUND, UNAVAILABLE = 200, 404, 503  # status codes of HTTP
WAIT_SECONDS = 4.0  # seconds for a locked database; Prometheus and health checks give up after ten
MONITORING_ACTOR = Actor("monitoring", AccessLevel.VIEWER)
SCRAPER_HEADER = "x-prometheus-scrape-timeout-seconds"  # Prometheus sends it itself; it shows no proxy
NOT_HERE = "Not found.\n"  # the answer to strangers: they learn no more than from any other wrong address


def list_routes() -> list[BaseRoute]:
    """Return the routes to serve beside the pages; a base path of the pages is not before them."""
    return [Route(HEALTH_PATH, answer_health), Route(METRICS_PATH, answer_metrics)]


def answer_health(request: Request) -> Response:
    """Answer 200 when the service works, 503 with one reason a line when it does not, 404 to strangers."""
    if not _may_ask(request):
        return PlainTextResponse(NOT_HERE, NOT_FOUND)
    try:
        problems = _check_health().problems
    except CohortSyncError as error:
        problems = (str(error),)
    return PlainTextResponse("\n".join(problems or ("ok",)) + "\n", UNAVAILABLE if problems else OK)


def answer_metrics(request: Request) -> Response:
    """Answer the numbers of `status` in Prometheus's format; 503 with the reason when they cannot be read."""
    if not _may_ask(request):
        return PlainTextResponse(NOT_HERE, NOT_FOUND)
    registry = CollectorRegistry()
    try:
        registry.register(_HealthCollector(_check_health()))
    except CohortSyncError as error:
        return PlainTextResponse(f"{error}\n", UNAVAILABLE)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _may_ask(request: Request) -> bool:
    """Return whether a request may have an answer: one from this machine, or any when that is set."""
    if Settings.from_env(os.environ).is_health_public:
        return True
    client = request.client.host if request.client else ""
    if not is_loopback(f"//[{client}]" if ":" in client else f"//{client}"):
        return False
    headers = ((name, value) for name, value in request.headers.items() if name.lower() != SCRAPER_HEADER)
    return not describe_remote_sign(headers)


def _check_health() -> Health:
    with Service.open(os.environ, MONITORING_ACTOR, WAIT_SECONDS) as service:
        return service.check_health()


class _HealthCollector(Collector):
    """The numbers of one check, as Prometheus's metrics."""

    def __init__(self, health: Health) -> None:
        """Show this check."""
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; all are gauges, as they say how things stand now."""
        health = self._health
        yield _gauge("healthy", "Whether /healthz answers 200.", not health.problems)
        yield _gauge("needs_person", "Whether `status` exits with 1.", health.needs_attention)
        yield _gauge("runner_up", "Whether a runner gave a sign of life within 30 seconds.", health.is_runner_alive)
        yield _gauge("runners", "Runners that work.", health.runners)
        yield _gauge(
            "runner_last_seen_timestamp_seconds", "Last sign of life of a runner, 0 for never.", health.runner_seen_at
        )
        yield _gauge("due_runs", "Syncs and runs whose time has come.", health.due)
        yield _gauge(
            "oldest_due_timestamp_seconds", "Since when the oldest of them is due, 0 for none.", health.oldest_due
        )
        yield _gauge("held_runs", "Runs that wait for an approval.", len(health.held))
        yield _gauge("paused_syncs", "Syncs that are paused.", len(health.paused))
        yield _gauge("failed_syncs", "Syncs, but for paused ones, whose last run failed.", len(health.failed))
        yield _gauge("overdue_syncs", "Syncs whose time has passed.", len(health.overdue))
        yield _gauge("not_cleared_syncs", "Syncs whose clear in WebEngage failed.", len(health.not_cleared))
        yield _gauge("not_notified_recipients", "Alert addresses and webhooks not reached.", len(health.not_notified))
        yield _gauge("rejected_people", "People WebEngage rejected and who still stand rejected.", health.rejected)
        yield _gauge("disk_free_bytes", "Free space where the database is.", health.disk_free)
        queries = GaugeMetricFamily(
            "cohort_sync_mixpanel_queries_left", "Mixpanel queries left this hour.", labels=["project"]
        )
        for project, left in health.queries:
            queries.add_metric([str(project)], left)
        yield queries


def _gauge(name: str, about: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"cohort_sync_{name}", about, value=float(value or 0))
