"""Commands about people who are never exported, and about tripwires."""

from __future__ import annotations

from pathlib import Path

import click

from sync.cli.listings import list_never_export_lines, list_tripwire_lines
from sync.cli.output import Answer, Command, WholeSentences, answers, project_option
from sync.errors import InvalidRequest
from sync.service import Service
from sync.service.safety import parse_csv, require_visible
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
    """Return these user ids and those of a file; raise InvalidRequest when it or one of them cannot be read."""
    typed = [require_visible(one, f"User ID {number:,}") for number, one in enumerate(ids, 1)]
    if file is None:
        return typed
    try:
        return [*typed, *parse_csv(file.read_bytes())]
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
@answers
def add_never_export(
    service: Service, ids: tuple[str, ...], file: Path | None, note: str, account: str | None, project: int | None
) -> Answer:
    """Put people on the list: they are never sent as members, and leave with the next run."""
    found = service.safety.add_never_export(service.safety.choose_account(account, project), read_ids(ids, file), note)
    return found, [_describe_added(found), show_text(explain_staying(found.stay_true, found.may_stay_true))]


def _describe_added(found: AddedPeople) -> str:
    return f"Done: {found.added:,} added, {found.already_there:,} were on it already."


@never_export.command("remove")
@_people_arguments
@_account_option
@project_option
@answers
def remove_never_export(
    service: Service, ids: tuple[str, ...], file: Path | None, account: str | None, project: int | None
) -> Answer:
    """Take people off the list: they are exported again with the next run."""
    gone = service.safety.remove_never_export(service.safety.choose_account(account, project), read_ids(ids, file))
    return {"removed": gone}, [f"Done: {gone:,} removed."]


@never_export.command("list")
@_account_option
@project_option
@answers
def list_never_export(service: Service, account: str | None, project: int | None) -> Answer:
    """List who is never exported, by masked labels: the ids themselves are not kept."""
    found = service.safety.list_never_export(service.safety.choose_account(account, project))
    return found, list_never_export_lines(found)


@click.group(cls=WholeSentences)
def tripwire() -> None:
    """Hold every run that finds certain people in a cohort."""


@tripwire.command("add")
@_people_arguments
@_cohort_option
@_note_option
@project_option
@answers
def add_tripwire(
    service: Service, ids: tuple[str, ...], file: Path | None, cohort: int | None, note: str, project: int | None
) -> Answer:
    """Hold every run that finds one of these people in the cohort, or in any."""
    found = service.safety.add_tripwires(project, cohort, read_ids(ids, file), note)
    return found, [_describe_added(found)]


@tripwire.command("remove")
@_people_arguments
@_cohort_option
@project_option
@answers
def remove_tripwire(
    service: Service, ids: tuple[str, ...], file: Path | None, cohort: int | None, project: int | None
) -> Answer:
    """Take off the tripwires of these people for the cohort, or those for any."""
    gone = service.safety.remove_tripwires(project, cohort, read_ids(ids, file))
    return {"removed": gone}, [f"Done: {gone:,} removed."]


@tripwire.command("list")
@click.option("--cohort", type=int, metavar="COHORT_ID", help="Only those that hold this cohort; without it, all.")
@project_option
@answers
def list_tripwires(service: Service, cohort: int | None, project: int | None) -> Answer:
    """List the tripwires of the project, or those that hold one cohort."""
    found = service.safety.list_tripwires(project, cohort)
    return found, list_tripwire_lines(found)


SAFETY_COMMANDS = (never_export, tripwire)
