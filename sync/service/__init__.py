"""What a person can ask for: one service under the pages, the CLI and the runner's beat."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from sync.access import Grade, Person, needs, operator, require
from sync.errors import DatabaseUnusable, Refused
from sync.model import RunState, Sync, SyncState
from sync.service.base import data_folder
from sync.service.connecting import Connecting
from sync.service.keeping import Keeping
from sync.service.wishing import Wishing
from sync.store import StorageError, Store, explain, is_about_the_file, is_damage
from sync.store.restoring import replace_unusable
from sync.views import Health

__all__ = ["Service", "data_folder"]


class Service(Connecting, Wishing, Keeping):
    """Everything pages and CLI can do; opened for one click and closed again."""

    @classmethod
    def open(cls, env: Mapping[str, str] | None = None, person: Person | None = None) -> Service:
        """Open on the data folder the environment names, for a person; Refused when it cannot be used."""
        env = os.environ if env is None else env
        return cls(Store.open(data_folder(env)), env, person=person or operator())

    @classmethod
    def restore_backup(
        cls, file: Path, env: Mapping[str, str] | None = None, person: Person | None = None
    ) -> tuple[str, ...]:
        """Go back to a backup, also when the database cannot be opened; return the names of files set aside."""
        env, person = os.environ if env is None else env, person or operator()
        require(person, Grade.ADMIN)
        try:
            with cls.open(env, person) as service:
                cls._restore_readable(service, file)
            return ()
        except DatabaseUnusable:
            kept = replace_unusable(data_folder(env), file)
        with cls.open(env, person) as service:
            service.note_restore(file, kept)
        return kept

    @staticmethod
    def _restore_readable(service: Service, file: Path) -> None:
        """Restore into the open database; DatabaseUnusable when its own tables turn out to be damaged."""
        try:
            service.restore(file)
        except StorageError as problem:
            if not is_damage(problem):
                raise
            raise DatabaseUnusable(explain(problem)) from problem

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
            seen, runners, due, oldest, held, paused, failed, queries, self._store.batches.live_count(), free, now
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
        """Close, whatever happened; trouble with the file becomes a sentence for the person."""
        self.close()
        if isinstance(error, StorageError) and is_about_the_file(error):
            raise Refused(explain(error)) from error
