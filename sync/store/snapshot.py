"""The people WebEngage was last sent as true, per sync: a hash table on disk.

A row is a bucket: everybody whose id hash begins with a byte from ``first_byte`` up to the next row's; records
ascending, ids in the same order. Few buckets for a small cohort, up to 256. Finding a person opens one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sync.packing import (
    ID_SIZE,
    RECORD_SIZE,
    UNCONFIRMED,
    RecordSet,
    count_unconfirmed,
    cut_records,
    list_prefixes,
    pack,
    prefix_of,
    split_hashes,
    split_records,
    unpack_ids,
)
from sync.store.database import Table, write_transaction

BUCKET_SIZE = 4096  # people; small enough to rewrite for one of them, large enough to compress
FIRST_BYTES = 256  # buckets are cut by the first byte of the id hash

LOADED_MOST = 2_000_000  # people whose records a run holds in memory, some 12 MB; beyond that they count as new


@dataclass(slots=True)
class Bucket:
    """People with their records ascending, one after the other, and their ids in the same order."""

    records: bytearray
    ids: list[str]
    _prefixes: array[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare to find people: by the first half of their id hash, so that no object is made for each record."""
        self._prefixes = list_prefixes(self.records)

    def find(self, id_hash: bytes) -> tuple[int, bool]:
        """Return the place of a person, and whether they are there; else where they would stand."""
        at = bisect_left(self._prefixes, prefix_of(id_hash))
        while (found := self._hash_at(at)) and found < id_hash:
            at += 1
        return at, found == id_hash

    def _hash_at(self, at: int) -> bytearray:
        """Return an id hash; nothing behind the last one."""
        return self.records[at * RECORD_SIZE : at * RECORD_SIZE + ID_SIZE]

    def put(self, id_hash: bytes, user_id: str, content: bytes | None) -> None:
        """Put a person in with this content hash, in the place of what was there; None takes them out."""
        at, is_there = self.find(id_hash)
        records, ids = (id_hash + content, [user_id]) if content is not None else (b"", [])
        self.records[at * RECORD_SIZE : (at + is_there) * RECORD_SIZE] = records
        self._prefixes[at : at + is_there] = list_prefixes(records)
        self.ids[at : at + is_there] = ids

    def cut(self, low: int, high: int) -> Bucket:
        """Return those whose id hash begins with a byte of this range."""
        first, last = cut_records(self.records, (low, high))
        return Bucket(self.records[first:last], self.ids[first // RECORD_SIZE : last // RECORD_SIZE])


class Snapshot(Table):
    """The snapshots of all syncs."""

    def ranges(self, sync_id: int) -> list[tuple[int, int]]:
        """Return which first bytes each bucket covers, together all 256; one range when nobody is there."""
        rows = self._fetch_all("select first_byte from snapshot_bucket where sync_id = ? order by 1", (sync_id,))
        starts = [0, *(row[0] for row in rows[1:]), FIRST_BYTES]
        return list(pairwise(starts))

    def records(self, sync_id: int, low: int, high: int) -> bytes:
        """Return the records of the bucket that covers this range."""
        found = self._fetch_value(
            "select records from snapshot_bucket where sync_id = ? and first_byte >= ? and first_byte < ?",
            (sync_id, low, high),
        )
        return found or b""

    def bucket(self, sync_id: int, low: int, high: int) -> Bucket:
        """Return the people of the bucket that covers this range."""
        row = self._fetch_one(
            "select records, ids from snapshot_bucket where sync_id = ? and first_byte >= ? and first_byte < ?",
            (sync_id, low, high),
        )
        return Bucket(bytearray(row[0]), unpack_ids(row[1])) if row else Bucket(bytearray(), [])

    def load_records(self, sync_id: int, *, whole: bool = False) -> RecordSet:
        """Return the records of everybody, or of the first two million people, to compare pages with."""
        found, people = RecordSet(whole=whole), 0
        for low, high in self.ranges(sync_id):
            records = self.records(sync_id, low, high)
            found.add(records)
            people += len(records) // RECORD_SIZE
            if people >= LOADED_MOST:
                break
        return found

    def write(self, sync_id: int, low: int, high: int, people: Bucket) -> None:
        """Replace everybody in a range by these people, as one bucket."""
        with write_transaction(self._db):
            self._db.execute(
                "delete from snapshot_bucket where sync_id = ? and first_byte >= ? and first_byte < ?",
                (sync_id, low, high),
            )
            if people.ids:
                self._db.execute(
                    "insert into snapshot_bucket (sync_id, first_byte, records, ids) values (?, ?, ?, ?)",
                    (sync_id, low, people.records, pack(people.ids)),
                )

    def cut_wide_buckets(self, sync_id: int, width: int) -> None:
        """Cut every bucket that has people of more first bytes than ``width``."""
        with write_transaction(self._db):
            for low, high in self.ranges(sync_id):
                if high - low <= width:
                    continue
                people = self.bucket(sync_id, low, high)
                if people.cut(low + width, high).ids:
                    for start in range(low, high, width):
                        end = min(start + width, high)
                        self.write(sync_id, start, end, people.cut(start, end))

    def find(self, sync_id: int, id_hash: bytes) -> bytes | None:
        """Return the content hash of a person, or None when they are not in the snapshot."""
        low, high = self._range_of(sync_id, id_hash)
        records = self.records(sync_id, low, high)
        at, is_there = Bucket(bytearray(records), []).find(id_hash)
        return records[at * RECORD_SIZE + ID_SIZE : (at + 1) * RECORD_SIZE] if is_there else None

    def find_among(self, sync_id: int, id_hashes: frozenset[bytes]) -> frozenset[bytes]:
        """Return which of these people are in the snapshot; only buckets that could hold one are opened."""
        firsts = {who[0] for who in id_hashes}
        return frozenset(
            who
            for low, high in self.ranges(sync_id)
            if not firsts.isdisjoint(range(low, high))
            for who in id_hashes.intersection(split_hashes(self.records(sync_id, low, high)))
        )

    def is_confirmed(self, sync_id: int, id_hash: bytes) -> bool | None:
        """Return whether WebEngage accepted what the snapshot has about a person, None when they are not in it."""
        content = self.find(sync_id, id_hash)
        return None if content is None else content != UNCONFIRMED

    def remove(self, sync_id: int, id_hash: bytes) -> bool:
        """Remove a person, so that the next run sees them as new; return whether they were there."""
        with write_transaction(self._db):
            if self.find(sync_id, id_hash) is None:
                return False
            low, high = self._range_of(sync_id, id_hash)
            self._db.execute("delete from chunk_group where sync_id = ?", (sync_id,))
            people = self.bucket(sync_id, low, high)
            people.put(id_hash, "", None)
            self.write(sync_id, low, high, people)
            self.note_size(sync_id)
        return True

    def _range_of(self, sync_id: int, id_hash: bytes) -> tuple[int, int]:
        return next(one for one in self.ranges(sync_id) if one[0] <= id_hash[0] < one[1])

    def unconfirm(self, sync_id: int | None = None) -> None:
        """Make everybody unconfirmed, of one sync or of all, so that they are sent again."""
        with write_transaction(self._db):
            self._db.execute("delete from chunk_group where ?1 is null or sync_id = ?1", (sync_id,))
            for row in self._fetch_all(
                "select rowid from snapshot_bucket where ?1 is null or sync_id = ?1", (sync_id,)
            ):
                records = self._fetch_value("select records from snapshot_bucket where rowid = ?", (row[0],))
                emptied = b"".join(one[:ID_SIZE] + UNCONFIRMED for one in split_records(records))
                self._db.execute("update snapshot_bucket set records = ? where rowid = ?", (emptied, row[0]))

    def iterate_people(self, sync_id: int) -> Iterator[dict[bytes, str]]:
        """Return everybody's user id by id hash, a bucket at a time."""
        for low, high in self.ranges(sync_id):
            people = self.bucket(sync_id, low, high)
            yield dict(zip(split_hashes(bytes(people.records)), people.ids, strict=True))

    def add_missing(self, sync_id: int, groups: Iterable[Mapping[bytes, str]]) -> None:
        """Put those in as unconfirmed who are not there; ``groups``: their user ids by id hash."""
        for ids in groups:
            firsts = {who[0] for who in ids}
            with write_transaction(self._db):
                self.cut_wide_buckets(sync_id, bucket_width(self.count_members(sync_id) + len(ids)))
                for low, high in [one for one in self.ranges(sync_id) if not firsts.isdisjoint(range(*one))]:
                    people = self.bucket(sync_id, low, high)
                    new = [who for who in ids if low <= who[0] < high and not people.find(who)[1]]
                    for who in new:
                        people.put(who, ids[who], UNCONFIRMED)
                    if new:
                        self.write(sync_id, low, high, people)

    def count_members(self, sync_id: int) -> int:
        """Return how many people WebEngage may hold as true."""
        return self._fetch_int(
            f"select coalesce(sum(length(records) / {RECORD_SIZE}), 0) from snapshot_bucket where sync_id = ?",
            (sync_id,),
        )

    def count_unconfirmed(self, sync_id: int) -> int:
        """Return how many people of a snapshot may have been sent without an answer that was heard."""
        return sum(count_unconfirmed(self.records(sync_id, low, high)) for low, high in self.ranges(sync_id))

    def iterate_unconfirmed(self, sync_id: int) -> Iterator[str]:
        """Return the user ids of those."""
        for low, high in self.ranges(sync_id):
            if count_unconfirmed(self.records(sync_id, low, high)):
                people = self.bucket(sync_id, low, high)
                for record, user_id in zip(split_records(bytes(people.records)), people.ids, strict=True):
                    if record[ID_SIZE:] == UNCONFIRMED:
                        yield user_id

    def count_shared(self, sync_id: int, other_id: int) -> int:
        """Return how many people two snapshots share, comparing id hashes a bucket at a time.

        Buckets of both may be cut differently; those between two cuts they have in common are compared together.
        """
        mine, others = self.ranges(sync_id), self.ranges(other_id)
        cuts = [*sorted({low for low, _ in mine} & {low for low, _ in others}), FIRST_BYTES]
        return sum(
            len(self._read_hashes(sync_id, mine, low, high) & self._read_hashes(other_id, others, low, high))
            for low, high in pairwise(cuts)
        )

    def _read_hashes(self, sync_id: int, ranges: list[tuple[int, int]], low: int, high: int) -> set[bytes]:
        """Return the id hashes of the buckets between two cuts."""
        return {
            id_hash
            for first, last in ranges
            if low <= first < high
            for id_hash in split_hashes(self.records(sync_id, first, last))
        }

    def note_size(self, sync_id: int) -> None:
        """Write the number of people where lists of syncs find it."""
        self._execute("update sync set size = ? where id = ?", (self.count_members(sync_id), sync_id))

    def iterate_members(self, sync_id: int) -> Iterator[str]:
        """Return everybody's user id."""
        for low, high in self.ranges(sync_id):
            yield from self.bucket(sync_id, low, high).ids


def bucket_width(people: int) -> int:
    """Return how many first bytes a bucket covers, so that it holds about 4,096 of so many people."""
    width = FIRST_BYTES
    while width > 1 and people * width > BUCKET_SIZE * FIRST_BYTES:
        width //= 2
    return width
