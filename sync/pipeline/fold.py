"""Move what a run told (and what it may have told) into the snapshot, when the run ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from sync import members
from sync.model import Kind
from sync.store import Store
from sync.store.batches import PackedBatch

SLICE = 50_000  # changes folded at a time, so memory stays small whatever the plan's size
TIDY_EVERY = 8  # chunks only appended to are joined again at every eighth

Told = tuple[str, bytes | None, bool]  # user id, the new mark (None: no longer there), was in the snapshot


def fold(store: Store, sync_id: int, run_id: int) -> int:
    """Fold a run's batches into the snapshot and tell its new size; part of the caller's transaction.

    Settled changes become known, those in doubt become doubts, rejected ones leave what was there.
    """
    told = _told(store, run_id)
    while piece := list(islice(told, SLICE)):
        _rewrite(store, sync_id, piece)
    size = store.snapshot.size(sync_id)
    store.snapshot.resized(sync_id, size)
    return size


def _told(store: Store, run_id: int) -> Iterator[Told]:
    rejected = store.batches.rejected_ids(run_id)
    for batch in store.batches.told(run_id):
        for user_id, kind, mark in opened(batch):
            if batch.state == "doubt":
                yield user_id, members.IN_DOUBT, True
            elif user_id not in rejected:
                yield user_id, None if kind is Kind.EXIT else mark, kind is not Kind.ENTER


def opened(batch: PackedBatch) -> Iterator[tuple[str, Kind, bytes]]:
    """Unpack a batch: user id, kind, mark."""
    ids, kinds = members.unpack_people(batch.members)
    marks = members.split_marks(batch.marks)
    return ((user_id, Kind(kind), mark) for user_id, kind, mark in zip(ids, kinds, marks, strict=True))


def _rewrite(store: Store, sync_id: int, told: list[Told]) -> None:
    """Write the snapshot anew without those told, then with what they were told."""
    replaced = {user_id for user_id, _, was_there in told if was_there}
    added = [(mark, user_id) for user_id, mark, _ in told if mark is not None]
    numbers = store.snapshot.chunks(sync_id)
    target = (numbers[-1] + 1) if numbers else 0
    tidy = bool(replaced) or len(numbers) % TIDY_EVERY == TIDY_EVERY - 1
    people = chain(_kept(store, sync_id, numbers, replaced) if tidy else (), added)
    while chunk := list(islice(people, members.CHUNK)):
        chunk.sort()
        store.snapshot.put(sync_id, target, members.join_marks(m for m, _ in chunk), members.pack([u for _, u in chunk]))
        target += 1


def _kept(store: Store, sync_id: int, numbers: tuple[int, ...], replaced: set[str]) -> Iterator[tuple[bytes, str]]:
    """Those who stay as they were; each chunk is dropped as soon as it was read."""
    for number in numbers:
        marks, ids = store.snapshot.chunk(sync_id, number)
        store.snapshot.drop(sync_id, number)
        for mark, user_id in zip(members.split_marks(marks), members.unpack_ids(ids), strict=True):
            if user_id not in replaced:
                yield mark, user_id
