"""What WebEngage may have been told, in packed chunks; and the join that finds who changed.

A chunk holds up to 4,096 people, marks ascending and ids in the same order. Someone in doubt has
the all-zero mark, which equals no real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sync.members import Entry, unpack_ids
from sync.model import Kind
from sync.store.database import Table, immediate

AT_ONCE = 50_000  # people who differ, looked for among the others at a time: some 6 MB


class Snapshot(Table):
    """The snapshot of each sync."""

    def marks(self, sync_id: int) -> Iterator[tuple[int, bytes]]:
        """Chunk by chunk, the marks."""
        return (
            (row[0], row[1])
            for row in self._plain.execute(
                "select chunk, marks from snapshot where sync_id = ? order by chunk", (sync_id,)
            )
        )

    def chunks(self, sync_id: int) -> tuple[int, ...]:
        """The numbers of a sync's chunks."""
        return tuple(
            row[0] for row in self._all("select chunk from snapshot where sync_id = ? order by chunk", (sync_id,))
        )

    def small(self, sync_id: int, people: int) -> tuple[int, ...]:
        """The numbers of chunks with fewer people than this."""
        rows = self._all(
            "select chunk from snapshot where sync_id = ? and length(marks) < ? * 16 order by chunk", (sync_id, people)
        )
        return tuple(row[0] for row in rows)

    def last(self, sync_id: int) -> int:
        """The highest chunk number, or -1."""
        found = self._value("select max(chunk) from snapshot where sync_id = ?", (sync_id,))
        return -1 if found is None else int(found)

    def chunk(self, sync_id: int, number: int) -> tuple[bytes, bytes]:
        """One chunk's marks and packed ids."""
        row = self._one("select marks, ids from snapshot where sync_id = ? and chunk = ?", (sync_id, number))
        assert row is not None  # only numbers that chunks() named are asked for
        return row[0], row[1]

    def put(self, sync_id: int, number: int, marks: bytes, ids: bytes) -> None:
        """Write a chunk."""
        self._do(
            "insert or replace into snapshot (sync_id, chunk, marks, ids) values (?, ?, ?, ?)",
            (sync_id, number, marks, ids),
        )

    def adopt(self, sync_id: int, number: int, run_id: int, page: int) -> None:
        """Make a staged page a chunk as it is."""
        self._do(
            "insert into snapshot (sync_id, chunk, marks, ids) "
            "select ?, ?, marks, ids from pulled where run_id = ? and page = ?",
            (sync_id, number, run_id, page),
        )

    def all_told(self, run_id: int) -> bool:
        """Whether WebEngage now holds exactly a run's pages: something was told, all of it was taken, nobody stands
        rejected, and nobody is listed twice.
        """
        return bool(
            self._value(
                "select planned and entered + updated + exited > 0 "
                "and entered + updated + unchanged = "
                "(select coalesce(sum(length(marks) / 16), 0) from pulled where run_id = run.id) "
                "and not exists (select 1 from batch where run_id = run.id and state <> 'settled') "
                "and not exists (select 1 from refusal where sync_id = run.sync_id and entry is not null "
                "and (live = 1 or run_id = run.id)) from run where id = ?",
                (run_id,),
            )
        )

    def become(self, sync_id: int, run_id: int) -> None:
        """Let a run's pages be the chunks; those that are chunks already stay where they are."""
        with immediate(self._plain):
            first = self.last(sync_id) + 1
            self._plain.execute(
                "delete from snapshot where sync_id = ? and chunk not in "
                "(select chunk from staged where run_id = ? and chunk is not null)",
                (sync_id, run_id),
            )
            self._plain.execute(
                "insert into snapshot (sync_id, chunk, marks, ids) "
                "select ?, page + ?, marks, ids from staged where run_id = ? and length(marks) > 0",
                (sync_id, first, run_id),
            )

    def drop(self, sync_id: int, number: int) -> None:
        """Remove a chunk."""
        self._do("delete from snapshot where sync_id = ? and chunk = ?", (sync_id, number))

    def resized(self, sync_id: int, size: int) -> None:
        """Note how many people the snapshot holds."""
        self._do("update sync set size = ? where id = ?", (size, sync_id))

    def size(self, sync_id: int) -> int:
        """How many people WebEngage may have been told about and not told to have left."""
        return int(
            self._value("select coalesce(sum(length(marks) / 16), 0) from snapshot where sync_id = ?", (sync_id,))
        )

    def compare(self, came: Iterable[tuple[str, int, int, bytes]], gone: Iterable[tuple[str, int, int]]) -> None:
        """Load the two sides whose marks found no partner; temporary, private to this connection."""
        self._plain.execute(
            "create temp table if not exists came (user_id text primary key, page, place, mark) without rowid"
        )
        self._plain.execute("create temp table if not exists gone (user_id text primary key, chunk, at) without rowid")
        self.compared()
        self._plain.executemany("insert into temp.gone values (?, ?, ?) on conflict do nothing", gone)
        self._plain.executemany("insert into temp.came values (?, ?, ?, ?) on conflict do nothing", came)

    def spare(self, unchanged: Callable[[], Iterable[list[str]]]) -> None:
        """Take out whoever also stands unchanged: listed twice with different values, they are one person and told once."""
        last = ""
        while ids := self._compared_after(last):
            wanted, last = set(ids), ids[-1]
            for people in unchanged():
                both = [(user_id,) for user_id in wanted.intersection(people)]
                self._plain.executemany("delete from temp.came where user_id = ?", both)
                self._plain.executemany("delete from temp.gone where user_id = ?", both)

    def _compared_after(self, last: str) -> list[str]:
        return [
            row[0]
            for row in self._all(
                "select user_id from temp.came where user_id > ?1 union select user_id from temp.gone where user_id > ?1 "
                "order by user_id limit ?2",
                (last, AT_ONCE),
            )
        ]

    def arrivals(self, sync_id: int) -> Iterator[Entry]:
        """Who enters or changed, page by page; not those WebEngage rejected with the very same content."""
        rows = self._plain.execute(
            "select c.page, c.place, g.chunk, g.at from temp.came c "
            "left join temp.gone g using (user_id) left join refusal r "
            "on r.sync_id = ? and r.user_id = c.user_id and r.live = 1 and r.kind in ('enter', 'update') and r.mark = c.mark "
            "where r.user_id is null order by c.page, c.place",
            (sync_id,),
        )
        return (
            Entry(Kind.ENTER, row[0], row[1]) if row[2] is None else Entry(Kind.UPDATE, row[0], row[1], row[2], row[3])
            for row in rows
        )

    def departures(self, sync_id: int) -> Iterator[Entry]:
        """Who left; not those whose leaving WebEngage rejected."""
        rows = self._plain.execute(
            "select g.chunk, g.at from temp.gone g left join temp.came c using (user_id) left join refusal r "
            "on r.sync_id = ? and r.user_id = g.user_id and r.live = 1 and r.kind = 'exit' "
            "where c.user_id is null and r.user_id is null order by g.chunk, g.at",
            (sync_id,),
        )
        return (Entry(Kind.EXIT, 0, 0, row[0], row[1]) for row in rows)

    def compared(self) -> None:
        """Drop the two sides."""
        self._plain.execute("delete from temp.came")
        self._plain.execute("delete from temp.gone")

    def people(self, sync_id: int) -> Iterator[str]:
        """Everyone the snapshot holds."""
        for number in self.chunks(sync_id):
            yield from unpack_ids(self.chunk(sync_id, number)[1])
