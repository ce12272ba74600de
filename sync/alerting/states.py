"""Which states are worth an alert: what `status` counts as needing a person, one alert for each thing.

A message has numbers, names of cohorts and projects, and our own words. What a vendor wrote, user ids and profile values are on
the page the message links to, for those who may see them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sync.cadence import BusyHour
from sync.model import Run, format_utc_time
from sync.records import SyncView
from sync.redaction import redact_text
from sync.reports import AlertPlace
from sync.text import count_noun, count_people, cut_text, show_text
from sync.views import DISK_LOW_BYTES, Health

RUNNER_KEY = "runner"
REJECTED_SHARE, MIN_REJECTED = 0.05, 10  # of a sync's people; from so many on it is no matter of single people
DISK_ENOUGH_BYTES = DISK_LOW_BYTES * 3 // 2  # bytes; an alert about the disk ends here, so that it does not flicker
NAME_LENGTH = 60  # UTF-16 units of a cohort's name in a message
MEGABYTE = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class AlertState:
    """A state that somebody should know of; ``key`` names the thing it is about: its kind and a number, if it has one."""

    key: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Quotas:
    """Hold what is compared with limits: people rejected by sync, how many of these are not in WebEngage, and the last
    run with some of them; the queries runs may make an hour, and the projects that need more in an hour of the next day.
    """

    rejected: dict[int, tuple[int, int, int]]
    queries_an_hour: int
    unkept: dict[int, BusyHour]


def find_states(
    health: Health,
    syncs: tuple[SyncView, ...],
    quotas: Quotas,
    projects: Mapping[int, str],
    *,
    is_disk_alert_open: bool,
) -> Iterator[AlertState]:
    """Yield every state that is worth an alert now, except that no runner works.

    ``projects``: the names of those connected. Where several have a sync, a message says of which one a cohort is.
    """
    labels = _label_projects(syncs, projects)
    names = {one.id: quote_name(one.cohort_name) + _place(one.project_id, labels) for one in syncs}
    yield from (_describe_failed(one, names[one.id]) for one, _ in health.failed)
    yield from (_describe_paused(one, names[one.id]) for one in health.paused)
    yield from (_describe_held(names[one.id], run) for one, run in health.held)
    yield from (_describe_uncleared(one, names[one.id]) for one in health.not_cleared)
    for late in health.overdue:
        if late.needs_person and health.is_runner_alive:  # else one alert says why all of them are late
            name = names[late.sync_id]
            text = (
                f"Nothing was refreshed in {name} (sync {late.sync_id}) for at least two of its intervals, or two days."
            )
            yield AlertState(f"overdue {late.sync_id}", f"{name} is late", text)
    yield from _find_rejected(syncs, quotas, names)
    yield from _find_unkept_quotas(quotas, labels)
    if health.disk_free < (DISK_ENOUGH_BYTES if is_disk_alert_open else DISK_LOW_BYTES):
        text = f"The disk of the data folder has {health.disk_free // MEGABYTE} MB left. Make room, or runs will stop."
        yield AlertState("disk", "The disk is nearly full", text)


def describe_silent_runner() -> AlertState:
    """Return the state that no runner works."""
    text = "The runner gives no sign of life, so nothing is exported. Check its log and whether the disk is full, then start it."
    return AlertState(RUNNER_KEY, "The runner is silent", text)


def find_place(key: str, rejected: Mapping[int, tuple[int, int, int]]) -> AlertPlace | None:
    """Return where the thing that an alert's key names is mended; None for what no page mends, the disk for instance.

    It names the sync, not only its project: who opens it may have chosen another project. ``rejected``: as of
    ``Quotas``; the page of the last run with rejected people groups them by reason.
    """
    kind, _, text = key.partition(" ")
    if not text:
        return None
    number = int(text)
    if kind == "held":
        return AlertPlace(page="runs", request="run", number=number)
    if kind == "rejected" and number in rejected:
        return AlertPlace(page="runs", request="run", number=rejected[number][2])
    return AlertPlace(page="syncs", request="project" if kind == "quota" else "sync", number=number)


def quote_name(name: str) -> str:
    """Return a cohort's name for a message: on one line, short, without e-mail addresses."""
    return f"“{cut_text(redact_text(show_text(name)), NAME_LENGTH)}”"


def _label_projects(syncs: Iterable[SyncView], projects: Mapping[int, str]) -> dict[int, str]:
    """Return what messages call each project with a sync: its name, or its number where that says more; nothing for one."""
    synced, counts = {one.project_id for one in syncs}, Counter(projects.values())
    if len(synced) < 2:
        return {}
    return {
        number: quote_name(projects[number]) if counts[projects.get(number, "")] == 1 else f"project {number}"
        for number in synced
    }


def _place(project_id: int, labels: Mapping[int, str]) -> str:
    return f" in {labels[project_id]}" if labels else ""


def _describe_failed(sync: SyncView, name: str) -> AlertState:
    text = f"The last run of {name} (sync {sync.id}) failed. Its page says why and what to do."
    return AlertState(f"failed {sync.id}", f"A run of {name} failed", text)


def _describe_paused(sync: SyncView, name: str) -> AlertState:
    text = f"The sync of {name} (sync {sync.id}) is paused and waits for a person. Its page says why."
    return AlertState(f"paused {sync.id}", f"{name} is paused", text)


def _describe_held(name: str, run: Run) -> AlertState:
    sent = f"; {run.delivered:,} of them are sent already" if run.delivered else ""
    changes = f"It would add {run.entered:,}, update {run.updated:,} and remove {count_people(run.exited)}{sent}."
    text = f"Run {run.id} of {name} needs approval before it continues. {changes}"
    return AlertState(f"held {run.id}", f"A run of {name} needs approval", text)


def _describe_uncleared(sync: SyncView, name: str) -> AlertState:
    still = count_noun(sync.size, "person is", "people are")
    text = f"Clearing {name} (sync {sync.id}) failed; {still} still true in WebEngage. Clear it again."
    return AlertState(f"clear {sync.id}", f"{name} was not cleared", text)


def _find_rejected(syncs: tuple[SyncView, ...], quotas: Quotas, names: Mapping[int, str]) -> Iterator[AlertState]:
    for sync in syncs:
        rejected, missing, _ = quotas.rejected.get(sync.id, (0, 0, 0))
        name = names[sync.id]
        everybody = missing + sync.size
        if rejected >= MIN_REJECTED and rejected >= REJECTED_SHARE * everybody:
            text = (
                f"{rejected:,} of {everybody:,} people in {name} (sync {sync.id}) were rejected. "
                "The run's page groups them by reason."
            )
            title = f"Many people of {name} are rejected"
            yield AlertState(f"rejected {sync.id}", title, text)


def _find_unkept_quotas(quotas: Quotas, labels: Mapping[int, str]) -> Iterator[AlertState]:
    for project, hour in quotas.unkept.items():
        text = (
            f"The syncs of {labels.get(project, f'project {project}')} need {hour.queries} Mixpanel queries an hour from "
            f"{format_utc_time(hour.begins_at)} on, and runs may make {quotas.queries_an_hour}. Refresh some of them less "
            "often, or at another time."
        )
        title = f"Mixpanel's hourly limit is too small{_place(project, labels)}"
        yield AlertState(f"quota {project}", title, text)
