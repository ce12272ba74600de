"""The words of states and results, the same on the pages and in the commands. JSON keeps the values themselves."""

from __future__ import annotations

from sync.model import Mode, Run, RunState, SyncState

RUN_STATE_WORDS = {
    RunState.QUEUED: "Queued",
    RunState.PULLING: "Reading Mixpanel",
    RunState.HELD: "Needs approval",
    RunState.DELIVERING: "Sending to WebEngage",
    RunState.SUCCEEDED: "Succeeded",
    RunState.FAILED: "Failed",
    RunState.CANCELLED: "Cancelled",
}
SYNC_STATE_WORDS = {SyncState.ACTIVE: "Active", SyncState.PAUSED: "Paused", SyncState.FINISHED: "Finished"}
MODE_WORDS = {Mode.ONE_TIME: "One-time", Mode.DYNAMIC: "Dynamic"}


def describe_changes(added: int, removed: int, updated: int, verb: str = "") -> str:
    """Return how many people were added, removed and updated, without the zeros; ``verb``: "would be", for a plan."""
    counts = ((added, "added"), (removed, "removed"), (updated, "updated"))
    said = [f"{number:,} {verb} {change}" if verb else f"{number:,} {change}" for number, change in counts if number]
    return ", ".join(said) or "no changes"


def describe_run_changes(run: Run) -> str:
    """Return what a run changed, or, before it sends, what it would change; empty before it is planned."""
    if run.state in (RunState.QUEUED, RunState.PULLING):
        return ""
    verb = "to be" if run.state is RunState.HELD or not run.delivered + run.rejected else ""
    return describe_changes(run.entered, run.exited, run.updated, verb if run.change_count else "")
