"""Whom WebEngage was last sent as true, of a range of first bytes of the id hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from sync.packing import cut_records
from sync.store import Store
from sync.store.snapshot import Bucket
from sync.store.staged import PagesOutdated


class SentRange:
    """The people of the snapshot in a range; its buckets are loaded one by one, each only when somebody is looked for."""

    def __init__(self, store: Store, sync_id: int, start: int, end: int) -> None:
        """Look for people whose id hash begins with a byte from ``start`` up to ``end``."""
        self._snapshot, self._sync_id, self._bounds = store.snapshot, sync_id, (start, end)
        self._buckets = [(low, high) for low, high in store.snapshot.ranges(sync_id) if low < end and start < high]

    def records(self) -> Iterator[bytes]:
        """Return the records of everybody in the range, in several runs."""
        for bucket in self._buckets:
            records = self._snapshot.records(self._sync_id, *bucket)
            first, last = cut_records(records, self._bounds)
            yield records[first:last]

    def find_sent(self, people: Set[bytes]) -> set[bytes]:
        """Return which of these people are in the snapshot, by id hash."""
        found = set[bytes]()
        for bucket, wanted in self._by_bucket(people):
            everybody = Bucket(bytearray(self._snapshot.records(self._sync_id, *bucket)), [])
            found.update(who for who in wanted if everybody.find(who)[1])
        return found

    def name(self, people: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
        """Return these people with their ids; raise PagesOutdated when one is no longer there."""
        for bucket, wanted in self._by_bucket(people):
            everybody = self._snapshot.bucket(self._sync_id, *bucket)
            for who in wanted:
                at, is_there = everybody.find(who)
                if not is_there:
                    raise PagesOutdated
                yield who, everybody.ids[at]

    def _by_bucket(self, people: Set[bytes] | Sequence[bytes]) -> Iterator[tuple[tuple[int, int], list[bytes]]]:
        """Return the buckets in which some of these people are, or would be, with those people."""
        for low, high in self._buckets:
            wanted = [who for who in people if low <= who[0] < high]
            if wanted:
                yield (low, high), wanted
