"""The words for what a run does to people, and how that went: written once, for every page."""

from __future__ import annotations

from sync.model import Run, RunState

PLANNED_OPERATIONS = {"add": "To add", "remove": "To remove", "update": "To update", "none": "Cannot be sent"}
DONE_OPERATIONS = {"add": "Added", "remove": "Removed", "update": "Updated", "none": "Cannot be sent"}
OUTCOMES = {
    "not sent": "Not sent",
    "unconfirmed": "Sent, not answered",
    "accepted": "Sent to WebEngage",
    "rejected": "Rejected by WebEngage",
    "membership only": "Sent without properties",
    "invalid": "Invalid",
}
OUTCOME_SIGNS = {
    "not sent": "○",
    "unconfirmed": "…",
    "accepted": "✓",
    "rejected": "✗",
    "membership only": "✓",
    "invalid": "✗",
}
OPERATION_SIGNS = {"add": "+", "remove": "−", "update": "↻", "none": "✗"}
NOT_SENT_YET = "Not sent yet"


def name_operations(run: Run) -> dict[str, str]:
    """Return the name of each operation: done once the run succeeded, planned until then."""
    return DONE_OPERATIONS if run.state == RunState.SUCCEEDED else PLANNED_OPERATIONS


def name_outcomes(run: Run) -> dict[str, str]:
    """Return the name of each outcome; what an unfinished run has not sent, it may still send."""
    return OUTCOMES if run.state.is_final else OUTCOMES | {"not sent": NOT_SENT_YET}


def list_counts(run: Run, waits: int) -> dict[str, int]:
    """Return the numbers of a run under their names; what is zero is left out."""
    names = name_operations(run)
    counts = {
        names["add"]: run.entered,
        names["remove"]: run.exited,
        names["update"]: run.updated,
        "Unchanged": run.unchanged,
        "Sent": run.delivered,
        "Rejected": run.rejected,
        "Never export": run.never_exported,
        "Anonymous": run.anonymous,
        "Invalid": run.invalid,
        "Requests": run.requests,
        "Waits": waits,
    }
    return {name: count for name, count in counts.items() if count}
