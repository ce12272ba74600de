"""The companion process: queues what is due, claims runs, carries them, lets go.

``python -m sync.runner`` works until SIGTERM; ``--once`` carries every due or queued run to its
end. `schedule` only beats the drum: what is due is a row in the database.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

import schedule

from sync.errors import CohortSyncError, DatabaseReplaced, DatabaseUnusable, Refused, Vaultless
from sync.model import Run
from sync.pipeline import Clock, Policy, Story, Tools
from sync.redaction import guard_logs
from sync.service import Service, data_folder
from sync.store import DAMAGED, StorageError, Store, explain, is_about_the_file, is_damage
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


class Runner:
    """One worker process; any number of them share the database."""

    def __init__(
        self,
        env: Mapping[str, str],
        clock: Clock | None = None,
        policy: Policy | None = None,
        a_minute: int | None = None,
    ) -> None:
        """Work for the data folder that ``env`` names, at its pace unless ``a_minute`` says another."""
        self._env, self._a_minute = env, a_minute or pace_of(env)
        self._page_size = number_of(env, PAGE_VARIABLE, PAGE_SIZE_MAX)
        self._folder = data_folder(env)
        self.clock = clock or Clock(time.time, time.sleep)
        self._policy = policy or Policy()
        self._name = runner_name(env)
        self._stopping = False
        self._beats = schedule.Scheduler()
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
            self._beats.every(BEAT_EVERY).seconds.do(self._guarded, self._beat, store)
            self._beats.every().hour.do(self._guarded, self._tidy, store)
            self._check_file(store)
            self._guarded(self._beat, store)
            logger.info("runner %s works on %s", self._name, self._folder)
            while not self._stopping:
                self._beats.run_pending()
                self._guarded(self._fill, store, lanes)
                time.sleep(LOOK_EVERY)
            lanes.shutdown(wait=True)
            store.history.gone(self._name)

    def once(self, only: int | None = None) -> None:
        """Carry every due or queued run (or one) to its end; leave those that wait for minutes."""
        with Store.open(self._folder) as store, ThreadPoolExecutor(LANES, thread_name_prefix="lane") as lanes:
            self._beats.every(BEAT_EVERY).seconds.do(self._beat, store)
            self._beat(store)
            try:
                self._until_done(store, lanes, only)
            finally:
                self.stop()  # also after Ctrl-C: what is in flight is settled, and the run let go
                lanes.shutdown(wait=True)
                store.history.gone(self._name)

    def _until_done(self, store: Store, lanes: ThreadPoolExecutor, only: int | None) -> None:
        while not self._stopping:
            self._beats.run_pending()
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
        """After a runner that did not say goodbye, look whether the file is whole; Refused when it is not."""
        damage = store.housekeeping.integrity() if store.history.bury() else None
        if damage:
            raise Refused(DAMAGED.format(damage))

    def _tidy(self, store: Store) -> None:
        """Remove what is past its days."""
        store.meters.forget_old(self.clock.now())
        Service(store, self._env, self.clock.now).purge()

    def _beat(self, store: Store) -> None:
        """Say that we live, free what dead runners hold, and queue what is due."""
        store.runs.bury()
        store.meters.bury(self.clock.now())
        store.history.alive(self._name, self.clock.now())
        Service(store, self._env, self.clock.now).queue_due()

    def _fill(self, store: Store, lanes: ThreadPoolExecutor, only: int | None = None) -> None:
        """Claim runs while lanes are free, as long as the file is the one that was opened."""
        store.require_same_file()
        self._flying = {future: run for future, run in self._flying.items() if not future.done()}
        while len(self._flying) < LANES and store.runs.claimable(self.clock.now()):
            owner = f"{identity()}-{uuid.uuid4().hex}"
            run = store.runs.claim(owner, self.clock.now(), only)
            if run is None:
                return
            self._flying[lanes.submit(self._carry, run, owner)] = run.id

    def _carry(self, run: Run, owner: str) -> None:
        """Carry one run in a lane, with a connection of its own; nothing leaves the lane."""
        logger.info("run %s: begun (%s)", run.id, run.state.value)
        with Store.open(self._folder) as store:
            try:
                tools = Tools(
                    self._open_vault, self.clock, self._policy, self._is_stopping, self._a_minute, self._page_size
                )
                Story(store, run, owner, tools).carry()
            except CohortSyncError as problem:
                logger.error("run %s: %s", run.id, problem)
            except Exception:
                logger.exception("run %s: unexpected; its lease will end and it is tried again", run.id)
            ended = store.runs.get(run.id)
            logger.info("run %s: %s", run.id, ended.state.value if ended else "gone")

    def _open_vault(self) -> Vault:
        return Vault.open(self._folder, self._env, must_exist=True)

    def _guarded(self, job: Callable[..., None], *values: object) -> None:
        """One failing look must not end the runner: it looks again."""
        try:
            job(*values)
        except (DatabaseReplaced, DatabaseUnusable):  # looking again would not bring the file back
            self.stop()  # lanes settle what is in flight and let go
            raise
        except StorageError as problem:
            if is_damage(problem):
                self.stop()
                raise
            logger.exception("the runner could not look at its work; it will look again")
        except Exception:
            logger.exception("the runner could not look at its work; it will look again")


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
