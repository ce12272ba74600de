"""The command `members`: everybody in a cohort, what they are, and why."""

from __future__ import annotations

import sys

import click

from sync.cli.listings import list_member_lines
from sync.cli.output import json_option, print_result, project_option
from sync.cli.property_options import id_property_option
from sync.errors import InvalidRequest
from sync.service import Service
from sync.spreadsheet import write_csv
from sync.views import MemberList, MemberRow, MemberStatus

ONLY = (MemberStatus.IDENTIFIED, MemberStatus.ANONYMOUS, MemberStatus.INVALID)
HEADER = ("user_id", "status", "reason")


@click.command()
@click.argument("cohort_id", type=int)
@click.option("--only", type=click.Choice([one.value for one in ONLY]), help="Only members with this status.")
@id_property_option
@click.option("--csv", "as_csv", is_flag=True, help="Answer with a CSV, safe to open in a spreadsheet.")
@project_option
@json_option
def members(
    cohort_id: int, only: str | None, id_property: str | None, as_csv: bool, project: int | None, as_json: bool
) -> None:
    """List everybody in a cohort: identified, anonymous or invalid, and why."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    with Service.open() as service:
        listed = _read_everybody(service, project, cohort_id, id_property)
    header = (*HEADER, "distinct_id") if listed.id_property else HEADER
    wanted = [MemberStatus(only)] if only else ONLY
    rows = [row for row in listed.rows if row.status in wanted]
    cells = [_cells(row)[: len(header)] for row in rows]
    if as_csv:
        click.echo(write_csv(header, cells, mark=False), nl=False)
        return
    print_result(as_json, [dict(zip(header, row, strict=True)) for row in cells], list_member_lines(header, cells))


def _read_everybody(service: Service, project: int | None, cohort_id: int, id_property: str | None) -> MemberList:
    """Read a whole cohort; raise InvalidRequest when its pages do not add up to it."""
    reading = service.members.begin(project, cohort_id, id_property=id_property)
    while service.members.read_next(reading):
        if sys.stderr.isatty():
            pages = reading.everyone
            click.echo(f"\rPage {pages.page_count} of {pages.announced_pages}", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    listed = service.members.list(reading)
    service.members.save_numbers(reading)
    if listed.problem:
        raise InvalidRequest(f"{listed.problem}, so the list would not be exact; try again.")
    return listed


def _cells(row: MemberRow) -> tuple[str, ...]:
    return row.user_id, row.status.value, row.reason, row.distinct_id
