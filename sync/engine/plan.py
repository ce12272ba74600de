"""Find who changed: marks first, ids only of those who differ, then one join in SQL.

A partition of the marks is compared at a time, so memory does not grow with the cohort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice, repeat

from sync import members
from sync.members import Entry
from sync.model import BATCH_SIZE, ChangeKind, Run, Sync
from sync.store import Store
from sync.store.batches import PackedBatch

PARTITION = 131_072  # marks compared at a time: two sets of some 12 MB
_FIRST_BYTES = 256  # partitions are cut by the first byte of a mark


@dataclass(slots=True)
class Differences:
    """Places whose mark found no partner: a byte a member, per page and per chunk."""

    staged: dict[int, bytearray] = field(default_factory=dict)
    snapshot: dict[int, bytearray] = field(default_factory=dict)
    distinct: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """How many people a plan tells what."""

    entered: int
    updated: int
    exited: int


def find_differences(store: Store, sync_id: int, run_id: int, rows: int) -> Differences:
    """Compare the marks of a pull with those of the snapshot, partition by partition."""
    found = Differences()
    if _is_unchanged(store, sync_id, run_id, found):
        return found
    pieces = min(_FIRST_BYTES, rows // PARTITION + 1)
    for piece in range(pieces):
        bounds = piece * _FIRST_BYTES // pieces, (piece + 1) * _FIRST_BYTES // pieces
        _compare_piece(store, sync_id, run_id, bounds, found)
    return found


def _is_unchanged(store: Store, sync_id: int, run_id: int, found: Differences) -> bool:
    """Whether pages and chunks are the same, one by one: usual for a refresh, since chunks once were pages."""
    pages = Counter(members.digest_marks(marks) for _, marks in store.staged.iterate_marks(run_id))
    if pages != Counter(members.digest_marks(marks) for _, marks in store.snapshot.iterate_marks(sync_id)):
        return False
    found.same = found.distinct = store.snapshot.count_members(sync_id)
    return True


def _compare_piece(store: Store, sync_id: int, run_id: int, bounds: tuple[int, int], found: Differences) -> None:
    """Compare one partition as sets; only when they differ, look for the places of those who do."""
    mine: set[bytes] = set()
    theirs: set[bytes] = set()
    for _, marks in store.staged.iterate_marks(run_id):
        mine.update(members.marks_in(marks, *members.find_span(marks, *bounds)))
    for _, marks in store.snapshot.iterate_marks(sync_id):
        theirs.update(members.marks_in(marks, *members.find_span(marks, *bounds)))
    came_marks, gone_marks = mine - theirs, theirs - mine
    found.distinct += len(mine)
    found.same += len(mine) - len(came_marks)
    if came_marks:
        _places_of(store.staged.iterate_marks(run_id), bounds, came_marks, found.staged, once=True)
    if gone_marks:
        _places_of(store.snapshot.iterate_marks(sync_id), bounds, gone_marks, found.snapshot, once=False)


def _places_of(
    groups: Iterator[tuple[int, bytes]],
    bounds: tuple[int, int],
    wanted: set[bytes],
    into: dict[int, bytearray],
    *,
    once: bool,
) -> None:
    """Flag where the wanted marks stand; ``once``: someone listed on two pages is flagged on the first."""
    for group, marks in groups:
        start, end = members.find_span(marks, *bounds)
        for place, one in enumerate(members.marks_in(marks, start, end), start):
            if one in wanted:
                _set_flag(into, group, place, len(marks))
                if once:
                    wanted.discard(one)


_LARGEST_PAGE = 50_000  # members; the largest page size anyone names for Mixpanel is 40,000


def _set_flag(where: dict[int, bytearray], group: int, place: int, size: int) -> None:
    """Mark a place, growing the group's bytes as far as needed."""
    flags = where.setdefault(group, bytearray())
    if len(flags) <= place:
        flags.extend(bytes(min(place + 1024, size) - len(flags)))
    flags[place] = 1


def iterate_added(store: Store, run_id: int, found: Differences) -> Iterator[tuple[str, int, int, bytes]]:
    """Those of the pull who differ: id, page, place, mark."""
    marks_of = dict.fromkeys(found.staged)
    for page, marks in store.staged.iterate_marks(run_id):
        if page in marks_of:
            ids = members.unpack_ids(store.staged.get_page(run_id, page)[0])
            for place in _flagged_places(found.staged[page]):
                yield ids[place], page, place, marks[place * 16 : place * 16 + 16]


def iterate_removed(store: Store, sync_id: int, found: Differences) -> Iterator[tuple[str, int, int]]:
    """Those of the snapshot whose mark the pull does not have: id, chunk, place."""
    for chunk in sorted(found.snapshot):
        ids = members.unpack_ids(store.snapshot.get_chunk(sync_id, chunk)[1])
        yield from ((ids[place], chunk, place) for place in _flagged_places(found.snapshot[chunk]))


def iterate_unchanged(store: Store, sync_id: int, found: Differences) -> Iterator[list[str]]:
    """Those of the snapshot whose mark the pull has, chunk by chunk."""
    for chunk in store.snapshot.list_chunks(sync_id):
        flags = found.snapshot.get(chunk, bytearray())
        ids = members.unpack_ids(store.snapshot.get_chunk(sync_id, chunk)[1])
        yield (
            [user_id for user_id, gone in zip(ids, chain(flags, repeat(0)), strict=False) if not gone] if flags else ids
        )


def _flagged_places(flags: bytearray) -> Iterator[int]:
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


def iterate_changes(store: Store, sync: Sync, run: Run, found: Differences) -> Iterator[Entry]:
    """What is to be told, in the order it will be sent: page by page who enters or changed, then who left."""
    if not (found.snapshot or sync.mapping or store.batches.has_active_rejection(sync.id)):
        # Nobody to compare with: equal ids have equal marks, so the places are the answer already.
        yield from (
            Entry(ChangeKind.ADD, page, place)
            for page in sorted(found.staged)
            for place in _flagged_places(found.staged[page])
        )
        return
    store.snapshot.load_comparison(iterate_added(store, run.id, found), iterate_removed(store, sync.id, found))
    if sync.mapping and found.same and (found.staged or found.snapshot):
        store.snapshot.drop_duplicates(lambda: iterate_unchanged(store, sync.id, found))
    yield from store.snapshot.iterate_added(sync.id)
    yield from store.snapshot.iterate_removed(sync.id)
    store.snapshot.clear_comparison()


def pack_batches(entries: Iterator[Entry], counts: Counter[ChangeKind]) -> Iterator[PackedBatch]:
    """Pack the changes, 25 a request, counting them as they pass."""
    for number in count():
        piece = list(islice(entries, BATCH_SIZE))
        if not piece:
            return
        counts.update(one.kind for one in piece)
        yield PackedBatch(number, len(piece), members.pack_entries(piece))


def write_plan(store: Store, sync: Sync, run: Run, found: Differences) -> PlanCounts:
    """Join the two sides and write the batches; part of the caller's transaction."""
    counts: Counter[ChangeKind] = Counter()
    store.batches.delete_batches(run.id)
    store.batches.add_batches(run.id, pack_batches(iterate_changes(store, sync, run, found), counts))
    return PlanCounts(counts[ChangeKind.ADD], counts[ChangeKind.UPDATE], counts[ChangeKind.REMOVE])
