"""Everybody of one bucket of the snapshot, loaded when somebody is looked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import cached_property

from sync.packing import cut_records, split_hashes
from sync.store import Store
from sync.store.snapshot import Bucket
from sync.store.staged import PagesOutdated


class SentBucket:
    """Whom WebEngage was last sent as true, of a range of first bytes of the id hashes."""

    def __init__(self, store: Store, sync_id: int, low: int, high: int) -> None:
        """Look in the bucket that covers this range."""
        self._snapshot, self._place = store.snapshot, (sync_id, low, high)

    @cached_property
    def _records(self) -> bytes:
        return self._snapshot.records(*self._place)

    def cut(self, start: int, end: int) -> bytes:
        """Return the records of those whose id hash begins with a byte of this range."""
        first, last = cut_records(self._records, (start, end))
        return self._records[first:last]

    def find_sent(self, people: Set[bytes]) -> Set[bytes]:
        """Return which of these people are in the snapshot, by id hash."""
        return set(people).intersection(split_hashes(self._records)) if people else set()

    def name(self, people: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
        """Return these people of the bucket with their ids; raise PagesOutdated when one is no longer there."""
        bucket = self._snapshot.bucket(*self._place) if people else Bucket([], [])
        for who in people:
            at, is_there = bucket.find(who)
            if not is_there:
                raise PagesOutdated
            yield who, bucket.ids[at]
