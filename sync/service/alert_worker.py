"""The thread that looks for alerts and sends them: one in each runner, and one in the pages' process as its watch.

Everything it does is bounded: a send takes a minute at most. It is a daemon thread, so the process ends without
waiting for it; what it was sending is sent again by the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from sync.errors import CohortSyncError
from sync.records import RunnerState
from sync.service import Service
from sync.settings import Settings
from sync.store import Store
from sync.store.file_identity import DATABASE_FILE
from sync.store.sqlite_errors import StorageError
from sync.views import Health

logger = logging.getLogger(__name__)
LOOK_SECONDS = 3.0  # seconds between two looks for alerts and messages
SENDING_SECONDS = 30.0  # seconds of sending before the next look: receivers that stall must not hide a new alert
SILENCE_SECONDS = 120.0  # seconds without a runner before it is an alert; a restart takes less
_watches: dict[str, threading.Thread] = {}
_watches_lock = threading.Lock()


def start_alert_worker(
    env: Mapping[str, str], now: Callable[[], float], is_stopping: Callable[[], bool]
) -> threading.Thread:
    """Start the thread of a runner and return it: it updates alerts and sends messages until the runner stops."""

    def look(service: Service) -> None:
        deadline = time.monotonic() + SENDING_SECONDS
        service.alerts.update()
        service.alerts.deliver(lambda: is_stopping() or time.monotonic() > deadline)

    thread = threading.Thread(target=_look_forever, args=(env, now, is_stopping, look), name="alerts", daemon=True)
    thread.start()
    return thread


def start_runner_watch(env: Mapping[str, str]) -> None:
    """Start the thread that notices a silent runner, once in this process for a data folder; calling it again is free.

    While no runner works it also sends, or nobody would. Several processes may watch: who stores the alert first
    does so alone, and a recipient is leased to one sender.
    """
    folder = str(Settings.from_env(env).data_folder.absolute())
    with _watches_lock:
        known = _watches.get(folder)
        if known is None or not known.is_alive():
            watch = RunnerWatch()
            _watches[folder] = thread = threading.Thread(
                target=_look_forever,
                args=(dict(env), time.time, lambda: False, watch.look),
                name=f"watch {folder}",
                daemon=True,
            )
            thread.start()


class RunnerWatch:
    """Notices that no runner works."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Measure the silence with this clock, which nobody sets."""
        self._monotonic = monotonic
        self._silent_since: float | None = None

    def look(self, service: Service) -> None:
        """Begin the alert after two minutes of silence, and send while it lasts."""
        if not service.alerts.list():
            return
        if not is_runner_missing(service.check_health(), service.alerts.has_dead_runner()):
            self._silent_since = None
            return
        if self._silent_since is None:
            self._silent_since = self._monotonic()
        if self._monotonic() - self._silent_since >= SILENCE_SECONDS:
            service.alerts.begin_silence()
            deadline = self._monotonic() + SENDING_SECONDS
            service.alerts.deliver(lambda: self._monotonic() > deadline)


def is_runner_missing(health: Health, has_died: bool) -> bool:
    """Return whether a runner should work and none does.

    One that was stopped properly is missed when something is due: ``--once`` started by a timer is no silence.
    """
    if health.is_runner_alive:
        return False
    return has_died or health.runner_state is not RunnerState.NONE or bool(health.due or health.overdue)


def _look_forever(
    env: Mapping[str, str],
    now: Callable[[], float],
    is_stopping: Callable[[], bool],
    look: Callable[[Service], None],
) -> None:
    """Look again and again; what fails is logged when it begins, and tried again."""
    problem, folder = "", Settings.from_env(env).data_folder
    while not is_stopping():
        try:
            if (folder / DATABASE_FILE).exists():  # to look makes no database
                with Store.open(folder) as store:
                    look(Service(store, env, now))
            problem = ""
        except Exception as error:  # the thread must not end before its process
            problem = problem if is_stopping() else _log_new(error, problem)
        time.sleep(LOOK_SECONDS)


def _log_new(error: Exception, known: str) -> str:
    """Log what keeps alerts from being sent, unless it is what is known; return it."""
    said = str(error) or type(error).__name__
    if said != known:
        expected = isinstance(error, CohortSyncError | StorageError)
        logger.error("alerts: %s; they are looked at again", said.rstrip("."), exc_info=None if expected else error)
    return said
