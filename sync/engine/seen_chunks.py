"""Find the known chunks that the readings of a run have: nobody in them changed, so they need not be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Self

from sync.model import Run
from sync.store import Store
from sync.store.staged import PagesOutdated

SENT = 0  # stands for what WebEngage was sent, where a reading is named


@dataclass(frozen=True, slots=True)
class SeenChunks:
    """Known chunks ``in_all`` readings of a run, those in one reading only, by its number, and all others, ``missing``.

    When none is ``in_all``, none is ``missing`` either: then the whole snapshot is compared. ``are_all``: one reading
    has exactly the known pages, so that nothing is compared; the chunks are not loaded then.
    """

    in_all: Set[bytes]
    in_one: Mapping[int, Set[bytes]]
    missing: Set[bytes]
    are_all: bool = False

    @classmethod
    def find(cls, store: Store, run: Run) -> Self:
        """Return the chunks of a run's staged pages; raise PagesOutdated when one of them is no longer known."""
        if store.known_chunks.are_all_seen(run.id, run.sync_id):
            return cls(set(), {}, set(), are_all=True)
        first, last = (store.staged.list_seen(run.id, reading) for reading in (1, 2))
        known = store.known_chunks.list_digests(run.sync_id) if first or last else set()
        if not first | last <= known:
            raise PagesOutdated
        in_all = first & last if run.reading > 1 else first
        return cls(in_all, {1: first - in_all, 2: last - in_all}, known - in_all if in_all else set())

    def list_compared(self, store: Store, sync_id: int) -> Iterator[tuple[int, bytes]]:
        """Return reading, or SENT, and ascending records of the chunks whose people are compared."""
        for reading, digests in ((SENT, self.missing), *self.in_one.items()):
            yield from ((reading, records) for records in store.known_chunks.records(sync_id, digests))

    def list_records(self, store: Store, sync_id: int) -> Iterator[bytes]:
        """Return the records of everybody in a known chunk of any reading."""
        everybody = store.known_chunks.list_digests(sync_id) if self.are_all else self.in_all
        for digests in (everybody, *self.in_one.values()):
            yield from store.known_chunks.records(sync_id, digests)

    def count_compared(self, members: int) -> int:
        """Return about how many records are compared, of a snapshot with so many members."""
        compared = len(self.missing) + sum(map(len, self.in_one.values()))
        return members * compared // max(1, len(self.missing) + len(self.in_all))
