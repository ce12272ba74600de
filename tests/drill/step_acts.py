"""Try an export on a few, and take runs back: what a person may do in a random life, and how it is judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState
from sync.packing import FORGOTTEN
from sync.service import Service
from sync.steps import SMALL_SHARES, Steps
from tests.drill.acts import Acts
from tests.drill.invariants import hold
from tests.drill.user_ids import CUSTOMER
from tests.sandbox.control import PROJECT

SENT = ("accepted", "unconfirmed", "membership only")  # outcomes of people who were, or may have been, changed
TRIED = (*SENT, "rejected")
# Nobody who may be on the never-export list by another ID is set to true; who that is, the run cannot know, only how many.
LEFT_OUT = re.compile(r"Not set to true: ([\d,]+) (?:person|people)\. Somebody was put on the never-export list")


@dataclass(frozen=True)
class Inverse:
    """Whom a take-back has to set to false and to true, and whom besides it may set to false."""

    to_false: frozenset[str]
    to_true: frozenset[str]
    maybe_false: frozenset[str]


def try_on_a_few(acts: Acts) -> None:
    """Export one of the cohorts, to a few people first."""
    book = acts.random.choice(acts.cohorts)
    kind = acts.random.choice(["first", "chosen", "shares"])
    chosen = acts.random.sample(sorted(acts.plans), 4) if kind == "chosen" else []
    first = acts.random.choice([1, 5, 30]) if kind == "first" else None
    steps = Steps(first=first, shares=SMALL_SHARES if kind == "shares" else ()) if kind != "chosen" else None
    with closing(acts.service()) as service:
        started = service.syncs.start_export(
            PROJECT,
            book.id,
            ExportTerms(mode=Mode.DYNAMIC, mapping=acts.random.choice([None, ()]), steps=steps, chosen=chosen),
        )
    if started.started:
        acts.tried[started.run_id] = first if first else frozenset(chosen) if chosen else None


def change_user_id(acts: Acts) -> None:
    """Export a cohort that is exported already, by the other User ID property."""
    syncs = acts.list_syncs()
    sync = acts.ids.choice(syncs) if syncs else None
    with closing(acts.service()) as service:
        terms = ExportTerms(mode=Mode.DYNAMIC, id_property="" if sync and sync.id_property else CUSTOMER)
        service.syncs.start_export(PROJECT, sync.cohort_id if sync else acts.cohorts[0].id, terms)


def take_back(acts: Acts) -> None:
    """Take back one of the last runs."""
    with closing(acts.service()) as service:
        runs = service.runs.list(limit=12)
        # Where the pages offer it; else any, to be refused.
        runs = tuple(run for run in runs if (run.state.is_final and run.delivered) or run.steps_sent) or runs
        run = acts.random.choice(runs) if runs else None
        undo_id = service.runs.undo(run.id if run else 1).run_id
        assert run is not None
        later = [one.id for one in service.runs.list(run.sync_id, limit=1000) if run.id < one.id < undo_id]
        acts.undone[undo_id] = invert(service, run.id, later)
        book = next(one for one in acts.cohorts if one.id == service.syncs.get(run.sync_id).cohort_id)
    book.read.setdefault(undo_id, [])


def invert(service: Service, run_id: int, later: Iterable[int]) -> Inverse:
    """Return the inverse of a run, by the files that people download of it and of those after it."""
    last: dict[str, tuple[str, str]] = {}
    for one in sorted(later):
        for row in service.runs.iterate_export_rows(one):
            if row.operation not in ("add", "update", "remove") or row.outcome not in SENT:
                continue
            if (row.operation, row.outcome) != ("update", "unconfirmed"):
                last[row.user_id] = row.operation, row.outcome
            elif last.get(row.user_id, ("remove", ""))[0] == "remove":  # who may be false is added by it
                last[row.user_id] = "add", row.outcome
    before = find_added_before(service, run_id)
    done = [
        (row.user_id, "add" if row.operation == "update" and row.user_id in before else row.operation, row.outcome)
        for row in service.runs.iterate_export_rows(run_id)
    ]
    # What may have been changed back, without an answer, is changed back once more.
    left = [
        (who, operation, outcome)
        for who, operation, outcome in done
        if who not in last or (last[who][1] == "unconfirmed" and {operation, last[who][0]} == {"add", "remove"})
    ]
    added = {who: outcome for who, operation, outcome in left if operation == "add" and outcome in TRIED}
    return Inverse(
        to_false=frozenset(who for who, outcome in added.items() if outcome in SENT),
        to_true=frozenset(who for who, operation, outcome in left if operation == "remove" and outcome in SENT),
        maybe_false=frozenset(added),
    )


def find_added_before(service: Service, run_id: int) -> set[str]:
    """Return whom the runs before this one, since the last that succeeded, may have added and none confirmed."""
    runs = service.runs.list(service.runs.get(run_id).sync_id, limit=1000)
    earlier = sorted((run for run in runs if run.id < run_id), key=lambda run: run.id)
    ended = [run.id for run in earlier if run.state is RunState.SUCCEEDED and run.purpose != "undo"]
    found: set[str] = set()
    for run in earlier:
        for row in service.runs.iterate_export_rows(run.id) if run.id > max(ended, default=0) else ():
            if (row.operation, row.outcome) == ("add", "unconfirmed"):
                found.add(row.user_id)
            elif row.outcome in ("accepted", "membership only"):
                found.discard(row.user_id)
    return found


def judge_steps(acts: Acts, service: Service, run: Run) -> None:
    """Check that nobody beyond the first step was sent before a person let the run go on."""
    if run.id not in acts.tried or run.step > 1 or run.state is RunState.SUCCEEDED:
        return
    allowed = acts.tried[run.id]
    sent = {row.user_id for row in service.runs.iterate_export_rows(run.id) if row.outcome in TRIED}
    if isinstance(allowed, int):
        hold(len(sent) <= allowed, f"run {run.id} was to be tried on {allowed} and was sent to {len(sent)}")
    elif allowed is not None:
        hold(sent <= allowed, f"run {run.id} was sent to others than were chosen: {sorted(sent - allowed)[:5]}")
    acts.tally["step judged"] += bool(sent)


def judge_undo(run: Run, service: Service, wanted: Inverse, held_true: set[str], excused: set[str]) -> None:
    """Check that a take-back that succeeded did the inverse of its run, and nothing else.

    Whom WebEngage refused alone is named as rejected and stays as they were, also when it refuses everybody: of one
    person nothing shows that.
    """
    rows = list(service.runs.iterate_export_rows(run.id))
    removed = {row.user_id for row in rows if row.operation == "remove"} - {FORGOTTEN}
    added = {row.user_id for row in rows if row.operation == "add"} - {FORGOTTEN}
    hold(removed <= wanted.maybe_false, f"run {run.id} took back more: {sorted(removed - wanted.maybe_false)[:5]}")
    hold(added <= wanted.to_true, f"run {run.id} added others: {sorted(added - wanted.to_true)[:5]}")
    excused = excused | {row.user_id for row in rows if row.outcome == "rejected"}
    left = wanted.to_false & held_true - excused
    hold(not left, f"run {run.id} left people true whom the run it takes back added: {sorted(left)[:5]}")
    lost = wanted.to_true - held_true - excused
    events = " ".join(event.message for event in service.runs.list_events(run.id))
    left_out = sum(int(number.replace(",", "")) for number in LEFT_OUT.findall(events))
    hold(
        len(lost) <= left_out, f"run {run.id} left people false whom the run it takes back removed: {sorted(lost)[:5]}"
    )


STEP_ACTIONS: tuple[Callable[[Acts], None], ...] = (try_on_a_few, try_on_a_few, try_on_a_few, take_back, take_back)
