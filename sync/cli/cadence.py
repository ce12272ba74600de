"""The options of `export` that say when a cohort is refreshed, and the command that pauses a sync."""

from __future__ import annotations

from dataclasses import dataclass

import click

from sync.cadence import DailyTime, find_end, find_moment
from sync.cli.output import any_project_option, gather_options, json_option, print_result
from sync.export_terms import ExportTerms
from sync.model import DAY, DEFAULT_INTERVAL, Mode, format_utc_time, parse_interval
from sync.service import Service

UTC = "UTC"


@dataclass(frozen=True, slots=True)
class CadenceOptions:
    """Hold when a cohort is to be refreshed, as it was typed; ``every`` in seconds."""

    every: float | None
    at: str | None
    zone: str
    days: str
    until: str | None

    def read(self, mode: Mode) -> tuple[DailyTime | None, float | None]:
        """Return the time of day and the end that were asked for; raise UsageError for what does not go together."""
        self._check(mode)
        zone = self.zone or UTC
        try:
            daily = DailyTime.parse(self.at, zone, self.days) if self.at else None
            return daily, find_end(self.until, zone) if self.until else None
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None

    def _check(self, mode: Mode) -> None:
        if mode is not Mode.DYNAMIC and (self.every is not None or self.at or self.until):
            name = "--every" if self.every is not None else "--at" if self.at else "--until"
            raise click.UsageError(f"{name} belongs to --mode dynamic; a one-time export is never refreshed.")
        if self.at and self.every is not None:
            raise click.UsageError("Choose one of --every and --at.")
        if not self.at and (self.days or (self.zone and not self.until)):
            raise click.UsageError("--days belongs to --at, and --zone to --at or --until.")


def _parse_interval(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_interval(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem


cadence_options = gather_options(
    "cadence",
    CadenceOptions,
    click.option(
        "--every", callback=_parse_interval, help="How often a dynamic export is refreshed, such as 90m or 1d (2h)."
    ),
    click.option("--at", metavar="TIME", help="Refresh it at a time of day, such as 07:30, instead of --every."),
    click.option("--zone", default="", help="The time zone of --at and --until, such as Europe/Berlin; else UTC."),
    click.option("--days", default="", help="On these days only, such as mon-fri; belongs to --at."),
    click.option("--until", metavar="DATE", help="The last day it is refreshed, such as 2027-03-31."),
)


def check_fit(service: Service, project: int | None, cohort: int, terms: ExportTerms) -> str:
    """Return how all syncs together fit Mixpanel's limit; on stderr instead when they do not fit.

    Empty for a one-time export, which is never refreshed.
    """
    if terms.mode is not Mode.DYNAMIC:
        return ""
    interval = DAY if terms.daily else terms.interval or DEFAULT_INTERVAL
    fits, sentence = service.hourly_fit.check(project, cohort, interval, terms.daily)
    if not fits:
        click.echo(sentence, err=True)
    return sentence if fits else ""


def _describe_end(moment: float | None) -> str:
    return f" until {format_utc_time(moment)}" if moment else ""


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
    print_result(
        as_json, {"done": True, "sync_id": sync_id}, [f"Done: sync {sync_id} is paused{_describe_end(moment)}."]
    )
