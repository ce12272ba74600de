"""The options of `export` that say when a cohort is refreshed, and the command that pauses a sync."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sync.cadence import DailyTime, find_end, find_moment
from sync.cli.output import any_project_option, json_option, print_result
from sync.model import DAY, DEFAULT_INTERVAL, Mode
from sync.service import Service

UTC = "UTC"
Command = Callable[..., Any]
Cadence = tuple[DailyTime | None, float | None]


def cadence_options(command: Command) -> Command:
    """Give a command the options of a time of day and of an end."""
    for option in (
        click.option("--until", metavar="DATE", help="The last day it is refreshed, such as 2027-03-31."),
        click.option("--days", default="", help="On these days only, such as mon-fri; belongs to --at."),
        click.option("--zone", default="", help="The time zone of --at and --until, such as Europe/Berlin; else UTC."),
        click.option("--at", metavar="TIME", help="Refresh it at a time of day, such as 07:30, instead of --every."),
    ):
        command = option(command)
    return command


def read_cadence(mode: str, every: float | None, at: str | None, zone: str, days: str, until: str | None) -> Cadence:
    """Return the time of day and the end that were asked for; raise UsageError for what does not go together."""
    if Mode(mode) is not Mode.DYNAMIC and (every is not None or at or until):
        name = "--every" if every is not None else "--at" if at else "--until"
        raise click.UsageError(f"{name} belongs to --mode dynamic; a one-time export is never refreshed.")
    if at and every is not None:
        raise click.UsageError("Choose one of --every and --at.")
    if not at and (days or (zone and not until)):
        raise click.UsageError("--days and --zone belong to --at.")
    try:
        daily = DailyTime.parse(at, zone or UTC, days) if at else None
        return daily, find_end(until, zone or UTC) if until else None
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def check_fit(service: Service, project: int | None, cohort: int, every: float | None, daily: DailyTime | None) -> str:
    """Return how all syncs together fit Mixpanel's limit; on stderr instead when they do not fit."""
    interval = DAY if daily else every or DEFAULT_INTERVAL
    fits, sentence = service.hourly_fit.check(project, cohort, interval, daily)
    if not fits:
        click.echo(sentence, err=True)
    return sentence if fits else ""


@click.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--until", metavar="TIME", help="Resume by itself then, such as 2027-01-07 or “2027-01-07 08:00”.")
@click.option("--zone", default=UTC, help="The time zone of --until; UTC without it.")
@any_project_option
@json_option
def pause(sync_id: int, until: str | None, zone: str, as_json: bool) -> None:
    """Stop refreshing a sync until it is resumed, or until a time."""
    try:
        moment = find_moment(until, zone) if until else None
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    with Service.open() as service:
        service.syncs.pause(sync_id, moment)
    print_result(as_json, {"done": True, "sync_id": sync_id}, [f"Done: pause {sync_id}."])
