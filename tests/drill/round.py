"""One round: a cohort, a few legs of disaster, and the promises at the end."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass

from sync.model import Run, RunState
from sync.store import Store, rate_limits
from tests.drill import between, invariants
from tests.drill.invariants import Broken
from tests.drill.legs import DISASTERS, finish_runner
from tests.drill.time_legs import TimeLegs

ATTEMPTS = 14  # runs tried until one succeeds once the faults are over
LOG_LINES = 10_000  # of the sandbox's log, more than a round has
LOOKS = 12  # looks at a run under way: with small limits it is put off a few times, and held after each step


FIRST_LEGS = {2: "_at_a_time", 6: "_paused_for_a_while"}
"""With what some rounds begin, by their seed modulo 8; chance alone would leave it out of a short drill now and then."""


@dataclass
class Round(TimeLegs):
    """A round from its cohort to the judge."""

    def play(self) -> None:
        """Play the whole round; Broken when a promise does not hold."""
        an_hour = rate_limits.QUERIES_AN_HOUR
        try:
            self._prepare()
            if self.seed % 4 == 1:  # chance alone leaves a short drill without any such death now and then
                self._die("pulling", 1)
                self._judge_between()
            for leg in self._draw_legs():
                self._leg(leg)
                self._judge_between()
            self._settle()
            self._judge()
        finally:
            rate_limits.QUERIES_AN_HOUR = an_hour

    def _draw_legs(self) -> list[str]:
        """Return the legs of this round, by the names of their methods."""
        drawn = [self.random.choice(DISASTERS) for _ in range(5 if self.tight else self.random.randint(1, 4))]
        first = FIRST_LEGS.get(self.seed % 8)
        return [first, *drawn[2:]] if first else drawn  # such a leg is as long as two

    def _judge_between(self) -> None:
        """Check the promises that hold whatever is under way."""
        _, held_false = self.sandbox.holding(self.attribute, self.license)
        between.judge_nobody_left_unproven(held_false, self.ever_left | self.approved_exits)
        if self.clock_was_set:  # times of then and of now cannot be compared
            return
        with closing(self.service()) as service:
            for run in service.runs.list(self.sync):
                between.judge_run(run, time.time() + self.offset)
        between.judge_reserved_queries(self.folder)

    def _settle(self) -> None:
        """End the faults; as a person and time would, go on until a run begun from now on succeeds."""
        if self.random.random() < 0.5:
            self.poisoned.clear()
            self.readings.rejected.clear()
        self._end_trouble(keep_lasting=self.random.random() < 0.5)
        for reading in self.readings.in_force:
            self.tally[f"success with reading: {reading.name}"] += 1
        for _ in range(ATTEMPTS):
            self._pass(4000.0)
            run = self._one_more_run(forgive=True)
            self._judge_between()
            if run.state is RunState.SUCCEEDED:
                return
        raise Broken("no run succeeded after the faults")

    def _one_more_run(self, *, forgive: bool) -> Run:
        """Bring what is under way, then one fresh run, to its end; what is held past its sync's end, a runner cancels."""
        for _ in range(LOOKS):
            with closing(self.service()) as service:
                if service.syncs.get(self.sync).state.value == "paused":
                    service.syncs.resume(self.sync)
                latest = service.runs.list(self.sync)[0]
                if latest.state is RunState.HELD and not service.runs.explain_refusal(latest.id):
                    self._approve(service, latest)
                elif latest.state.is_final:
                    break
            finish_runner(self._start_runner("--once"))
            self._pass(4000.0)
        with closing(self.service()) as service:
            started = service.syncs.retry_rejected(self.sync) if forgive else service.syncs.refresh_now(self.sync)
        for _ in range(3):
            finish_runner(self._start_runner("--once"))
            with closing(self.service()) as service:
                run = service.runs.get(started.run_id)
                if run.state is not RunState.HELD:
                    break
                self._approve(service, run)
        return run

    def _judge(self) -> None:
        """Check the promises of the design, then once more with a run that has nothing to send."""
        # Someone poisoned after being sent stays true, someone poisoned before is rejected: neither proves anything.
        held, left = (side - self.poisoned for side in self.sandbox.holding(self.attribute, self.license))
        members = self.sandbox.exportable(self.cohort)
        with closing(Store.open(self.folder)) as store:
            snapshot = [one for one in store.snapshot.iterate_members(self.sync) if one not in self.poisoned]
            invariants.judge_people(
                invariants.Truth(
                    held, left, members - self.poisoned - self.safety.never, self.ever_left | self.approved_exits
                ),
                snapshot,
            )
            invariants.judge_file(store)
        self._pass(4000.0)
        before = self.count_bulk_requests()
        last = self._one_more_run(forgive=False)
        with closing(sqlite3.connect(self.folder / "app.db")) as db:
            rejected = {
                row[0] for row in db.execute("select user_id from rejection where active and kind in ('add', 'update')")
            }
        standing = len((members - self.safety.never) & rejected)
        invariants.hold(
            last.never_exported == len(members & self.safety.never),
            f"{last.never_exported} on the never-export list, not {len(members & self.safety.never)}",
        )
        listed = sum(
            "odd" in one or one["properties"] is not None for one in self.people
        )  # without a profile: not listed
        invariants.judge_last(
            last, self.count_bulk_requests() - before, len(members), listed, standing + last.never_exported
        )
        self._judge_between()
        invariants.judge_meters(self.sandbox.meter(), self.crashes, self._count_halved())
        with closing(self.service()) as service:
            invariants.judge_numbers(service, service.runs.list(self.sync, limit=1000))

    def _count_halved(self) -> int:
        """Return how many batches may have been in parts, as somebody in them was refused, when a run was left for later."""
        bulk = [one for one in self.sandbox.log(LOG_LINES) if one["path"].endswith("/bulk-users")]
        refused = sum(one["status"] in (400, 500) for one in bulk)
        with closing(self.service()) as service:
            steps = [[one.message for one in service.runs.list_events(run.id)] for run in service.runs.list(limit=1000)]
        begun = (sum(one.startswith(("Sending", "Waiting")) for one in messages) for messages in steps)
        return sum(max(0, times - 1) for times in begun) * min(refused, invariants.IN_FLIGHT)

    def story(self) -> str:
        """Return the last runs, for those who look into a broken round."""
        with closing(self.service()) as service:
            runs = service.runs.list(self.sync, limit=6)
            return "\n".join(
                f"run {run.id} {run.purpose} {run.state.value} +{run.entered} ~{run.updated} −{run.exited} "
                f"{run.error or run.wait_reason or ''}"
                for run in runs
            )
