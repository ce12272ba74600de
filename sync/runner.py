"""The companion process: queues what is due, claims runs, carries them, lets go.

``python -m sync.runner`` works until SIGTERM; ``--once`` carries every due or queued run to its
end. `schedule` only triggers the looks, on the monotonic clock: what is due is a row in the database.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import schedule

from sync.engine import Clock, RetryPolicy, RunContext, RunExecutor
from sync.errors import CohortSyncError, DatabaseReplaced, DatabaseUnusable, Refused, Vaultless
from sync.model import Run
from sync.redaction import guard_logs
from sync.service import Service, data_folder
from sync.store import DAMAGED, StorageError, StorageTrouble, Store, explain, is_about_the_file, is_damage
from sync.store.meters import BATCHES_A_MINUTE, BATCHES_A_MINUTE_MAX
from sync.store.process import identity
from sync.vault import Vault, key_ids

logger = logging.getLogger(__name__)
PACE_VARIABLE = "COHORT_SYNC_BATCHES_A_MINUTE"
PAGE_VARIABLE = "COHORT_SYNC_PAGE_SIZE"
LOG_VARIABLE = "COHORT_SYNC_LOG"
PAGE_SIZE_MAX = 40_000  # the largest anybody names for Mixpanel (Airbyte's connector)
LANES = 8  # runs carried at once, so that a small cohort does not wait behind a large one
BEAT_EVERY = 2  # seconds between looks at what is due, and between signs of life
LOOK_EVERY = 0.25  # seconds between looks at the queue: Start Sync is picked up within a second
WORTH_WAITING = 60.0  # seconds; with --once a run that waits longer is left queued


def pace_of(env: Mapping[str, str]) -> int:
    """Batches a minute for each WebEngage account: 490, or what the environment asks for within WebEngage's 500."""
    return number_of(env, PACE_VARIABLE, BATCHES_A_MINUTE_MAX) or BATCHES_A_MINUTE


def number_of(env: Mapping[str, str], name: str, most: int) -> int | None:
    """A setting between 1 and ``most``, or None when it is not set; Refused when it is something else."""
    text = env.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(f"{name} is “{text[:20]}”; set it to a number from 1 to {most}.")
    return int(text)


def log_level(env: Mapping[str, str]) -> int:
    """How much is logged: INFO, or what the environment names; Refused when that is no level."""
    name = env.get(LOG_VARIABLE, "").strip().upper() or "INFO"
    level = logging.getLevelNamesMapping().get(name)
    if level is None:
        raise Refused(f"{LOG_VARIABLE} is “{name[:20]}”; set it to DEBUG, INFO, WARNING or ERROR.")
    return level


def runner_name(env: Mapping[str, str]) -> str:
    """Return a new name: the process, a random part, and the ids of the keys it can open things with."""
    known: tuple[str, ...] = ()
    with suppress(Vaultless):  # said by the run that needs the key
        known = key_ids(env)
    return f"{identity()}-{'.'.join((uuid.uuid4().hex[:8], *known))}"


class SteadyJob(schedule.Job):
    """A job of the `schedule` package whose time is the monotonic clock's.

    The package compares naive local time, so an hour set back (autumn, a person, NTP) would hold every job up
    for an hour. Only what the package documents is replaced: do, run, should_run and next_run.
    """

    def __init__(self, interval: int, scheduler: SteadyScheduler) -> None:
        """Belong to this scheduler, whose clock is read."""
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
        """Follow this clock."""
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
        self._env, self._a_minute = env, a_minute or pace_of(env)
        self._page_size = number_of(env, PAGE_VARIABLE, PAGE_SIZE_MAX)
        self._folder = data_folder(env)
        self.clock = clock or Clock(time.time, time.sleep)
        self._policy = policy or RetryPolicy()
        self._name = runner_name(env)
        self._stopping = False
        self.beats = SteadyScheduler(self.clock.monotonic)
        self._troubles: dict[str, str] = {}  # what keeps each kind of look from being done now
        self._flying: dict[Future[None], int] = {}

    def stop(self, *_: object) -> None:
        """Ask to stop: what is in flight is settled, runs go on with the next runner.

        A signal may call this at any moment, so it touches no lock: the moment may be one in which the
        interrupted thread holds it (Python's ``signal`` documentation, "Signals and threads").
        """
        self._stopping = True

    def _is_stopping(self) -> bool:
        return self._stopping

    def work(self) -> None:
        """Work until asked to stop."""
        with Store.open(self._folder) as store, ThreadPoolExecutor(LANES, thread_name_prefix="lane") as lanes:
            self.beats.every(BEAT_EVERY).seconds.do(self._guarded, self._beat, store)
            self.beats.every().hour.do(self._guarded, self._tidy, store)
            self._check_file(store)
            self._guarded(self._beat, store)
            logger.info("runner %s works on %s", self._name, self._folder)
            while not self._stopping:
                self.beats.run_pending()
                self._guarded(self._fill, store, lanes)
                time.sleep(LOOK_EVERY)
            lanes.shutdown(wait=True)
            self._leave(store)

    def once(self, only: int | None = None) -> None:
        """Carry every due or queued run (or one) to its end; leave those that wait for minutes."""
        with Store.open(self._folder) as store, ThreadPoolExecutor(LANES, thread_name_prefix="lane") as lanes:
            self.beats.every(BEAT_EVERY).seconds.do(self._beat, store)
            self._beat(store)
            try:
                self._until_done(store, lanes, only)
            finally:
                self.stop()  # also after Ctrl-C: what is in flight is settled, and the run let go
                lanes.shutdown(wait=True)
                self._leave(store)

    def _until_done(self, store: Store, lanes: ThreadPoolExecutor, only: int | None) -> None:
        while not self._stopping:
            self.beats.run_pending()
            self._fill(store, lanes, only)
            if not self._flying and not self._worth_waiting(store, only):
                return
            wait(self._flying, LOOK_EVERY, FIRST_COMPLETED) if self._flying else time.sleep(LOOK_EVERY)

    def _worth_waiting(self, store: Store, only: int | None) -> bool:
        """Whether a run can go on within the minute."""
        if only is None:
            soonest = store.runs.soonest()
        else:
            run = store.runs.get(only)
            soonest = run.not_before if run and not run.state.over and run.state.value != "held" else None
        return soonest is not None and soonest <= self.clock.now() + WORTH_WAITING

    def _check_file(self, store: Store) -> None:
        """After a runner that did not say goodbye, look whether the file is whole; Refused when it is not.

        Reads only: on a full disk the runner starts all the same and waits for space.
        """
        damage = store.housekeeping.integrity() if store.history.dead_runners() else None
        if damage:
            raise Refused(DAMAGED.format(damage))

    def _tidy(self, store: Store) -> None:
        """Remove what is past its days."""
        store.meters.forget_old(self.clock.now())
        Service(store, self._env, self.clock.now).purge()

    def _beat(self, store: Store) -> None:
        """Say that we live, free what dead runners hold, and queue what is due."""
        for runner in store.history.dead_runners():
            store.history.gone(runner)
        store.runs.bury()
        store.meters.bury(self.clock.now())
        store.history.alive(self._name, self.clock.now())
        Service(store, self._env, self.clock.now).queue_due()

    def _fill(self, store: Store, lanes: ThreadPoolExecutor, only: int | None = None) -> None:
        """Claim runs while lanes are free, as long as the file is the one that was opened."""
        store.require_same_file()
        self._flying = {future: run for future, run in self._flying.items() if not future.done()}
        while len(self._flying) < LANES:
            full, now = self._full_accounts(store), self.clock.now()
            if not store.runs.claimable(now, only, full):
                return
            owner = f"{identity()}-{uuid.uuid4().hex}"
            run = store.runs.claim(owner, now, only, full)
            if run is None:
                return
            self._flying[lanes.submit(self._carry, run, owner)] = run.id

    def _full_accounts(self, store: Store) -> tuple[str, ...]:
        """Return the accounts that get no more lanes: one with so many runs here as lanes are free leaves them to others."""
        accounts = Counter(store.syncs.accounts_of(self._flying.values()))
        return tuple(code for code, runs in accounts.items() if runs >= LANES - len(self._flying))

    def _carry(self, run: Run, owner: str) -> None:
        """Carry one run in a lane, with a connection of its own; nothing leaves the lane."""
        logger.info("run %s: begun (%s)", run.id, run.state.value)
        try:
            with Store.open(self._folder) as store:
                self._carry_through(store, run, owner)
                ended = store.runs.get(run.id)
            logger.info("run %s: %s", run.id, ended.state.value if ended else "gone")
        except CohortSyncError as problem:
            logger.error("run %s: %s", run.id, problem)
        except StorageTrouble as problem:
            logger.error("run %s: the database could not be written (%s); left to its lease", run.id, problem)
        except Exception:
            logger.exception("run %s: unexpected; its lease will end and it is tried again", run.id)

    def _carry_through(self, store: Store, run: Run, owner: str) -> None:
        context = RunContext(
            self._open_vault, self.clock, self._policy, self._is_stopping, self._a_minute, self._page_size
        )
        RunExecutor(store, run, owner, context).execute()

    def _open_vault(self) -> Vault:
        return Vault.open(self._folder, self._env, must_exist=True)

    def _guarded(self, job: Callable[..., None], *values: object) -> None:
        """Do a job that may fail without ending the runner: it looks again, and one line says what changed."""
        name = job.__name__
        try:
            job(*values)
        except (DatabaseReplaced, DatabaseUnusable):  # looking again would not bring the file back
            self.stop()  # lanes settle what is in flight and let go
            raise
        except Exception as problem:
            if isinstance(problem, StorageError) and is_damage(problem):
                self.stop()
                raise
            self._begin_trouble(name, problem)
        else:
            self._end_trouble(name)

    def _begin_trouble(self, name: str, problem: Exception) -> None:
        """Log what fails, once while it stays the same, whichever jobs it keeps from being done."""
        text = str(problem) or type(problem).__name__
        known = text in self._troubles.values()
        self._troubles[name] = text
        if known:
            return
        if isinstance(problem, StorageError):
            logger.error("%s The runner waits until it can work again.", explain(problem))
        elif isinstance(problem, CohortSyncError):
            logger.error("the runner cannot look at its work: %s It will look again.", problem)
        else:
            logger.error("the runner could not look at its work; it will look again", exc_info=problem)

    def _end_trouble(self, name: str) -> None:
        text = self._troubles.pop(name, None)
        if text is not None and text not in self._troubles.values():
            logger.info("over: %s; the runner works again", text)

    def _leave(self, store: Store) -> None:
        """Say that this runner stopped; what cannot be written is seen from its process that is gone."""
        try:
            store.history.gone(self._name)
        except StorageError as problem:
            logger.warning("stopped without noting it: %s", explain(problem))


def main(arguments: list[str] | None = None) -> int:
    """Run the worker from the command line; 0 done, 1 refused with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m sync.runner", description="Carry syncs to WebEngage.")
    parser.add_argument("--once", action="store_true", help="carry what is due or queued, then end")
    asked = parser.parse_args(arguments)
    try:
        logging.basicConfig(level=log_level(os.environ), format="%(asctime)s %(levelname)s %(message)s")
        guard_logs()
        runner = Runner(os.environ)
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, runner.stop)
        runner.once() if asked.once else runner.work()
    except CohortSyncError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except StorageError as problem:
        if not is_about_the_file(problem):
            raise
        sys.stderr.write(f"{explain(problem)}\n")
        return 1
    return 0


def leave(code: int) -> None:
    """End at once, without waiting for a page that Mixpanel may take minutes to send; everything is written."""
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None when it was closed before we began
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
