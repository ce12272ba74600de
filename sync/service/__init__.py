"""What a person can ask for: one service under the pages, the CLI and the runner's beat."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from types import TracebackType

from sync.access import Grade, Person, needs, operator
from sync.errors import Refused
from sync.model import RunState, Sync, SyncState
from sync.service.base import data_folder
from sync.service.connecting import Connecting
from sync.service.keeping import Keeping
from sync.service.wishing import Wishing
from sync.store import DAMAGED, DamagedFile, StorageTrouble, Store
from sync.views import Health

__all__ = ["Service", "data_folder"]


class Service(Connecting, Wishing, Keeping):
    """Everything pages and CLI can do; opened for one click and closed again."""

    @classmethod
    def open(cls, env: Mapping[str, str] | None = None, person: Person | None = None) -> Service:
        """Open on the data folder the environment names, for a person; Refused when it cannot be used."""
        env = os.environ if env is None else env
        return cls(Store.open(data_folder(env)), env, person=person or operator())

    @needs(Grade.VIEWER)
    def health(self) -> Health:
        """Whether the companion process works, and what needs a person."""
        now = self._now()
        runners, seen = self._store.history.runners(now)
        due, oldest, held = self._store.runs.waiting(now)
        syncs = self._store.syncs.views()
        paused = tuple(one for one in syncs if one.state is SyncState.PAUSED)
        failed = tuple(
            one
            for one in syncs
            if one.state is SyncState.ACTIVE and one.last_run and one.last_run.state is RunState.FAILED
        )
        queries = tuple(
            (one.view.id, self._store.meters.left(one.view.id, now)) for one in self._store.connections.projects()
        )
        free = shutil.disk_usage(data_folder(self._env)).free
        return Health(
            seen, runners, due, oldest, held, paused, failed, queries, self._store.rejections.active_count(), free, now
        )

    @needs(Grade.ADMIN)
    def queue_due(self) -> int:
        """Queue a run for every dynamic sync whose beat has come; tell how many."""
        now = self._now()
        if not self._store.syncs.due(now):
            return 0
        with self._store.transaction():  # looked at once more inside: one may have been paused in between
            return sum(self._queue(sync, now) for sync in self._store.syncs.due(now))

    def _queue(self, sync: Sync, now: float) -> bool:
        # A beat farther away than the interval means the clock was set back: only move it.
        come = sync.next_run_at is not None and sync.next_run_at <= now
        run_id = self._store.runs.enqueue(sync.id, "refresh", now) if come else None
        self._store.syncs.beat(sync, now)
        if run_id is not None:
            self._tell("The refresh is due.", sync.id, run_id)
        return run_id is not None

    def close(self) -> None:
        """Let the database go."""
        self._store.close()

    def __enter__(self) -> Service:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened; trouble with the file becomes a sentence for whoever asked."""
        self.close()
        if type(error) is DamagedFile:
            raise Refused(DAMAGED.format(error)) from error
        if isinstance(error, StorageTrouble):
            raise Refused(
                f"The database could not be read or written ({error}); is the disk full, or the file locked? "
                "Nothing was half-written; try again."
            ) from error
