"""Record in the snapshot what a run sent, and what it may have sent, when the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING

from sync.model import BATCH_SIZE, ChangeKind
from sync.packing import FORGOTTEN, UNCONFIRMED, hash_id
from sync.store.batches import KINDS, WITHHELD, Block
from sync.store.snapshot import bucket_width

if TYPE_CHECKING:
    from sync.store import Store


@dataclass(slots=True)
class Outcome:
    """The numbers of people of a run that WebEngage accepted and rejected."""

    delivered: int = 0
    rejected: int = 0


Effect = tuple[bytes, str, bytes | None]
"""Id hash, user id, and the content hash the snapshot has from now on; None: no longer in it."""


def record_outcome(store: Store, sync_id: int, run_id: int, salt: int, *, read: int | None) -> Outcome:
    """Move a run's batches into the snapshot and the log; pages and batches are gone then. In the caller's transaction.

    Confirmed changes stand as sent, those in flight as unconfirmed; what was rejected or never sent changes nothing.
    ``read``: how many people the run's one reading listed, None when it was planned otherwise; when they are those of
    the snapshot, and nothing was to be sent about them, its pages are known.
    Streams of blocks are in the order of id hashes, so every bucket is rewritten once.
    """
    outcome = Outcome()
    width = bucket_width(store.snapshot.count_members(sync_id) + store.batches.planned_count(run_id))
    rejected = store.rejections.of_run(run_id)
    effects = merge(
        *(_effects(store, run_id, salt, outcome, rejected, blocks) for blocks in store.batches.streams(run_id)),
        key=lambda effect: effect[0],
    )
    effect = next(effects, None)
    for low, high in store.snapshot.ranges(sync_id):
        if effect is None or effect[0][0] >= high:
            continue
        existing = store.snapshot.bucket(sync_id, low, high)
        for start in range(low, high, width):
            end = min(start + width, high)
            people = existing.cut(start, end)
            while effect is not None and effect[0][0] < end:
                people.put(*effect)
                effect = next(effects, None)
            store.snapshot.write(sync_id, start, end, people)
    is_whole = store.snapshot.count_members(sync_id) == read and not store.rejections.active(sync_id)
    store.staged.become_known(run_id, sync_id, everybody=is_whole and not store.batches.planned_count(run_id))
    store.batches.delete_batches(run_id)
    store.staged.delete_pages(run_id)
    store.snapshot.note_size(sync_id)
    return outcome


def _effects(
    store: Store, run_id: int, salt: int, outcome: Outcome, rejected: dict[str, bool], blocks: Iterable[Block]
) -> Iterator[Effect]:
    """Return what each change of a run does to the snapshot, and log each block."""
    for block in blocks:
        letters = _outcomes(block, store.batches.states(run_id, block.number), rejected)
        outcome.delivered += letters.count("c")
        outcome.rejected += letters.count("r")
        for letter, kind, user_id, content in zip(letters, block.kinds, block.ids, block.contents, strict=True):
            if letter == "p" or user_id == FORGOTTEN or (letter == "r" and not rejected[user_id]):
                continue
            confirmed = None if KINDS[kind] is ChangeKind.REMOVE else content
            yield hash_id(user_id, salt), user_id, confirmed if letter == "c" else UNCONFIRMED
        store.batches.log(run_id, block.number, letters)


def _outcomes(block: Block, states: str, rejected: dict[str, bool]) -> str:
    """Return how each change of a block went, one letter each."""
    if not rejected and WITHHELD not in block.kinds:
        return "".join(state * BATCH_SIZE for state in states)[: len(block.ids)]
    return "".join(
        WITHHELD if kind == WITHHELD else "r" if user_id in rejected else states[at // BATCH_SIZE]
        for at, (user_id, kind) in enumerate(zip(block.ids, block.kinds, strict=True))
    )
