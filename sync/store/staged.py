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


class Staged(Table):
    """The pages of runs that are pulling."""

    def add(self, run_id: int, page: StagedPage) -> None:
        """Keep a page, over the same page read before."""
        self._do(
            "insert or replace into staged (run_id, page, rows, anonymous, invalid, full, marks, ids, sealed_values, chunk) "
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

    def clear(self, run_id: int) -> None:
        """Forget a run's pages."""
        self._do("delete from staged where run_id = ?", (run_id,))

    def drop(self, run_id: int, page: int) -> None:
        """Forget one page."""
        self._do("delete from staged where run_id = ? and page = ?", (run_id, page))

    def numbers(self, run_id: int) -> frozenset[int]:
        """The pages already here."""
        return frozenset(row[0] for row in self._all("select page from staged where run_id = ?", (run_id,)))

    def tally(self, run_id: int) -> Tally:
        """Add the pages up."""
        row = self._one(
            "select count(*), coalesce(sum(rows), 0), coalesce(sum(anonymous), 0), "
            "coalesce(sum(invalid), 0), min(page) filter (where not full) "
            "from staged where run_id = ?",
            (run_id,),
        )
        assert row is not None  # an aggregate always answers one row
        return Tally(*row)

    def marks(self, run_id: int) -> Iterator[tuple[int, bytes]]:
        """Page by page, the marks."""
        return (
            (row[0], row[1])
            for row in self._plain.execute("select page, marks from pulled where run_id = ? order by page", (run_id,))
        )

    def page(self, run_id: int, number: int) -> tuple[bytes, bytes | None]:
        """One page's packed ids and sealed values."""
        row = self._one("select ids, sealed_values from pulled where run_id = ? and page = ?", (run_id, number))
        assert row is not None  # only pages that marks() named are asked for
        return row[0], row[1]
