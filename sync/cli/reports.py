"""Commands that report on one person, and on one cohort before a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from sync.cli.output import Answer, answers, project_option, to_contract
from sync.cli.run_output import run_json
from sync.cli.tables import format_table
from sync.model import format_utc_time
from sync.records import PersonListing
from sync.reports import Person, Receipt
from sync.service import Service
from sync.text import show_text
from sync.wording import FORGOTTEN_HERE, NO_COHORT_KNOWN, describe_presence, explain_two_ids, explain_unknown_person


@click.command()
@click.argument("user_id", metavar="USER_ID")
@project_option
@answers
def person(service: Service, user_id: str, project: int | None) -> Answer:
    """Show what happened to one person: cohorts, what was sent by which run, rejections and lists."""
    found = service.people.find(user_id, project)
    return _person_json(found), _list_person_lines(found)


def _person_json(found: Person) -> dict[str, Any]:
    return {
        "user_id": found.user_id,
        "known": found.is_known,
        "syncs": [to_contract(one) | {"in_webengage": one.in_webengage} for one in found.syncs],
        "history": found.history,
        "lists": found.lists,
        "known_by": found.known_by,
    }


def _list_person_lines(found: Person) -> Iterator[str]:
    yield explain_two_ids(found.known_by, "Look up")
    if not found.is_known:
        yield explain_unknown_person(found.detail_days)
        return
    if found.was_forgotten:
        yield FORGOTTEN_HERE
    yield from format_table(
        ("Cohort", "Account", "Attribute", "In WebEngage", "Since", "Why not"),
        (
            (
                one.cohort_name,
                one.license_code,
                one.attribute,
                describe_presence(one.in_webengage, one.presence),
                format_utc_time(one.since) if one.since else "",
                one.not_taken,
            )
            for one in found.syncs
        ),
        f"In exported cohorts: {NO_COHORT_KNOWN}",
    )
    yield from (f"On {_describe_listing(one)}." for one in found.lists)
    names = {one.sync_id: one.cohort_name for one in found.syncs}
    yield from format_table(
        ("When", "Run", "Cohort", "Change", "Outcome", "Reason"),
        (
            (format_utc_time(one.at), str(one.run_id), names[one.sync_id], one.operation, one.outcome, one.reason)
            for one in found.history
        ),
        f"No change of the last {found.detail_days:g} days.",
    )


def _describe_listing(one: PersonListing) -> str:
    where = f"account {one.license_code}" if one.license_code else one.cohorts
    name = "the never-export list of" if one.license_code else "the tripwires for"
    note = f": {one.note}" if one.note else ""
    return show_text(f"{name} {where}, since {format_utc_time(one.added_at)}, by {one.added_by}{note}")


@click.command()
@click.argument("cohort_id", type=int)
@click.option(
    "--with",
    "compared",
    type=int,
    multiple=True,
    metavar="SYNC_ID",
    help="Count the people shared with this sync only; may be given several times. Default: with all of the account.",
)
@project_option
@answers
def receipt(service: Service, cohort_id: int, compared: tuple[int, ...], project: int | None) -> Answer:
    """Show whom a campaign to a cohort reaches: as of when, by which run, and who approved it."""
    found = service.receipts.read(project, cohort_id, compared or None)
    return _receipt_json(found), _list_receipt_lines(found)


def _receipt_json(found: Receipt) -> dict[str, Any]:
    answer = to_contract(found) | {"in_webengage": found.in_webengage, "sentence": found.sentence}
    return answer | {"run": run_json(found.run)}


def _list_receipt_lines(found: Receipt) -> Iterator[str]:
    yield show_text(found.sentence)
    yield from found.remarks
    if found.left_behind:
        yield f"WebEngage rejected setting {found.left_behind:,} of them to false."
    yield from format_table(
        ("Shared with", "Sync", "People there", "Shared"),
        ((one.cohort_name, str(one.sync_id), one.size, one.shared) for one in found.overlaps),
        "No other cohort of this account has people in WebEngage.",
    )


REPORT_COMMANDS = (person, receipt)
