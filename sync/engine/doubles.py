"""Distinguish members from people when a profile property is the User ID: two members may be one person.

The same member listed twice (Mixpanel's pages shifted while they were read) and two members with one User ID (a double)
are different things: only the first means that somebody else may be missing. Who changed between two pages may be listed
once as a member who is exported, and once as one who is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sync.model import Run, Sync
from sync.packing import MEMBER_SIZE, split_entries, split_hashes
from sync.store import Store

MEMBERS_AT_ONCE = 262_144  # hashes of members held at a time: some 20 MB


def pick_records(entries: bytes | bytearray) -> set[bytes]:
    """Return one record for each person: of several members, always that one's whose hash is the lowest."""
    contents: dict[bytes, bytes] = {}
    for who, _, content in sorted(split_entries(entries)):
        contents.setdefault(who, content)
    return {who + content for who, content in contents.items()}


def count_members(read_entries: Callable[[], Iterator[bytes]], rows: int) -> int:
    """Return how many different members the entries of some pages name; the pages are read once for each 262,144 rows."""
    pieces = rows // MEMBERS_AT_ONCE + 1
    return sum(len(_list_members(read_entries(), piece, pieces)) for piece in range(pieces))


def count_in_both(store: Store, run: Run, sync: Sync) -> int:
    """Return how many members a run's last reading lists among those who are exported and among the others, too.

    Raise PagesOutdated when a known chunk it has is gone.
    """
    others, found = store.staged.list_others(run.id, run.reading), set[bytes]()
    if sync.id_property:
        members = {one[:MEMBER_SIZE] for one in others}
        for reading, entries in store.staged.members(run.id):
            if reading == run.reading:
                found.update(member for _, member, _ in split_entries(entries) if member in members)
        return len(found)
    for reading, records in store.staged.pages(run.id):
        if reading == run.reading:
            found |= others.intersection(split_hashes(records))
    for records in store.known_chunks.records(sync.id, store.staged.list_seen(run.id, run.reading)):
        found |= others.intersection(split_hashes(records))
    return len(found)


def _list_members(pages: Iterator[bytes], piece: int, pieces: int) -> set[bytes]:
    """Return the hashes of the members that belong to a piece, by their last bytes."""
    last = MEMBER_SIZE // 2
    return {
        member
        for entries in pages
        for _, member, _ in split_entries(entries)
        if pieces == 1 or int.from_bytes(member[last:]) % pieces == piece
    }
