"""The command line: the same services as the pages, for scripts (the README lists them)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from sync.cli.accounts import ACCOUNT_COMMANDS
from sync.cli.keeping import COMMANDS
from sync.cli.speech import LIMIT, any_project_option, json_option, project_option, say
from sync.cli.status import status_lines
from sync.errors import CohortSyncError, Refused
from sync.model import Mode, Run, RunState, parse_every, parse_mapping
from sync.runner import Runner, leave
from sync.service import Service
from sync.views import Started, SyncView

POLL = 0.3  # seconds between looks at a run that is waited for


def _run_json(run: Run) -> dict[str, Any]:
    hidden = ("lease_owner", "lease_until", "session_id")
    return {name: value for name, value in asdict(run).items() if name not in hidden}


def _sync_json(sync: SyncView) -> dict[str, Any]:
    values: dict[str, Any] = asdict(sync)
    last = values.pop("last_run")
    return values | {"last_run_id": last["id"] if last else None, "problem": sync.clear_problem}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Keep WebEngage in step with Mixpanel cohorts."""


@cli.group()
def connect() -> None:
    """Connect Mixpanel or WebEngage."""


def _secret(name: str, prompt: str) -> str:
    """A secret from the environment, else typed unseen, else the line piped in where there is no terminal."""
    given = os.environ.get(name)
    if not given and sys.stdin and sys.stdin.isatty():
        given = str(click.prompt(prompt, hide_input=True, err=True))
    elif not given:
        given = sys.stdin.readline().strip() if sys.stdin else ""
    if not given:
        raise Refused(f"No secret was given; set {name}, or run this in a terminal to be asked for it.")
    return given


@connect.command("mixpanel")
@click.option("--project-id", type=int, required=True)
@click.option("--username", required=True)
@click.option("--region", required=True, help="us, eu, in, or a loopback address.")
@json_option
def connect_mixpanel(project_id: int, username: str, region: str, as_json: bool) -> None:
    """Connect a Mixpanel project by a service account (secret: MIXPANEL_SECRET or a prompt)."""
    secret = _secret("MIXPANEL_SECRET", "Service account secret")
    with Service.open() as service:
        view = service.connect_mixpanel(project_id, username, secret, region)
    say(
        as_json, view, [f"Connected: Mixpanel project {view.name} ({view.id}), role {view.role.value}.", view.role_note]
    )


@connect.command("webengage")
@click.option("--license-code", required=True)
@click.option("--data-center", required=True, help="global, in, ksa, or a loopback address.")
@json_option
def connect_webengage(license_code: str, data_center: str, as_json: bool) -> None:
    """Connect a WebEngage account (API key: WEBENGAGE_API_KEY or a prompt)."""
    key = _secret("WEBENGAGE_API_KEY", "API key")
    with Service.open() as service:
        view = service.connect_webengage(license_code, key, data_center)
        projects = service.projects()
    say(
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
        listed = service.cohorts(project)
    if listed.problem:
        click.echo(f"Shown as last read: {listed.problem}", err=True)
    say(
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
        found = service.preview(project, cohort_id, fresh)
    about = "" if found.exact else "about "
    say(
        as_json,
        found,
        [
            f"{found.cohort_name}: {found.total} members, {about}{found.identified} identified (will go), "
            f"{found.anonymous} anonymous (will not), {found.invalid} invalid.",
            f"{found.requests} requests, about {found.seconds:.0f} seconds at WebEngage's limit.",
        ],
    )


def _every(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_every(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem


def _mapping(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    try:
        return tuple(parse_mapping(pair) for pair in pairs) or None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@cli.command()
@click.argument("cohort_id", type=int)
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), required=True)
@click.option("--attribute", help="The Boolean attribute in WebEngage; permanent after the first export.")
@click.option("--every", callback=_every, help="How often a dynamic export is refreshed, such as 2h.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="PROPERTY[=ATTRIBUTE]",
    callback=_mapping,
    help="Export a profile property too, such as '$email' or 'plan=Plan'; may be given several times.",
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
    dry_run: bool,
    wait: bool,
    project: int | None,
    as_json: bool,
) -> None:
    """Export a cohort to WebEngage."""
    if every is not None and Mode(mode) is not Mode.DYNAMIC:
        raise click.UsageError("--every belongs to --mode dynamic; a one-time export is never refreshed.")
    with Service.open() as service:
        started = service.export(project, cohort_id, Mode(mode), attribute, every, dry_run, mapping)
        run = _wait(service, started.run_id) if wait else None
    say(as_json, started, [_started_line(started)])
    if run is not None:
        _judge(run, as_json)


def _wait(service: Service, run_id: int) -> Run:
    """Wait for a run's end, or for something only a person or an hour can mend; Ctrl-C ends the waiting only."""
    try:
        return _ended(service, run_id)
    except KeyboardInterrupt:
        raise CohortSyncError(
            f"Stopped waiting; run {run_id} goes on with the next runner, unless it is cancelled."
        ) from None


def _ended(service: Service, run_id: int) -> Run:
    while True:
        run = service.run(run_id)
        if run.state.over or run.state is RunState.HELD or run.not_before > time.time() + 60:
            return run
        if service.health().alive:
            time.sleep(POLL)
        else:
            Runner(os.environ).once(run_id)


def _judge(run: Run, as_json: bool) -> None:
    """Say how a run ended; exit 1 unless it succeeded."""
    if run.state is RunState.SUCCEEDED:
        if not as_json:
            click.echo(f"Succeeded: +{run.entered} ~{run.updated} −{run.exited}, {run.rejected} rejected.")
        return
    why = run.error or run.held_reason or run.waiting or "it was cancelled"
    raise CohortSyncError(f"Run {run.id} is {run.state.value}: {why}")


@cli.command()
@project_option
@json_option
def syncs(project: int | None, as_json: bool) -> None:
    """List the syncs."""
    with Service.open() as service:
        found = service.syncs(project)
    say(
        as_json,
        [_sync_json(one) for one in found],
        (
            "\t".join((str(one.id), one.state.value, one.mode.value, one.cohort_name, one.attribute, _trouble_of(one)))
            for one in found
        ),
    )


def _trouble_of(sync: SyncView) -> str:
    return sync.reason or sync.clear_problem or ""


@cli.command()
@click.option("--sync", "sync_id", type=int)
@click.option("--limit", type=LIMIT, default=100)
@project_option
@json_option
def runs(sync_id: int | None, limit: int, project: int | None, as_json: bool) -> None:
    """List the runs, newest first."""
    with Service.open() as service:
        found = service.runs(sync_id, None, limit, 0, project)
    say(as_json, [_run_json(one) for one in found], (_run_line(one) for one in found))


def _run_line(one: Run) -> str:
    return f"{one.id}\tsync {one.sync_id}\t{one.state.value}\t+{one.entered} ~{one.updated} −{one.exited}\t{one.error or ''}"


@cli.command()
@click.argument("run_id", type=int)
@any_project_option
@json_option
def run(run_id: int, as_json: bool) -> None:
    """Show one run with its story."""
    with Service.open() as service:
        found, story = service.run(run_id), service.events(run_id)
        refused = service.refusals(run_id)
    answer = _run_json(found) | {"events": [asdict(one) for one in story], "refusals": [asdict(one) for one in refused]}
    say(
        as_json,
        answer,
        [
            _run_line(found),
            *(one.what for one in story),
            *(f"{one.user_id}: {one.outcome}, {one.reason}" for one in refused),
        ],
    )


def _started_line(answer: Started) -> str:
    word = "started" if answer.started else "was already under way; nothing was started twice"
    return f"Run {answer.run_id} of sync {answer.sync_id} {word}."


def _wish(name: str, about: str, act: Callable[[Service, int], object], argument: str) -> None:
    """Add a command that passes one number on to the service."""

    def command(number: int, as_json: bool) -> None:
        with Service.open() as service:
            answer = act(service, number)
        done: dict[str, object] = {"done": True, argument.lower(): number}
        if isinstance(answer, Started):
            say(as_json, done | {"run_id": answer.run_id, "started": answer.started}, [_started_line(answer)])
        else:
            say(as_json, done, [f"Done: {name} {number}."])

    wrapped = json_option(any_project_option(click.argument("number", type=int, metavar=argument)(command)))
    cli.command(name, help=about)(wrapped)


_wish("pause", "Stop refreshing a sync until it is resumed.", lambda s, n: s.pause(n), "SYNC_ID")
_wish("resume", "Go on with a paused sync.", lambda s, n: s.resume(n), "SYNC_ID")
_wish("sync-now", "Refresh a sync at once.", lambda s, n: s.sync_now(n), "SYNC_ID")
_wish("retry", "Try everyone WebEngage rejected once more.", lambda s, n: s.retry_rejected(n), "SYNC_ID")
_wish("resync", "Tell WebEngage about every member anew.", lambda s, n: s.resync(n), "SYNC_ID")
_wish("cancel", "End a run after what is in flight.", lambda s, n: s.cancel(n), "RUN_ID")


@cli.command()
@click.argument("run_id", type=int, metavar="RUN_ID")
@click.option("--always", is_flag=True, help="Never hold this sync for the number of people who leave.")
@any_project_option
@json_option
def approve(run_id: int, always: bool, as_json: bool) -> None:
    """Say yes to a held run."""
    with Service.open() as service:
        service.approve(run_id, always)
    say(as_json, {"done": True, "run_id": run_id}, [f"Done: run {run_id} goes on."])


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
    say(as_json, answer, [f"Done: sync {sync_id} is finished."])


@cli.command()
@any_project_option
@json_option
def status(as_json: bool) -> None:
    """Say whether everything works; exit 1 when something needs a person."""
    with Service.open() as service:
        health = service.health()
    answer = {
        "runner": {
            "alive": health.alive,
            "state": health.runner_state.value,
            "last_seen": health.runner_seen,
            "runners": health.runners,
        },
        "due": {"runs": health.due, "oldest": health.oldest_due},
        "held": health.held,
        "paused": [_sync_json(one) for one in health.paused],
        "failed": [_sync_json(one) for one in health.failed],
        "overdue": [asdict(one) for one in health.overdue],
        "not_cleared": [_sync_json(one) for one in health.not_cleared],
        "rejected": health.rejected,
        "meters": [{"project_id": one, "queries_left": left} for one, left in health.queries],
        "disk_free": health.disk_free,
        "needs_person": health.needs_person,
    }
    say(as_json, answer, status_lines(health))
    if health.needs_person:
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


if __name__ == "__main__":
    leave(main())
