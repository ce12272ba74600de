"""Legs of a round in which days pass: times of day, ends and pauses that end by themselves, while runners die."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field

from sync.cadence import DailyTime
from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState, Sync, SyncState
from tests.drill.invariants import hold
from tests.drill.legs import finish_runner
from tests.drill.schedule_book import ScheduleBook, Work, has_ended, list_busy
from tests.drill.step_legs import StepLegs
from tests.drill.time_acts import DAY, TIMES, ZONES
from tests.sandbox.control import PROJECT

HOUR, MINUTE = 3600.0, 60.0
ON_DAYS = ("", "", "mon-fri")  # never a week, after which the details of runs begin to be deleted
UNTIL_END = (None, MINUTE, HOUR, DAY + HOUR)  # seconds from the next refresh
PAUSES = (300.0, HOUR, 30 * HOUR)  # seconds
PASSED = (0.0, MINUTE, HOUR)  # seconds after the time that is waited for
BEFORE = 120.0  # seconds; more than runners work in


@dataclass
class TimeLegs(StepLegs):
    """Add what is due at a time, or no longer, to what a leg may do."""

    schedules: ScheduleBook = field(default_factory=ScheduleBook)

    def _at_a_time(self) -> None:
        """Refresh at a time of day, with an end or none: once when it is due, and nothing after the end."""
        if not self._make_active():
            self.tally["times not changed"] += 1
            return
        daily = DailyTime.parse(self.random.choice(TIMES), self.random.choice(ZONES), self.random.choice(ON_DAYS))
        until_end = self.random.choice(UNTIL_END)
        ends_at = None if until_end is None else daily.find_next(self._now()) + until_end
        with closing(self.service()) as service:
            service.syncs.change_interval(self.sync, DAY, daily, ends_at)
        for _ in range(2):
            self._wait_until_near(self._stored_sync().next_run_at)
            self._work_on_time()
        self.tally["times of day"] += 1

    def _paused_for_a_while(self) -> None:
        """Pause until a time: nothing is sent before it, then the pause ends by itself and one refresh follows."""
        if not self._make_active():
            self.tally["pause not begun"] += 1
            return
        until = self._now() + self.random.choice(PAUSES)
        with closing(self.service()) as service:
            service.syncs.pause(self.sync, until=until)
        self._wait_until_near(until)
        self._work_on_time()
        if self._stored_sync().resume_at is not None:
            self._pass(max(0.0, until - self._now()))
            self._work_on_time()
        self.tally["pause until a time"] += 1

    def _wait_until_near(self, moment: float | None) -> None:
        """Let time pass until shortly before a moment, or until it came."""
        if moment is not None:
            passed = -BEFORE if self.random.random() < 0.3 else self.random.choice(PASSED)
            self._pass(max(0.0, moment + passed - self._now()))

    def _now(self) -> float:
        return time.time() + self.offset

    def _make_active(self) -> bool:
        """End what is under way and let the sync be refreshed again, as a person does; return whether it is."""
        self._end_what_is_under_way()
        sync = self._stored_sync()
        with closing(self.service()) as service:
            try:
                if sync.state is SyncState.PAUSED:
                    service.syncs.resume(self.sync)
                elif sync.state is SyncState.FINISHED:
                    service.syncs.start_export(PROJECT, self.cohort, ExportTerms(mode=Mode.DYNAMIC))
            except CohortSyncError:
                return False
        if sync.state is not SyncState.ACTIVE:
            finish_runner(self._start_runner("--once"))
            with closing(self.service()) as service:
                latest = service.runs.list(self.sync)[0]
                if latest.state is RunState.HELD:
                    self._approve(service, latest)
        return self._stored_sync().state is SyncState.ACTIVE

    def _work_on_time(self) -> None:
        """Let a runner work, and before it others that die, and compare what was refreshed and sent with the times."""
        before, runs, began, sent = self._stored_sync(), self._list_runs(), self._now(), self.count_bulk_requests()
        if is_due(before, began) and self.random.random() < 0.6:
            self._die(passing=0.0)
        finish_runner(self._start_runner("--once"))
        if self.clock_was_set:  # times of then and of now cannot be compared
            return
        known, after = {run.id for run in runs}, self._stored_sync()
        work = Work(
            before=[before],
            after={self.sync: after},
            busy=list_busy(runs),
            queued=[run for run in self._list_runs() if run.id not in known],
            began=began,
            ended=self._now(),
        )
        self.schedules.judge_work(work, self.tally)
        if is_asleep(before, work) and not work.busy:
            hold(self.count_bulk_requests() == sent, f"was sent while the sync was paused or over: {before}")
            self.tally["nothing sent while paused or over"] += 1

    def count_bulk_requests(self) -> int:
        """Return how many requests with people WebEngage has had."""
        return self.sandbox.meter().requests.get(f"/v1/accounts/{self.license}/bulk-users", 0)

    def _list_runs(self) -> list[Run]:
        with closing(self.service()) as service:
            return list(service.runs.list(self.sync, limit=1000))


def is_due(sync: Sync, now: float) -> bool:
    """Return whether there is something to do for a runner."""
    return any(at is not None and at <= now for at in (sync.next_run_at, sync.resume_at, sync.ends_at))


def is_asleep(sync: Sync, work: Work) -> bool:
    """Return whether the end of a sync has come, or its pause lasted all the while a runner worked."""
    is_paused = sync.state is SyncState.PAUSED and (sync.resume_at is None or sync.resume_at > work.ended)
    return has_ended(sync, work.began) or is_paused
