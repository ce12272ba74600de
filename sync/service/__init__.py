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
from sync.service.overdue import overdue_syncs
from sync.service.wishing import Wishing
from sync.store import StorageError, Store, explain, is_about_the_file, is_damage
from sync.store.restoring import replace_unusable
from sync.views import Health, Overdue, RunnerState

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
        state, seen, runners = self._runners(now)
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
            runner_state=state,
            runner_seen=seen,
            runners=runners,
            due=due,
            oldest_due=oldest,
            held=held,
            paused=paused,
            failed=failed,
            queries=queries,
            rejected=self._store.rejections.active_count(),
            disk_free=free,
            now=now,
            overdue=tuple(overdue_syncs(self._store, syncs, now, working=state is RunnerState.WORKING)),
            not_cleared=tuple(one for one in syncs if one.clear_failed),
        )

    def _runners(self, now: float) -> tuple[RunnerState, float | None, int]:
        """Return what the heartbeats say together, when the newest of that kind was, and how many runners work."""
        beats = self._store.history.heartbeats(now)
        for state in (RunnerState.WORKING, RunnerState.UNKNOWN, RunnerState.SILENT):
            found = [one.seen_at for one in beats if one.state is state]
            if found:
                return state, found[0], len(found) if state is RunnerState.WORKING else 0
        return RunnerState.NONE, None, 0

    @needs(Grade.VIEWER)
    def overdue(self, sync_id: int | None = None) -> tuple[Overdue, ...]:
        """Return the syncs (or one of them) whose time has passed, with since when and why."""
        now = self._now()
        working = self._runners(now)[0] is RunnerState.WORKING
        return tuple(overdue_syncs(self._store, self._store.syncs.views(sync_id=sync_id), now, working=working))

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
