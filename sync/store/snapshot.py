"""What WebEngage may have been told, in packed chunks; and the join that finds who changed.

A chunk holds up to 4,096 people, marks ascending and ids in the same order. Someone in doubt has
the all-zero mark, which equals no real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sync.members import Entry, unpack_ids
from sync.model import ChangeKind
from sync.store.database import Table, write_transaction

COMPARED_AT_ONCE = 50_000  # people who differ, looked for among the others at a time: some 6 MB


class Snapshot(Table):
    """The snapshot of each sync."""

    def iterate_marks(self, sync_id: int) -> Iterator[tuple[int, bytes]]:
        """Chunk by chunk, the marks."""
        return (
            (row[0], row[1])
            for row in self._db.execute(
                "select chunk, marks from snapshot where sync_id = ? order by chunk", (sync_id,)
            )
        )

    def list_chunks(self, sync_id: int) -> tuple[int, ...]:
        """The numbers of a sync's chunks."""
        return tuple(
            row[0] for row in self._fetch_all("select chunk from snapshot where sync_id = ? order by chunk", (sync_id,))
        )

    def list_small_chunks(self, sync_id: int, people: int) -> tuple[int, ...]:
        """The numbers of chunks with fewer people than this."""
        rows = self._fetch_all(
            "select chunk from snapshot where sync_id = ? and length(marks) < ? * 16 order by chunk", (sync_id, people)
        )
        return tuple(row[0] for row in rows)

    def last_chunk_number(self, sync_id: int) -> int:
        """The highest chunk number, or -1."""
        found = self._fetch_value("select max(chunk) from snapshot where sync_id = ?", (sync_id,))
        return -1 if found is None else int(found)

    def get_chunk(self, sync_id: int, number: int) -> tuple[bytes, bytes]:
        """One chunk's marks and packed ids."""
        row = self._fetch_one("select marks, ids from snapshot where sync_id = ? and chunk = ?", (sync_id, number))
        assert row is not None  # only numbers that chunks() named are asked for
        return row[0], row[1]

    def put_chunk(self, sync_id: int, number: int, marks: bytes, ids: bytes) -> None:
        """Write a chunk."""
        self._execute(
            "insert or replace into snapshot (sync_id, chunk, marks, ids) values (?, ?, ?, ?)",
            (sync_id, number, marks, ids),
        )

    def adopt_page(self, sync_id: int, number: int, run_id: int, page: int) -> None:
        """Make a staged page a chunk as it is."""
        self._execute(
            "insert into snapshot (sync_id, chunk, marks, ids) "
            "select ?, ?, marks, ids from pulled where run_id = ? and page = ?",
            (sync_id, number, run_id, page),
        )

    def is_all_confirmed(self, run_id: int) -> bool:
        """Whether WebEngage now holds exactly a run's pages: something was told, all of it was taken, nobody stands
        rejected, and nobody is listed twice.
        """
        return bool(
            self._fetch_value(
                "select planned and entered + updated + exited > 0 "
                "and entered + updated + unchanged = "
                "(select coalesce(sum(length(marks) / 16), 0) from pulled where run_id = run.id) "
                "and not exists (select 1 from batch where run_id = run.id and state <> 'confirmed') "
                "and not exists (select 1 from rejection where sync_id = run.sync_id and entry is not null "
                "and (active = 1 or run_id = run.id)) from run where id = ?",
                (run_id,),
            )
        )

    def replace_with_pages(self, sync_id: int, run_id: int) -> None:
        """Let a run's pages be the chunks; those that are chunks already stay where they are."""
        with write_transaction(self._db):
            first = self.last_chunk_number(sync_id) + 1
            self._db.execute(
                "delete from snapshot where sync_id = ? and chunk not in "
                "(select chunk from staged_page where run_id = ? and chunk is not null)",
                (sync_id, run_id),
            )
            self._db.execute(
                "insert into snapshot (sync_id, chunk, marks, ids) "
                "select ?, page + ?, marks, ids from staged_page where run_id = ? and length(marks) > 0",
                (sync_id, first, run_id),
            )

    def delete_chunk(self, sync_id: int, number: int) -> None:
        """Remove a chunk."""
        self._execute("delete from snapshot where sync_id = ? and chunk = ?", (sync_id, number))

    def set_size(self, sync_id: int, size: int) -> None:
        """Note how many people the snapshot holds."""
        self._execute("update sync set size = ? where id = ?", (size, sync_id))

    def count_members(self, sync_id: int) -> int:
        """How many people WebEngage may have been told about and not told to have left."""
        return int(
            self._fetch_value("select coalesce(sum(length(marks) / 16), 0) from snapshot where sync_id = ?", (sync_id,))
        )

    def load_comparison(
        self, came: Iterable[tuple[str, int, int, bytes]], gone: Iterable[tuple[str, int, int]]
    ) -> None:
        """Load the two sides whose marks found no partner; temporary, private to this connection."""
        self._db.execute(
            "create temp table if not exists came (user_id text primary key, page, place, mark) without rowid"
        )
        self._db.execute("create temp table if not exists gone (user_id text primary key, chunk, at) without rowid")
        self.clear_comparison()
        self._db.executemany("insert into temp.gone values (?, ?, ?) on conflict do nothing", gone)
        self._db.executemany("insert into temp.came values (?, ?, ?, ?) on conflict do nothing", came)

    def drop_duplicates(self, unchanged: Callable[[], Iterable[list[str]]]) -> None:
        """Take out whoever also stands unchanged: listed twice with different values, they are one person and told once."""
        last = ""
        while ids := self._next_compared(last):
            wanted, last = set(ids), ids[-1]
            for people in unchanged():
                both = [(user_id,) for user_id in wanted.intersection(people)]
                self._db.executemany("delete from temp.came where user_id = ?", both)
                self._db.executemany("delete from temp.gone where user_id = ?", both)

    def _next_compared(self, last: str) -> list[str]:
        return [
            row[0]
            for row in self._fetch_all(
                "select user_id from temp.came where user_id > ?1 union select user_id from temp.gone where user_id > ?1 "
                "order by user_id limit ?2",
                (last, COMPARED_AT_ONCE),
            )
        ]

    def iterate_added(self, sync_id: int) -> Iterator[Entry]:
        """Who enters or changed, page by page; not those WebEngage rejected with the very same content."""
        rows = self._db.execute(
            "select c.page, c.place, g.chunk, g.at from temp.came c "
            "left join temp.gone g using (user_id) left join rejection r "
            "on r.sync_id = ? and r.user_id = c.user_id and r.active = 1 and r.kind in ('add', 'update') and r.mark = c.mark "
            "where r.user_id is null order by c.page, c.place",
            (sync_id,),
        )
        return (
            Entry(ChangeKind.ADD, row[0], row[1])
            if row[2] is None
            else Entry(ChangeKind.UPDATE, row[0], row[1], row[2], row[3])
            for row in rows
        )

    def iterate_removed(self, sync_id: int) -> Iterator[Entry]:
        """Who left; not those whose leaving WebEngage rejected."""
        rows = self._db.execute(
            "select g.chunk, g.at from temp.gone g left join temp.came c using (user_id) left join rejection r "
            "on r.sync_id = ? and r.user_id = g.user_id and r.active = 1 and r.kind = 'remove' "
            "where c.user_id is null and r.user_id is null order by g.chunk, g.at",
            (sync_id,),
        )
        return (Entry(ChangeKind.REMOVE, 0, 0, row[0], row[1]) for row in rows)

    def clear_comparison(self) -> None:
        """Drop the two sides."""
        self._db.execute("delete from temp.came")
        self._db.execute("delete from temp.gone")

    def iterate_members(self, sync_id: int) -> Iterator[str]:
        """Everyone the snapshot holds."""
        for number in self.list_chunks(sync_id):
            yield from unpack_ids(self.get_chunk(sync_id, number)[1])
