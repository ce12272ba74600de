"""Wait for a run, and print runs and syncs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import click

from sync.cli.command_names import name_commands
from sync.cli.output import to_contract
from sync.errors import CohortSyncError
from sync.guards import DRY_RUN
from sync.model import Run, RunState, format_utc_time
from sync.records import SyncView
from sync.runner import Runner
from sync.service import Service
from sync.wording import RUN_STANDING, describe_run_changes

POLL_SECONDS = 0.3  # seconds between reads of the run that is waited for
MAX_WAIT_SECONDS = 60.0  # seconds; a run that is postponed for longer is not waited for


def run_json(run: Run) -> dict[str, Any]:
    """Return a run with the JSON keys of the command line, without its lease."""
    hidden = ("lease_owner", "lease_until", "session_id", "list_version")
    return {name: value for name, value in to_contract(run).items() if name not in hidden}


def sync_json(sync: SyncView) -> dict[str, Any]:
    """Return a sync with the JSON keys of the command line; its last run as a number."""
    values: dict[str, Any] = to_contract(sync)
    last = values.pop("last_run")
    return values | {
        "last_run_id": last["id"] if last else None,
        "problem": name_commands(sync.clear_problem or "") or None,
    }


def check_can_execute() -> None:
    """Raise InvalidRequest for a setting with which no run can be executed here, before one is queued."""
    Runner(os.environ)


def wait_for_run(service: Service, run_id: int) -> Run:
    """Wait until a run has ended, is held, or is postponed for over a minute; return it.

    Ctrl-C and SIGTERM, which a timer or a service sends, end only the waiting: answers in flight are awaited.
    """
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _poll_until_ended(service, run_id)
    except KeyboardInterrupt:
        raise CohortSyncError(
            f"Stopped waiting; the next runner continues run {run_id}, unless it is cancelled."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, former)


def _poll_until_ended(service: Service, run_id: int) -> Run:
    while True:
        run = service.runs.get(run_id)
        if run.state.is_final or run.state is RunState.HELD or run.not_before > time.time() + MAX_WAIT_SECONDS:
            return run
        if service.check_health().is_runner_alive:
            time.sleep(POLL_SECONDS)
        else:
            Runner(os.environ).run_once(run_id)


def report_outcome(run: Run, as_json: bool) -> None:
    """Print the outcome of a run that succeeded, or is held as was asked for; raise CohortSyncError for any other."""
    changes = describe_run_changes(run)
    if run.state is RunState.SUCCEEDED:
        said = f"Succeeded: {changes}."
    elif run.state is RunState.HELD and run.steps_sent:
        said = f"{run.held_reason} Send the rest: approve {run.id}. Take it back: undo {run.id}."
    elif run.state is RunState.HELD and run.held_reason == DRY_RUN:
        said = f"Planned: {changes}. Nothing is sent until a person approves: approve {run.id}."
    else:
        why = None if run.state is RunState.CANCELLED else run.error or run.held_reason or run.wait_reason
        reason = f": {why.rstrip('.')}" if why else ""
        ended = run.state.is_final or run.state is RunState.HELD
        later = "" if ended else f" A runner continues it at {format_utc_time(run.not_before)} or later."
        raise CohortSyncError(f"Run {run.id} {RUN_STANDING[run.state]}{reason}.{later}")
    if not as_json:
        click.echo(said)
