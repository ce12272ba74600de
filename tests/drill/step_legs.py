"""Legs of a round in which a person tries an export on a few, or takes a run back, while runners die."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState
from sync.steps import Steps
from tests.drill.invariants import hold
from tests.drill.legs import Legs, finish_runner
from tests.drill.step_acts import invert, judge_undo
from tests.sandbox.control import PROJECT

FIRST = (1, 7, 60)  # people of a first step


@dataclass
class StepLegs(Legs):
    """Add steps and take-backs to what a leg may do."""

    def _in_steps(self) -> None:
        """Export to a few first, with deaths in between: never is anybody beyond them sent before a person says so."""
        self._end_what_is_under_way()
        self._change_cohort()
        before, first = self._held_true(), self.random.choice(FIRST)
        with closing(self.service()) as service:
            try:
                run_id = service.syncs.start_export(
                    PROJECT, self.cohort, ExportTerms(mode=Mode.DYNAMIC, steps=Steps(first=first))
                ).run_id
            except CohortSyncError:
                self.tally["steps refused"] += 1
                return
        for _ in range(self.random.choice([0, 1, 2])):
            self._die()
        finish_runner(self._start_runner("--once"))
        run = self._run(run_id)
        new = self._held_true() - before
        if run.is_in_steps or run.steps_sent:  # else the plan had no more people than the step
            hold(len(new) <= first, f"{len(new)} people became true in a step of {first}")
            self.tally["held after a step"] += run.state is RunState.HELD and run.steps_sent > 0
        if run.state is RunState.HELD:
            self._decide(run)
        self.tally["export in steps"] += 1

    def _decide(self, run: Run) -> None:
        """Let a held run go on, with a death on the way, or take back what it sent."""
        draw = self.random.random()
        if draw < 0.5:
            with closing(self.service()) as service:
                self._approve(service, run)
            self._die()
        elif draw < 0.8 and run.steps_sent:
            self._take_back(run)

    def _taken_back(self) -> None:
        """Take back one of the last runs that sent something, with deaths in between."""
        self._end_what_is_under_way()
        with closing(self.service()) as service:
            latest = service.runs.list(self.sync)
            ended = [run for run in latest if run.state.is_final and run.delivered]
        if ended and latest[0].state.is_final:
            self._take_back(self.random.choice(ended[:3]))

    def _take_back(self, run: Run) -> None:
        with closing(self.service()) as service:
            try:
                undo_id = service.runs.undo(run.id).run_id
            except CohortSyncError:
                self.tally["take-back refused"] += 1
                return
            later = [one.id for one in service.runs.list(self.sync, limit=1000) if run.id < one.id < undo_id]
            wanted = invert(service, run.id, later)
        held = self.sandbox.holding(self.attribute, self.license)
        self._die()
        finish_runner(self._start_runner("--once"))
        hold(held == self.sandbox.holding(self.attribute, self.license), "a take-back was sent before it was approved")
        if self._run(undo_id).state is not RunState.HELD:
            self.tally["take-back not planned yet"] += 1
            return
        with closing(self.service()) as service:
            self._approve(service, self._run(undo_id))
        self._die()
        finish_runner(self._start_runner("--once"))
        undo = self._run(undo_id)
        if undo.state is RunState.SUCCEEDED:
            with closing(self.service()) as service:
                judge_undo(undo, service, wanted, self._held_true(), self.poisoned | self.safety.never)
            self.tally["taken back"] += 1

    def _end_what_is_under_way(self) -> None:
        """End the run under way, as a person does who wants another one."""
        finish_runner(self._start_runner("--once"))
        with closing(self.service()) as service:
            latest = service.runs.list(self.sync)[0]
            if not latest.state.is_final:
                service.runs.cancel(latest.id)
        if not latest.state.is_final:
            finish_runner(self._start_runner("--once"))

    def _held_true(self) -> set[str]:
        return self.sandbox.holding(self.attribute, self.license)[0]

    def _run(self, run_id: int) -> Run:
        with closing(self.service()) as service:
            return service.runs.get(run_id)
