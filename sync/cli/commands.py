"""The commands of `python -m sync`: the same services as the pages, for scripts (the README lists them)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from sync.cli.accounts import ACCOUNT_COMMANDS
from sync.cli.admin import COMMANDS
from sync.cli.output import LIMIT_RANGE, any_project_option, json_option, print_result, project_option, to_contract
from sync.cli.run_output import report_outcome, run_json, run_line, sync_json, wait_for_run
from sync.cli.status import status_lines
from sync.errors import CohortSyncError, InvalidRequest
from sync.model import Mode, parse_interval, parse_mapping
from sync.service import Service
from sync.views import StartedExport, SyncView


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Keep WebEngage in step with Mixpanel cohorts."""


@cli.group()
def connect() -> None:
    """Connect Mixpanel or WebEngage."""


def _read_secret(name: str, prompt: str) -> str:
    """A secret from the environment, else typed unseen, else the line piped in where there is no terminal."""
    given = os.environ.get(name)
    if not given and sys.stdin and sys.stdin.isatty():
        given = str(click.prompt(prompt, hide_input=True, err=True))
    elif not given:
        given = sys.stdin.readline().strip() if sys.stdin else ""
    if not given:
        raise InvalidRequest(f"No secret was given; set {name}, or run this in a terminal to be asked for it.")
    return given


@connect.command("mixpanel")
@click.option("--project-id", type=int, required=True)
@click.option("--username", required=True)
@click.option("--region", required=True, help="us, eu, in, or a loopback address.")
@json_option
def connect_mixpanel(project_id: int, username: str, region: str, as_json: bool) -> None:
    """Connect a Mixpanel project by a service account (secret: MIXPANEL_SECRET or a prompt)."""
    secret = _read_secret("MIXPANEL_SECRET", "Service account secret")
    with Service.open() as service:
        view = service.connect_mixpanel(project_id, username, secret, region)
    print_result(
        as_json, view, [f"Connected: Mixpanel project {view.name} ({view.id}), role {view.role.value}.", view.role_note]
    )


@connect.command("webengage")
@click.option("--license-code", required=True)
@click.option("--data-center", required=True, help="global, in, ksa, or a loopback address.")
@json_option
def connect_webengage(license_code: str, data_center: str, as_json: bool) -> None:
    """Connect a WebEngage account (API key: WEBENGAGE_API_KEY or a prompt)."""
    key = _read_secret("WEBENGAGE_API_KEY", "API key")
    with Service.open() as service:
        view = service.connect_webengage(license_code, key, data_center)
        projects = service.list_projects()
    print_result(
        as_json,
        view,
        [
            f"Connected: WebEngage account {view.license_code}; it accepted these credentials.",
            *(
                f"New exports of project {one.id} go to {one.license_code or 'no account yet'}; "
                f"`use-account {view.license_code}` changes that."
                for one in projects
                if one.license_code != view.license_code
            ),
        ],
    )


@cli.command()
@project_option
@json_option
def cohorts(project: int | None, as_json: bool) -> None:
    """List the project's cohorts."""
    with Service.open() as service:
        listed = service.list_cohorts(project)
    if listed.problem:
        click.echo(f"Shown as last read: {listed.problem}", err=True)
    if listed.left_out:
        click.echo(listed.left_out, err=True)
    print_result(
        as_json,
        listed.cohorts,
        (f"{one.id}\t{'?' if one.count is None else one.count}\t{one.name}" for one in listed.cohorts),
    )


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--fresh", is_flag=True, help="Ask Mixpanel even when a recent answer is at hand.")
@project_option
@json_option
def preview(cohort_id: int, fresh: bool, project: int | None, as_json: bool) -> None:
    """Show who of a cohort would go to WebEngage."""
    with Service.open() as service:
        found = service.preview_cohort(project, cohort_id, fresh)
    about = "" if found.exact else "about "
    print_result(
        as_json,
        found,
        [
            f"{found.cohort_name}: {found.total} members, {about}{found.identified} identified (will go), "
            f"{found.anonymous} anonymous (will not), {found.invalid} invalid.",
            f"{found.requests} requests, about {found.seconds:.0f} seconds at WebEngage's limit.",
        ],
    )


def _interval_option(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_interval(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem


def _mapping_option(
    _: click.Context, __: click.Parameter, pairs: tuple[str, ...]
) -> tuple[tuple[str, str], ...] | None:
    try:
        return tuple(parse_mapping(pair) for pair in pairs) or None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), required=True)
@click.option("--attribute", help="The Boolean attribute in WebEngage; permanent after the first export.")
@click.option("--every", callback=_interval_option, help="How often a dynamic export is refreshed, such as 2h.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="PROPERTY[=ATTRIBUTE]",
    callback=_mapping_option,
    help="Export a profile property too, such as '$email' or 'plan=Plan'; may be given several times.",
)
@click.option(
    "--unmap",
    multiple=True,
    metavar="PROPERTY",
    help="Export a profile property no longer; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Plan, then hold until approved.")
@click.option("--wait", is_flag=True, help="Wait until the run ended; carry it here when no runner is alive.")
@project_option
@json_option
def export(
    cohort_id: int,
    mode: str,
    attribute: str | None,
    every: float | None,
    mapping: tuple[tuple[str, str], ...] | None,
    unmap: tuple[str, ...],
    dry_run: bool,
    wait: bool,
    project: int | None,
    as_json: bool,
) -> None:
    """Export a cohort to WebEngage."""
    if every is not None and Mode(mode) is not Mode.DYNAMIC:
        raise click.UsageError("--every belongs to --mode dynamic; a one-time export is never refreshed.")
    with Service.open() as service:
        if unmap:
            mapping = _without(
                service.propose_export(project, cohort_id).mapping if mapping is None else mapping, unmap
            )
        started = service.start_export(project, cohort_id, Mode(mode), attribute, every, dry_run, mapping)
        run = wait_for_run(service, started.run_id) if wait else None
    print_result(as_json, started, [_started_line(started)])
    if run is not None:
        report_outcome(run, as_json)


def _without(mapping: tuple[tuple[str, str], ...], unmap: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return a mapping without these properties; InvalidRequest when one of them is not in it."""
    unknown = [name for name in unmap if name not in [source for source, _ in mapping]]
    if unknown:
        raise InvalidRequest(f"“{unknown[0]}” is not exported, so there is nothing to unmap.")
    return tuple(pair for pair in mapping if pair[0] not in unmap)


@cli.command()
@project_option
@json_option
def syncs(project: int | None, as_json: bool) -> None:
    """List the syncs."""
    with Service.open() as service:
        found = service.list_syncs(project)
    print_result(
        as_json,
        [sync_json(one) for one in found],
        (
            "\t".join((str(one.id), one.state.value, one.mode.value, one.cohort_name, one.attribute, _trouble_of(one)))
            for one in found
        ),
    )


def _trouble_of(sync: SyncView) -> str:
    return sync.pause_reason or sync.clear_problem or ""


@cli.command()
@click.option("--sync", "sync_id", type=int)
@click.option("--limit", type=LIMIT_RANGE, default=100)
@project_option
@json_option
def runs(sync_id: int | None, limit: int, project: int | None, as_json: bool) -> None:
    """List the runs, newest first."""
    with Service.open() as service:
        found = service.list_runs(sync_id, None, limit, 0, project)
    print_result(as_json, [run_json(one) for one in found], (run_line(one) for one in found))


@cli.command()
@click.argument("run_id", type=int)
@any_project_option
@json_option
def run(run_id: int, as_json: bool) -> None:
    """Show one run with its story."""
    with Service.open() as service:
        found, story = service.get_run(run_id), service.list_events(run_id)
        refused = service.list_rejections(run_id)
    answer = run_json(found) | {
        "events": [to_contract(one) for one in story],
        "refusals": [to_contract(one) for one in refused],
    }
    print_result(
        as_json,
        answer,
        [
            run_line(found),
            *(one.message for one in story),
            *(f"{one.user_id}: {one.outcome}, {one.reason}" for one in refused),
        ],
    )


def _started_line(answer: StartedExport) -> str:
    word = "started" if answer.started else "was already under way; nothing was started twice"
    return f"Run {answer.run_id} of sync {answer.sync_id} {word}."


def _add_number_command(name: str, about: str, act: Callable[[Service, int], object], argument: str) -> None:
    """Add a command that passes one number on to the service."""

    def command(number: int, as_json: bool) -> None:
        with Service.open() as service:
            answer = act(service, number)
        done: dict[str, object] = {"done": True, argument.lower(): number}
        if isinstance(answer, StartedExport):
            print_result(as_json, done | {"run_id": answer.run_id, "started": answer.started}, [_started_line(answer)])
        else:
            print_result(as_json, done, [f"Done: {name} {number}."])

    wrapped = json_option(any_project_option(click.argument("number", type=int, metavar=argument)(command)))
    cli.command(name, help=about)(wrapped)


_add_number_command("pause", "Stop refreshing a sync until it is resumed.", lambda s, n: s.pause(n), "SYNC_ID")
_add_number_command("resume", "Go on with a paused sync.", lambda s, n: s.resume(n), "SYNC_ID")
_add_number_command("sync-now", "Refresh a sync at once.", lambda s, n: s.sync_now(n), "SYNC_ID")
_add_number_command("retry", "Try everyone WebEngage rejected once more.", lambda s, n: s.retry_rejected(n), "SYNC_ID")
_add_number_command("resync", "Tell WebEngage about every member anew.", lambda s, n: s.resync(n), "SYNC_ID")
_add_number_command("cancel", "End a run after what is in flight.", lambda s, n: s.cancel(n), "RUN_ID")


@cli.command()
@click.argument("run_id", type=int, metavar="RUN_ID")
@click.option("--always", is_flag=True, help="Never hold this sync for the number of people who leave.")
@any_project_option
@json_option
def approve(run_id: int, always: bool, as_json: bool) -> None:
    """Say yes to a held run."""
    with Service.open() as service:
        service.approve(run_id, always)
    print_result(as_json, {"done": True, "run_id": run_id}, [f"Done: run {run_id} goes on."])


@cli.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--reset", is_flag=True, help="Hold the sync again when unusually many people would leave.")
@any_project_option
@json_option
def guard(sync_id: int, reset: bool, as_json: bool) -> None:
    """Show whether a sync is held when unusually many people would leave."""
    with Service.open() as service:
        if reset:
            service.put_guard_back(sync_id)
        enabled = service.has_guard(sync_id)
    answer = {"sync_id": sync_id, "enabled": enabled}
    print_result(as_json, answer, [f"The guard of sync {sync_id} is {'on' if enabled else 'lifted'}."])


@cli.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--clear", is_flag=True, help="Tell WebEngage that everyone left.")
@any_project_option
@json_option
def stop(sync_id: int, clear: bool, as_json: bool) -> None:
    """Never refresh a sync again."""
    with Service.open() as service:
        started = service.stop(sync_id, clear)
    answer = {"done": True, "sync_id": sync_id, "run_id": started.run_id if started else None}
    print_result(as_json, answer, [f"Done: sync {sync_id} is finished."])


@cli.command()
@any_project_option
@json_option
def status(as_json: bool) -> None:
    """Say whether everything works; exit 1 when something needs a person."""
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
        "rejected": health.rejected,
        "meters": [{"project_id": one, "queries_left": left} for one, left in health.queries],
        "disk_free": health.disk_free,
        "needs_person": health.needs_attention,
    }
    print_result(as_json, answer, status_lines(health))
    if health.needs_attention:
        raise CohortSyncError(
            "Something needs a person: look at held runs, paused, failed or overdue syncs, clears that failed, "
            "the runner and the disk."
        )


for command in COMMANDS:
    cli.add_command(any_project_option(command))
for command in ACCOUNT_COMMANDS:
    cli.add_command(command)


def main() -> int:
    """Run a command; 0 done, 1 refused or failed with one sentence, 2 wrong usage."""
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
    """Bytes that are no text would be stored, and fail in the middle of a run."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise click.UsageError("An argument holds bytes that are no UTF-8 text; type it again.") from None
