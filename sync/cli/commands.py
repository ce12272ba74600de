"""The commands of `python -m sync`: what the pages can do, for scripts (docs/commands.md lists them)."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from sync.cli.accounts import ACCOUNT_COMMANDS
from sync.cli.admin import COMMANDS
from sync.cli.alerts import ALERT_COMMANDS
from sync.cli.cadence import pause
from sync.cli.command_names import name_commands
from sync.cli.configuration import CONFIGURATION_COMMANDS
from sync.cli.export import export, format_started
from sync.cli.guards import GUARD_COMMANDS
from sync.cli.listings import list_cohort_lines, list_event_lines, list_rejection_lines, list_run_lines, list_sync_lines
from sync.cli.members import members
from sync.cli.output import (
    LIMIT_RANGE,
    Answer,
    WholeSentences,
    answers,
    any_project_option,
    json_option,
    prepare_output,
    print_result,
    project_option,
    to_contract,
)
from sync.cli.people import list_people
from sync.cli.property_options import (
    PropertyOptions,
    check_json,
    check_values,
    id_property_option,
    list_check_lines,
    property_options,
)
from sync.cli.reports import REPORT_COMMANDS
from sync.cli.run_output import run_json, sync_json
from sync.cli.safety import SAFETY_COMMANDS
from sync.cli.status import status_lines
from sync.errors import CohortSyncError, InvalidRequest
from sync.service import Service
from sync.text import count_noun, show_text
from sync.views import Preview, StartedExport
from sync.wording import describe_coverage, describe_outlook, describe_requests


@click.group(cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Export Mixpanel cohorts to WebEngage and keep them up to date."""


@cli.command()
@project_option
@answers
def cohorts(service: Service, project: int | None) -> Answer:
    """List the project's cohorts."""
    listed = service.cohorts.list(project)
    syncs = service.syncs.list(project)
    if listed.problem:
        click.echo(name_commands(f"Shown as last read: {listed.problem}"), err=True)
    if listed.left_out:
        click.echo(listed.left_out, err=True)
    return listed.cohorts, list_cohort_lines(listed.cohorts, syncs)


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--fresh", is_flag=True, help="Ask Mixpanel again, even when there is a recent answer.")
@id_property_option
@property_options
@project_option
@answers
def preview(
    service: Service,
    cohort_id: int,
    fresh: bool,
    id_property: str | None,
    properties: PropertyOptions,
    project: int | None,
) -> Answer:
    """Show how many people of a cohort would be sent to WebEngage, and with --map what becomes of their values."""
    found = service.cohorts.preview(project, cohort_id, fresh, id_property)
    checks = check_values(service, project, cohort_id, properties, id_property)
    if checks:
        found = service.cohorts.add_current_limits(project, found, sends_values=True)
    return to_contract(found) | ({"values": [check_json(one) for one in checks]} if checks else {}), [
        _describe_members(found),
        describe_coverage(found),
        describe_outlook(found) if found.exported_before else "",
        f"{describe_requests(found)}.",
        *list_check_lines(checks),
    ]


def _describe_members(found: Preview) -> str:
    """Return how many members there are, and how many of them are sent and are not, and why."""
    about, least = found.qualifier, "at least " if found.is_least else ""
    counts = [
        f"{about}{found.people:,} identified (sent)",
        *([f"{count_noun(found.doubles, 'double')} (sent as one)"] if found.doubles else []),
        *([f"{about}{found.never_exported:,} never export (not sent)"] if found.never_exported else []),
        f"{about}{found.anonymous:,} anonymous (not sent)",
        f"{about if found.invalid else ''}{found.invalid:,} invalid (not sent)",
    ]
    return f"{show_text(found.cohort_name)}: {least}{count_noun(found.total, 'member')}, {', '.join(counts)}."


def _check_project(service: Service, project: int | None) -> None:
    """Raise InvalidRequest for a project that is not connected; of one that was, the syncs stay listed."""
    if project is not None and project not in {one.id for one in service.connections.list_projects()}:
        raise InvalidRequest(f"Mixpanel project {project} is not connected; connect it under Integrations.")


@cli.command()
@project_option
@answers
def syncs(service: Service, project: int | None) -> Answer:
    """List the syncs."""
    found = service.syncs.list(project)
    if not found:
        _check_project(service, project)
    return [sync_json(one) for one in found], list_sync_lines(found)


@cli.command()
@click.option("--sync", "sync_id", type=int, metavar="SYNC_ID", help="Only the runs of this sync.")
@click.option("--limit", type=LIMIT_RANGE, default=100, help="At most this many, the newest (100).")
@project_option
@answers
def runs(service: Service, sync_id: int | None, limit: int, project: int | None) -> Answer:
    """List the runs, newest first."""
    if sync_id is not None:
        service.syncs.get(sync_id)  # raises for a number that no sync has
    found = service.runs.list(sync_id, None, limit, 0, project)
    if not found:
        _check_project(service, project)
    names = {one.id: one.cohort_name for one in service.syncs.list(project)}
    return [run_json(one) for one in found], list_run_lines(found, names)


@cli.command()
@click.argument("run_id", type=int)
@any_project_option
@answers
def run(service: Service, run_id: int) -> Answer:
    """Show one run with its history and the people who were rejected or are invalid."""
    found, events = service.runs.get(run_id), service.runs.list_events(run_id)
    rejections, sync = service.runs.list_rejections(run_id), service.syncs.get(found.sync_id)
    refusal = service.runs.explain_refusal(run_id)
    return run_json(found) | {"events": events, "refusals": rejections}, [
        *list_run_lines([found], {sync.id: sync.cohort_name}),
        *list_event_lines(events),
        *list_rejection_lines(rejections),
        refusal,
    ]


def _add_number_command(
    name: str, about: str, act: Callable[[Service, int], object], argument: str, done: str = ""
) -> None:
    """Add a command with one argument, the number of a sync or run, that calls ``act``; ``done`` says what it did."""

    def command(service: Service, number: int) -> Answer:
        answer = act(service, number)
        said: dict[str, object] = {"done": True, argument.lower(): number}
        if isinstance(answer, StartedExport):
            said |= {"run_id": answer.run_id, "started": answer.started}
        sentence = format_started(answer) if isinstance(answer, StartedExport) and not done else done
        more = answer if isinstance(answer, str) else ""
        return said, [sentence.format(number=number, run=said.get("run_id"), said=more).strip()]

    wrapped = answers(any_project_option(click.argument("number", type=int, metavar=argument)(command)))
    cli.command(name, help=about)(wrapped)


_add_number_command(
    "resume", "Resume a paused sync.", lambda s, n: s.syncs.resume(n), "SYNC_ID", "Done: sync {number} is resumed."
)
_add_number_command("sync-now", "Refresh a sync at once.", lambda s, n: s.syncs.refresh_now(n), "SYNC_ID")
_add_number_command(
    "retry", "Send everyone again whom WebEngage rejected.", lambda s, n: s.syncs.retry_rejected(n), "SYNC_ID"
)
_add_number_command("resync", "Send every member to WebEngage again.", lambda s, n: s.syncs.resync(n), "SYNC_ID")
_add_number_command(
    "undo",
    "Plan to take a run back, and hold that plan until it is approved.",
    lambda s, n: s.runs.undo(n),
    "RUN_ID",
    "Run {run} plans to take back run {number}, and is held then; look at it, and `approve {run}` sends it.",
)


def _cancel(service: Service, run_id: int) -> str:
    said = service.runs.cancel(run_id)
    ends = "is cancelled" if service.runs.get(run_id).state.is_final else "ends after the requests in flight"
    return f"{ends}. {said}"


_add_number_command(
    "cancel",
    "End a run after the requests in flight; when its export began the schedule, that ends too.",
    _cancel,
    "RUN_ID",
    "Done: run {number} {said}",
)


@cli.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--clear", is_flag=True, help="Also set the attribute to false for everyone in WebEngage.")
@any_project_option
@answers
def stop(service: Service, sync_id: int, clear: bool) -> Answer:
    """Stop a sync, so that it is never refreshed again by itself."""
    started = service.syncs.stop(sync_id, clear)
    answer = {"done": True, "sync_id": sync_id, "run_id": started.run_id if started else None}
    clearing = f" Run {started.run_id} sets everyone to false." if started else ""
    return answer, [f"Done: sync {sync_id} is stopped.{clearing}"]


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
        "held": len(health.held),
        "paused": [sync_json(one) for one in health.paused],
        "failed": [sync_json(one) for one, _ in health.failed],
        "overdue": health.overdue,
        "not_cleared": [sync_json(one) for one in health.not_cleared],
        "not_notified": health.not_notified,
        "rejected": health.rejected,
        "meters": [{"project_id": one, "queries_left": left} for one, left in health.queries],
        "disk_free": health.disk_free,
        "needs_person": health.needs_attention,
        "problems": health.problems,
    }
    print_result(as_json, answer, map(show_text, status_lines(health)))
    if health.needs_attention:
        raise CohortSyncError(f"Something needs a person: {', '.join(health.tasks)}.")


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
    export,
    list_people,
    pause,
):
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
        click.echo(name_commands(str(problem)), err=True)
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
