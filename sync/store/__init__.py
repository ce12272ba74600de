"""Everything Cohort Sync remembers: every SQL statement, each write one transaction."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from sync.store.attributes import Attributes
from sync.store.batches import Batches
from sync.store.connections import Connections
from sync.store.database import connect, immediate
from sync.store.file_identity import DATABASE_FILE, FileIdentity, require_same_file
from sync.store.history import History
from sync.store.housekeeping import Housekeeping
from sync.store.meters import Meters
from sync.store.rejections import Rejections
from sync.store.restoring import remove_stale_drafts, restore_in_place
from sync.store.runs import Runs
from sync.store.snapshot import Snapshot
from sync.store.staged import Staged
from sync.store.syncs import Syncs
from sync.store.trouble import DAMAGED, StorageError, StorageTrouble, explain, is_about_the_file, is_damage

__all__ = ["DAMAGED", "StorageError", "StorageTrouble", "Store", "explain", "is_about_the_file", "is_damage"]


class Store:
    """One connection to the shared state; belongs to one thread, costs a tenth of a millisecond."""

    def __init__(self, plain: sqlite3.Connection, folder: Path) -> None:
        """Group the statements by what they are about."""
        self._plain, self._folder = plain, folder
        self._identity = FileIdentity.of(folder / DATABASE_FILE)
        self.connections = Connections(plain)
        self.syncs = Syncs(plain)
        self.runs = Runs(plain)
        self.staged = Staged(plain)
        self.snapshot = Snapshot(plain)
        self.batches = Batches(plain)
        self.rejections = Rejections(plain)
        self.attributes = Attributes(plain)
        self.meters = Meters(plain)
        self.history = History(plain)
        self.housekeeping = Housekeeping(plain)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the data folder's database, created and migrated when needed; Refused if impossible."""
        return cls(connect(folder), folder)

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, with the write lock held from the start."""
        return immediate(self._plain)

    def require_same_file(self) -> None:
        """Raise DatabaseReplaced when the file was moved, deleted or replaced since it was opened."""
        require_same_file(self._folder / DATABASE_FILE, self._identity)

    def restore(self, backup: Path) -> None:
        """Replace everything by a backup, all or nothing; Refused, and nothing changed, when it is none of ours."""
        restore_in_place(self._plain, self._folder, backup)

    def remove_stale_drafts(self) -> int:
        """Delete what killed restores left in the folder; return how many files."""
        return remove_stale_drafts(self._folder)

    def shrink(self) -> None:
        """Give the space of deleted rows back to the disk."""
        self.housekeeping.settle_file()

    def close(self) -> None:
        """Let the file go."""
        self._plain.close()

    def __enter__(self) -> Store:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()
