"""The worker process: queues what is due, claims runs, executes them, releases them.

``python -m sync.runner`` works until SIGTERM; ``--once`` executes every due or queued run to its
end. `schedule` only triggers polling, on the monotonic clock; what is due comes from the database.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import schedule

from sync.engine import Clock, RetryPolicy, RunContext, RunExecutor
from sync.errors import CohortSyncError, DatabaseReplaced, DatabaseUnusable, InvalidRequest, KeyUnavailable
from sync.model import Run
from sync.process_identity import process_name
from sync.redaction import redact_logs
from sync.service import Service
from sync.service.alert_worker import start_alert_worker
from sync.settings import Settings
from sync.store import Store
from sync.store.sqlite_errors import (
    DAMAGED_MESSAGE,
    StorageError,
    StorageUnavailable,
    explain_error,
    is_about_the_file,
    is_damage,
)
from sync.vault import Vault, list_key_ids

logger = logging.getLogger(__name__)
WORKER_THREADS = 8  # runs executed at once, so that a small cohort does not wait behind a large one
HEARTBEAT_SECONDS = 2  # seconds between looks at what is due, and between signs of life
POLL_SECONDS = 0.25  # seconds between looks at the queue: Start Sync is picked up within a second
MAX_ONCE_WAIT_SECONDS = 60.0  # seconds; with --once a run that waits longer is left queued
MAX_ONCE_IDLE_SECONDS = 120.0  # seconds --once waits in all with nothing under way; a full disk may last for ever
GLIBC_ARENA_MAX = -8  # the number of M_ARENA_MAX for mallopt (malloc.h of glibc)


def runner_name(env: Mapping[str, str]) -> str:
    """Return a new name: the process, a random part, and the ids of the keys it can open things with."""
    known: tuple[str, ...] = ()
    with suppress(KeyUnavailable):  # the run that needs the key reports it
        known = list_key_ids(env)
    return f"{process_name()}-{'.'.join((uuid.uuid4().hex[:8], *known))}"


class SteadyJob(schedule.Job):
    """A job of the `schedule` package whose time is the monotonic clock's.

    The package compares naive local time, so an hour set back (autumn, a person, NTP) would hold every job up
    for an hour. Only what the package documents is replaced: do, run, should_run and next_run.
    """

    def __init__(self, interval: int, scheduler: SteadyScheduler) -> None:
        super().__init__(interval, scheduler)
        self._steady = scheduler

    @property
    def should_run(self) -> bool:
        """Return whether the job's time has come."""
        return self.next_run is not None and self._steady.now() >= self.next_run

    def do(self, job_func: Callable[..., Any], *args: Any, **kwargs: Any) -> SteadyJob:
        """Schedule the job, first in one interval from now."""
        super().do(job_func, *args, **kwargs)
        self._set_next_run()
        return self

    def run(self) -> Any:
        """Run the job, and again one interval after its end."""
        answer = super().run()  # type: ignore[no-untyped-call]
        self._set_next_run()
        return answer

    def _set_next_run(self) -> None:
        self.next_run = self._steady.now() + timedelta(**{str(self.unit): self.interval})


class SteadyScheduler(schedule.Scheduler):
    """The scheduler of the `schedule` package on the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic

    def now(self) -> datetime:
        """Return the monotonic clock as the kind of time the package compares; its date means nothing."""
        return datetime.fromtimestamp(self._monotonic(), UTC).replace(tzinfo=None)

    def every(self, interval: int = 1) -> SteadyJob:
        """Begin a job that runs at this interval."""
        return SteadyJob(interval, self)


class Runner:
    """One worker process; any number of them share the database."""

    def __init__(
        self,
        env: Mapping[str, str],
        clock: Clock | None = None,
        policy: RetryPolicy | None = None,
        a_minute: int | None = None,
    ) -> None:
        """Work for the data folder that ``env`` names, at its pace unless ``a_minute`` says another."""
        settings = Settings.from_env(env)
        settings.require_numbers()
        if settings.keys:
            Vault(settings.keys)  # one that cannot be a key would pause every sync that is due
        self._env, self._folder = env, settings.data_folder
        self.clock = clock or Clock(time.time, time.sleep)
        self._context = RunContext(
            open_vault=partial(Vault.open, self._folder, env, must_exist=True),
            clock=self.clock,
            policy=policy or RetryPolicy(),
            is_stopping=lambda: self._stopping,
            batches_a_minute=a_minute or settings.batches_a_minute,
            page_size=settings.page_size,
        )
        self._name = runner_name(env)
        self._stopping = False
        self.scheduler = SteadyScheduler(self.clock.monotonic)
        self._problems: dict[str, str] = {}  # what keeps each kind of look from being done now
        self._running: dict[Future[None], int] = {}
        self._alert_worker: threading.Thread | None = None

    def request_stop(self, *_: object) -> None:
        """Ask to stop: what is in flight is settled, runs go on with the next runner.

        A signal may call this at any moment, so it touches no lock: the moment may be one in which the
        interrupted thread holds it (Python's ``signal`` documentation, "Signals and threads").
        """
        self._stopping = True

    def run_forever(self) -> None:
        """Work until asked to stop."""
        with (
            Store.open(self._folder) as store,
            ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="worker") as workers,
        ):
            self.scheduler.every(HEARTBEAT_SECONDS).seconds.do(self._run_guarded, self._heartbeat, store)
            self.scheduler.every().hour.do(self._run_guarded, self._purge_expired, store)
            self._check_database(store)
            self._run_guarded(self._heartbeat, store)
            self._keep_alert_worker()
            self.scheduler.every(HEARTBEAT_SECONDS).seconds.do(self._run_guarded, self._keep_alert_worker)
            logger.info("runner %s works on %s", self._name, self._folder)
            while not self._stopping:
                self.scheduler.run_pending()
                self._run_guarded(self.claim_runs, store, workers)
                time.sleep(POLL_SECONDS)
            workers.shutdown(wait=True)
            self._sign_off(store)

    def run_once(self, only: int | None = None) -> None:
        """Execute every due or queued run (or one) to its end; leave those that wait for minutes."""
        with (
            Store.open(self._folder) as store,
            ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="worker") as workers,
        ):
            self.scheduler.every(HEARTBEAT_SECONDS).seconds.do(self._run_guarded, self._heartbeat, store)
            self._heartbeat(store)
            try:
                self._until_done(store, workers, only)
            finally:
                self.request_stop()  # also after Ctrl-C: what is in flight is settled, and the run let go
                workers.shutdown(wait=True)
                if only is None:
                    self._run_guarded(self._send_alerts, store)
                self._sign_off(store)

    def _until_done(self, store: Store, workers: ThreadPoolExecutor, only: int | None) -> None:
        idle, has_worked = 0.0, False
        while not self._stopping:
            self.scheduler.run_pending()
            if self._running:  # a look that fails is tried again: what is under way goes on
                self._run_guarded(self.claim_runs, store, workers, only)
            else:
                self.claim_runs(store, workers, only)
            if self._running:
                has_worked = True
                wait(self._running, POLL_SECONDS, FIRST_COMPLETED)
            elif has_worked:  # a refresh may be due that waited for the end of a run
                has_worked = False
                self._run_guarded(self._heartbeat, store)
            elif idle < MAX_ONCE_IDLE_SECONDS and self._is_worth_waiting(store, only):
                self.clock.sleep(POLL_SECONDS)
                idle += POLL_SECONDS
            else:
                return

    def _is_worth_waiting(self, store: Store, only: int | None) -> bool:
        """Return whether a run can go on within the minute."""
        soonest = store.runs.next_due_at(only)
        return soonest is not None and soonest <= self.clock.now() + MAX_ONCE_WAIT_SECONDS

    def _check_database(self, store: Store) -> None:
        """Check the file after a runner that did not end properly; InvalidRequest when it is not.

        Reads only: on a full disk the runner starts all the same and waits for space.
        """
        damage = store.maintenance.check_integrity() if store.runners.list_dead_runners() else None
        if damage:
            raise InvalidRequest(DAMAGED_MESSAGE.format(damage))

    def _purge_expired(self, store: Store) -> None:
        """Remove what is past its days."""
        store.rate_limits.delete_old_queries(self.clock.now())
        Service(store, self._env, self.clock.now).admin.purge_expired()

    def _keep_alert_worker(self) -> None:
        """Start the thread of alerts, again when something ended it: nobody else would notice that."""
        if self._alert_worker is None or not self._alert_worker.is_alive():
            if self._alert_worker is not None:
                logger.error("the thread of alerts ended; it is started again")
            self._alert_worker = start_alert_worker(self._env, self.clock.now, self._context.is_stopping)

    def _send_alerts(self, store: Store) -> None:
        """Send what a runner that does not stay found out; what fails is sent by the next one."""
        alerts = Service(store, self._env, self.clock.now).alerts
        deadline = self.clock.monotonic() + MAX_ONCE_WAIT_SECONDS
        alerts.update()
        alerts.deliver(lambda: self.clock.monotonic() > deadline)

    def _heartbeat(self, store: Store) -> None:
        """Record a heartbeat, release what dead runners hold, and queue what is due."""
        for runner in store.runners.list_dead_runners():
            store.runners.remove_runner(runner)
        store.runs.release_dead_leases()
        store.rate_limits.release_dead_queries(self.clock.now())
        store.runners.record_heartbeat(self._name, self.clock.now())
        store.rate_limits.note_time(self.clock.now())
        Service(store, self._env, self.clock.now).syncs.queue_due()

    def claim_runs(self, store: Store, workers: ThreadPoolExecutor, only: int | None = None) -> None:
        """Claim runs while workers are free, as long as the file is the one that was opened."""
        store.require_same_file()
        self._running = {future: run for future, run in self._running.items() if not future.done()}
        while len(self._running) < WORKER_THREADS:
            full, now = self._full_accounts(store), self.clock.now()
            if not store.runs.has_claimable(now, only, full):
                return
            owner = f"{process_name()}-{uuid.uuid4().hex}"
            run = store.runs.claim_run(owner, now, only, full)
            if run is None:
                return
            self._running[workers.submit(self._execute_run, run, owner)] = run.id

    def _full_accounts(self, store: Store) -> tuple[str, ...]:
        """Return the accounts that get no more workers: one with so many runs here as workers are free leaves them to others."""
        accounts = Counter(store.syncs.accounts_of(self._running.values()))
        return tuple(code for code, runs in accounts.items() if runs >= WORKER_THREADS - len(self._running))

    def _execute_run(self, run: Run, owner: str) -> None:
        """Execute one run in a worker thread, with a connection of its own; no exception leaves the thread."""
        logger.info("run %s: begun (%s)", run.id, run.state.value)
        try:
            with Store.open(self._folder) as store:
                RunExecutor(store, run, owner, self._context).execute()
                ended = store.runs.get_run(run.id)
            logger.info("run %s: %s", run.id, ended.state.value if ended else "gone")
        except CohortSyncError as problem:
            logger.error("run %s: %s", run.id, problem)
        except StorageUnavailable as problem:
            logger.error("run %s: the database could not be written (%s); left to its lease", run.id, problem)
        except Exception:
            logger.exception("run %s: unexpected; its lease will end and it is tried again", run.id)

    def _run_guarded(self, job: Callable[..., None], *values: object) -> None:
        """Do a job that may fail without ending the runner: it looks again, and one line says what changed."""
        name = job.__name__
        try:
            job(*values)
        except (DatabaseReplaced, DatabaseUnusable):  # looking again would not bring the file back
            self.request_stop()  # workers settle what is in flight and let go
            raise
        except Exception as problem:
            if isinstance(problem, StorageError) and is_damage(problem):
                self.request_stop()
                raise
            self._begin_trouble(name, problem)
        else:
            self._end_trouble(name)

    def _begin_trouble(self, name: str, problem: Exception) -> None:
        """Log what fails, once while it stays the same, whichever jobs it keeps from being done."""
        text = str(problem) or type(problem).__name__
        known = text in self._problems.values()
        self._problems[name] = text
        if known:
            return
        if isinstance(problem, StorageError):
            logger.error("%s The runner waits until it can work again.", explain_error(problem))
        elif isinstance(problem, CohortSyncError):
            logger.error("the runner cannot look at its work: %s It will look again.", problem)
        else:
            logger.error("the runner could not look at its work; it will look again", exc_info=problem)

    def _end_trouble(self, name: str) -> None:
        text = self._problems.pop(name, None)
        if text is not None and text not in self._problems.values():
            logger.info("over: %s; the runner works again", text)

    def _sign_off(self, store: Store) -> None:
        """Record that this runner stopped; what cannot be written is seen from its process that is gone."""
        try:
            store.runners.remove_runner(self._name)
        except StorageError as problem:
            logger.warning("stopped without noting it: %s", explain_error(problem))


def main(arguments: list[str] | None = None) -> int:
    """Run the worker from the command line; 0 done, 1 refused with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m sync.runner", description="Execute the syncs that are due.")
    parser.add_argument("--once", action="store_true", help="execute what is due or queued, then exit")
    asked = parser.parse_args(arguments)
    try:
        logging.basicConfig(
            level=Settings.from_env(os.environ).log_level, format="%(asctime)s %(levelname)s %(message)s"
        )
        redact_logs()
        runner = Runner(os.environ)
        save_memory()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, runner.request_stop)
        if asked.once:
            runner.run_once()
        else:
            runner.run_forever()
    except CohortSyncError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except StorageError as problem:
        if not is_about_the_file(problem):
            raise
        sys.stderr.write(f"{explain_error(problem)}\n")
        return 1
    return 0


def save_memory() -> None:
    """Let what was imported stay out of the collector's way, and all threads share one heap.

    glibc gives each thread a heap, which keeps what the thread once needed: with four pages at once some 3 MB in all.
    Another C library does as it always does.
    """
    gc.freeze()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(GLIBC_ARENA_MAX, 1)


def exit_immediately(code: int) -> None:
    """End at once, without waiting for a page that Mixpanel may take minutes to send; everything is written."""
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None when it was closed before we began
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    exit_immediately(main())
