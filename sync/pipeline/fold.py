"""Move what a run told (and what it may have told) into the snapshot, when the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from sync import members
from sync.members import Entry
from sync.model import Kind
from sync.store import Store
from sync.store.batches import History
from sync.store.contents import Contents

KNOWN, DOUBTFUL = 1, 2  # how someone stands in the new snapshot
SMALL, SMALL_MOST = 512, 16  # chunks of fewer people are joined when there are more of them than this

Person = tuple[bytes, str]  # mark, user id


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
        _set(self.leave, entry.chunk, entry.at, 1)

    def take(self, entry: Entry, how: int) -> None:
        """Someone of a page comes into the snapshot."""
        _set(self.join, entry.page, entry.place, how)


def fold(store: Store, sync_id: int, run_id: int) -> tuple[int, int]:
    """Fold a run's batches into the snapshot and the history, and count whom WebEngage took and whom it rejected.

    Part of the caller's transaction.

    Settled changes become known, those in doubt become doubts, rejected and unsent ones leave what
    was there. When everything was told, the pages simply become the chunks, so that the next
    refresh can see at a glance that nothing changed. Pages and batches are gone afterwards.
    """
    everything = store.snapshot.all_told(run_id)
    outcome = _outcome(store, sync_id, run_id)
    counts = outcome.delivered, outcome.rejected
    if everything:
        store.snapshot.become(sync_id, run_id)
        outcome = Outcome()
    store.batches.clear(run_id)
    for chunk, flags in outcome.leave.items():
        _shorten(store, sync_id, chunk, flags)
    _write(store, sync_id, _joining(store, sync_id, run_id, outcome))
    store.staged.clear(run_id)
    _tidy(store, sync_id)
    store.snapshot.resized(sync_id, store.snapshot.size(sync_id))
    return counts


def _outcome(store: Store, sync_id: int, run_id: int) -> Outcome:
    """Read every batch once; positions are looked up before anything moves."""
    found, rejected = Outcome(), store.batches.rejected(run_id)
    contents = store.contents(sync_id, run_id)
    history = History(store.batches, run_id, members.CHUNK)
    for batch in store.batches.all(run_id):
        for entry in members.unpack_entries(batch.entries):
            history.add(entry.kind, batch.state, contents.user_id(entry))
            if entry in rejected:
                found.rejected += 1
            else:
                _stand(found, entry, batch.state, contents)
    history.flush()
    return found


def _stand(found: Outcome, entry: Entry, state: str, contents: Contents) -> None:
    if state == "pending":
        return
    found.delivered += state == "settled"
    if entry.kind is not Kind.ENTER:
        found.drop(entry)
    if entry.kind is not Kind.EXIT:
        found.take(entry, KNOWN if state == "settled" else DOUBTFUL)
    elif state == "doubt":
        found.doubtful.append(contents.user_id(entry))


def _set(where: dict[int, bytearray], group: int, place: int, value: int) -> None:
    flags = where.setdefault(group, bytearray())
    if len(flags) <= place:
        flags.extend(bytes(place + 1 - len(flags)))
    flags[place] = value


def _shorten(store: Store, sync_id: int, number: int, flags: bytearray) -> None:
    """Write a chunk without those who left their place."""
    marks, ids = store.snapshot.chunk(sync_id, number)
    flags.extend(bytes(len(marks) // members.MARK_SIZE - len(flags)))
    people = zip(flags, members.split_marks(marks), members.unpack_ids(ids), strict=True)
    _put(store, sync_id, number, [(mark, user_id) for left, mark, user_id in people if not left])


def _put(store: Store, sync_id: int, number: int, people: list[Person]) -> None:
    """Write a chunk, or none when nobody is in it."""
    if not people:
        store.snapshot.drop(sync_id, number)
        return
    people.sort()
    store.snapshot.put(
        sync_id,
        number,
        members.join_marks(mark for mark, _ in people),
        members.pack([user_id for _, user_id in people]),
    )


def _joining(store: Store, sync_id: int, run_id: int, outcome: Outcome) -> Iterator[Person]:
    """Those who come in, page by page; a page of which everyone came becomes a chunk as it is."""
    for page, flags in outcome.join.items():
        opened = store.contents(sync_id, run_id).page(page)
        if flags.count(KNOWN) == len(opened.ids):
            store.snapshot.adopt(sync_id, _next_number(store, sync_id), run_id, page)
        else:
            yield from _chosen(flags, members.split_marks(opened.marks), opened.ids)
        store.staged.drop(run_id, page)
    yield from ((members.IN_DOUBT, user_id) for user_id in outcome.doubtful)


def _chosen(flags: bytearray, marks: tuple[bytes, ...], ids: list[str]) -> Iterator[Person]:
    for how, mark, user_id in zip(flags, marks, ids, strict=False):
        if how:
            yield (mark if how == KNOWN else members.IN_DOUBT), user_id


def _write(store: Store, sync_id: int, people: Iterable[Person]) -> None:
    """Write people as new chunks of 4,096."""
    waiting = iter(people)
    while chunk := list(islice(waiting, members.CHUNK)):
        _put(store, sync_id, _next_number(store, sync_id), chunk)


def _next_number(store: Store, sync_id: int) -> int:
    return store.snapshot.last(sync_id) + 1


def _tidy(store: Store, sync_id: int) -> None:
    """Join the small chunks that many small refreshes leave behind."""
    small = store.snapshot.small(sync_id, SMALL)
    if len(small) > SMALL_MOST:
        people = list(chain.from_iterable(_emptied(store, sync_id, number) for number in small))
        _write(store, sync_id, people)


def _emptied(store: Store, sync_id: int, number: int) -> Iterator[Person]:
    marks, ids = store.snapshot.chunk(sync_id, number)
    store.snapshot.drop(sync_id, number)
    return zip(members.split_marks(marks), members.unpack_ids(ids), strict=True)
