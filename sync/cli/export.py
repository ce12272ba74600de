"""The command that exports a cohort, with the options that say what is sent first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from sync.cli.cadence import CadenceOptions, cadence_options, check_fit
from sync.cli.output import gather_options, json_option, print_result, project_option
from sync.cli.property_options import (
    PropertyOptions,
    id_property_option,
    property_options,
    resolve_mapping,
    unmap_option,
)
from sync.cli.run_output import check_can_execute, report_outcome, wait_for_run
from sync.cli.safety import read_ids
from sync.errors import InvalidRequest
from sync.export_terms import ExportTerms
from sync.model import Mode
from sync.service import Service
from sync.steps import MAX_TRIED, SMALL_SHARES, Steps
from sync.views import StartedExport


@dataclass(frozen=True, slots=True)
class FirstStep:
    """Hold what is sent before the rest: the steps, and the user ids of those who were chosen."""

    steps: Steps | None
    chosen: tuple[str, ...]


def _read_first_step(first: int | None, only_ids: Path | None, in_steps: bool) -> FirstStep:
    """Return what is sent first; raise UsageError for two ways at once, InvalidRequest for a file without ids."""
    if (first is not None) + (only_ids is not None) + in_steps > 1:
        raise click.UsageError("Choose one of --first, --only-ids and --in-steps.")
    chosen = read_ids((), only_ids)
    if only_ids is not None and not chosen:
        raise InvalidRequest(f"{only_ids} has no User IDs.")
    steps = Steps(first=first) if first else Steps(shares=SMALL_SHARES) if in_steps else None
    return FirstStep(steps=steps, chosen=tuple(chosen))


step_options = gather_options(
    "first_step",
    _read_first_step,
    click.option(
        "--first", type=click.IntRange(1, MAX_TRIED), help="Send to this many people, then hold until approved."
    ),
    click.option(
        "--only-ids",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Send to the people whose User IDs are in this file, one per line or a CSV; then hold until approved.",
    ),
    click.option("--in-steps", is_flag=True, help="Send to about 1 %, then 10 %, then all; held after each step."),
)


@click.command()
@click.argument("cohort_id", type=int)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    required=True,
    help="Export it once, or refresh it on a schedule.",
)
@click.option("--attribute", help="The Boolean attribute in WebEngage; permanent after the first export.")
@cadence_options
@id_property_option
@property_options
@unmap_option
@click.option("--dry-run", is_flag=True, help="Plan, then hold until approved.")
@step_options
@click.option("--wait", is_flag=True, help="Wait until the run has ended; execute it here when no runner is working.")
@project_option
@json_option
def export(
    cohort_id: int,
    mode: str,
    attribute: str | None,
    cadence: CadenceOptions,
    id_property: str | None,
    properties: PropertyOptions,
    unmap: tuple[str, ...],
    dry_run: bool,
    first_step: FirstStep,
    wait: bool,
    project: int | None,
    as_json: bool,
) -> None:
    """Export a cohort to WebEngage."""
    daily, ends_at = cadence.read(Mode(mode))
    if wait:
        check_can_execute()
    with Service.open() as service:
        mapping, forms = resolve_mapping(service, project, cohort_id, properties, unmap)
        terms = ExportTerms(
            mode=Mode(mode),
            attribute=attribute,
            interval=cadence.every,
            daily=daily,
            ends_at=ends_at,
            id_property=id_property,
            mapping=mapping,
            forms=forms,
            dry_run=dry_run,
            steps=first_step.steps,
            chosen=first_step.chosen,
        )
        fit = check_fit(service, project, cohort_id, terms)
        started = service.syncs.start_export(project, cohort_id, terms)
        run = wait_for_run(service, started.run_id) if wait else None
    print_result(as_json, started, [format_started(started), fit])
    if run is not None:
        report_outcome(run, as_json)


def format_started(answer: StartedExport) -> str:
    """Return which run a request started, or found under way."""
    state = "started" if answer.started else "was already under way; no second run was started"
    return f"Run {answer.run_id} of sync {answer.sync_id} {state}."
