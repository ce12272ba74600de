"""The bench of one person: what finding and forgetting somebody costs who is in many large syncs; and of two syncs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from sync.model import Mode
from sync.packing import hash_id, records_of, split_records
from sync.service import Service
from sync.store import Store
from sync.store.batches import BLOCK_SIZE, Block
from sync.store.export_requests import ExportRequest, Request
from sync.store.snapshot import FIRST_BYTES, Bucket, bucket_width
from tests.bench.bench import BenchWorkspace, Row
from tests.sandbox.control import LICENSE, PROJECT

WANTED = "≤ 50 ms"


@dataclass(frozen=True)
class Everybody:
    """The people of every sync: in the order of their hashes, and by bucket."""

    people: Bucket
    width: int


def one_person(syncs: int, people: int) -> Iterator[Row]:
    """Find and forget one person who is in every sync, in its snapshot and in the log of its first export.

    The files are written as a run writes them, by the store itself; no request is sent.
    """
    with BenchWorkspace.open() as workspace, workspace.service() as service, Store.open(workspace.folder) as store:
        salt = store.connections.get_salt()
        everybody = _everybody(people, salt)
        for number in range(syncs):
            _fill(store, number, everybody)
        someone = f"person-{people // 2}"
        found, seconds = _cpu(lambda: _find(store, hash_id(someone, salt)))
        assert found == syncs
        yield _row("finding", syncs, people, seconds)
        found, seconds = _cpu(lambda: len(service.people.find(someone).history))
        assert found == syncs
        yield _row("showing the history of", syncs, people, seconds)
        places, seconds = _cpu(lambda: _forget(service, someone))
        assert places == 2 * syncs  # a snapshot and a log each
        yield _row("forgetting", syncs, people, seconds)
        assert _find(store, hash_id(someone, salt)) == 0


def overlap(people: int) -> Iterator[Row]:
    """Count whom two syncs of so many people share, half of them."""
    with BenchWorkspace.open() as workspace, Store.open(workspace.folder) as store:
        salt = store.connections.get_salt()
        for number in range(2):
            everybody = _everybody(people, salt, first=number * people // 2)
            sync_id = _create(store, number)
            for low in range(0, FIRST_BYTES, everybody.width):
                high = low + everybody.width
                store.snapshot.write(sync_id, low, high, everybody.people.cut(low, high))
        shared, seconds = _cpu(lambda: store.snapshot.count_shared(1, 2))
        assert shared == people - people // 2
        yield f"people shared by two syncs of {people:,}: CPU", f"{seconds:.2f} s", "< 2 s"


def _row(what: str, syncs: int, people: int, seconds: float) -> Row:
    return (
        f"{what} one person among {syncs} syncs of {people:,}: CPU each sync",
        f"{1000 * seconds / syncs:.1f} ms",
        WANTED,
    )


def _cpu(act: Callable[[], int]) -> tuple[int, float]:
    began = time.process_time()
    found = act()
    return found, time.process_time() - began


def _find(store: Store, who: bytes) -> int:
    return sum(store.snapshot.find(sync.id, who) is not None for sync in store.syncs.list_views(None))


def _forget(service: Service, user_id: str) -> int:
    return service.admin.forget_person(user_id).places


def _everybody(people: int, salt: int, first: int = 0) -> Everybody:
    ids = [f"person-{number}" for number in range(first, first + people)]
    ordered = sorted(zip(records_of(ids, (), salt, salt), ids, strict=True))
    records = bytearray(b"".join(record for record, _ in ordered))
    return Everybody(Bucket(records, [one for _, one in ordered]), bucket_width(people))


def _create(store: Store, number: int) -> int:
    request = ExportRequest(
        PROJECT, number + 1, f"Cohort {number}", LICENSE, f"Cohort {number}", Request(Mode.DYNAMIC, 7200.0, ())
    )
    return store.syncs.create(request, time.time(), active=True)


def _fill(store: Store, number: int, everybody: Everybody) -> None:
    """Write a sync as its first export leaves it."""
    with store.transaction():
        sync_id = _create(store, number)
        run_id = store.runs.enqueue_run(sync_id, "export", time.time())
        assert run_id is not None
        for low in range(0, FIRST_BYTES, everybody.width):
            high = low + everybody.width
            store.snapshot.write(sync_id, low, high, everybody.people.cut(low, high))
        for at, start in enumerate(range(0, len(everybody.people.ids), BLOCK_SIZE)):
            chosen = slice(start, start + BLOCK_SIZE)
            records = islice(split_records(everybody.people.records), start, start + BLOCK_SIZE)
            ids, contents = everybody.people.ids[chosen], tuple(one[16:] for one in records)
            store.batches.add_batches(run_id, Block(at, "a" * len(ids), ids, contents))
            store.batches.log(run_id, at, "c" * len(ids))
        store.batches.delete_batches(run_id)
        store.snapshot.note_size(sync_id)
        store.runs.cancel_if_unsent(run_id, time.time())
