"""The database: every SQL statement of Cohort Sync; each write is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from sync.records import RestoreReport
from sync.store.alerts import Alerts
from sync.store.approvals import Approvals
from sync.store.attributes import Attributes
from sync.store.batches import Batches
from sync.store.connections import Connections
from sync.store.database import open_database, read_transaction, write_transaction
from sync.store.drafts import remove_stale_drafts
from sync.store.events import Events
from sync.store.file_identity import DATABASE_FILE, identify_file, require_same_file
from sync.store.known_chunks import KnownChunks
from sync.store.maintenance import Maintenance
from sync.store.open_requests import OpenRequests
from sync.store.people import People
from sync.store.plan_history import PlanHistory
from sync.store.rate_limits import RateLimits
from sync.store.rejections import Rejections
from sync.store.restore import Describe, restore_in_place
from sync.store.run_history import RunHistory
from sync.store.runners import Runners
from sync.store.runs import Runs
from sync.store.safety_lists import SafetyLists
from sync.store.snapshot import Snapshot
from sync.store.staged import StagedPages
from sync.store.syncs import Syncs


class Store:
    """One connection to the database, used by one thread; opening it takes some 2 ms, as SQLite reads the schema then."""

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self._db, self._folder = db, folder
        self._identity = identify_file(folder / DATABASE_FILE)
        self.connections = Connections(db)
        self.syncs = Syncs(db)
        self.runs = Runs(db)
        self.run_history = RunHistory(db)
        self.staged = StagedPages(db)
        self.snapshot = Snapshot(db)
        self.known_chunks = KnownChunks(db)
        self.batches = Batches(db)
        self.rejections = Rejections(db)
        self.attributes = Attributes(db)
        self.plan_history = PlanHistory(db)
        self.open_requests = OpenRequests(db)
        self.approvals = Approvals(db)
        self.people = People(db)
        self.safety_lists = SafetyLists(db)
        self.rate_limits = RateLimits(db)
        self.events = Events(db)
        self.runners = Runners(db)
        self.alerts = Alerts(db)
        self.maintenance = Maintenance(db)

    @classmethod
    def open(cls, folder: Path, wait_seconds: float | None = None) -> Store:
        """Open the data folder's database, created and migrated when needed; raise InvalidRequest if impossible.

        A statement waits so long for a lock of another process, a transaction of this one as long as ever.
        """
        return cls(open_database(folder, wait_seconds), folder)

    def transaction(self) -> AbstractContextManager[None]:
        """Return a context for writes that are stored together or not at all; it holds the write lock from the start."""
        return write_transaction(self._db)

    def reading(self) -> AbstractContextManager[None]:
        """Return a context for reads that see one state of the database, whatever others write meanwhile."""
        return read_transaction(self._db)

    def require_same_file(self) -> None:
        """Raise DatabaseReplaced when the file was moved, deleted or replaced since it was opened."""
        require_same_file(self._folder / DATABASE_FILE, self._identity)

    def restore(self, backup: Path, require_alone: Callable[[], None], describe: Describe) -> RestoreReport:
        """Replace the content by a backup's, all or nothing; raise InvalidRequest, and change nothing, for another file."""
        return restore_in_place(self._db, self._folder, backup, require_alone, describe)

    def remove_stale_drafts(self) -> None:
        """Delete what killed restores left in the folder."""
        remove_stale_drafts(self._folder)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
