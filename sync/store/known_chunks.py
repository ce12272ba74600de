"""Keep what a sync knows of its pages: chunks whose bytes it read before, and who is in them.

Together the known chunks of a sync hold exactly the people of its snapshot, each once and with the same content; or
there are none. Whatever else changes the snapshot forgets them, in the same transaction. A row is a group of chunks:
their digests, how many people each has, and the records of these one after the other. A known page is one of which
all chunks are known, by the digest of the whole; without known chunks it counts for nothing.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import accumulate, compress, pairwise

from sync.packing import DIGEST_SIZE, ID_SIZE, RECORD_SIZE, sort_records, split_digests, split_records
from sync.store.database import Table, write_transaction
from sync.store.snapshot import Snapshot
from sync.store.staged import PagesOutdated, StagedPages

GROUP_SIZE = 2**15  # bytes of records of a group: some 1,300 people


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """Hold chunks one after the other: their digests, how many people each has (as array "I"), and the records of all."""

    digests: bytes
    sizes: bytes
    records: bytes

    def keep(self, wanted: Set[bytes]) -> ChunkGroup:
        """Return the chunks with these digests."""
        digests, sizes = list(split_digests(self.digests)), array("I", self.sizes)
        kept = list(map(wanted.__contains__, digests))
        bounds = pairwise(accumulate((size * RECORD_SIZE for size in sizes), initial=0))
        return ChunkGroup(
            digests=b"".join(compress(digests, kept)),
            sizes=array("I", compress(sizes, kept)).tobytes(),
            records=b"".join([self.records[start:end] for start, end in compress(bounds, kept)]),
        )


@dataclass(frozen=True, slots=True)
class KnownPage:
    """Hold how many rows a page has that was read before, and the digests of its chunks."""

    rows: int
    chunks: bytes


class KnownChunks(Table):
    """The known chunks of all syncs."""

    def list_digests(self, sync_id: int) -> set[bytes]:
        """Return the digests of a sync's known chunks."""
        rows = self._fetch_all("select digests from chunk_group where sync_id = ?", (sync_id,))
        return {digest for row in rows for digest in split_digests(row[0])}

    def list_pages(self, sync_id: int) -> dict[bytes, KnownPage]:
        """Return the pages of which all chunks are known, by digest."""
        rows = self._fetch_all(
            """
            select digest, rows, chunks
            from known_page
            where sync_id = ?1 and exists (select 1 from chunk_group where sync_id = ?1)
            """,
            (sync_id,),
        )
        return {row["digest"]: KnownPage(row["rows"], row["chunks"]) for row in rows}

    def are_all_seen(self, run_id: int, sync_id: int) -> bool:
        """Return whether the pages of a run are the known ones, each once, and these have all known chunks."""
        return self._fetch_bool(
            """
                select ifnull(max(reading) = 1 and count(distinct digest) = count(*)
                  and count(*) = (select count(*) from known_page where sync_id = ?2)
                  and not exists (
                    select 1
                    from staged_page
                    where run_id = ?1 and rows > 0 and digest not in (select digest from known_page where sync_id = ?2)
                  )
                  and (select sum(length(chunks)) from known_page where sync_id = ?2)
                    = (select sum(length(digests)) from chunk_group where sync_id = ?2), 0)
                from staged_page
                where run_id = ?1 and rows > 0
                """,
            (run_id, sync_id),
        )

    def records(self, sync_id: int, digests: Set[bytes]) -> Iterator[bytes]:
        """Return the records of these chunks in several runs, each ascending; raise PagesOutdated when one is gone."""
        found = 0
        for group_id in self._list_groups(sync_id) if digests else ():
            group = self._open_group(group_id).keep(digests)
            found += len(group.digests)
            yield sort_records(group.records)
        if found < len(digests) * DIGEST_SIZE:
            raise PagesOutdated

    def forget(self, sync_id: int) -> None:
        """Know no chunk of a sync any more."""
        self._execute("delete from chunk_group where sync_id = ?", (sync_id,))

    def learn(self, run_id: int, sync_id: int, left_out: Set[bytes]) -> None:
        """Know the chunks of a run from now on, and no others. In the caller's transaction.

        The run's one reading listed nobody twice, and only people who are in the snapshot now, or are ``left_out``.
        When there are others in the snapshot, no chunk is known.
        """
        if self._are_the_same(run_id, sync_id):
            return
        seen, before = StagedPages(self._db).list_seen(run_id, 1), self._list_groups(sync_id)
        unknown = set[bytes]()
        with write_transaction(self._db):
            people = self._write(sync_id, (group.keep(seen) for group in self._take_groups(before)))
            people += self._write(sync_id, self._new_chunks(run_id, left_out, unknown))
            if people == Snapshot(self._db).count_members(sync_id):
                self._learn_pages(run_id, sync_id, unknown)
            else:
                self.forget(sync_id)

    def _learn_pages(self, run_id: int, sync_id: int, unknown: Set[bytes]) -> None:
        """Know the pages of a run, but for those with an ``unknown`` chunk; the digests of all others would take 6 MB."""
        rows = self._fetch_all("select digest, rows, seen, chunks from staged_page where run_id = ?", (run_id,))
        pages = [(row["digest"], row["rows"], row["seen"] + row["chunks"]) for row in rows if row["digest"]]
        self._db.execute("delete from known_page where sync_id = ?", (sync_id,))
        self._db.executemany(
            "insert or ignore into known_page (sync_id, digest, rows, chunks) values (?, ?, ?, ?)",
            ((sync_id, *page) for page in pages if unknown.isdisjoint(split_digests(page[2]))),
        )

    def _list_groups(self, sync_id: int) -> list[int]:
        return [row[0] for row in self._fetch_all("select id from chunk_group where sync_id = ?", (sync_id,))]

    def _open_group(self, group_id: int) -> ChunkGroup:
        row = self._fetch_one("select digests, sizes, records from chunk_group where id = ?", (group_id,))
        if row is None:
            raise PagesOutdated
        return ChunkGroup(row["digests"], row["sizes"], row["records"])

    def _take_groups(self, groups: Iterable[int]) -> Iterator[ChunkGroup]:
        """Return these groups, each of which makes room in the file for what is written next."""
        for group_id in groups:
            group = self._open_group(group_id)
            self._db.execute("delete from chunk_group where id = ?", (group_id,))
            yield group

    def _write(self, sync_id: int, parts: Iterable[ChunkGroup]) -> int:
        """Write chunks in groups; return how many people they have."""
        people, together, size = 0, list[ChunkGroup](), 0
        for part in parts:
            together.append(part)
            size += len(part.records)
            if size > GROUP_SIZE:
                people += self._write_group(sync_id, together)
                together, size = [], 0
        return people + (self._write_group(sync_id, together) if together else 0)

    def _write_group(self, sync_id: int, parts: list[ChunkGroup]) -> int:
        records = b"".join([part.records for part in parts])
        self._db.execute(
            "insert into chunk_group (sync_id, digests, sizes, records) values (?, ?, ?, ?)",
            (
                sync_id,
                b"".join([part.digests for part in parts]),
                b"".join([part.sizes for part in parts]),
                records,
            ),
        )
        return len(records) // RECORD_SIZE

    def _are_the_same(self, run_id: int, sync_id: int) -> bool:
        """Return whether a reading that has each chunk once has exactly the known ones."""
        return self._fetch_bool(
            """
                select not exists (select 1 from staged_page where run_id = ?1 and chunks <> x'')
                  and (select ifnull(sum(length(seen)), 0) from staged_page where run_id = ?1)
                  = (select ifnull(sum(length(digests)), 0) from chunk_group where sync_id = ?2)
                """,
            (run_id, sync_id),
        )

    def _new_chunks(self, run_id: int, left_out: Set[bytes], unknown: set[bytes]) -> Iterator[ChunkGroup]:
        """Return the chunks of each page that were not known; what is taken from a page makes room for them in the file.

        The digests of those that stay ``unknown`` are added to it.
        """
        pages = self._fetch_all("select rowid from staged_page where run_id = ? and chunks <> x''", (run_id,))
        for (rowid,) in pages:
            row = self._fetch_one("select chunks, places, records, news from staged_page where rowid = ?", (rowid,))
            assert row is not None  # only pages that were just listed are asked for
            self._db.execute("update staged_page set places = x'', records = x'', news = x'' where rowid = ?", (rowid,))
            digests, places = list(split_digests(row["chunks"])), array("I", row["places"])
            people = [bytearray() for _ in digests]
            for place, record in zip(places, split_records(row["records"] + row["news"]), strict=True):
                if left_out and record[:ID_SIZE] in left_out:
                    unknown.add(digests[place])
                    digests[place] = os.urandom(DIGEST_SIZE)  # never known: its people have to be looked at each time
                else:
                    people[place] += record
            yield ChunkGroup(
                digests=b"".join(digests),
                sizes=array("I", [len(one) // RECORD_SIZE for one in people]).tobytes(),
                records=b"".join(people),
            )
