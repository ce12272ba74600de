"""Changes on their way, one row a request: pending, in doubt, settled; who was told; who was refused.

A change is a position: a place of a staged page, of a snapshot chunk, or of both. Neither moves
while its run is under way. A batch in doubt counts everyone in it as in doubt, until it settles or
its run ends and the doubt moves into the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.members import Entry, pack_entries, pack_list, unpack_entries, unpack_ids
from sync.model import ChangeKind
from sync.store.contents import Contents
from sync.store.database import Row, Table, write_transaction
from sync.views import RejectionView


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The changes of one request, as packed positions."""

    number: int
    member_count: int
    entries: bytes
    state: str = "pending"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One person a run could not tell about: rejected by WebEngage, or invalid and never sent."""

    user_id: str
    kind: str
    reason: str
    mark: bytes | None = None
    entry: Entry | None = None


def _batch_from_row(row: Row) -> PackedBatch:
    return PackedBatch(row["number"], row["member_count"], row["entries"], row["state"])


class Batches(Table):
    """The batches and refusals of runs."""

    def add_batches(self, run_id: int, batches: Iterable[PackedBatch]) -> None:
        """Write planned batches."""
        with write_transaction(self._db):
            self._db.executemany(
                "insert into batch (run_id, number, member_count, entries) values (?, ?, ?, ?)",
                ((run_id, b.number, b.member_count, b.entries) for b in batches),
            )

    def delete_batches(self, run_id: int) -> None:
        """Forget a run's batches."""
        self._execute("delete from batch where run_id = ?", (run_id,))

    def list_unconfirmed(self, run_id: int, besides: Iterable[int], most: int) -> tuple[PackedBatch, ...]:
        """The next batches to send, the doubtful ones of an earlier attempt included."""
        away = set(besides)
        rows = self._fetch_all(
            "select * from batch where run_id = ? and state <> 'confirmed' order by number limit ?",
            (run_id, most + len(away)),
        )
        return tuple(_batch_from_row(row) for row in rows if row["number"] not in away)[:most]

    def count_unconfirmed(self, run_id: int) -> int:
        """How many batches are not settled."""
        return int(self._fetch_value("select count(*) from batch where run_id = ? and state <> 'confirmed'", (run_id,)))

    def mark_in_flight(self, run_id: int, numbers: Iterable[int]) -> None:
        """Mark batches before their requests leave."""
        with write_transaction(self._db):
            self._db.executemany(
                "update batch set state = 'in_flight' where run_id = ? and number = ? and state = 'pending'",
                ((run_id, number) for number in numbers),
            )

    def confirm_batch(self, run_id: int, number: int) -> None:
        """Mark a batch WebEngage answered."""
        self._execute("update batch set state = 'confirmed' where run_id = ? and number = ?", (run_id, number))

    def iterate_batches(self, run_id: int) -> Iterator[PackedBatch]:
        """Every batch of a run, in order."""
        return (
            _batch_from_row(row)
            for row in self._db.execute("select * from batch where run_id = ? order by number", (run_id,))
        )

    def log_delivery(self, run_id: int, kind: str, outcome: str, ids: bytes) -> None:
        """Keep for the history who a run told what, as a packed list of ids."""
        self._execute(
            "insert into delivery_log (run_id, kind, outcome, ids) values (?, ?, ?, ?)", (run_id, kind, outcome, ids)
        )

    def add_rejections(self, run_id: int, sync_id: int, rejections: Iterable[Rejection], now: float) -> None:
        """Note who was refused; a rejected one is not tried again with the same content."""
        with write_transaction(self._db):
            for one in rejections:
                live = int(one.kind != "invalid")
                if live:
                    self._db.execute(
                        "update rejection set active = 0 where sync_id = ? and user_id = ? and active = 1",
                        (sync_id, one.user_id),
                    )
                self._db.execute(
                    "insert or replace into rejection (run_id, sync_id, user_id, kind, reason, mark, entry, at, active) "
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

    def clear_rejections(self, run_id: int, sync_id: int, user_ids: Iterable[str]) -> None:
        """Forget earlier rejections of people WebEngage took now; within one run the last answer is the outcome."""
        if not self._fetch_value(
            "select exists (select 1 from rejection where run_id = ?1 and entry is not null "
            "union all select 1 from rejection where sync_id = ?2 and active = 1)",
            (run_id, sync_id),
        ):
            return
        for user_id in user_ids:
            self._db.execute("delete from rejection where run_id = ? and user_id = ?", (run_id, user_id))
            self._db.execute(
                "update rejection set active = 0 where sync_id = ? and user_id = ? and active = 1", (sync_id, user_id)
            )

    def has_active_rejection(self, sync_id: int) -> bool:
        """Whether anyone of this sync stands rejected."""
        return bool(
            self._fetch_value("select exists (select 1 from rejection where sync_id = ? and active = 1)", (sync_id,))
        )

    def deactivate_rejections(self, sync_id: int) -> int:
        """Let everyone rejected be tried again by the next run; tell how many."""
        return self._execute("update rejection set active = 0 where sync_id = ? and active = 1", (sync_id,))

    def rejected_entries(self, run_id: int) -> frozenset[Entry]:
        """Whom WebEngage rejected in this run, as positions."""
        rows = self._fetch_all("select entry from rejection where run_id = ? and entry is not null", (run_id,))
        return frozenset(unpack_entries(row[0])[0] for row in rows)

    def list_rejections(self, run_id: int, limit: int) -> tuple[RejectionView, ...]:
        """Who was not taken in a run, with the reason."""
        rows = self._fetch_all(
            "select user_id, kind, reason from rejection where run_id = ? order by reason, user_id limit ?",
            (run_id, limit),
        )
        return tuple(
            RejectionView(r["user_id"], r["kind"], "invalid" if r["kind"] == "invalid" else "rejected", r["reason"])
            for r in rows
        )

    def count_active_rejections(self) -> int:
        """How many people stand rejected in all syncs."""
        return int(self._fetch_value("select count(*) from rejection where active = 1"))

    def iterate_members(self, run_id: int, sync_id: int) -> Iterator[tuple[str, ChangeKind, str]]:
        """Everyone a run had or has something to tell about: id, kind, and whether it was told."""
        for row in self._db.execute(
            "select kind, outcome, ids from delivery_log where run_id = ? order by id", (run_id,)
        ):
            yield from ((user_id, ChangeKind(row["kind"]), row["outcome"]) for user_id in unpack_ids(row["ids"]))
        contents = Contents(self._db, sync_id, run_id)
        for batch in self.iterate_batches(run_id):
            yield from ((contents.get_user_id(one), one.kind, batch.state) for one in unpack_entries(batch.entries))


class DeliveryLogWriter:
    """Gathers who was told what into packed lists of some thousand, for one run that ends."""

    def __init__(self, batches: Batches, run_id: int, size: int) -> None:
        """Write lists of this size."""
        self._batches, self._run_id, self._size = batches, run_id, size
        self._waiting: dict[tuple[str, str], list[str]] = {}

    def add_member(self, kind: ChangeKind, outcome: str, user_id: str) -> None:
        """Note one person."""
        ids = self._waiting.setdefault((kind.value, outcome), [])
        ids.append(user_id)
        if len(ids) >= self._size:
            self._write_list(kind.value, outcome)

    def flush_lists(self) -> None:
        """Write what is waiting."""
        for kind, outcome in list(self._waiting):
            self._write_list(kind, outcome)

    def _write_list(self, kind: str, outcome: str) -> None:
        self._batches.log_delivery(self._run_id, kind, outcome, pack_list(self._waiting.pop((kind, outcome))))
