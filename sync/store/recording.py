"""Record in the snapshot what a run sent, and what it may have sent, when the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING

from sync.model import BATCH_SIZE, ChangeKind, Run
from sync.packing import FORGOTTEN, UNCONFIRMED, hash_id
from sync.store.batches import KINDS, WITHHELD, Block
from sync.store.snapshot import bucket_width

if TYPE_CHECKING:
    from sync.store import Store


@dataclass(slots=True)
class Outcome:
    """The numbers of people of a run that WebEngage accepted and rejected.

    ``is_settled``: everybody it planned a change of was accepted or rejected, and nobody was taken out since.
    """

    delivered: int = 0
    rejected: int = 0
    is_settled: bool = True


Effect = tuple[bytes, str, bytes | None]
"""Id hash, user id, and the content hash the snapshot has from now on; None: no longer in it."""


def record_outcome(store: Store, sync_id: int, run_id: int, salt: int, *, left_out: frozenset[bytes] | None) -> Outcome:
    """Move a run's batches into the snapshot and the log; pages and batches are gone then. In the caller's transaction.

    Confirmed changes stand as sent, those in flight as unconfirmed; what was rejected or never sent changes nothing.
    ``left_out``: who of the run's one reading was not to be exported, None when it proves nothing about the snapshot.
    When all that was planned was confirmed or rejected, the chunks of the reading are known from now on.
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
    is_changed = effect is not None
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
    if left_out is not None and outcome.is_settled:
        rejected_ids = {hash_id(user_id, salt) for user_id in store.rejections.active(sync_id)}
        store.known_chunks.learn(run_id, sync_id, left_out | rejected_ids)
    elif is_changed:
        store.known_chunks.forget(sync_id)
    store.batches.delete_batches(run_id)
    store.staged.delete_pages(run_id)
    store.snapshot.note_size(sync_id)
    return outcome


def find_left_out(store: Store, run: Run) -> frozenset[bytes] | None:
    """Return who was never to be exported; None unless one reading of now, with nobody twice, was the plan's."""
    tally, sync = store.staged.sum_pages(run.id, run.reading), store.syncs.get_sync(run.sync_id)
    was_read_once = run.undoes is None and run.reading == 1 and not run.id_property
    is_of_now = run.list_version == store.safety_lists.get_version()
    if not (sync and was_read_once and is_of_now and run.identified == tally.rows - tally.others):
        return None
    return store.safety_lists.load_never_export(sync.license_code)


def _effects(
    store: Store, run_id: int, salt: int, outcome: Outcome, rejected: dict[str, bool], blocks: Iterable[Block]
) -> Iterator[Effect]:
    """Return what each change of a run does to the snapshot, and log each block."""
    for block in blocks:
        letters = _outcomes(block, store.batches.states(run_id, block.number), rejected)
        outcome.delivered += letters.count("c")
        outcome.rejected += letters.count("r")
        outcome.is_settled &= set(letters) <= {"c", "r"} and FORGOTTEN not in block.ids
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
