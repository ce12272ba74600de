"""What Mixpanel says in this pull: one row a page, so that a killed pull asks only for what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sync.store.database import Table


@dataclass(frozen=True, slots=True)
class StagedPage:
    """A packed page: marks ascending, the ids and sealed values in the same order.

    A page that is the same as a chunk of the snapshot names that chunk and brings nothing else.
    """

    number: int
    rows: int
    anonymous: int
    invalid: int
    full: bool
    marks: bytes | None
    ids: bytes | None
    sealed_values: bytes | None
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What the staged pages add up to; ``short`` is the first page that was not full, or None."""

    pages: int
    rows: int
    anonymous: int
    invalid: int
    short: int | None


class StagedPages(Table):
    """The pages of runs that are pulling."""

    def add_page(self, run_id: int, page: StagedPage) -> None:
        """Keep a page, over the same page read before."""
        self._execute(
            "insert or replace into staged_page (run_id, page, rows, anonymous, invalid, full, marks, ids, sealed_values, chunk) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run_id,
                page.number,
                page.rows,
                page.anonymous,
                page.invalid,
                int(page.full),
                page.marks,
                page.ids,
                page.sealed_values,
                page.chunk,
            ),
        )

    def delete_pages(self, run_id: int) -> None:
        """Forget a run's pages."""
        self._execute("delete from staged_page where run_id = ?", (run_id,))

    def delete_page(self, run_id: int, page: int) -> None:
        """Forget one page."""
        self._execute("delete from staged_page where run_id = ? and page = ?", (run_id, page))

    def list_numbers(self, run_id: int) -> frozenset[int]:
        """The pages already here."""
        return frozenset(row[0] for row in self._fetch_all("select page from staged_page where run_id = ?", (run_id,)))

    def sum_pages(self, run_id: int) -> Tally:
        """Add the pages up."""
        row = self._fetch_one(
            "select count(*), coalesce(sum(rows), 0), coalesce(sum(anonymous), 0), "
            "coalesce(sum(invalid), 0), min(page) filter (where not full) "
            "from staged_page where run_id = ?",
            (run_id,),
        )
        assert row is not None  # an aggregate always answers one row
        return Tally(*row)

    def iterate_marks(self, run_id: int) -> Iterator[tuple[int, bytes]]:
        """Page by page, the marks."""
        return (
            (row[0], row[1])
            for row in self._db.execute("select page, marks from pulled where run_id = ? order by page", (run_id,))
        )

    def get_page(self, run_id: int, number: int) -> tuple[bytes, bytes | None]:
        """One page's packed ids and sealed values."""
        row = self._fetch_one("select ids, sealed_values from pulled where run_id = ? and page = ?", (run_id, number))
        assert row is not None  # only pages that marks() named are asked for
        return row[0], row[1]
