"""The members Mixpanel lists in this run: one row a page, so that a killed reading asks only for what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.packing import FORGOTTEN, ID_SIZE, RECORD_SIZE, pack, split_digests, split_records, unpack_ids
from sync.store.database import Table, read_row


@dataclass(frozen=True, slots=True)
class StagedPage:
    """A packed page; ``total`` as this page names it, ``seen`` the digests of its known chunks, which bring nothing else.

    ``digest`` is of its results as a whole, empty when they cannot be cut.

    ``records``, ascending, are of people who are in the snapshot with the same content; ``news`` of everybody else,
    with ids and sealed values in the same order. ``chunks`` are the digests of the chunks these people are in,
    ``places`` which of them for each of ``records`` and then of ``news``; both are empty when nothing will be known.
    ``members``, ascending, are the entries of all of them when a profile property is the User ID. ``others``: the id
    hashes of members who are not exported, of all whose id can be read.
    """

    reading: int
    number: int
    rows: int
    anonymous: int
    invalid: int
    is_full: bool
    total: int | None
    digest: bytes = b""
    seen: bytes = b""
    chunks: bytes = b""
    places: bytes = b""
    records: bytes = b""
    news: bytes = b""
    members: bytes = b""
    ids: bytes = b""
    sealed_values: bytes | None = None
    others: bytes = b""


@dataclass(frozen=True, slots=True)
class News:
    """Those of a page who have to be sent, or may have: records ascending, ids and sealed values in the same order."""

    records: list[bytes]
    ids: list[str]
    sealed_values: bytes | None


class PagesOutdated(Exception):
    """Pages must be read again, since what they were compared with has changed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums over the pages of one reading.

    ``last_full``: whether the page with the highest number was full; one that was refused behind a full page is a full
    one of nobody. ``full_then_empty``: whether it was empty, and the last one with members full. ``has_gap``: whether a
    page had fewer members than another, although members came after it. ``unnamed``: rows of others without a readable
    id. ``page_totals``: whether each total that was named may count only its page, which says nothing about the whole.
    """

    rows: int
    others: int
    unnamed: int
    last_full: bool
    full_then_empty: bool
    has_gap: bool
    total: int | None
    page_totals: bool

    @property
    def says_nothing(self) -> bool:
        """Return whether no page says how many members the whole cohort has."""
        return self.total is None or self.page_totals


class StagedPages(Table):
    """The pages of runs that read."""

    def add_page(self, run_id: int, page: StagedPage) -> None:
        """Keep a page."""
        self._execute(
            """
            insert or replace into staged_page (run_id, reading, page, rows, anonymous, invalid, is_full, total,
              digest, seen, chunks, places, records, news, members, others, ids, sealed_values)
            values (:run_id, :reading, :number, :rows, :anonymous, :invalid, :is_full, :total,
              :digest, :seen, :chunks, :places, :records, :news, :members, :others, :ids, :sealed_values)
            """,
            {"run_id": run_id} | {name: getattr(page, name) for name in StagedPage.__slots__},
        )

    def delete_pages(self, run_id: int, reading: int = 0) -> None:
        """Delete the pages of one reading of a run; of all its readings when ``reading`` is 0."""
        self._execute("delete from staged_page where run_id = ?1 and ?2 in (0, reading)", (run_id, reading))

    def list_numbers(self, run_id: int, reading: int) -> dict[int, tuple[int, bool]]:
        """Return the pages that are here already: rows, and whether the page was full."""
        rows = self._fetch_all(
            "select page, rows, is_full from staged_page where run_id = ? and reading = ?", (run_id, reading)
        )
        return {row[0]: (row[1], bool(row[2])) for row in rows}

    def sum_pages(self, run_id: int, reading: int) -> Tally:
        """Add up the pages of a reading."""
        row = self._fetch_one(
            f"""
            select coalesce(sum(rows), 0) as rows, coalesce(sum(anonymous + invalid), 0) as others,
              coalesce(sum(anonymous + invalid - length(others) / {ID_SIZE}), 0) as unnamed,
              max(page) filter (where is_full) is max(page) and count(*) > 0 as last_full,
              max(page) filter (where rows = 0) is max(page)
                and max(page) filter (where rows > 0) = max(page) filter (where is_full and rows > 0) as full_then_empty,
              ifnull(min(page) filter (where rows < largest) < max(page) filter (where rows > 0), 0) as has_gap,
              max(total) filter (where page = 0) as total,
              count(*) > 1 and count(total) filter (where page = 0) and total(total <> rows) = 0 as page_totals
            from staged_page
            join (select max(rows) as largest from staged_page where run_id = ?1 and reading = ?2)
            where run_id = ?1 and reading = ?2
            """,
            (run_id, reading),
        )
        assert row is not None  # an aggregate always answers one row
        return read_row(Tally, row)

    def pages(self, run_id: int) -> Iterator[tuple[int, bytes]]:
        """Return reading and ascending records of every page, those who are news apart from those who are not.

        People of known chunks are not among them. One statement a page: a reader that stayed open would keep this
        connection from writing meanwhile.
        """
        pages = self._fetch_all(
            """
            select rowid, reading
            from staged_page
            where run_id = ? and (records <> x'' or news <> x'')
            """,
            (run_id,),
        )
        for rowid, reading in pages:
            row = self._fetch_one("select records, news from staged_page where rowid = ?", (rowid,))
            assert row is not None  # only pages that were just listed are asked for
            yield from ((reading, records) for records in row if records)

    def count_records(self, run_id: int) -> int:
        """Return how many records the pages of a run hold."""
        return self._fetch_int(
            f"""
                select ifnull(sum(length(records) + length(news)), 0) / {RECORD_SIZE}
                from staged_page
                where run_id = ?
                """,
            (run_id,),
        )

    def list_seen(self, run_id: int, reading: int) -> set[bytes]:
        """Return the digests of the known chunks that a reading has."""
        rows = self._fetch_all("select seen from staged_page where run_id = ? and reading = ?", (run_id, reading))
        return {digest for row in rows for digest in split_digests(row[0])}

    def members(self, run_id: int) -> Iterator[tuple[int, bytes]]:
        """Return reading and ascending entries of every page of a run whose User ID is a profile property."""
        pages = self._fetch_all("select rowid, reading from staged_page where run_id = ?", (run_id,))
        for rowid, reading in pages:
            row = self._fetch_one("select members from staged_page where rowid = ?", (rowid,))
            if row and row[0]:
                yield reading, row[0]

    def news(self, run_id: int) -> Iterator[News]:
        """Return the news of each page, the later reading first."""
        pages = self._fetch_all(
            "select rowid from staged_page where run_id = ? and news <> x'' order by reading desc, page", (run_id,)
        )
        for (rowid,) in pages:
            row = self._fetch_one("select news, ids, sealed_values from staged_page where rowid = ?", (rowid,))
            assert row is not None  # only pages that were just listed are asked for
            yield News(list(split_records(row[0])), unpack_ids(row[1]), row[2])

    def strip(self, run_id: int) -> None:
        """Forget what the pages of a planned run hold, but for hashes.

        By these the lists can be looked at again, and chunks be known when the run ends.
        """
        self._execute(
            """
            update staged_page
            set records = iif(chunks = x'', x'', records), news = iif(chunks = x'', x'', news),
              ids = x'', sealed_values = null
            where run_id = ?
            """,
            (run_id,),
        )

    def add_others(self, run_id: int, id_hashes: Iterable[bytes]) -> None:
        """Note more members who are not exported, beside those of the run's first page; none without any page."""
        self._execute(
            """
            update staged_page
            set others = cast(others || ?1 as blob)
            where rowid = (select min(rowid) from staged_page where run_id = ?2)
            """,
            (b"".join(id_hashes), run_id),
        )

    def list_others(self, run_id: int, reading: int = 0) -> frozenset[bytes]:
        """Return the id hashes of the members who are not exported, of one reading or all, as long as the run is under way."""
        found = self._fetch_all(
            "select others from staged_page where run_id = ?1 and ?2 in (0, reading) and others <> x''",
            (run_id, reading),
        )
        return frozenset(one for row in found for one in split_digests(row[0]))

    def forget(self, user_id: str, id_hash: bytes) -> int:
        """Blank a person in the pages of runs under way; return in how many."""
        found = 0
        for (rowid,) in self._fetch_all("select rowid from staged_page where ids <> x''"):
            row = self._fetch_one("select news, ids from staged_page where rowid = ?", (rowid,))
            if row and id_hash in row["news"]:
                ids = unpack_ids(row["ids"])
                # Blanked and not taken out: the sealed values beside it keep their places.
                blanked = pack([FORGOTTEN if one == user_id else one for one in ids])
                found += self._execute("update staged_page set ids = ? where rowid = ?", (blanked, rowid))
        return found
