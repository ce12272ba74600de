"""Explain whether a person may approve a run, where large exports need another one than who asked."""

from __future__ import annotations

from sync.guards import explain_second_person
from sync.model import Run
from sync.permissions import COMMAND_LINE, LOCAL_ACTOR
from sync.store import Store


def explain_refusal(store: Store, run: Run, name: str) -> str:
    """Return why this person may not approve a held run, and who may; empty when nothing speaks against it."""
    limit = store.approvals.get_limit()
    if limit is None or not store.approvals.is_asked_for(run) or _count_sent(store, run) <= limit:
        return ""
    askers = store.approvals.list_askers(run.id)
    if name not in askers:
        return ""
    others = sorted(askers - {name})
    also = f", as did {' and '.join(others)}" if others else ""
    return (
        f"{explain_second_person(limit)} You requested run {run.id}{also}, so somebody else decides: "
        f"{_name_deciders(run, name)}."
    )


def _count_sent(store: Store, run: Run) -> int:
    """Return how many people an approval would send; of a run in steps, those of the next one."""
    is_last = run.steps_sent >= len(run.limits)
    return run.entered + run.updated if is_last else store.batches.count_people(run.id, 0, run.limits[run.steps_sent])


def _name_deciders(run: Run, name: str) -> str:
    if name == LOCAL_ACTOR.name:
        return (
            f"without sign-in these pages know one person only, so it is approved by “python -m sync approve {run.id}”"
        )
    if name.endswith(COMMAND_LINE):
        return "everybody at the command line is one person, so it is approved on the pages"
    return "any other marketer or admin, on the page of this run"
