"""Commands for administrators: backup, restore, keys, retention, forgetting a person, the audit log."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from sync.cli.listings import list_audit_lines
from sync.cli.output import LIMIT_RANGE, Answer, answers, json_option, print_result
from sync.guards import MAX_PEOPLE, explain_second_person
from sync.service import Service
from sync.text import count_noun
from sync.wording import explain_forgotten, explain_restore

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@answers
def backup(service: Service, file: Path) -> Answer:
    """Copy the database to a new FILE, also while everything runs; the key is not in it."""
    service.admin.write_backup(file)
    return {"done": True, "file": str(file)}, [
        f"Done: {file}. The key is not in it; back up secret.key or COHORT_SYNC_KEY too."
    ]


@click.command("second-person")
@click.option(
    "--above", type=click.IntRange(0, MAX_PEOPLE), help="Exports to more people need the approval of a second person."
)
@click.option("--off", is_flag=True, help="No export needs the approval of a second person.")
@json_option
def second_person(above: int | None, off: bool, as_json: bool) -> None:
    """Show or set above how many people an export needs the approval of a second person."""
    if off and above is not None:
        raise click.UsageError("Choose --above or --off.")
    with Service.open() as service:
        if off or above is not None:
            service.admin.set_approval_limit(above)
        limit = service.admin.get_approval_limit()
    print_result(
        as_json,
        {"above": limit},
        ["Off: no export needs the approval of a second person." if limit is None else explain_second_person(limit)],
    )


@click.command()
@click.argument("file", type=_FILE)
@json_option
def restore(file: Path, as_json: bool) -> None:
    """Replace the database by a backup FILE, also when it is damaged or missing; stop the runner first."""
    report = Service.restore_database(file)
    print_result(as_json, {"done": True, "file": str(file)} | asdict(report), explain_restore(report))


@click.command("rotate-key")
@answers
def rotate_key(service: Service) -> Answer:
    """Encrypt all stored secrets with a new key (or with the first of COHORT_SYNC_KEY)."""
    dropped = service.admin.rotate_key()
    more = (
        "Former keys are no longer needed."
        if dropped
        else "Keep the former key for now: unfinished runs need it. Run this again when they have ended."
    )
    return {"done": True, "former_keys_needed": not dropped}, [
        f"Done: all secrets are encrypted with the newest key. {more}"
    ]


@click.command()
@click.argument("user_id")
@answers
def forget(service: Service, user_id: str) -> Answer:
    """Remove a person from everything stored here, by USER_ID; Mixpanel and WebEngage keep what they have."""
    found = service.admin.forget_person(user_id)
    done, *more = explain_forgotten(found)
    about = (
        "This does not delete the person in Mixpanel or WebEngage; do that there, or the next export brings them back."
    )
    return found, [f"{done} {about}" if found.places else done, *more]


@click.command()
@answers
def purge(service: Service) -> Answer:
    """Delete rejected people and run details older than their retention; the runner does this every hour."""
    gone = service.admin.purge_expired()
    return {"done": True, "rows": gone}, [f"Done: {count_noun(gone, 'row')} deleted."]


@click.command()
@click.option(
    "--rejections", "--refusals", type=float, metavar="DAYS", help="How many days rejected people are listed (30)."
)
@click.option("--detail", type=float, metavar="DAYS", help="How many days the details of runs are kept (14).")
@answers
def retention(service: Service, rejections: float | None, detail: float | None) -> Answer:
    """Show or set how many days data is kept."""
    kept = service.admin.set_retention(rejections, detail)
    return {"refusals_days": kept[0], "detail_days": kept[1]}, [
        f"Rejected people are kept {kept[0]:g} days, run details {kept[1]:g} days."
    ]


@click.command()
@click.option("--limit", type=LIMIT_RANGE, default=1000, help="At most this many lines, the newest (1000).")
@click.option("--search", default="", metavar="TEXT", help="Only lines with this text: a name, an action, a sync.")
@answers
def audit(service: Service, limit: int, search: str) -> Answer:
    """Show the audit log, newest first."""
    lines = service.admin.list_audit(limit, search)
    return lines, list_audit_lines(lines)


COMMANDS = (backup, restore, rotate_key, second_person, forget, purge, retention, audit)
