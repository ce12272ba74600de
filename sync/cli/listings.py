"""Tables of the listing commands, one function each: what people read where programs take JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from sync.cli.tables import format_table
from sync.model import Mode, Run, RunState, SyncState, format_utc_time
from sync.records import (
    AccountView,
    AuditLine,
    CohortView,
    Event,
    ExportRow,
    ListedPerson,
    Message,
    Recipient,
    RejectionView,
    SyncView,
    Tripwire,
)
from sync.wording import MODE_WORDS, describe_run_changes, describe_size, name_run_state, name_sync_state

DAY_LENGTH = len("2026-01-31")


def list_cohort_lines(cohorts: Iterable[CohortView], syncs: Iterable[SyncView]) -> Iterable[str]:
    """Return the table of cohorts, each with its sync and that one's state; a count that Mixpanel did not send is empty."""
    states = {one.id: name_sync_state(one) for one in syncs}
    return format_table(
        ("ID", "Name", "Members", "Created", "Sync", "State"),
        (
            (
                str(one.id),
                one.name,
                one.count,
                one.created[:DAY_LENGTH],
                one.sync_id and str(one.sync_id),
                states.get(one.sync_id or 0) or name_sync_state(None),
            )
            for one in cohorts
        ),
        "Mixpanel lists no cohort in this project yet.",
    )


def list_sync_lines(syncs: Iterable[SyncView]) -> Iterable[str]:
    """Return the table of syncs, each with what is wrong with it."""
    return format_table(
        ("Sync", "Cohort", "State", "Mode", "In WebEngage", "Next refresh", "Attribute", "Problem"),
        (
            (
                str(one.id),
                one.cohort_name,
                name_sync_state(one),
                MODE_WORDS[one.requested_mode],
                _describe_size(one),
                _describe_next(one),
                one.attribute,
                _describe_problem(one),
            )
            for one in syncs
        ),
        "Nothing has been exported yet.",
    )


def _describe_size(sync: SyncView) -> int | str:
    """Return how many people a sync has in WebEngage; while a run sends, since when that is not so any more."""
    is_changing = sync.last_run is not None and not sync.last_run.state.is_final and sync.last_run.delivered
    return describe_size(sync) if is_changing else sync.size


def _describe_next(sync: SyncView) -> str:
    is_due = sync.next_run_at and sync.state is SyncState.ACTIVE and sync.mode is Mode.DYNAMIC and not sync.is_held
    return format_utc_time(sync.next_run_at or 0.0) if is_due else ""


def _describe_problem(sync: SyncView) -> str:
    held = sync.last_run.held_reason if sync.is_held and sync.last_run else ""
    return held or sync.pause_reason or sync.clear_problem or sync.id_change_problem or ""


def list_run_lines(runs: Iterable[Run], names: Mapping[int, str]) -> Iterable[str]:
    """Return the table of runs; ``names`` are the cohorts' names by the number of their sync."""
    return format_table(
        ("Run", "Cohort", "State", "People", "Requested", "Problem"),
        (
            (
                str(one.id),
                names.get(one.sync_id) or f"Sync {one.sync_id}",
                name_run_state(one),
                describe_run_changes(one),
                format_utc_time(one.queued_at),
                _describe_run_problem(one),
            )
            for one in runs
        ),
        "No run yet.",
    )


def _describe_run_problem(run: Run) -> str:
    """Return why a run failed, is held or waits (and until when).

    What once held or delayed a run that has ended is in its history.
    """
    if run.state.is_final:
        return run.error or ""
    if run.state is RunState.HELD or not run.wait_reason or run.not_before <= time.time():
        return (run.held_reason if run.state is RunState.HELD else run.wait_reason) or ""
    return f"{run.wait_reason.rstrip('.')}; continues at {format_utc_time(run.not_before)}"


def list_event_lines(events: Iterable[Event]) -> list[str]:
    """Return what happened in a run, oldest first, with the time."""
    return [f"{format_utc_time(one.at)}  {one.message}" for one in events]


def list_rejection_lines(rejections: Iterable[RejectionView]) -> Iterable[str]:
    """Return the table of people who were not taken; nothing when there is nobody."""
    return format_table(
        ("User ID", "Outcome", "Reason"), ((one.user_id, one.outcome, one.reason) for one in rejections), ""
    )


def list_people_lines(people: Iterable[ExportRow]) -> Iterable[str]:
    """Return the table of whom a run adds, updates or removes."""
    return format_table(
        ("User ID", "Operation", "Outcome", "Reason"),
        ((one.user_id, one.operation, one.outcome, one.reason) for one in people),
        "Nobody.",
    )


MEMBER_HEADINGS = {"user_id": "User ID", "status": "Status", "reason": "Reason"}


def list_member_lines(header: Iterable[str], members: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """Return the table of the members of a cohort, with a column for each name of ``header``."""
    return format_table(tuple(MEMBER_HEADINGS.get(one, one) for one in header), members, "Nobody.")


def list_never_export_lines(people: Iterable[ListedPerson]) -> Iterable[str]:
    """Return the table of who is never exported."""
    return format_table(
        ("Person", "Since", "Added by", "Note"),
        ((one.label, format_utc_time(one.added_at), one.added_by, one.note) for one in people),
        "Nobody is on the list.",
    )


def list_tripwire_lines(tripwires: Iterable[Tripwire]) -> Iterable[str]:
    """Return the table of tripwires."""
    return format_table(
        ("Person", "Cohort", "Added by", "Note"),
        (
            (one.label, "any" if one.cohort_id is None else str(one.cohort_id), one.added_by, one.note)
            for one in tripwires
        ),
        "There is no tripwire.",
    )


def list_account_lines(accounts: Iterable[AccountView], problems: Mapping[str, str]) -> Iterable[str]:
    """Return the table of WebEngage accounts: the projects that export to each, and by license code why it is refused."""
    return format_table(
        ("License code", "Data center", "Used by", "Problem"),
        (
            (
                one.license_code,
                one.data_center,
                f"project {', '.join(map(str, one.projects))}" if one.projects else "",
                problems.get(one.license_code, ""),
            )
            for one in accounts
        ),
        "No WebEngage account is connected.",
    )


def list_audit_lines(lines: Iterable[AuditLine]) -> Iterable[str]:
    """Return the table of who did what."""
    return format_table(
        ("When", "Who", "Action", "Target", "Before", "After"),
        ((format_utc_time(one.at), one.actor, one.action, one.target, one.before, one.after) for one in lines),
        "Nothing has been done yet.",
    )


def list_recipient_lines(recipients: Iterable[Recipient]) -> Iterable[str]:
    """Return the table of alert addresses or webhooks, each with what is wrong with it."""
    return format_table(
        ("ID", "Address", "Name", "Problem"),
        ((str(one.id), one.masked_url, one.name, one.trouble) for one in recipients),
        "Nothing is sent anywhere yet.",
    )


def list_message_lines(messages: Iterable[Message]) -> Iterable[str]:
    """Return the table of messages, newest first, each with what became of it."""
    return format_table(
        ("Message", "To", "Time", "Type", "State", "Title", "Problem"),
        (
            (
                str(one.id),
                str(one.recipient_id),
                format_utc_time(one.created_at),
                one.topic,
                one.state,
                one.title,
                one.problem or "",
            )
            for one in messages
        ),
        "No message has been sent yet.",
    )
