"""Who stands at a position: the pages of a pull and the chunks of a snapshot, a few kept open at a time."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass

from sync import members
from sync.members import Entry
from sync.model import ChangeKind

CACHE_SIZE = 6  # pages and chunks kept open; changes are in their order, so one of each would nearly do


@dataclass(slots=True)
class OpenedGroup:
    """A page or chunk: ids, marks, and the sealed values of a page."""

    ids: list[str]
    marks: bytes
    sealed: bytes | None


class Contents:
    """Reads positions of one run; positions stay valid until the run ends."""

    def __init__(self, db: sqlite3.Connection, sync_id: int, run_id: int) -> None:
        """Read from this run's pages and this sync's chunks."""
        self._db, self._sync_id, self._run_id = db, sync_id, run_id
        self._open: OrderedDict[tuple[str, int], OpenedGroup] = OrderedDict()

    def get_user_id(self, entry: Entry) -> str:
        """The id of the person a change is about."""
        if entry.kind is ChangeKind.REMOVE:
            return self.get_chunk(entry.chunk).ids[entry.at]
        return self.get_page(entry.page).ids[entry.place]

    def get_mark(self, entry: Entry) -> bytes:
        """The mark the person will have when told; that of doubt for someone who left."""
        if entry.kind is ChangeKind.REMOVE:
            return members.IN_FLIGHT_MARK
        start = entry.place * members.MARK_SIZE
        return self.get_page(entry.page).marks[start : start + members.MARK_SIZE]

    def get_page(self, number: int) -> OpenedGroup:
        """A staged page."""
        return self._read_group(
            "select ids, marks, sealed_values from pulled where run_id = ? and page = ?", ("page", number), self._run_id
        )

    def get_chunk(self, number: int) -> OpenedGroup:
        """A snapshot chunk."""
        return self._read_group(
            "select ids, marks, null from snapshot where sync_id = ? and chunk = ?", ("chunk", number), self._sync_id
        )

    def _read_group(self, sql: str, key: tuple[str, int], owner: int) -> OpenedGroup:
        found = self._open.get(key)
        if found is None:
            row = self._db.execute(sql, (owner, key[1])).fetchone()
            found = self._open[key] = OpenedGroup(members.unpack_ids(row[0]), row[1], row[2])
            if len(self._open) > CACHE_SIZE:
                self._open.popitem(last=False)
        return found
