"""Decide whether a plan goes ahead by itself, or is held until a person approves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sync.engine.planning import Plan
from sync.model import ChangeKind, Run, Sync, guard_reason
from sync.packing import FORGOTTEN, hash_id
from sync.store import Store
from sync.store.batches import KINDS

GROWTH = 1.1  # a plan that is made again may touch so many times the people of the approved one


def hold_reason(
    store: Store, run: Run, sync: Sync, plan: Plan, problem: str | None, *, size: int, read: int
) -> str | None:
    """Return why a person must approve this plan, or None.

    ``problem`` is what keeps the readings from proving the plan, ``size`` how many people were exported before,
    ``read`` how many rows were read now. Nobody read at all is held also when the guard of the sync is lifted.
    """
    if run.approved:
        return _outgrown_reason(store, run, plan) or (f"{problem}." if problem else None)
    if run.dry_run:
        return "Dry run: nothing is sent until a person approves." + (f" {problem}." if problem else "")
    if run.purpose == "clear":
        return None
    if problem:
        return f"{problem}."
    removed = plan.kinds[ChangeKind.REMOVE]
    return guard_reason(removed, size, read) if sync.guard_enabled or not read else None


def describe_counts(counts: tuple[int, int, int]) -> str:
    """Return the numbers of a plan as people read them, without the zeros."""
    words = ("to add", "to update", "to remove")
    return ", ".join(f"{n:,} {word}" for n, word in zip(counts, words, strict=True) if n) or "no changes"


def describe_left_out(left_out: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Return a line for each property with values that cannot be sent; never a value."""
    for (source, reason), people in sorted(left_out.items()):
        yield f"{source} was left out for {people:,} {'person' if people == 1 else 'people'}: {reason}."


def _outgrown_reason(store: Store, run: Run, plan: Plan) -> str | None:
    """Compare a plan that was made again with the approved one: many more people, or people it did not name."""
    strangers = count_strangers(store, run.id, store.connections.get_salt())
    if sum(plan.counts) <= GROWTH * run.change_count and not strangers:
        return None
    return (
        f"The cohort changed since this was approved. Approved: "
        f"{describe_counts((run.entered, run.updated, run.exited))}. Now: {describe_counts(plan.counts)}; "
        f"{strangers:,} people were not in the approved plan."
    )


def count_strangers(store: Store, run_id: int, salt: int) -> int:
    """Return for how many people the plan says something that the plan set aside, which was approved, did not."""
    approved = _said(store, run_id, salt, aside=True)
    known, strangers = next(approved, None), 0
    for one in _said(store, run_id, salt, aside=False):
        while known is not None and known[0] < one[0]:
            known = next(approved, None)
        strangers += known != one
    return strangers


def _said(store: Store, run_id: int, salt: int, *, aside: bool) -> Iterator[tuple[bytes, bool]]:
    """Return who is to be in or out by a plan, in the order of id hashes."""
    for block in store.batches.blocks(run_id, aside=aside):
        for kind, user_id in zip(block.kinds, block.ids, strict=True):
            if user_id != FORGOTTEN:
                yield hash_id(user_id, salt), KINDS[kind] is not ChangeKind.REMOVE
