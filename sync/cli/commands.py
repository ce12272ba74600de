"""The commands of `python -m sync`: what the pages can do, for scripts (the README lists them)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from sync.cli.accounts import ACCOUNT_COMMANDS
from sync.cli.admin import COMMANDS
from sync.cli.alerts import ALERT_COMMANDS
from sync.cli.cadence import cadence_options, check_fit, pause, read_cadence
from sync.cli.configuration import CONFIGURATION_COMMANDS
from sync.cli.guards import GUARD_COMMANDS
from sync.cli.listings import (
    list_cohort_lines,
    list_event_lines,
    list_rejection_lines,
    list_run_lines,
    list_sync_lines,
)
from sync.cli.members import members
from sync.cli.output import (
    LIMIT_RANGE,
    any_project_option,
    json_option,
    prepare_output,
    print_result,
    project_option,
    to_contract,
)
from sync.cli.people import list_people
from sync.cli.property_options import (
    Named,
    check_json,
    check_values,
    country_option,
    list_check_lines,
    map_option,
    resolve_mapping,
)
from sync.cli.reports import REPORT_COMMANDS
from sync.cli.run_output import report_outcome, run_json, sync_json, wait_for_run
from sync.cli.safety import SAFETY_COMMANDS, read_ids
from sync.cli.status import status_lines
from sync.errors import CohortSyncError, InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode, parse_interval
from sync.service import Service
from sync.steps import MAX_TRIED, SMALL_SHARES, Steps
from sync.views import StartedExport


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Export Mixpanel cohorts to WebEngage and keep them up to date."""


@cli.command()
@project_option
@json_option
def cohorts(project: int | None, as_json: bool) -> None:
    """List the project's cohorts."""
    with Service.open() as service:
        listed = service.cohorts.list(project)
    if listed.problem:
        click.echo(f"Shown as last read: {listed.problem}", err=True)
    if listed.left_out:
        click.echo(listed.left_out, err=True)
    print_result(
        as_json,
        listed.cohorts,
        list_cohort_lines(listed.cohorts),
    )


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--fresh", is_flag=True, help="Ask Mixpanel again, even when there is a recent answer.")
@map_option
@country_option
@project_option
@json_option
def preview(cohort_id: int, fresh: bool, named: Named, country: str | None, project: int | None, as_json: bool) -> None:
    """Show how many people of a cohort would be sent to WebEngage, and with --map what becomes of their values."""
    with Service.open() as service:
        found = service.cohorts.preview(project, cohort_id, fresh)
        checks = check_values(service, project, cohort_id, named, country)
    about = "" if found.exact else "about "
    print_result(
        as_json,
        to_contract(found) | ({"values": [check_json(one) for one in checks]} if checks else {}),
        [
            f"{found.cohort_name}: {found.total:,} members, {about}{found.identified:,} identified (sent), "
            f"{found.anonymous:,} anonymous (not sent), {found.invalid:,} invalid (not sent).",
            f"{found.requests:,} requests, about {found.seconds:.0f} seconds at WebEngage's limit.",
            *list_check_lines(checks),
        ],
    )


def _interval_option(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_interval(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), required=True)
@click.option("--attribute", help="The Boolean attribute in WebEngage; permanent after the first export.")
@click.option("--every", callback=_interval_option, help="How often a dynamic export is refreshed, such as 2h.")
@cadence_options
@map_option
@country_option
@click.option(
    "--unmap",
    multiple=True,
    metavar="PROPERTY",
    help="Export a profile property no longer; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Plan, then hold until approved.")
@click.option("--first", type=click.IntRange(1, MAX_TRIED), help="Send to so many people, then hold until approved.")
@click.option(
    "--only-ids",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Send to the people whose user ids are in this file, one a line or a CSV; then hold until approved.",
)
@click.option("--in-steps", is_flag=True, help="Send to about 1 %, then 10 %, then all; held after each step.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended; execute it here when no runner is working.")
@project_option
@json_option
def export(
    cohort_id: int,
    mode: str,
    attribute: str | None,
    every: float | None,
    at: str | None,
    zone: str,
    days: str,
    until: str | None,
    named: Named,
    country: str | None,
    unmap: tuple[str, ...],
    dry_run: bool,
    first: int | None,
    only_ids: Path | None,
    in_steps: bool,
    wait: bool,
    project: int | None,
    as_json: bool,
) -> None:
    """Export a cohort to WebEngage."""
    if (first is not None) + (only_ids is not None) + in_steps > 1:
        raise click.UsageError("Choose one of --first, --only-ids and --in-steps.")
    chosen = read_ids((), only_ids)
    if only_ids is not None and not chosen:
        raise InvalidRequest(f"{only_ids} has no user ids.")
    steps = Steps(first=first) if first else Steps(shares=SMALL_SHARES) if in_steps else None
    daily, ends_at = read_cadence(mode, every, at, zone, days, until)
    with Service.open() as service:
        mapping, forms = resolve_mapping(service, project, cohort_id, named, unmap, country)
        fit = check_fit(service, project, cohort_id, every, daily) if Mode(mode) is Mode.DYNAMIC else ""
        started = service.syncs.start_export(
            project,
            cohort_id,
            ExportTerms(
                mode=Mode(mode),
                attribute=attribute,
                interval=every,
                dry_run=dry_run,
                mapping=mapping,
                steps=steps,
                chosen=chosen,
                forms=forms,
                daily=daily,
                ends_at=ends_at,
            ),
        )
        run = wait_for_run(service, started.run_id) if wait else None
    print_result(as_json, started, [_format_started(started), fit])
    if run is not None:
        report_outcome(run, as_json)


@cli.command()
@project_option
@json_option
def syncs(project: int | None, as_json: bool) -> None:
    """List the syncs."""
    with Service.open() as service:
        found = service.syncs.list(project)
    print_result(
        as_json,
        [sync_json(one) for one in found],
        list_sync_lines(found),
    )


@cli.command()
@click.option("--sync", "sync_id", type=int)
@click.option("--limit", type=LIMIT_RANGE, default=100)
@project_option
@json_option
def runs(sync_id: int | None, limit: int, project: int | None, as_json: bool) -> None:
    """List the runs, newest first."""
    with Service.open() as service:
        found = service.runs.list(sync_id, None, limit, 0, project)
        names = {one.id: one.cohort_name for one in service.syncs.list(project)}
    print_result(as_json, [run_json(one) for one in found], list_run_lines(found, names))


@cli.command()
@click.argument("run_id", type=int)
@any_project_option
@json_option
def run(run_id: int, as_json: bool) -> None:
    """Show one run with its history and the people not taken."""
    with Service.open() as service:
        found, events = service.runs.get(run_id), service.runs.list_events(run_id)
        rejections, sync = service.runs.list_rejections(run_id), service.syncs.get(found.sync_id)
    answer = run_json(found) | {
        "events": [to_contract(one) for one in events],
        "refusals": [to_contract(one) for one in rejections],
    }
    print_result(
        as_json,
        answer,
        [
            *list_run_lines([found], {sync.id: sync.cohort_name}),
            *list_event_lines(events),
            *list_rejection_lines(rejections),
        ],
    )


def _format_started(answer: StartedExport) -> str:
    state = "started" if answer.started else "was already under way; no second run was started"
    return f"Run {answer.run_id} of sync {answer.sync_id} {state}."


def _add_number_command(name: str, about: str, act: Callable[[Service, int], object], argument: str) -> None:
    """Add a command with one argument, the number of a sync or run, that calls ``act``."""

    def command(number: int, as_json: bool) -> None:
        with Service.open() as service:
            answer = act(service, number)
        done: dict[str, object] = {"done": True, argument.lower(): number}
        if isinstance(answer, StartedExport):
            print_result(
                as_json, done | {"run_id": answer.run_id, "started": answer.started}, [_format_started(answer)]
            )
        else:
            print_result(as_json, done, [f"Done: {name} {number}."])

    wrapped = json_option(any_project_option(click.argument("number", type=int, metavar=argument)(command)))
    cli.command(name, help=about)(wrapped)


_add_number_command("resume", "Resume a paused sync.", lambda s, n: s.syncs.resume(n), "SYNC_ID")
_add_number_command("sync-now", "Refresh a sync at once.", lambda s, n: s.syncs.refresh_now(n), "SYNC_ID")
_add_number_command(
    "retry", "Send everyone WebEngage rejected once more.", lambda s, n: s.syncs.retry_rejected(n), "SYNC_ID"
)
_add_number_command("resync", "Send every member to WebEngage again.", lambda s, n: s.syncs.resync(n), "SYNC_ID")
_add_number_command(
    "undo", "Plan to take a run back, and hold that plan until it is approved.", lambda s, n: s.runs.undo(n), "RUN_ID"
)
_add_number_command("cancel", "End a run after the requests in flight.", lambda s, n: s.runs.cancel(n), "RUN_ID")


@cli.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--clear", is_flag=True, help="Also set the attribute to false for everyone in WebEngage.")
@any_project_option
@json_option
def stop(sync_id: int, clear: bool, as_json: bool) -> None:
    """Finish a sync, so that it is never refreshed again."""
    with Service.open() as service:
        started = service.syncs.stop(sync_id, clear)
    answer = {"done": True, "sync_id": sync_id, "run_id": started.run_id if started else None}
    print_result(as_json, answer, [f"Done: sync {sync_id} is finished."])


@cli.command()
@any_project_option
@json_option
def status(as_json: bool) -> None:
    """Show whether everything works; exit 1 when something needs a person."""
    with Service.open() as service:
        health = service.check_health()
    answer = {
        "runner": {
            "alive": health.is_runner_alive,
            "state": health.runner_state.value,
            "last_seen": health.runner_seen_at,
            "runners": health.runners,
        },
        "due": {"runs": health.due, "oldest": health.oldest_due},
        "held": health.held,
        "paused": [sync_json(one) for one in health.paused],
        "failed": [sync_json(one) for one in health.failed],
        "overdue": [to_contract(one) for one in health.overdue],
        "not_cleared": [sync_json(one) for one in health.not_cleared],
        "not_notified": [to_contract(one) for one in health.not_notified],
        "rejected": health.rejected,
        "meters": [{"project_id": one, "queries_left": left} for one, left in health.queries],
        "disk_free": health.disk_free,
        "needs_person": health.needs_attention,
        "problems": health.problems,
    }
    print_result(as_json, answer, status_lines(health))
    if health.needs_attention:
        raise CohortSyncError(
            "Something needs a person: check held runs, paused, failed or overdue syncs, clears that failed, "
            "alerts that were not delivered, the runner and the disk."
        )


for command in COMMANDS:
    cli.add_command(any_project_option(command))
for command in (
    *ACCOUNT_COMMANDS,
    *ALERT_COMMANDS,
    *CONFIGURATION_COMMANDS,
    *GUARD_COMMANDS,
    *REPORT_COMMANDS,
    *SAFETY_COMMANDS,
    members,
):
    cli.add_command(command)
for command in (list_people, pause):
    cli.add_command(command)


def main() -> int:
    """Run a command and return its exit code: 0 done, 1 failed with a one-sentence error, 2 wrong usage."""
    prepare_output()
    try:
        _check_text(sys.argv[1:])
        cli.main(prog_name="python -m sync", standalone_mode=False)
    except click.UsageError as wrong:
        wrong.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 1
    except CohortSyncError as problem:
        click.echo(str(problem), err=True)
        return 1
    except OSError as problem:
        click.echo(f"The answer could not be written ({problem.strerror}).", err=True)
        return 1
    return 0


def _check_text(arguments: list[str]) -> None:
    """Raise UsageError for bytes that are not text: they would be stored, and fail in the middle of a run."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise click.UsageError("An argument contains bytes that are not UTF-8 text; type it again.") from None
