"""Find who changed: marks first, ids only of those who differ, then one join in SQL.

A partition of the marks is compared at a time, so memory does not grow with the cohort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from sync import members
from sync.model import BATCH_SIZE, Kind, Run, Sync
from sync.store import Store
from sync.store.batches import PackedBatch
from sync.vault import Vault

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


def gone(store: Store, sync_id: int, found: Differences) -> Iterator[str]:
    """Those of the snapshot whose mark the pull does not have."""
    for chunk in sorted(found.snapshot):
        ids = members.unpack_ids(store.snapshot.chunk(sync_id, chunk)[1])
        for place in _places(found.snapshot[chunk]):
            yield ids[place]


def _places(flags: bytearray) -> Iterator[int]:
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


@dataclass(frozen=True, slots=True)
class Planned:
    """One change with its mark, on its way into a batch."""

    user_id: str
    kind: Kind
    values: tuple[object, ...]
    mark: bytes


class Changes:
    """The changes of a plan in the order they will be sent, counted as they pass."""

    def __init__(self, store: Store, sync: Sync, run: Run, vault: Vault) -> None:
        """Read from this pull and this snapshot."""
        self._store, self._sync, self._run, self._vault = store, sync, run, vault
        self._page = -1
        self._values: list[list[object]] = []
        self.kinds = {Kind.ENTER: 0, Kind.UPDATE: 0, Kind.EXIT: 0}

    def __iter__(self) -> Iterator[Planned]:
        """Enter and update page by page, then exits."""
        for one in self._store.snapshot.arrivals(self._sync.id):
            kind = Kind.UPDATE if one.known else Kind.ENTER
            self.kinds[kind] += 1
            yield Planned(one.user_id, kind, self._values_at(one.page, one.place), one.mark)
        for user_id in self._store.snapshot.departures(self._sync.id):
            self.kinds[Kind.EXIT] += 1
            yield Planned(user_id, Kind.EXIT, (), members.IN_DOUBT)

    def _values_at(self, page: int, place: int) -> tuple[object, ...]:
        if not self._sync.mapping:
            return ()
        if page != self._page:
            sealed = self._store.staged.page(self._run.id, page)[1]
            self._page, self._values = page, orjson.loads(self._vault.open_bytes(sealed)) if sealed else []
        return tuple(self._values[place]) if self._values else ()


def batches(changes: Changes, vault: Vault) -> Iterator[PackedBatch]:
    """Pack the changes, 25 a request."""
    waiting: list[Planned] = []
    number = 0
    for change in changes:
        waiting.append(change)
        if len(waiting) == BATCH_SIZE:
            yield _packed(number, waiting, vault)
            number, waiting = number + 1, []
    if waiting:
        yield _packed(number, waiting, vault)


def _packed(number: int, changes: list[Planned], vault: Vault) -> PackedBatch:
    told = members.pack_people([c.user_id for c in changes], [c.kind.value for c in changes])
    values = [c.values for c in changes]
    sealed = vault.seal_bytes(orjson.dumps(values)) if any(values) else None
    return PackedBatch(number, len(changes), told, members.join_marks(c.mark for c in changes), sealed)


def write_plan(store: Store, sync: Sync, run: Run, vault: Vault, found: Differences) -> Counts:
    """Join the two sides and write the batches; part of the caller's transaction."""
    store.snapshot.compare(came(store, run.id, found), gone(store, sync.id, found))
    changes = Changes(store, sync, run, vault)
    store.batches.clear(run.id)
    store.batches.add(run.id, batches(changes, vault))
    store.snapshot.compared()
    return Counts(changes.kinds[Kind.ENTER], changes.kinds[Kind.UPDATE], changes.kinds[Kind.EXIT])
