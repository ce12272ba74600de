"""List the people of a run, for scripts: `python -m sync people RUN_ID`."""

from __future__ import annotations

import click

from sync.cli.listings import list_people_lines
from sync.cli.output import LIMIT_RANGE, any_project_option, json_option, print_result
from sync.records import NO_OPERATION, OUTCOMES
from sync.service import Service
from sync.service.run_people import PeopleFilter
from sync.spreadsheet import write_csv

HEADER = ("user_id", "operation", "outcome", "reason")
MAX_PEOPLE = 1_000_000  # listed unless a limit is given


@click.command("people")
@click.argument("run_id", type=int, metavar="RUN_ID")
@click.option(
    "--operation", type=click.Choice(["add", "update", "remove", NO_OPERATION]), help="Only people with this change."
)
@click.option(
    "--outcome",
    type=click.Choice([*OUTCOMES.values(), "invalid", "membership only"]),
    help="Only people with this outcome.",
)
@click.option("--search", default="", help="Part of the User ID, in capital or small letters.")
@click.option("--limit", type=LIMIT_RANGE, default=MAX_PEOPLE, help="At most this many.")
@click.option("--csv", "as_csv", is_flag=True, help="Answer with a CSV, safe to open in a spreadsheet.")
@any_project_option
@json_option
def list_people(
    run_id: int, operation: str | None, outcome: str | None, search: str, limit: int, as_csv: bool, as_json: bool
) -> None:
    """List whom a run adds, updates, removes or cannot send; also before it is approved."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    wanted = PeopleFilter(operation=operation, outcome=outcome, text=search)
    with Service.open() as service:
        rows = service.runs.list_people(run_id, wanted, limit).rows
    if as_csv:
        cells = ((one.user_id, one.operation, one.outcome, one.reason) for one in rows)
        click.echo(write_csv(HEADER, cells, mark=False), nl=False)
        return
    print_result(as_json, rows, list_people_lines(rows))
