"""Changes on their way, one row a request: pending, in doubt, settled; who was told; who was refused.

A change is a position: a place of a staged page, of a snapshot chunk, or of both. Neither moves
while its run is under way. A batch in doubt counts everyone in it as in doubt, until it settles or
its run ends and the doubt moves into the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.members import Entry, pack, pack_entries, unpack_entries, unpack_ids
from sync.model import Kind
from sync.store.contents import Contents
from sync.store.database import Row, Table, immediate
from sync.views import Refusal


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The changes of one request, as packed positions."""

    number: int
    people: int
    entries: bytes
    state: str = "pending"


@dataclass(frozen=True, slots=True)
class Refused:
    """One person a run could not tell about: rejected by WebEngage, or invalid and never sent."""

    user_id: str
    kind: str
    reason: str
    mark: bytes | None = None
    entry: Entry | None = None


def _batch(row: Row) -> PackedBatch:
    return PackedBatch(row["number"], row["people"], row["entries"], row["state"])


class Batches(Table):
    """The batches and refusals of runs."""

    def add(self, run_id: int, batches: Iterable[PackedBatch]) -> None:
        """Write planned batches."""
        with immediate(self._plain):
            self._plain.executemany(
                "insert into batch (run_id, number, people, entries) values (?, ?, ?, ?)",
                ((run_id, b.number, b.people, b.entries) for b in batches),
            )

    def clear(self, run_id: int) -> None:
        """Forget a run's batches."""
        self._do("delete from batch where run_id = ?", (run_id,))

    def unsettled(self, run_id: int, besides: Iterable[int], most: int) -> tuple[PackedBatch, ...]:
        """The next batches to send, the doubtful ones of an earlier attempt included."""
        away = set(besides)
        rows = self._all(
            "select * from batch where run_id = ? and state <> 'settled' order by number limit ?",
            (run_id, most + len(away)),
        )
        return tuple(_batch(row) for row in rows if row["number"] not in away)[:most]

    def left(self, run_id: int) -> int:
        """How many batches are not settled."""
        return int(self._value("select count(*) from batch where run_id = ? and state <> 'settled'", (run_id,)))

    def doubt(self, run_id: int, numbers: Iterable[int]) -> None:
        """Mark batches before their requests leave."""
        with immediate(self._plain):
            self._plain.executemany(
                "update batch set state = 'doubt' where run_id = ? and number = ? and state = 'pending'",
                ((run_id, number) for number in numbers),
            )

    def settle(self, run_id: int, number: int) -> None:
        """Mark a batch WebEngage answered."""
        self._do("update batch set state = 'settled' where run_id = ? and number = ?", (run_id, number))

    def all(self, run_id: int) -> Iterator[PackedBatch]:
        """Every batch of a run, in order."""
        return (
            _batch(row)
            for row in self._plain.execute("select * from batch where run_id = ? order by number", (run_id,))
        )

    def tell(self, run_id: int, kind: str, outcome: str, ids: bytes) -> None:
        """Keep for the history who a run told what, as a packed list of ids."""
        self._do("insert into told (run_id, kind, outcome, ids) values (?, ?, ?, ?)", (run_id, kind, outcome, ids))

    def refuse(self, run_id: int, sync_id: int, refused: Iterable[Refused], now: float) -> None:
        """Note who was refused; a rejected one is not tried again with the same content."""
        with immediate(self._plain):
            for one in refused:
                live = int(one.kind != "invalid")
                if live:
                    self._plain.execute(
                        "update refusal set live = 0 where sync_id = ? and user_id = ? and live = 1",
                        (sync_id, one.user_id),
                    )
                self._plain.execute(
                    "insert or replace into refusal (run_id, sync_id, user_id, kind, reason, mark, entry, at, live) "
                    "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        run_id,
                        sync_id,
                        one.user_id,
                        one.kind,
                        one.reason,
                        one.mark,
                        None if one.entry is None else pack_entries([one.entry]),
                        now,
                        live,
                    ),
                )

    def accepted(self, run_id: int, sync_id: int, user_ids: Iterable[str]) -> None:
        """Forget earlier rejections of people WebEngage took now; within one run the last answer is the outcome."""
        if not self._value(
            "select exists (select 1 from refusal where run_id = ?1 and entry is not null "
            "union all select 1 from refusal where sync_id = ?2 and live = 1)",
            (run_id, sync_id),
        ):
            return
        for user_id in user_ids:
            self._plain.execute("delete from refusal where run_id = ? and user_id = ?", (run_id, user_id))
            self._plain.execute(
                "update refusal set live = 0 where sync_id = ? and user_id = ? and live = 1", (sync_id, user_id)
            )

    def any_live(self, sync_id: int) -> bool:
        """Whether anyone of this sync stands rejected."""
        return bool(self._value("select exists (select 1 from refusal where sync_id = ? and live = 1)", (sync_id,)))

    def forgive(self, sync_id: int) -> int:
        """Let everyone rejected be tried again by the next run; tell how many."""
        return self._do("update refusal set live = 0 where sync_id = ? and live = 1", (sync_id,))

    def rejected(self, run_id: int) -> frozenset[Entry]:
        """Whom WebEngage rejected in this run, as positions."""
        rows = self._all("select entry from refusal where run_id = ? and entry is not null", (run_id,))
        return frozenset(unpack_entries(row[0])[0] for row in rows)

    def refusals(self, run_id: int, limit: int) -> tuple[Refusal, ...]:
        """Who was not taken in a run, with the reason."""
        rows = self._all(
            "select user_id, kind, reason from refusal where run_id = ? order by reason, user_id limit ?",
            (run_id, limit),
        )
        return tuple(
            Refusal(r["user_id"], r["kind"], "invalid" if r["kind"] == "invalid" else "rejected", r["reason"])
            for r in rows
        )

    def live_count(self) -> int:
        """How many people stand rejected in all syncs."""
        return int(self._value("select count(*) from refusal where live = 1"))

    def people(self, run_id: int, sync_id: int) -> Iterator[tuple[str, Kind, str]]:
        """Everyone a run had or has something to tell about: id, kind, and whether it was told."""
        for row in self._plain.execute("select kind, outcome, ids from told where run_id = ? order by id", (run_id,)):
            yield from ((user_id, Kind(row["kind"]), row["outcome"]) for user_id in unpack_ids(row["ids"]))
        contents = Contents(self._plain, sync_id, run_id)
        for batch in self.all(run_id):
            yield from ((contents.user_id(one), one.kind, batch.state) for one in unpack_entries(batch.entries))


class History:
    """Gathers who was told what into packed lists of some thousand, for one run that ends."""

    def __init__(self, batches: Batches, run_id: int, size: int) -> None:
        """Write lists of this size."""
        self._batches, self._run_id, self._size = batches, run_id, size
        self._waiting: dict[tuple[str, str], list[str]] = {}

    def add(self, kind: Kind, outcome: str, user_id: str) -> None:
        """Note one person."""
        ids = self._waiting.setdefault((kind.value, outcome), [])
        ids.append(user_id)
        if len(ids) >= self._size:
            self._write(kind.value, outcome)

    def flush(self) -> None:
        """Write what is waiting."""
        for kind, outcome in list(self._waiting):
            self._write(kind, outcome)

    def _write(self, kind: str, outcome: str) -> None:
        self._batches.tell(self._run_id, kind, outcome, pack(self._waiting.pop((kind, outcome))))
