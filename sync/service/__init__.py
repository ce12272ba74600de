"""The service under the pages, the command line and the runner: every request a person can make."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from sync.errors import DatabaseUnusable, InvalidRequest
from sync.model import SyncState
from sync.permissions import RUNNER_ACTOR, AccessLevel, Actor, check_level, command_line_actor, requires
from sync.records import RestoreReport, RunnerState
from sync.service.admin import AdminService, describe_restore
from sync.service.alerts import AlertService
from sync.service.base import ServiceState
from sync.service.cohorts import CohortService
from sync.service.configuration import ConfigurationService
from sync.service.connections import ConnectionService
from sync.service.guards import GuardService
from sync.service.hourly_fit import HourlyFitService
from sync.service.members import MemberService
from sync.service.overdue import ends_by_itself, find_overdue
from sync.service.overview import OverviewService
from sync.service.people import PeopleService
from sync.service.properties import PropertyService
from sync.service.receipts import ReceiptService
from sync.service.runs import RunService
from sync.service.safety import SafetyService
from sync.service.syncs import SyncService
from sync.settings import Settings
from sync.store import Store
from sync.store.restore import replace_unusable
from sync.store.sqlite_errors import StorageError, explain_error, is_about_the_file, is_damage
from sync.views import Health

__all__ = ["Service"]


class Service:
    """Everything pages and commands can do, by topic; opened for one click or command and closed after it.

    ``connections``, ``cohorts``, ``members``, ``properties``, ``runs``, ``syncs``, ``overview``, ``guards``, ``safety``,
    ``people``, ``receipts``, ``configuration``, ``hourly_fit``, ``alerts`` and ``admin`` hold the requests. Each names the
    access level it needs.
    """

    def __init__(
        self, store: Store, env: Mapping[str, str], now: Callable[[], float] = time.time, actor: Actor = RUNNER_ACTOR
    ) -> None:
        """Work on this store, with the settings of ``env`` and a clock (seconds since 1970), for this actor."""
        state = ServiceState(store, env, now, actor)
        self._state = state
        self.connections = ConnectionService(state)
        self.cohorts = CohortService(state)
        self.members = MemberService(state, cohorts=self.cohorts)
        self.properties = PropertyService(state, cohorts=self.cohorts)
        self.guards = GuardService(state)
        self.safety = SafetyService(state, cohorts=self.cohorts)
        self.people = PeopleService(state)
        self.receipts = ReceiptService(state, cohorts=self.cohorts)
        self.runs = RunService(state, guards=self.guards)
        self.syncs = SyncService(state, cohorts=self.cohorts, runs=self.runs)
        self.configuration = ConfigurationService(
            state, connections=self.connections, guards=self.guards, safety=self.safety, syncs=self.syncs
        )
        self.hourly_fit = HourlyFitService(state)
        self.alerts = AlertService(state, check_health=self.check_health)
        self.admin = AdminService(state)
        self.overview = OverviewService(state)

    @property
    def actor(self) -> Actor:
        """Return who asks."""
        return self._state.actor

    @classmethod
    def open(
        cls,
        env: Mapping[str, str] | None = None,
        actor: Actor | None = None,
        wait_seconds: float | None = None,
    ) -> Service:
        """Open the data folder of ``env`` (default: this process) for an actor (default: the command line's).

        What is read waits so long for a lock of another process. Raise InvalidRequest when the folder or its
        database cannot be used.
        """
        env = os.environ if env is None else env
        store = Store.open(Settings.from_env(env).data_folder, wait_seconds)
        return cls(store, env, actor=actor or command_line_actor())

    @classmethod
    def restore_database(
        cls, file: Path, env: Mapping[str, str] | None = None, actor: Actor | None = None
    ) -> RestoreReport:
        """Replace the database by a backup, also when it cannot be opened; return what was kept, paused or set aside.

        Raise InvalidRequest, and change nothing, when the backup cannot be used or another process works on the
        database. Killed half-way, the former content is there, or no database is and every open says so.
        """
        env, actor = os.environ if env is None else env, actor or command_line_actor()
        check_level(actor, AccessLevel.ADMIN)
        try:
            with cls.open(env, actor) as service:
                return cls._restore_readable(service, file)
        except DatabaseUnusable:
            describe = partial(describe_restore, file, actor, time.time())
            return replace_unusable(Settings.from_env(env).data_folder, file, describe)

    @staticmethod
    def _restore_readable(service: Service, file: Path) -> RestoreReport:
        """Restore into the open database; raise DatabaseUnusable when its own tables turn out to be damaged."""
        try:
            return service.admin.restore(file)
        except StorageError as problem:
            if not is_damage(problem):
                raise
            raise DatabaseUnusable(explain_error(problem)) from problem

    @requires(AccessLevel.VIEWER)
    def check_health(self) -> Health:
        """Return the state of the runner, and what needs a person."""
        now = self._state.now()
        state, seen, runners = self._state.read_runner_state(now)
        due, oldest = self._state.store.runs.count_waiting(now)
        syncs = self._state.store.syncs.list_views()
        paused = tuple(one for one in syncs if one.state is SyncState.PAUSED and not ends_by_itself(one, now))
        held = ((one, one.last_run) for one in syncs if one.is_held and one.last_run)
        failures = self._state.store.run_history.list_failures(now)
        failed = ((one, failures[one.id]) for one in syncs if one.state is not SyncState.PAUSED and one.id in failures)
        queries = tuple(
            (one.id, self._state.store.rate_limits.queries_left(one.id, now))
            for one in self._state.store.connections.list_projects()
        )
        free = shutil.disk_usage(self._state.settings.data_folder).free
        return Health(
            runner_state=state,
            runner_seen_at=seen,
            runners=runners,
            due=due,
            oldest_due=oldest,
            held=tuple(held),
            paused=paused,
            failed=tuple(failed),
            queries=queries,
            rejected=self._state.store.rejections.count_active(),
            disk_free=free,
            now=now,
            overdue=tuple(find_overdue(self._state.store, syncs, now, working=state is RunnerState.WORKING)),
            not_cleared=tuple(one for one in syncs if one.clear_failed),
            not_notified=self._state.store.alerts.list_unreachable(now),
        )

    def close(self) -> None:
        """Close the database."""
        self._state.store.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; raise InvalidRequest with a sentence for the person when the database file caused the error."""
        self.close()
        if isinstance(error, StorageError) and is_about_the_file(error):
            raise InvalidRequest(explain_error(error)) from error
