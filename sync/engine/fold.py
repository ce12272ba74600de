"""Move what a run told (and what it may have told) into the snapshot, when the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from sync import members
from sync.members import Entry
from sync.model import ChangeKind
from sync.store import Store
from sync.store.batches import DeliveryLogWriter
from sync.store.contents import Contents

CONFIRMED, IN_FLIGHT = 1, 2  # how someone stands in the new snapshot
SMALL, SMALL_MOST = 512, 16  # chunks of fewer people are joined when there are more of them than this

MarkedMember = tuple[bytes, str]  # mark, user id


@dataclass(slots=True)
class Outcome:
    """What becomes of the places: a byte each, so a million changes take a megabyte or two."""

    leave: dict[int, bytearray] = field(default_factory=dict)
    join: dict[int, bytearray] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    delivered: int = 0
    rejected: int = 0

    def drop(self, entry: Entry) -> None:
        """Someone leaves their place in a chunk."""
        _set_flag(self.leave, entry.chunk, entry.at, 1)

    def take(self, entry: Entry, how: int) -> None:
        """Someone of a page comes into the snapshot."""
        _set_flag(self.join, entry.page, entry.place, how)


def fold_run(store: Store, sync_id: int, run_id: int) -> tuple[int, int]:
    """Fold a run's batches into the snapshot and the history, and count whom WebEngage took and whom it rejected.

    Part of the caller's transaction.

    Settled changes become known, those in doubt become doubts, rejected and unsent ones leave what
    was there. When everything was told, the pages simply become the chunks, so that the next
    refresh can see at a glance that nothing changed. Pages and batches are gone afterwards.
    """
    everything = store.snapshot.is_all_confirmed(run_id)
    outcome = _read_outcome(store, sync_id, run_id)
    counts = outcome.delivered, outcome.rejected
    if everything:
        store.snapshot.replace_with_pages(sync_id, run_id)
        outcome = Outcome()
    store.batches.delete_batches(run_id)
    for chunk, flags in outcome.leave.items():
        _shrink_chunk(store, sync_id, chunk, flags)
    _write_chunks(store, sync_id, _added_members(store, sync_id, run_id, outcome))
    store.staged.delete_pages(run_id)
    _merge_small_chunks(store, sync_id)
    store.snapshot.set_size(sync_id, store.snapshot.count_members(sync_id))
    return counts


def _read_outcome(store: Store, sync_id: int, run_id: int) -> Outcome:
    """Read every batch once; positions are looked up before anything moves."""
    found, rejected = Outcome(), store.batches.rejected_entries(run_id)
    contents = store.open_contents(sync_id, run_id)
    history = DeliveryLogWriter(store.batches, run_id, members.CHUNK)
    for batch in store.batches.iterate_batches(run_id):
        for entry in members.unpack_entries(batch.entries):
            history.add_member(entry.kind, batch.state, contents.get_user_id(entry))
            if entry in rejected:
                found.rejected += 1
            else:
                _apply_entry(found, entry, batch.state, contents)
    history.flush_lists()
    return found


def _apply_entry(found: Outcome, entry: Entry, state: str, contents: Contents) -> None:
    if state == "pending":
        return
    found.delivered += state == "confirmed"
    if entry.kind is not ChangeKind.ADD:
        found.drop(entry)
    if entry.kind is not ChangeKind.REMOVE:
        found.take(entry, CONFIRMED if state == "confirmed" else IN_FLIGHT)
    elif state == "in_flight":
        found.doubtful.append(contents.get_user_id(entry))


def _set_flag(where: dict[int, bytearray], group: int, place: int, value: int) -> None:
    flags = where.setdefault(group, bytearray())
    if len(flags) <= place:
        flags.extend(bytes(place + 1 - len(flags)))
    flags[place] = value


def _shrink_chunk(store: Store, sync_id: int, number: int, flags: bytearray) -> None:
    """Write a chunk without those who left their place."""
    marks, ids = store.snapshot.get_chunk(sync_id, number)
    flags.extend(bytes(len(marks) // members.MARK_SIZE - len(flags)))
    people = zip(flags, members.split_marks(marks), members.unpack_ids(ids), strict=True)
    _put_chunk(store, sync_id, number, [(mark, user_id) for left, mark, user_id in people if not left])


def _put_chunk(store: Store, sync_id: int, number: int, people: list[MarkedMember]) -> None:
    """Write a chunk, or none when nobody is in it."""
    if not people:
        store.snapshot.delete_chunk(sync_id, number)
        return
    people.sort()
    store.snapshot.put_chunk(
        sync_id,
        number,
        members.join_marks(mark for mark, _ in people),
        members.pack_list([user_id for _, user_id in people]),
    )


def _added_members(store: Store, sync_id: int, run_id: int, outcome: Outcome) -> Iterator[MarkedMember]:
    """Those who come in, page by page; a page of which everyone came becomes a chunk as it is."""
    for page, flags in outcome.join.items():
        opened = store.open_contents(sync_id, run_id).get_page(page)
        if flags.count(CONFIRMED) == len(opened.ids):
            store.snapshot.adopt_page(sync_id, _next_number(store, sync_id), run_id, page)
        else:
            yield from _flagged_members(flags, members.split_marks(opened.marks), opened.ids)
        store.staged.delete_page(run_id, page)
    yield from ((members.IN_FLIGHT_MARK, user_id) for user_id in outcome.doubtful)


def _flagged_members(flags: bytearray, marks: tuple[bytes, ...], ids: list[str]) -> Iterator[MarkedMember]:
    for how, mark, user_id in zip(flags, marks, ids, strict=False):
        if how:
            yield (mark if how == CONFIRMED else members.IN_FLIGHT_MARK), user_id


def _write_chunks(store: Store, sync_id: int, people: Iterable[MarkedMember]) -> None:
    """Write people as new chunks of 4,096."""
    waiting = iter(people)
    while chunk := list(islice(waiting, members.CHUNK)):
        _put_chunk(store, sync_id, _next_number(store, sync_id), chunk)


def _next_number(store: Store, sync_id: int) -> int:
    return store.snapshot.last_chunk_number(sync_id) + 1


def _merge_small_chunks(store: Store, sync_id: int) -> None:
    """Join the small chunks that many small refreshes leave behind."""
    small = store.snapshot.list_small_chunks(sync_id, SMALL)
    if len(small) > SMALL_MOST:
        people = list(chain.from_iterable(_drop_chunk(store, sync_id, number) for number in small))
        _write_chunks(store, sync_id, people)


def _drop_chunk(store: Store, sync_id: int, number: int) -> Iterator[MarkedMember]:
    marks, ids = store.snapshot.get_chunk(sync_id, number)
    store.snapshot.delete_chunk(sync_id, number)
    return zip(members.split_marks(marks), members.unpack_ids(ids), strict=True)
