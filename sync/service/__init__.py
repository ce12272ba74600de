"""The service under the pages, the command line and the runner: every request a person can make."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.model import Sync, SyncState
from sync.permissions import AccessLevel, Actor, check_level, command_line_actor, requires
from sync.service.admin import AdminService
from sync.service.connections import ConnectionService
from sync.service.overdue import find_overdue
from sync.service.syncs import SyncService
from sync.settings import Settings
from sync.store import StorageError, Store, explain_error, is_about_the_file, is_damage
from sync.store.restore import replace_unusable
from sync.views import Health, Overdue, RunnerState

__all__ = ["Service"]


class Service(ConnectionService, SyncService, AdminService):
    """Everything pages and commands can do; opened for one click or command and closed after it."""

    @classmethod
    def open(cls, env: Mapping[str, str] | None = None, actor: Actor | None = None) -> Service:
        """Open the data folder of ``env`` (default: this process) for an actor (default: the command line's).

        Raise InvalidRequest when the folder or its database cannot be used.
        """
        env = os.environ if env is None else env
        store = Store.open(Settings.from_env(env).data_folder)
        return cls(store, env, actor=actor or command_line_actor())

    @classmethod
    def restore_backup(
        cls, file: Path, env: Mapping[str, str] | None = None, actor: Actor | None = None
    ) -> tuple[str, ...]:
        """Replace the database by a backup, also when it cannot be opened; return the names of files set aside.

        Raise InvalidRequest, and change nothing, when the backup cannot be used or another process works on the
        database. Killed half-way, the former content is there, or no database is and every open says so.
        """
        env, actor = os.environ if env is None else env, actor or command_line_actor()
        check_level(actor, AccessLevel.ADMIN)
        try:
            with cls.open(env, actor) as service:
                cls._restore_readable(service, file)
            return ()
        except DatabaseUnusable:
            kept = replace_unusable(Settings.from_env(env).data_folder, file)
        with cls.open(env, actor) as service:
            service.note_restore(file, kept)
        return kept

    @staticmethod
    def _restore_readable(service: Service, file: Path) -> None:
        """Restore into the open database; raise DatabaseUnusable when its own tables turn out to be damaged."""
        try:
            service.restore_open_database(file)
        except StorageError as problem:
            if not is_damage(problem):
                raise
            raise DatabaseUnusable(explain_error(problem)) from problem

    @requires(AccessLevel.VIEWER)
    def check_health(self) -> Health:
        """Return the state of the runner, and what needs a person."""
        now = self._now()
        state, seen, runners = self._read_runner_state(now)
        due, oldest, held = self._store.runs.count_waiting(now)
        syncs = self._store.syncs.list_views()
        paused = tuple(one for one in syncs if one.state is SyncState.PAUSED)
        with_failed_run = self._store.syncs.with_failed_run()
        failed = tuple(one for one in syncs if one.state is SyncState.ACTIVE and one.id in with_failed_run)
        queries = tuple(
            (one.view.id, self._store.rate_limits.queries_left(one.view.id, now))
            for one in self._store.connections.list_projects()
        )
        free = shutil.disk_usage(self._settings.data_folder).free
        return Health(
            runner_state=state,
            runner_seen_at=seen,
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
            overdue=tuple(find_overdue(self._store, syncs, now, working=state is RunnerState.WORKING)),
            not_cleared=tuple(one for one in syncs if one.clear_failed),
        )

    def _read_runner_state(self, now: float) -> tuple[RunnerState, float | None, int]:
        """Return the best state any runner has, the time of its newest heartbeat, and how many runners work."""
        heartbeats = self._store.runners.list_heartbeats(now)
        for state in (RunnerState.WORKING, RunnerState.UNKNOWN, RunnerState.SILENT):
            found = [one.seen_at for one in heartbeats if one.state is state]
            if found:
                return state, found[0], len(found) if state is RunnerState.WORKING else 0
        return RunnerState.NONE, None, 0

    @requires(AccessLevel.VIEWER)
    def overdue(self, sync_id: int | None = None) -> tuple[Overdue, ...]:
        """Return the late syncs (or the one named, if it is late), each with since when and why."""
        now = self._now()
        working = self._read_runner_state(now)[0] is RunnerState.WORKING
        return tuple(find_overdue(self._store, self._store.syncs.list_views(sync_id=sync_id), now, working=working))

    @requires(AccessLevel.ADMIN)
    def queue_due_syncs(self) -> int:
        """Queue a run for every dynamic sync whose time has come; return the count. All or nothing."""
        now = self._now()
        if not self._store.syncs.list_due(now):
            return 0
        with self._store.transaction():  # read again inside: one may have been paused in between
            return sum(self._queue_sync(sync, now) for sync in self._store.syncs.list_due(now))

    def _queue_sync(self, sync: Sync, now: float) -> bool:
        # A time farther away than the interval means that the clock was set back: only the schedule moves.
        is_due = sync.next_run_at is not None and sync.next_run_at <= now
        run_id = self._store.runs.enqueue_run(sync.id, "refresh", now) if is_due else None
        self._store.syncs.advance_schedule(sync, now)
        if run_id is not None:
            self._add_event("The refresh is due.", sync.id, run_id)
        return run_id is not None

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def __enter__(self) -> Service:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; raise InvalidRequest with a sentence for the person when the database file caused the error."""
        self.close()
        if isinstance(error, StorageError) and is_about_the_file(error):
            raise InvalidRequest(explain_error(error)) from error
