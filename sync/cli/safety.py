"""Commands about people who are never exported, and about tripwires."""

from __future__ import annotations

from pathlib import Path

import click

from sync.cli.listings import list_never_export_lines, list_tripwire_lines
from sync.cli.output import Command, WholeSentences, json_option, print_result, project_option
from sync.errors import InvalidRequest
from sync.service import Service
from sync.service.safety import parse_csv
from sync.text import cut_text, show_text
from sync.views import AddedPeople
from sync.wording import explain_staying


def _people_arguments(command: Command) -> Command:
    """Give a command the ids it is about: as arguments, or from a file."""
    file = click.option(
        "--file", type=click.Path(dir_okay=False, path_type=Path), help="A CSV with a column of User IDs."
    )
    return file(click.argument("ids", nargs=-1, metavar="[USER_ID…]")(command))


_account_option = click.option(
    "--account", metavar="LICENSE", help="The WebEngage account, when several are connected."
)
_cohort_option = click.option(
    "--cohort", type=int, metavar="COHORT_ID", help="Only in this cohort; without it, in any."
)
_note_option = click.option("--note", default="", help="The reason, for those who look at the list later.")


MAX_SHOWN = 200  # UTF-16 units of a file's name in an error


def read_ids(ids: tuple[str, ...], file: Path | None) -> list[str]:
    """Return these user ids and those of a file; raise InvalidRequest when it cannot be read."""
    if file is None:
        return list(ids)
    try:
        return [*ids, *parse_csv(file.read_bytes())]
    except (OSError, ValueError) as problem:  # ValueError: no file can have this name
        reason = problem.strerror if isinstance(problem, OSError) else "it is not a file name"
        raise InvalidRequest(f"{cut_text(show_text(str(file)), MAX_SHOWN)} cannot be read ({reason}).") from None


@click.group("never-export", cls=WholeSentences)
def never_export() -> None:
    """Keep people out of everything that is exported to a WebEngage account."""


@never_export.command("add")
@_people_arguments
@_note_option
@_account_option
@project_option
@json_option
def add_never_export(
    ids: tuple[str, ...], file: Path | None, note: str, account: str | None, project: int | None, as_json: bool
) -> None:
    """Put people on the list: they are never sent as members, and leave with the next run."""
    with Service.open() as service:
        found = service.safety.add_never_export(
            service.safety.choose_account(account, project), read_ids(ids, file), note
        )
    print_result(
        as_json, found, [_describe_added(found), show_text(explain_staying(found.stay_true, found.may_stay_true))]
    )


def _describe_added(found: AddedPeople) -> str:
    return f"Done: {found.added:,} added, {found.already_there:,} were on it already."


@never_export.command("remove")
@_people_arguments
@_account_option
@project_option
@json_option
def remove_never_export(
    ids: tuple[str, ...], file: Path | None, account: str | None, project: int | None, as_json: bool
) -> None:
    """Take people off the list: they are exported again with the next run."""
    with Service.open() as service:
        gone = service.safety.remove_never_export(service.safety.choose_account(account, project), read_ids(ids, file))
    print_result(as_json, {"removed": gone}, [f"Done: {gone:,} removed."])


@never_export.command("list")
@_account_option
@project_option
@json_option
def list_never_export(account: str | None, project: int | None, as_json: bool) -> None:
    """List who is never exported, by masked labels: the ids themselves are not kept."""
    with Service.open() as service:
        found = service.safety.list_never_export(service.safety.choose_account(account, project))
    print_result(as_json, found, list_never_export_lines(found))


@click.group(cls=WholeSentences)
def tripwire() -> None:
    """Hold every run that finds certain people in a cohort."""


@tripwire.command("add")
@_people_arguments
@_cohort_option
@_note_option
@project_option
@json_option
def add_tripwire(
    ids: tuple[str, ...], file: Path | None, cohort: int | None, note: str, project: int | None, as_json: bool
) -> None:
    """Hold every run that finds one of these people in the cohort, or in any."""
    with Service.open() as service:
        found = service.safety.add_tripwires(project, cohort, read_ids(ids, file), note)
    print_result(as_json, found, [_describe_added(found)])


@tripwire.command("remove")
@_people_arguments
@_cohort_option
@project_option
@json_option
def remove_tripwire(
    ids: tuple[str, ...], file: Path | None, cohort: int | None, project: int | None, as_json: bool
) -> None:
    """Take off the tripwires of these people for the cohort, or those for any."""
    with Service.open() as service:
        gone = service.safety.remove_tripwires(project, cohort, read_ids(ids, file))
    print_result(as_json, {"removed": gone}, [f"Done: {gone:,} removed."])


@tripwire.command("list")
@click.option("--cohort", type=int, metavar="COHORT_ID", help="Only those that hold this cohort; without it, all.")
@project_option
@json_option
def list_tripwires(cohort: int | None, project: int | None, as_json: bool) -> None:
    """List the tripwires of the project, or those that hold one cohort."""
    with Service.open() as service:
        found = service.safety.list_tripwires(project, cohort)
    print_result(as_json, found, list_tripwire_lines(found))


SAFETY_COMMANDS = (never_export, tripwire)
