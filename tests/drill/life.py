"""One random life: export, change, approve, cancel, retry, resync, clear, forget, back up, restore; judged all the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from sync.errors import CohortSyncError
from sync.export_terms import ExportTerms
from sync.model import Mode, Run, RunState, Sync, SyncState
from sync.service import Service
from sync.store import Store
from sync.views import StartedExport
from tests.drill import between, invariants
from tests.drill.acts import ACTIONS, HOUR, Acts
from tests.drill.book import CohortBook
from tests.drill.invariants import Broken, hold
from tests.drill.schedule_book import BIRTH, ScheduleBook, Work, list_busy
from tests.drill.step_acts import STEP_ACTIONS, change_user_id, judge_steps, judge_undo
from tests.drill.time_acts import TIME_ACTIONS, let_days_pass
from tests.drill.user_ids import both_ids, is_double, user_id_of
from tests.sandbox.control import PROJECT

ATTEMPTS = 12  # runs of a sync until one succeeds, once nothing is in its way

ANOTHER_USER_ID = 0.12  # how often a person changes the User ID property instead of doing something else
DAYS = 4  # days that pass in a row
OBVIOUS = 0.3  # how often a person does what the pages ask for


@dataclass
class Life(Acts):
    """A life from its first cohort to its last success, and the judge."""

    schedules: ScheduleBook = field(default_factory=ScheduleBook)

    def live(self, steps: int) -> None:
        """Live so many steps, then see that everything can still be made right; Broken when a promise does not hold."""
        self.pass_time(BIRTH - time.time())
        self._prepare()
        for _ in range(steps):
            self._step(self._choose())
        self._settle()

    def _choose(self) -> Callable[[Acts], None]:
        """Choose any action; a little more often one that makes a held run or a paused sync go on."""
        draw, action = self.random.random(), self.random.choice((*ACTIONS, *STEP_ACTIONS, *TIME_ACTIONS))
        if draw < OBVIOUS and any(run.state is RunState.HELD for run in self._runs()):
            return Acts.approve
        waiting = any(sync.state is SyncState.PAUSED and sync.resume_at is None for sync in self.list_syncs())
        if draw > 1.0 - OBVIOUS and waiting:
            return Acts.resume
        return change_user_id if self.ids.random() < ANOTHER_USER_ID else action

    def story(self) -> str:
        """Return what was done last, and the last runs."""
        with closing(self.service()) as service:
            runs = [
                f"run {run.id} of sync {run.sync_id}: {run.purpose} {run.state.value} +{run.entered} ~{run.updated} "
                f"−{run.exited} {run.error or run.held_reason or run.wait_reason or ''}"
                for run in service.runs.list(limit=8)
            ]
        return "\n".join([*self.done[-25:], *runs])

    def _step(self, action: Callable[[Acts], None]) -> None:
        """Do one thing and judge what holds at every moment; a refused one changed nothing."""
        name = action.__name__.strip("_")
        before = self._syncs()
        self.done.append(name)
        try:
            self._do(action)
        except CohortSyncError as problem:
            self.done[-1] += f" (refused: {str(problem)[:90]})"
            name += ", refused"
            hold(before == self._syncs(), f"“{name}” was refused and changed a sync all the same: {problem}")
        self.tally[name] += 1
        self._look()

    def _do(self, action: Callable[[Acts], None]) -> None:
        """Do one thing; days pass with a runner, and after a restore what was due before it may be due once more."""
        if action is Acts.work:
            self._work_and_judge()
            return
        if action is let_days_pass:
            for _ in range(DAYS):
                action(self)
                self._work_and_judge()
                self._look()
            return
        action(self)
        if action is Acts.restore:
            self.schedules = ScheduleBook()

    def _work_and_judge(self) -> None:
        """Let a runner do what can be done now, and compare what it refreshed with the schedules."""
        syncs, runs, began = self.list_syncs(), self._runs(), self.now()
        self.work()
        known = {run.id for run in runs}
        self.schedules.judge_work(
            Work(
                before=syncs,
                after={sync.id: sync for sync in self.list_syncs()},
                busy=list_busy(runs),
                queued=[run for run in self._runs() if run.id not in known],
                began=began,
                ended=self.now(),
            ),
            self.tally,
        )

    def _syncs(self) -> dict[int, tuple[object, ...]]:
        return {sync.id: between.standing_request(sync) for sync in self.list_syncs()}

    def _look(self) -> None:
        """Judge what holds whatever is under way, and every run that ended since the last look."""
        with closing(self.service()) as service:
            runs = service.runs.list(limit=1000)
            for run in reversed(runs):
                self.requests.note_run(run)
                between.judge_run(run, self.now())
                judge_steps(self, service, run)
            ended = [run for run in reversed(runs) if run.state.is_final and run.id not in self.judged]
            self.judged |= {run.id for run in ended}
            invariants.judge_numbers(service, [run for run in ended if run.id not in self.uncounted])
        for sync in self.list_syncs():
            self.requests.judge(sync)
            with closing(Store.open(self.folder / "data")) as store:
                invariants.judge_known_chunks(store, sync.id)
            book = self._book(sync)
            held_false = self.sandbox.holding(sync.attribute, self.license)[1]
            between.judge_nobody_left_unproven(held_false, both_ids(book.ever_left) | book.may_be_false)
            mine = [run for run in ended if run.sync_id == sync.id and run.state is RunState.SUCCEEDED]
            if mine:
                self._judge_success(sync, book, mine[-1])
        between.judge_reserved_queries(self.folder / "data")

    def _judge_success(self, sync: Sync, book: CohortBook, run: Run) -> None:
        with closing(Store.open(self.folder / "data")) as store:
            snapshot = set(store.snapshot.iterate_members(sync.id))
            rejected = set(store.rejections.list_active(sync.id))
        if run.undoes is not None:
            self._judge_undo(sync, book, run, rejected)
            return
        book.judge(run, self.sandbox.holding(sync.attribute, self.license)[0], snapshot, rejected)
        if sync.mapping and len(book.read[run.id]) == 1:
            unsure = (
                rejected
                | book.forgotten_during.get(run.id, set())
                | book.listed.get(run.id, set())
                | book.listed_since_plan
            )
            ids = {who: user_id_of(who, run.id_property) for who in book.read[run.id][0]}
            known = [who for who, user_id in ids.items() if not {who, user_id} & unsure]
            for who in sorted(who for who in known if not (run.id_property and is_double(who)))[:3]:
                profile = self.sandbox.profile(ids[who], self.license)
                held = (profile or {}).get("attributes", {}).get("Plan")
                hold(held == book.read[run.id][0][who], f"{who} has plan {held}, read was {book.read[run.id][0][who]}")
        self.tally["success judged"] += 1
        self.tally["success by property judged"] += bool(run.id_property)
        self.tally["change of User ID judged"] += run.id_property_before is not None

    def _judge_undo(self, sync: Sync, book: CohortBook, run: Run, rejected: set[str]) -> None:
        excused = rejected | book.strangers | book.listed_since_plan
        excused |= both_ids(self.never | book.listed.get(run.id, set()))
        excused |= book.forgotten_during.get(run.id, set())
        held_true = self.sandbox.holding(sync.attribute, self.license)[0]
        if run.id in self.undone:  # not after a restore
            with closing(self.service()) as service:
                judge_undo(run, service, self.undone[run.id], held_true, excused)
            self.tally["take-back judged"] += 1

    # The end -----------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Nothing in the way any more: each cohort's sync succeeds, and once more without sending anybody."""
        self.peace()
        self.begun_before = max((run.id for run in self._runs()), default=0)
        for book in self.cohorts:
            if book.is_deleted:
                self.sandbox.add_cohort(book.name, [], id=book.id)
                book.is_deleted = False
                self._write(book)
        for book in self.cohorts:
            run = self._bring_to_success(book, lambda service, sync_id: service.syncs.retry_rejected(sync_id))
            again = self._bring_to_success(book, lambda service, sync_id: service.syncs.refresh_now(sync_id))
            hold(again.change_count == 0, f"after run {run.id} run {again.id} still sends {again.change_count} people")

    def _bring_to_success(self, book: CohortBook, ask: Callable[[Service, int], StartedExport]) -> Run:
        for _ in range(ATTEMPTS):
            self.pass_time(2 * HOUR)
            latest = self._ask_until_it_runs(book, ask)
            self._look()
            self._step(Acts.work)
            if latest is not None:
                run = self._run(latest)
                if run.state is RunState.SUCCEEDED:
                    return run
        raise Broken(f"no run of {book.name} succeeded after everything was over")

    def _run(self, run_id: int) -> Run:
        with closing(self.service()) as service:
            return service.runs.get(run_id)

    def _ask_until_it_runs(self, book: CohortBook, ask: Callable[[Service, int], StartedExport]) -> int | None:
        """Do the next thing a person would do to have this cohort exported; return a run begun from now on."""
        found = [sync for sync in self.list_syncs() if sync.cohort_id == book.id]
        with closing(self.service()) as service:
            active = [run for run in service.runs.list(limit=1000) if not run.state.is_final]
            mine = [run for run in active if found and run.sync_id == found[0].id]
            if mine and mine[0].id > self.begun_before:
                if mine[0].state is RunState.HELD:
                    rows = service.runs.iterate_export_rows(mine[0].id)
                    book.may_be_false |= {row.user_id for row in rows if row.operation == "remove"}
                    service.runs.approve(mine[0].id)
                    self.requests.approved.add(mine[0].id)
                return mine[0].id
            if mine:
                if not mine[0].cancel_requested:
                    service.runs.cancel(mine[0].id)
                return None
            if not found or found[0].state is SyncState.FINISHED:
                return service.syncs.start_export(PROJECT, book.id, ExportTerms(mode=Mode.DYNAMIC)).run_id
            if found[0].state is SyncState.PAUSED:
                service.syncs.resume(found[0].id)
                return None
            return ask(service, found[0].id).run_id
