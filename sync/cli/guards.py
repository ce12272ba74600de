"""Commands about guards: approve a held run, and set from how many people on a sync is held."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from sync.cli.output import Answer, answers, any_project_option, json_option, print_result
from sync.guards import MAX_PEOPLE, MAX_SHARE, GuardLimits
from sync.service import Service
from sync.text import count_people
from sync.views import GuardView
from sync.wording import describe_trial

_SHARE, _PEOPLE = click.FloatRange(0, MAX_SHARE), click.IntRange(0, MAX_PEOPLE)
_add_people = click.option("--add-people", type=_PEOPLE, help="… and more than this many people (100).")
_remove_people = click.option("--remove-people", type=_PEOPLE, help="… and more than this many people (100).")


@click.command()
@click.argument("run_id", type=int, metavar="RUN_ID")
@click.option("--always", is_flag=True, help="Never again hold this sync for its limits.")
@click.option("--raise-limit", is_flag=True, help="Raise the limit this run exceeds to its number of people.")
@any_project_option
@json_option
def approve(run_id: int, always: bool, raise_limit: bool, as_json: bool) -> None:
    """Approve a held run, so that it continues."""
    if always and raise_limit:
        raise click.UsageError("--always lifts the guard and --raise-limit keeps it; choose one.")
    with Service.open() as service:
        limits = service.guards.suggest_limits(service.runs.get(run_id)) if raise_limit else None
        service.runs.approve(run_id, always, limits)
    raised = (
        ""
        if limits is None
        else f" Its sync may add {limits.add_people:,} and remove {count_people(limits.remove_people)}."
    )
    print_result(as_json, {"done": True, "run_id": run_id}, [f"Done: run {run_id} continues.{raised}"])


@click.command()
@click.argument("sync_id", type=int, metavar="SYNC_ID")
@click.option("--add-share", type=_SHARE, help="Hold a run that adds more than this percentage of people (50) …")
@_add_people
@click.option("--remove-share", type=_SHARE, help="Hold a run that removes more than this percentage of people (20) …")
@_remove_people
@click.option(
    "--try", "only_try", is_flag=True, help="Only show how many of the last runs these limits would have held."
)
@click.option("--reset", is_flag=True, help="Put a lifted guard back, with the limits every sync begins with.")
@any_project_option
@answers
def guard(service: Service, sync_id: int, only_try: bool, reset: bool, **given: float | None) -> Answer:
    """Show or set from how many people on the runs of a sync are held."""
    changes = {name: value for name, value in given.items() if value is not None}
    view = service.guards.get(sync_id)
    limits = replace(GuardLimits() if reset else view.limits, **changes)  # type: ignore[arg-type]
    if only_try:
        view = replace(view, limits=limits, trial=service.guards.try_limits(sync_id, limits))
    else:
        if changes or reset:
            service.guards.set_limits(sync_id, limits)
        if reset:
            service.guards.put_back(sync_id)
        view = service.guards.get(sync_id)
    answer = {"sync_id": sync_id, "enabled": view.enabled, **asdict(view.limits)}
    return answer | {"would_have_held": view.trial.held, "of_runs": view.trial.runs}, _describe_guard(view)


def _describe_guard(view: GuardView) -> list[str]:
    limits, first = view.limits, describe_trial(view.trial)
    always = "Held always: nobody was read."
    adds = f"adds more than {limits.add_share:g} % and more than {count_people(limits.add_people)},"
    removes = f"or removes more than {limits.remove_share:g} % and more than {limits.remove_people:,}."
    if not view.enabled:
        return [
            f"The guard of sync {view.sync_id} is lifted: no number of people holds a run until it is put back (--reset).",
            f"Its limits, which hold nothing now: a run {adds} {removes} {first}",
            always,
        ]
    return [
        f"The guard of sync {view.sync_id} is on.",
        f"A run is held when it {adds}",
        removes,
        first,
        "Held also: a first export with over a fifth more people than its preview; a run in which the share of identified "
        f"people among members with a profile fell by half. {always}",
    ]


GUARD_COMMANDS = (approve, guard)
