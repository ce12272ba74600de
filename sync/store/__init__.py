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
from sync.store.history import History
from sync.store.housekeeping import Housekeeping
from sync.store.meters import Meters
from sync.store.rejections import Rejections
from sync.store.runs import Runs
from sync.store.snapshot import Snapshot
from sync.store.staged import Staged
from sync.store.syncs import Syncs

__all__ = ["DAMAGED", "DamagedFile", "StorageTrouble", "Store"]

StorageTrouble = sqlite3.OperationalError  # a full disk, a locked file: nothing was written
DamagedFile = sqlite3.DatabaseError  # exactly this class, none below it: pages of the file are not what they should be
DAMAGED = (
    "The database is damaged ({}); stop the pages and the runner, then restore a backup "
    "with `python -m sync restore FILE`."
)


class Store:
    """One connection to the shared state; belongs to one thread, costs a tenth of a millisecond."""

    def __init__(self, plain: sqlite3.Connection) -> None:
        """Group the statements by what they are about."""
        self._plain = plain
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
        return cls(connect(folder))

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, with the write lock held from the start."""
        return immediate(self._plain)

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
