"""Record in the snapshot what a run sent, and what it may have sent, when the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING

from sync.model import BATCH_SIZE, ChangeKind, Run
from sync.packing import FORGOTTEN, UNCONFIRMED, hash_id
from sync.store.batches import KINDS, WITHHELD, Block
from sync.store.snapshot import FIRST_BYTES, bucket_width

if TYPE_CHECKING:
    from sync.store import Store

BUCKETS_A_PART = 8  # some 33,000 people: a few tenths of a second on a slow machine


@dataclass(slots=True)
class Outcome:
    """The numbers of people of a run that WebEngage accepted, rejected, and did not answer for.

    ``is_settled``: everybody it planned a change of was accepted or rejected, and nobody was taken out since.
    """

    delivered: int = 0
    rejected: int = 0
    unconfirmed: int = 0
    is_settled: bool = True

    @property
    def counts(self) -> dict[str, int]:
        """Return the numbers by the columns of a run."""
        return {"delivered": self.delivered, "rejected": self.rejected, "unconfirmed": self.unconfirmed}


Effect = tuple[bytes, str, bytes | None]
"""Id hash, user id, and the content hash the snapshot has from now on; None: no longer in it."""


class Recording:
    """Moves what a run sent into the snapshot and the log: in parts, so that other writers wait for one at most.

    Confirmed changes stand as sent, those in flight as unconfirmed; what was rejected or never sent changes nothing.
    Streams of blocks are in the order of id hashes, so every bucket is rewritten once. Killed between two parts, the
    run has its batches still, and recording it from the start again comes to the same.
    """

    def __init__(self, store: Store, sync_id: int, run_id: int, salt: int) -> None:
        """Record this run, of which nothing is on its way any more."""
        self._store, self._sync_id, self._run_id, self._salt = store, sync_id, run_id, salt
        self._outcome = Outcome()
        self._streams = [_Stream(numbers) for numbers in store.batches.streams(run_id)]
        self._rejected = store.rejections.list_rejected_in(run_id)
        self._width = bucket_width(store.snapshot.count_members(sync_id) + store.batches.planned_count(run_id))
        self._logged: set[int] = set()
        self._changes_snapshot = False

    def record(self, begin_part: Callable[[], object]) -> None:
        """Record every change, some buckets in a transaction; ``begin_part`` is called first in each."""
        if not any(stream.numbers for stream in self._streams):
            return
        low = 0
        while low < FIRST_BYTES:
            with self._store.transaction():
                begin_part()
                low = self._record_part(low)

    def finish(self, left_out: frozenset[bytes] | None) -> Outcome:
        """Forget the run's pages and batches, and return its numbers. In the transaction that ends the run.

        ``left_out``: who of the run's one reading was not to be exported, None when it proves nothing about the
        snapshot. When all that was planned was confirmed or rejected, the chunks of the reading are known from now on.
        """
        store, sync_id, run_id = self._store, self._sync_id, self._run_id
        if left_out is not None and self._outcome.is_settled:
            rejected_ids = {hash_id(user_id, self._salt) for user_id in store.rejections.list_active(sync_id)}
            store.known_chunks.learn(run_id, sync_id, left_out | rejected_ids)
        elif self._changes_snapshot:
            store.known_chunks.forget(sync_id)
        store.batches.delete_batches(run_id)
        store.staged.delete_pages(run_id)
        store.snapshot.note_size(sync_id)
        return self._outcome

    def _record_part(self, low: int) -> int:
        """Record the changes of people from the first byte ``low`` on; return from where on changes are left.

        Blocks are read, and wide buckets cut, in each part again: somebody may have been forgotten since the last one.
        """
        snapshot, sync_id, rewritten = self._store.snapshot, self._sync_id, 0
        snapshot.cut_wide_buckets(sync_id, self._width)
        effects = merge(*(self._effects(stream, low) for stream in self._streams), key=lambda effect: effect[0])
        effect = next(effects, None)
        for start, end in self._list_ranges():
            if effect is None or effect[0][0] >= end:
                continue
            if rewritten == BUCKETS_A_PART:
                return effect[0][0]
            people = snapshot.bucket(sync_id, start, end)
            while effect is not None and effect[0][0] < end:
                people.put(*effect)
                effect = next(effects, None)
            snapshot.write(sync_id, start, end, people)
            rewritten += 1
        return FIRST_BYTES

    def _list_ranges(self) -> list[tuple[int, int]]:
        """Return the ranges of first bytes of buckets, none wider than a bucket is to be."""
        return [
            (start, min(start + self._width, last))
            for first, last in self._store.snapshot.ranges(self._sync_id)
            for start in range(first, last, self._width)
        ]

    def _effects(self, stream: _Stream, low: int) -> Iterator[Effect]:
        """Yield what each change of a stream does to the snapshot, of people from ``low`` on; log each block."""
        for place in range(stream.at, len(stream.numbers)):
            stream.at = place
            block = self._store.batches.block(self._run_id, stream.numbers[place])
            letters = self._log(block)
            for letter, kind, user_id, content in zip(letters, block.kinds, block.ids, block.contents, strict=True):
                if letter == "p" or user_id == FORGOTTEN or (letter == "r" and not self._rejected[user_id]):
                    continue
                id_hash = hash_id(user_id, self._salt)
                if id_hash[0] < low:
                    continue
                self._changes_snapshot = True
                confirmed = None if KINDS[kind] is ChangeKind.REMOVE else content
                yield id_hash, user_id, confirmed if letter == "c" else UNCONFIRMED
        stream.at = len(stream.numbers)

    def _log(self, block: Block) -> str:
        """Log how each change of a block went, count it once, and return it, one letter each."""
        letters = _outcomes(block, self._store.batches.states(self._run_id, block.number), self._rejected)
        self._outcome.is_settled &= set(letters) <= {"c", "r"} and FORGOTTEN not in block.ids
        if block.number not in self._logged:
            self._logged.add(block.number)
            self._outcome.delivered += letters.count("c")
            self._outcome.rejected += letters.count("r")
            self._outcome.unconfirmed += letters.count("f")
            self._store.batches.log(self._run_id, block.number, letters)
        return letters


@dataclass(slots=True)
class _Stream:
    """Blocks in the order of id hashes; ``at``: the place of the first one that may have changes left to record."""

    numbers: list[int]
    at: int = 0


def find_left_out(store: Store, run: Run) -> frozenset[bytes] | None:
    """Return who was never to be exported; None unless one reading of now, with nobody twice, was the plan's."""
    tally, sync = store.staged.sum_pages(run.id, run.reading), store.syncs.get_sync(run.sync_id)
    was_read_once = run.undoes is None and run.reading == 1 and not run.id_property
    is_of_now = run.list_version == store.safety_lists.get_version()
    if not (sync and was_read_once and is_of_now and run.identified == tally.rows - tally.others):
        return None
    return store.safety_lists.load_never_export(sync.license_code)


def _outcomes(block: Block, states: str, rejected: dict[str, bool]) -> str:
    """Return how each change of a block went, one letter each."""
    if not rejected and WITHHELD not in block.kinds:
        return "".join(state * BATCH_SIZE for state in states)[: len(block.ids)]
    return "".join(
        WITHHELD if kind == WITHHELD else "r" if user_id in rejected else states[at // BATCH_SIZE]
        for at, (user_id, kind) in enumerate(zip(block.ids, block.kinds, strict=True))
    )
