"""The members Mixpanel lists in this run: one row a page, so that a killed reading asks only for what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sync.packing import FORGOTTEN, pack, split_records, unpack_ids
from sync.store.database import Table, write_transaction


@dataclass(frozen=True, slots=True)
class StagedPage:
    """A packed page: records ascending, ids and sealed values in the same order; ``total`` as this page names it.

    ``digest`` is of the records as they came. A page that ``is_known`` has everybody in the snapshot with the same
    content already: it brings its records as they came, and no ids.
    """

    reading: int
    number: int
    rows: int
    anonymous: int
    invalid: int
    is_full: bool
    total: int | None
    digest: bytes
    is_known: bool
    records: bytes
    ids: bytes
    sealed_values: bytes | None


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums over the pages of one reading.

    ``last_full``: whether the page with the highest number was full. ``page_totals``: whether each page's total
    counts only that page, which says nothing about the whole.
    """

    pages: int
    rows: int
    others: int
    last_full: bool
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
            "insert or replace into staged_page (run_id, reading, page, rows, anonymous, invalid, is_full, total, "
            "digest, is_known, records, ids, sealed_values) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run_id,
                page.reading,
                page.number,
                page.rows,
                page.anonymous,
                page.invalid,
                int(page.is_full),
                page.total,
                page.digest,
                int(page.is_known),
                page.records,
                page.ids,
                page.sealed_values,
            ),
        )

    def delete_pages(self, run_id: int, reading: int = 0) -> None:
        """Forget the pages of a run, or of one of its readings."""
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
            "select count(*), coalesce(sum(rows), 0), coalesce(sum(anonymous + invalid), 0), "
            "max(page) filter (where is_full) is max(page) and count(*) > 0, max(total) filter (where page = 0), "
            "count(*) > 1 and count(total) = count(*) and total(total <> rows) = 0 "
            "from staged_page where run_id = ? and reading = ?",
            (run_id, reading),
        )
        assert row is not None  # an aggregate always answers one row
        return Tally(row[0], row[1], row[2], bool(row[3]), row[4], bool(row[5]))

    def pages(self, run_id: int) -> Iterator[tuple[int, int, bytes]]:
        """Return reading, number and records of every page, the later reading first.

        One statement a page: a reader that stayed open would keep this connection from writing meanwhile.
        """
        keys = self._fetch_all(
            "select rowid, reading, page, is_known from staged_page where run_id = ? order by reading desc, page",
            (run_id,),
        )
        for rowid, reading, page, is_known in keys:
            records = self._fetch_value("select records from staged_page where rowid = ?", (rowid,))
            yield reading, page, b"".join(sorted(split_records(records))) if is_known else records

    def are_the_known_ones(self, run_id: int, sync_id: int) -> bool:
        """Return whether the pages are the known ones, each once: then nothing changed since they were."""
        row = self._fetch_one(
            "select count(*), count(distinct digest), coalesce(sum(is_known), 0), coalesce(max(reading), 0), "
            "(select count(*) from known_page where sync_id = ?2) from staged_page where run_id = ?1",
            (run_id, sync_id),
        )
        return row is not None and row[3] == 1 and row[0] == row[1] == row[2] == row[4]

    def known(self, sync_id: int) -> frozenset[bytes]:
        """Return the digests of pages of which everybody is in the snapshot with the same content."""
        return frozenset(
            row[0] for row in self._fetch_all("select digest from known_page where sync_id = ?", (sync_id,))
        )

    def strip(self, run_id: int) -> None:
        """Forget what the pages of a planned run hold, but for their digests."""
        self._execute(
            "update staged_page set records = x'', ids = x'', sealed_values = null where run_id = ?", (run_id,)
        )

    def become_known(self, run_id: int, sync_id: int, *, everybody: bool) -> None:
        """Replace what is known of a sync's pages: by the pages of a run that sent ``everybody``, else by nothing."""
        with write_transaction(self._db):
            self._db.execute("delete from known_page where sync_id = ?", (sync_id,))
            if everybody:
                self._db.execute(
                    "insert or ignore into known_page select ?, digest from staged_page where run_id = ?",
                    (sync_id, run_id),
                )

    def contents(self, run_id: int, reading: int, number: int) -> tuple[list[str], bytes | None]:
        """Return the ids and the sealed values of one page."""
        row = self._fetch_one(
            "select ids, sealed_values from staged_page where run_id = ? and reading = ? and page = ?",
            (run_id, reading, number),
        )
        assert row is not None  # only pages that were just listed are asked for
        return unpack_ids(row[0]) if row[0] else [], row[1]

    def forget(self, user_id: str, id_hash: bytes) -> int:
        """Blank a person in the pages of runs under way; return in how many."""
        found = 0
        for (rowid,) in self._fetch_all("select rowid from staged_page"):
            records, packed = self._fetch_one("select records, ids from staged_page where rowid = ?", (rowid,)) or (
                b"",
                b"",
            )
            if packed and id_hash in records:
                ids = unpack_ids(packed)
                # Blanked and not taken out: the sealed values beside it keep their places.
                blanked = pack([FORGOTTEN if one == user_id else one for one in ids])
                found += self._execute("update staged_page set ids = ? where rowid = ?", (blanked, rowid))
        return found
