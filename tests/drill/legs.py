"""Acts upon a runner, a person and a cohort in one leg of a round."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState, Sync
from sync.service import Service
from sync.store import Store, rate_limits
from tests.drill import between, invariants
from tests.drill.disasters import arm
from tests.drill.drill_runner import STATEMENTS
from tests.drill.invariants import Broken
from tests.drill.readings import Readings
from tests.drill.safety_book import SafetyBook
from tests.process_factory import Process, start_module_heard
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Member, Sandbox, anonymous, member
from tests.workspace import make_environment

END_SECONDS = 300.0  # a runner with --once waits two minutes in all, and between that as long for a place among queries
LEASE_OVER = 150.0  # seconds the clock moves on after a kill, more than a lease
PHASES = ("pulling", "delivering")
DISASTERS = (
    *("_kill", "_kill", "_die", "_die", "_die", "_stop_and_go", "_two", "_term", "_cancel"),
    *("_listed_under_way", "_listed_under_way"),
    *("_lost_and_cancelled", "_disk", "_locked", "_clock_back", "_calm", "_gone", "_renamed", "_moving", "_unapproved"),
    *("_in_steps", "_in_steps", "_taken_back", "_at_a_time", "_paused_for_a_while"),
)
DEATH_WAIT = 15.0  # seconds a runner is given to reach the point where it dies, or to end; a slow machine needs several
ROOMY = {"queries_per_hour": 60, "bulk_per_minute": 1_000_000, "bulk_seconds": 60.0}
TIGHT = {"queries_per_hour": 3, "bulk_per_minute": 30, "bulk_seconds": 1.0}
TIGHT_PACE = 900  # batches a minute, half of what the sandbox allows: what is late by 0.5 s still fits its second
LARGE = 900  # people; 36 requests, more than a small limit lets through in its second


@dataclass
class Legs:
    """The state of one round and what a leg may do to it; everything at random comes from one seed."""

    sandbox: Sandbox
    folder: Path
    seed: int
    tally: Counter[str]
    random: random.Random = field(init=False)
    offset: float = 0.0
    people: list[Member] = field(default_factory=list)
    ever_left: set[str] = field(default_factory=set)
    poisoned: set[str] = field(default_factory=set)
    approved_exits: set[str] = field(default_factory=set)
    born: int = 0
    crashes: int = 0
    clock_was_set: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.readings = Readings(self.sandbox, self.random)
        self.safety = SafetyBook(self.random, self.tally)
        self.license, self.key = f"drill{self.seed}x{os.getpid()}", "key-of-the-drill"
        self.env = {"COHORT_SYNC_DATA": str(self.folder)}

    def service(self) -> Service:
        """Open the service, as pages and commands use it, on this round's clock."""
        return Service(Store.open(self.folder), self.env, lambda: time.time() + self.offset)

    def _pass(self, seconds: float) -> None:
        """Let time go by, here and at both APIs."""
        self.offset += seconds
        self.sandbox.advance(seconds)

    def _set_limits(self) -> None:
        """Every fourth round keeps small limits that the sandbox really holds: Mixpanel's hour and WebEngage's minute."""
        self.tight = self.seed % 4 == 0
        self.sandbox.settings(**(TIGHT if self.tight else ROOMY))
        self.env |= (
            {"DRILL_A_MINUTE": str(TIGHT_PACE), "DRILL_AN_HOUR": str(TIGHT["queries_per_hour"])} if self.tight else {}
        )
        rate_limits.QUERIES_AN_HOUR = TIGHT["queries_per_hour"] if self.tight else ROOMY["queries_per_hour"]
        self.tally["round with small limits"] += self.tight

    def _prepare(self) -> None:
        self._set_limits()
        self.sandbox.add_account(self.license, self.key)
        self.people = [
            self._newborn() for _ in range(LARGE if self.tight else self.random.choice([0, 3, 60, 400, LARGE]))
        ]
        self.cohort = self.sandbox.add_cohort(f"Drill {self.seed}", self.people)
        with closing(self.service()) as service:
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, self.sandbox.url)
            service.connections.connect_webengage(self.license, self.key, self.sandbox.url)
            self.sync = service.syncs.start_export(PROJECT, self.cohort, ExportTerms(mode=Mode.DYNAMIC)).sync_id
            self.attribute = service.syncs.get(self.sync).attribute

    def _newborn(self) -> Member:
        self.born += 1
        draw = self.random.random()
        if draw < 0.05:
            return anonymous(f"{self.seed}-a{self.born}")
        if draw < 0.07:
            return member("$device:" + f"{self.seed}-{self.born}")
        return member("x" * 101 + str(self.born) if draw < 0.08 else f"{self.seed}-ü{self.born}")

    def _change_cohort(self) -> None:
        """Let some leave and some come, now and then everybody."""
        share = self.random.choice([0.02, 0.1, 0.5, 1.0 if self.random.random() < 0.2 else 0.3])
        stay = [one for one in self.people if self.random.random() >= share or one["id"] in self.poisoned]
        kept = {str(one["id"]) for one in stay}
        self.ever_left |= {str(one["id"]) for one in self.people} - kept
        self.people = stay + [self._newborn() for _ in range(self.random.choice([0, 1, 40, 200]))]
        self.sandbox.set_members(self.cohort, self.people)
        self.tally["cohort changed"] += 1

    def _leg(self, disaster: str) -> None:
        """Change the cohort and bring the APIs into trouble, then let one of the disasters happen."""
        if self.tight:
            self._pass(self.random.choice([0.0, 0.0, 2000.0]))  # a part of the hour
        if self.random.random() < 0.6:
            self._change_cohort()
        if self.random.random() < 0.2 and self.people:
            self._poison()
        if self.random.random() < 0.4:
            self._change_lists()
        if self.random.random() < 0.4:
            self._read_otherwise()
        if self.random.random() < 0.8 and not self.readings.hides_lack():
            arm(self.sandbox, self.random, self.tally)
        self._ask_for_a_run()
        getattr(self, disaster)()
        if self.random.random() < 0.5:
            self._end_trouble()

    def _change_lists(self) -> None:
        """Change the never-export list, the tripwires or the limits, as a person may at any time."""
        with closing(self.service()) as service:
            self.safety.change(service, self.sync, [str(one["id"]) for one in self.people])
        self.ever_left |= self.safety.never

    def _poison(self) -> None:
        chosen = [str(one["id"]) for one in self.random.sample(self.people, min(2, len(self.people)))]
        self.poisoned |= set(chosen)
        self.sandbox.poison(*chosen)
        self.tally["poison users"] += len(chosen)

    def _read_otherwise(self) -> None:
        """Have one of the APIs answer in another of the ways its document leaves room for.

        Not beside a page that lacks people: with a total that counts only its page, nobody could find out.
        """
        self._end_trouble()
        reading = self.readings.draw(self.people)
        self.poisoned |= self.readings.rejected
        if reading.members:
            self.people = [*self.people, *reading.members]
            self.sandbox.set_members(self.cohort, self.people)
        self.tally[f"reading: {reading.name}"] += 1
        if reading.deleted:
            self._gone(200)

    def _end_trouble(self, *, keep_lasting: bool = False) -> None:
        """Let both APIs work as usual; only who is poison stays poison."""
        self.readings.end(keep_lasting=keep_lasting)
        self.sandbox.clear_faults()
        if self.poisoned:
            self.sandbox.poison(*self.poisoned)

    def _ask_for_a_run(self) -> None:
        """See that a run is under way, as a person would; one that is held is approved, cancelled or left."""
        with closing(self.service()) as service, suppress(CohortSyncError):
            if service.syncs.get(self.sync).state.value == "paused":
                service.syncs.resume(self.sync)
            latest = service.runs.list(self.sync)[0]
            draw = self.random.random()
            if latest.state is RunState.HELD and draw < 0.4:
                self._approve(service, latest)
            elif latest.state is RunState.HELD and draw < 0.8:
                service.runs.cancel(latest.id)
                self.tally["held, cancelled"] += 1
            service.syncs.refresh_now(self.sync)

    def _approve(self, service: Service, run: Run) -> None:
        """Approve a held run, and remember whom its plan lets leave."""
        rows = service.runs.iterate_export_rows(run.id)
        self.approved_exits |= {row.user_id for row in rows if row.operation == "remove"}
        service.runs.approve(run.id)
        self.tally["held, approved"] += 1

    def _start_runner(self, *arguments: str, **more: str) -> Process:
        more = self.env | {"DRILL_CLOCK": str(self.offset), "COHORT_SYNC_LOG": "CRITICAL"} | more
        env = make_environment(self.folder, **more)
        return start_module_heard("tests.drill.drill_runner", *arguments, env=env)

    def _until(self, phase: str) -> None:
        """Wait until the run is in a phase, then a little longer."""
        deadline = time.monotonic() + 2.0
        with closing(sqlite3.connect(self.folder / "app.db", timeout=5)) as db:
            while time.monotonic() < deadline:
                if db.execute(
                    "select 1 from run where finished_at is null and state = ? and lease_owner is not null", (phase,)
                ).fetchone():
                    break
                time.sleep(0.003)
        time.sleep(self.random.choice([0, 0, 0.005, 0.02, 0.08, 0.3]))

    def _die(self, point: str = "", times: int = 0, passing: float = LEASE_OVER) -> None:
        """Let the runner die at a point it reaches by itself, any by default; a signal would hardly ever hit it.

        Then so many seconds pass.
        """
        point = point or self.random.choice(list(STATEMENTS))
        process = self._start_runner("--once", DRILL_DIE=f"{point}:{times or self.random.choice([1, 1, 1, 2, 5])}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(DEATH_WAIT)
        self.tally[f"SIGKILL {point}" if process.poll() == -signal.SIGKILL else "SIGKILL where nothing was to do"] += 1
        process.kill()
        process.wait()
        self.crashes += 1
        self._pass(passing)

    def _kill(self) -> None:
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        process.kill()
        process.wait()
        self.crashes += 1
        self._pass(LEASE_OVER)
        self.tally["SIGKILL"] += 1

    def _stop_and_go(self) -> None:
        """Let a runner sleep past its lease while another works, then wake it up."""
        first = self._start_runner()
        self._until(self.random.choice(PHASES))
        first.send_signal(signal.SIGSTOP)
        self._pass(LEASE_OVER)
        second = self._start_runner("--once")
        time.sleep(self.random.uniform(0.2, 1.0))
        first.send_signal(signal.SIGCONT)
        end_runner(first), end_runner(second)
        self.crashes += 2  # its batches are sent by the other, and by itself when it wakes up without knowing
        self.tally["SIGSTOP past the lease"] += 1

    def _two(self) -> None:
        both = [self._start_runner(), self._start_runner()]
        time.sleep(self.random.uniform(0.6, 1.5))
        self.random.choice(both).kill()
        for one in both:
            end_runner(one)
        self._pass(LEASE_OVER)
        self.crashes += 1
        self.tally["two runners, one killed"] += 1

    def _term(self) -> None:
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        end_runner(process)
        self.tally["SIGTERM"] += 1

    def _cancel(self) -> None:
        process = self._start_runner()
        self._until("delivering")
        with closing(self.service()) as service, suppress(CohortSyncError):
            service.runs.cancel(service.runs.list(self.sync)[0].id)
        time.sleep(self.random.uniform(0.0, 0.6))
        end_runner(process)
        self.tally["cancel"] += 1

    def _lost_and_cancelled(self) -> None:
        """Everything is applied and nothing answered, the run is ended, and then the cohort changes."""
        self.sandbox.fault("vanish", api="webengage", path="bulk", times=0)
        self._cancel()
        self._end_trouble()
        self._change_cohort()
        self.tally["answers lost, then cancelled"] += 1

    def _disk(self) -> None:
        size = (self.folder / "app.db").stat().st_size
        finish_runner(self._start_runner("--once", DRILL_DISK=str(size + self.random.choice([0, 8_192, 60_000]))))
        self._pass(LEASE_OVER)
        self.crashes += 2  # answers that cannot be written are as lost as with a crash
        self.tally["full disk"] += 1

    def _locked(self) -> None:
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        with closing(sqlite3.connect(self.folder / "app.db", timeout=10, isolation_level=None)) as db:
            db.execute("begin immediate")
            time.sleep(0.4)
            db.execute("rollback")
        end_runner(process)
        self.tally["locked database"] += 1

    def _clock_back(self) -> None:
        self.offset -= 3600.0
        self.clock_was_set = True
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        if self.random.random() < 0.5:
            process.kill()
            self.crashes += 1
        else:
            end_runner(process)
        process.wait()
        self.offset += self.random.choice([0.0, 3600.0])
        self._pass(LEASE_OVER)
        self.tally["clock set back"] += 1

    def _gone(self, answer: int | None = None) -> None:
        """Delete the cohort while it is to be refreshed, answered in one of three ways, then bring it back."""
        self.sandbox.settings(unknown_cohort=answer or self.random.choice([404, 400, 200]))
        self.sandbox.delete_cohort(self.cohort)
        finish_runner(self._start_runner("--once"))
        self.sandbox.add_cohort(f"Drill {self.seed}", self.people, id=self.cohort)
        self.tally["cohort deleted for a while"] += 1

    def _unapproved(self) -> None:
        """Ask with a dry run for another mode and mapping; whatever becomes of it, unapproved it changes nothing."""
        finish_runner(self._start_runner("--once"))  # a run under way would have the request refused
        before, mapping = self._stored_sync(), (("$email", "email"),)
        with closing(self.service()) as service:
            try:
                run = service.syncs.start_export(
                    PROJECT, self.cohort, ExportTerms(mode=Mode.ONE_TIME, dry_run=True, mapping=mapping)
                ).run_id
            except CohortSyncError:
                self.tally["dry run refused"] += 1
                return
        held = self.sandbox.holding(self.attribute, self.license)
        finish_runner(self._start_runner("--once"))
        between.judge_unapproved(before, self._stored_sync())
        invariants.hold(held == self.sandbox.holding(self.attribute, self.license), "a dry run changed WebEngage")
        with closing(self.service()) as service:
            if not service.runs.get(run).state.is_final:
                service.runs.cancel(run)
        between.judge_unapproved(before, self._stored_sync())
        self.tally["dry run, not approved"] += 1

    def _stored_sync(self) -> Sync:
        with closing(Store.open(self.folder)) as store:
            found = store.syncs.get_sync(self.sync)
        assert found is not None
        return found

    def _renamed(self) -> None:
        """Give the cohort another name; its attribute stays."""
        self.sandbox.rename_cohort(self.cohort, f"Renamed {self.random.random()}")
        finish_runner(self._start_runner("--once"))
        self.tally["cohort renamed"] += 1

    def _moving(self) -> None:
        """Change the cohort while it is read or delivered."""
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        self._change_cohort()
        end_runner(process)
        self.tally["cohort changed under way"] += 1

    def _listed_under_way(self) -> None:
        """Change the never-export list while a cohort is read or delivered."""
        process = self._start_runner()
        self._until(self.random.choice(PHASES))
        self._change_lists()
        end_runner(process)
        self.tally["lists changed under way"] += 1

    def _calm(self) -> None:
        finish_runner(self._start_runner("--once"))
        self.tally["calm leg"] += 1


def end_runner(process: Process) -> None:
    """Ask a runner to stop, and see that it does."""
    process.terminate()
    finish_runner(process)


def finish_runner(process: Process) -> None:
    """Wait until a runner ends; Broken, with the stacks of its threads, when it does not in time."""
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)
        process.kill()
        said = process.stderr.read().decode() if process.stderr else ""
        raise Broken(f"a runner did not end in time:\n{said}") from None
    finally:
        process.wait()
        if process.stderr:
            process.stderr.close()
