"""Find who changed: marks first, ids only of those who differ, then one join in SQL.

A partition of the marks is compared at a time, so memory does not grow with the cohort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from sync import members
from sync.members import Entry
from sync.model import BATCH_SIZE, Kind, Run, Sync
from sync.store import Store
from sync.store.batches import PackedBatch

PARTITION = 65_536  # marks compared at a time: about 6 MB
_SPAN = 1 << 16  # partitions are cut by the first two bytes of a mark


@dataclass(slots=True)
class Differences:
    """Places whose mark found no partner: a byte a member, per page and per chunk."""

    staged: dict[int, bytearray] = field(default_factory=dict)
    snapshot: dict[int, bytearray] = field(default_factory=dict)
    distinct: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many people a plan tells what."""

    entered: int
    updated: int
    exited: int


def differences(store: Store, sync_id: int, run_id: int, rows: int) -> Differences:
    """Compare the marks of a pull with those of the snapshot, partition by partition."""
    found = Differences()
    pieces = rows // PARTITION + 1
    for piece in range(pieces):
        low = (piece * _SPAN // pieces).to_bytes(2, "big")
        high = ((piece + 1) * _SPAN // pieces).to_bytes(3, "big")[1:] if piece + 1 < pieces else b"\xff" * 17
        _compare_piece(store, sync_id, run_id, (low, high), found)
    return found


def _compare_piece(store: Store, sync_id: int, run_id: int, bounds: tuple[bytes, bytes], found: Differences) -> None:
    mine: dict[bytes, tuple[int, int]] = {}
    for page, marks in store.staged.marks(run_id):
        start, end = members.span(marks, *bounds)
        for place, one in enumerate(members.marks_in(marks, start, end), start):
            mine.setdefault(one, (page, place))
    found.distinct += len(mine)
    for chunk, marks in store.snapshot.marks(sync_id):
        start, end = members.span(marks, *bounds)
        for place, one in enumerate(members.marks_in(marks, start, end), start):
            if mine.pop(one, None) is None:
                _flag(found.snapshot, chunk, place, len(marks))
            else:
                found.same += 1
    for page, place in mine.values():
        _flag(found.staged, page, place, _LARGEST_PAGE * members.MARK_SIZE)


_LARGEST_PAGE = 50_000  # members; the largest page size anyone names for Mixpanel is 40,000


def _flag(where: dict[int, bytearray], group: int, place: int, size: int) -> None:
    """Mark a place, growing the group's bytes as far as needed."""
    flags = where.setdefault(group, bytearray())
    if len(flags) <= place:
        flags.extend(bytes(min(place + 1024, size) - len(flags)))
    flags[place] = 1


def came(store: Store, run_id: int, found: Differences) -> Iterator[tuple[str, int, int, bytes]]:
    """Those of the pull who differ: id, page, place, mark."""
    marks_of = dict.fromkeys(found.staged)
    for page, marks in store.staged.marks(run_id):
        if page in marks_of:
            ids = members.unpack_ids(store.staged.page(run_id, page)[0])
            for place in _places(found.staged[page]):
                yield ids[place], page, place, marks[place * 16 : place * 16 + 16]


def gone(store: Store, sync_id: int, found: Differences) -> Iterator[tuple[str, int, int]]:
    """Those of the snapshot whose mark the pull does not have: id, chunk, place."""
    for chunk in sorted(found.snapshot):
        ids = members.unpack_ids(store.snapshot.chunk(sync_id, chunk)[1])
        yield from ((ids[place], chunk, place) for place in _places(found.snapshot[chunk]))


def _places(flags: bytearray) -> Iterator[int]:
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


def changes(store: Store, sync: Sync, run: Run, found: Differences) -> Iterator[Entry]:
    """What is to be told, in the order it will be sent: page by page who enters or changed, then who left."""
    if not (found.snapshot or sync.mapping or store.batches.any_live(sync.id)):
        # Nobody to compare with: equal ids have equal marks, so the places are the answer already.
        yield from (Entry(Kind.ENTER, page, place) for page in sorted(found.staged) for place in _places(found.staged[page]))
        return
    store.snapshot.compare(came(store, run.id, found), gone(store, sync.id, found))
    yield from store.snapshot.arrivals(sync.id)
    yield from store.snapshot.departures(sync.id)
    store.snapshot.compared()


def batches(entries: Iterator[Entry], counts: Counter[Kind]) -> Iterator[PackedBatch]:
    """Pack the changes, 25 a request, counting them as they pass."""
    for number in count():
        piece = list(islice(entries, BATCH_SIZE))
        if not piece:
            return
        counts.update(one.kind for one in piece)
        yield PackedBatch(number, len(piece), members.pack_entries(piece))


def write_plan(store: Store, sync: Sync, run: Run, found: Differences) -> Counts:
    """Join the two sides and write the batches; part of the caller's transaction."""
    counts: Counter[Kind] = Counter()
    store.batches.clear(run.id)
    store.batches.add(run.id, batches(changes(store, sync, run, found), counts))
    return Counts(counts[Kind.ENTER], counts[Kind.UPDATE], counts[Kind.EXIT])
