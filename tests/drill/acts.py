"""Acts of a person, a runner and time in a random life."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync.engine import Clock, RetryPolicy
from sync.export_terms import ExportTerms
from sync.guards import GuardLimits
from sync.model import Mode, Run, RunState, Sync
from sync.runner import Runner
from sync.service import Service
from sync.store import Store
from tests.drill.book import CohortBook, RequestBook, terms_of
from tests.drill.user_ids import CUSTOMER, DRAWN, both_ids, of_other_property, user_id_of
from tests.sandbox.control import PROJECT, SECRET, USERNAME, Sandbox, member

FAST = 30_000  # batches a minute; the sandbox's own limit is raised too
SOON = RetryPolicy(delays=(0.001, 0.002), max_delay=0.5, postponements=(300.0, 1200.0))
ROOMY = {"queries_per_hour": 60, "bulk_per_minute": 1_000_000}
MAPPINGS = (None, None, (), (("plan", "Plan"),), (("plan", "Plan"), ("$email", "email")))
INTERVALS = (None, 300.0, 3600.0, 86_400.0)
PLANS = ("free", "silver", "gold")
POPULATION = 160  # people who may be in one of the cohorts, or in both
HOUR = 3600.0
SHORT = ("wrong_total", "short_page")


@dataclass
class Acts:
    """The state of one life and what may be done in it; everything at random comes from one seed."""

    sandbox: Sandbox
    folder: Path
    seed: int
    tally: Counter[str]
    offset: float = 0.0
    requests: RequestBook = field(default_factory=RequestBook)
    cohorts: list[CohortBook] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)
    is_short: bool = False  # a page may lack people
    is_total_silent: bool = False  # no total shows that people are lacking
    backups: int = 0
    never: set[str] = field(default_factory=set)  # who is on the never-export list
    never_in: dict[int, set[str]] = field(default_factory=dict)
    """The same, by backup."""
    judged: set[int] = field(default_factory=set)
    uncounted: set[int] = field(default_factory=set)
    """Runs of which somebody was forgotten, so that their names are fewer than their numbers."""
    begun_before: int = 0
    """The last run of the life before everything is made right."""
    tried: dict[int, int | frozenset[str] | None] = field(default_factory=dict)
    """By run: to how many people, or to whom, it may be sent at first."""
    undone: dict[int, Any] = field(default_factory=dict)
    """By run that takes another one back: the inverse it has to do."""
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.ids = random.Random(f"ids {self.seed}")  # apart: lives from before are lived again
        self.license, self.env = f"life{self.seed}", {"COHORT_SYNC_DATA": str(self.folder / "data")}
        (self.folder / "data").mkdir(mode=0o700)

    def now(self) -> float:
        """Return this life's time."""
        return time.time() + self.offset

    def service(self) -> Service:
        """Return the service, as pages and commands use it."""
        return Service(Store.open(self.folder / "data"), self.env, self.now)

    def _prepare(self) -> None:
        self.sandbox.settings(**ROOMY)
        self.sandbox.add_account(self.license, "key-of-the-life")
        self.plans = {f"{self.seed}-p{number}": self.random.choice(PLANS) for number in range(POPULATION)}
        for name in ("Red", "Blue"):
            book = CohortBook(self.sandbox.add_cohort(name, []), name)
            self.cohorts.append(book)
            self._fill(book, self.random.choice([0, 2, 30, 120]))
        with closing(self.service()) as service:
            service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, self.sandbox.url)
            service.connections.connect_webengage(self.license, "key-of-the-life", self.sandbox.url)

    def _fill(self, book: CohortBook, size: int) -> None:
        chosen = self.random.sample(sorted(self.plans), size)
        book.ever_left |= set(book.members) - set(chosen)
        book.members = {who: self.plans[who] for who in chosen}
        self._write(book)

    def _write(self, book: CohortBook) -> None:
        if not book.is_deleted:
            people = ((who, {"plan": plan, CUSTOMER: user_id_of(who, CUSTOMER)}) for who, plan in book.members.items())
            self.sandbox.set_members(book.id, [member(who, **{"$email": f"{who}@x.org"}, **own) for who, own in people])

    def list_syncs(self) -> list[Sync]:
        """Return every sync as the database has it."""
        with closing(Store.open(self.folder / "data")) as store:
            found = [store.syncs.get_sync(view.id) for view in store.syncs.list_views(None)]
        return [one for one in found if one]

    def _book(self, sync: Sync) -> CohortBook:
        return next(book for book in self.cohorts if book.id == sync.cohort_id)

    def choose_sync(self, service: Service) -> int:
        """Return the number of one of the syncs; there may be none."""
        views = service.syncs.list()
        return self.random.choice(sorted(view.id for view in views)) if views else 1

    # What a person, a runner and time may do -------------------------------------------------------------------------

    def export(self) -> None:
        """Export one of the cohorts."""
        self._ask(self.random.choice(self.cohorts), dry=False)

    def dry_run(self) -> None:
        """Ask for a dry run of one of the cohorts."""
        self._ask(self.random.choice(self.cohorts), dry=True)

    def _ask(self, book: CohortBook, *, dry: bool) -> None:
        mode = self.random.choice([Mode.DYNAMIC, Mode.DYNAMIC, Mode.ONE_TIME])
        interval = self.random.choice(INTERVALS) if mode is Mode.DYNAMIC else None
        mapping, id_property = self.random.choice(MAPPINGS), self.ids.choice(DRAWN)
        with closing(self.service()) as service:
            busy = [run for run in service.runs.list(limit=1000) if not run.state.is_final]
            started = service.syncs.start_export(
                PROJECT,
                book.id,
                ExportTerms(mode=mode, interval=interval, dry_run=dry, mapping=mapping, id_property=id_property),
            )
        if any(run.id == started.run_id and run.state is RunState.DELIVERING and not run.request for run in busy):
            self.take_terms(started.sync_id)  # its plan went ahead already, so the sync is changed at once

    def take_terms(self, sync_id: int) -> None:
        """Note the terms that a person just gave a sync."""
        self.requests.terms |= {sync.id: terms_of(sync) for sync in self.list_syncs() if sync.id == sync_id}

    def work(self) -> None:
        """Let a runner do what can be done now."""
        before = {run.id for run in self._runs() if run.state.is_final}
        Runner(self.env, Clock(self.now, time.sleep), SOON, FAST).run_once()
        syncs = {sync.id: sync for sync in self.list_syncs()}
        for run in self._runs():
            if run.id not in before and run.sync_id in syncs:
                self._book(syncs[run.sync_id]).note_reading(run, self.never)

    def _runs(self) -> tuple[Run, ...]:
        with closing(self.service()) as service:
            return service.runs.list(limit=1000)

    def change_cohort(self) -> None:
        """Let people enter and leave one of the cohorts."""
        book = self.random.choice(self.cohorts)
        gone = [who for who in book.members if self.random.random() < self.random.choice([0.0, 0.05, 0.5])]
        kept = set(book.members) - set(gone)
        new = self.random.sample(sorted(set(self.plans) - set(book.members)), self.random.choice([0, 1, 20]))
        book.ever_left |= set(gone)
        book.members = {who: self.plans[who] for who in sorted(kept | set(new))}
        self._write(book)

    def change_values(self) -> None:
        """Give some people another value of the mapped property."""
        for who in self.random.sample(sorted(self.plans), 20):
            self.plans[who] = self.random.choice(PLANS)
        for book in self.cohorts:
            book.members = {who: self.plans[who] for who in book.members}
            self._write(book)

    def empty_or_fill(self) -> None:
        """Empty one of the cohorts, or fill it."""
        self._fill(self.random.choice(self.cohorts), self.random.choice([0, 0, 3, 120]))

    def delete_or_restore_cohort(self) -> None:
        """Delete one of the cohorts, or bring it back."""
        book = self.random.choice(self.cohorts)
        self.sandbox.settings(unknown_cohort=self.random.choice([404, 400, 200]))
        if book.is_deleted:
            self.sandbox.add_cohort(book.name, [], id=book.id)
            book.is_deleted = False
            self._write(book)
        else:
            self.sandbox.delete_cohort(book.id)
            book.is_deleted = True

    def approve(self) -> None:
        """Approve one of the held runs."""
        with closing(self.service()) as service:
            held = service.runs.list(state=RunState.HELD)
            run_id = held[0].id if held else 1
            rows = list(service.runs.iterate_export_rows(run_id)) if held else []
            limits = service.guards.suggest_limits(held[0]) if held and self.random.random() < 0.3 else None
            service.runs.approve(run_id, always=self.random.random() < 0.2, limits=limits)
            book = self._book_of_run(service, run_id)
        self.requests.approved.add(run_id)
        book.may_be_false |= {row.user_id for row in rows if row.operation == "remove"}
        if held and held[0].undoes is not None and held[0].id_property_before is not None:
            self.requests.restore_id_property(held[0])
            book.may_be_false |= self._held_true(book)  # whoever is true by the other property

    def _book_of_run(self, service: Service, run_id: int) -> CohortBook:
        sync_id = service.runs.get(run_id).sync_id
        return next(book for book in self.cohorts if book.id == service.syncs.get(sync_id).cohort_id)

    def cancel(self) -> None:
        """Cancel one of the newest runs."""
        with closing(self.service()) as service:
            runs = service.runs.list()
            service.runs.cancel(self.random.choice(runs[:2]).id if runs else 1)

    def sync_now(self) -> None:
        """Refresh one of the syncs at once."""
        with closing(self.service()) as service:
            service.syncs.refresh_now(self.choose_sync(service))

    def retry(self) -> None:
        """Send the rejected people of one sync once more."""
        with closing(self.service()) as service:
            service.syncs.retry_rejected(self.choose_sync(service))

    def resync(self) -> None:
        """Send every member of one sync again."""
        with closing(self.service()) as service:
            service.syncs.resync(self.choose_sync(service))

    def pause(self) -> None:
        """Pause one of the syncs."""
        with closing(self.service()) as service:
            service.syncs.pause(self.choose_sync(service))

    def resume(self) -> None:
        """Resume one of the syncs."""
        with closing(self.service()) as service:
            service.syncs.resume(self.choose_sync(service))

    def stop(self) -> None:
        """Stop one of the syncs."""
        with closing(self.service()) as service:
            service.syncs.stop(self.choose_sync(service))

    def clear(self) -> None:
        """Stop one of the syncs and clear its attribute."""
        with closing(self.service()) as service:
            sync_id = self.choose_sync(service)
            service.syncs.stop(sync_id, clear=True)
            cohort_id = service.syncs.get(sync_id).cohort_id
        with closing(Store.open(self.folder / "data")) as store:
            cleared = set(store.snapshot.iterate_members(sync_id))
        next(book for book in self.cohorts if book.id == cohort_id).may_be_false |= cleared

    def change_interval(self) -> None:
        """Change the interval of one sync."""
        with closing(self.service()) as service:
            sync_id = self.choose_sync(service)
            service.syncs.change_interval(sync_id, self.random.choice([300.0, 7200.0]))
        self.take_terms(sync_id)

    def put_guard_back(self) -> None:
        """Put the guard of one sync back."""
        with closing(self.service()) as service:
            service.guards.put_back(self.choose_sync(service))

    def forget(self) -> None:
        """Forget one of the people."""
        who = self.random.choice(sorted(self.plans))
        with closing(self.service()) as service:
            service.admin.forget_person(who)
            self.uncounted |= {run.id for run in service.runs.list(limit=1000)}
        for sync in self.list_syncs():
            if who in self.sandbox.holding(sync.attribute, self.license)[0]:
                self._book(sync).strangers.add(who)
        for book in self.cohorts:
            for run_id in book.read:
                book.forgotten_during.setdefault(run_id, set()).add(who)

    def back_up(self) -> None:
        """Write a backup."""
        with closing(self.service()) as service:
            service.admin.write_backup(self.folder / f"backup-{self.backups + 1}")
        self.backups += 1
        self.never_in[self.backups] = set(self.never)

    def restore(self) -> None:
        """Restore one of the backups, if there is one."""
        if not self.backups:
            return
        chosen = self.random.randint(max(1, self.backups - 1), self.backups)
        held = {book.id: self._held_true(book) for book in self.cohorts}
        with closing(self.service()) as service:
            service.admin.restore(self.folder / f"backup-{chosen}")
        self.requests.restart()
        self._note_listed(self.never_in[chosen])
        for book in self.cohorts:
            book.strangers |= held[book.id]
            with closing(Store.open(self.folder / "data")) as store:
                for view in (one for one in store.syncs.list_views() if one.cohort_id == book.id):
                    book.strangers -= set(store.snapshot.iterate_members(view.id))
                    book.may_be_false |= of_other_property(both_ids(self.plans), view.id_property)  # may have been sent
        self.uncounted |= {run.id for run in self._runs()}
        self.judged = {run.id for run in self._runs() if run.state.is_final}

    def _held_true(self, book: CohortBook) -> set[str]:
        found = [sync for sync in self.list_syncs() if sync.cohort_id == book.id]
        attribute = found[0].attribute if found else f"Mixpanel - {book.name}"
        return self.sandbox.holding(attribute, self.license)[0]

    def keep_out(self) -> None:
        """Put some people on the never-export list."""
        chosen = self.random.sample(sorted(self.plans), self.random.choice([1, 5, 40]))
        with closing(self.service()) as service:
            service.safety.add_never_export(None, chosen)
        self._note_listed(set(chosen))

    def _note_listed(self, people: set[str]) -> None:
        self.never |= people
        for book in self.cohorts:
            book.may_be_false |= both_ids(people)
            book.listed_since_plan |= both_ids(people)

    def let_in(self) -> None:
        """Take some people off the never-export list."""
        chosen = self.random.sample(sorted(self.never), min(len(self.never), self.random.choice([1, 20])))
        with closing(self.service()) as service:
            service.safety.remove_never_export(None, chosen)
        self.never -= set(chosen)

    def change_tripwires(self) -> None:
        """Set a tripwire for one cohort or for any, or take all of them off."""
        with closing(self.service()) as service:
            found = service.safety.list_tripwires()
            if found and self.random.random() < 0.6:
                service.safety.delete_tripwires([one.id for one in found])
            else:
                cohort = self.random.choice([None, self.cohorts[0].id])
                service.safety.add_tripwires(None, cohort, [self.random.choice(sorted(self.plans))])

    def change_limits(self) -> None:
        """Set the limits of one sync's guard."""
        add, remove = (self.random.choice([0, 10, 100, 10_000]) for _ in range(2))
        with closing(self.service()) as service:
            service.guards.set_limits(self.choose_sync(service), GuardLimits(add_people=add, remove_people=remove))

    def let_time_pass(self) -> None:
        """Let time pass, here and at both APIs."""
        self.pass_time(self.random.choice([60.0, 400.0, HOUR, 3 * HOUR, 30 * HOUR]))

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, here and at both APIs."""
        self.offset += seconds
        self.sandbox.advance(seconds)

    def trouble(self) -> None:
        """Bring an API into trouble, for a request or two, or add somebody nobody takes."""
        # Nobody can find out: fewer people, and no total that says so.
        short = [] if self.is_total_silent else list(SHORT)
        kind = self.random.choice(["vanish", "status", "reset", "says_error", "poison", *short])
        if kind == "poison":
            who = self.random.choice(sorted(self.plans))
            self.poisoned.add(who)
            self.sandbox.poison(who)
        elif kind == "vanish":
            self.sandbox.fault(kind, api="webengage", times=self.random.choice([1, 6]))
        elif kind == "status":
            self.sandbox.fault(kind, code=self.random.choice([429, 500, 503, 401]), times=self.random.choice([1, 4]))
        else:
            self.sandbox.fault(kind, **({"by": 2} if kind == "wrong_total" else {}))
        self.is_short = self.is_short or kind in SHORT
        self.tally[f"trouble: {kind}"] += 1

    def peace(self) -> None:
        """Clear every fault."""
        self.sandbox.clear_faults()
        self.poisoned.clear()
        self.is_short = False

    def answer_otherwise(self) -> None:
        """Another reading of Mixpanel's document, with which a run can be right."""
        silent = not self.is_short
        total = self.random.choice(["match", "page"]) if silent else "match"
        untold = self.random.choice(["nothing", "nothing", "total"]) if silent else "nothing"
        self.is_total_silent = (total, untold) != ("match", "nothing")
        page_size, order = self.random.choice([7, 40, 100]), self.random.choice(["kept", "shuffled"])
        self.sandbox.settings(page_size=page_size, member_order=order, total=total, untold=untold)


ACTIONS: tuple[Callable[[Acts], None], ...] = (
    *(Acts.export, Acts.export, Acts.dry_run, Acts.work, Acts.work, Acts.work, Acts.work, Acts.work),
    *(Acts.work, Acts.change_cohort, Acts.change_cohort, Acts.change_values, Acts.empty_or_fill),
    *(Acts.approve, Acts.approve, Acts.approve, Acts.cancel, Acts.sync_now, Acts.retry, Acts.resync),
    *(Acts.pause, Acts.resume, Acts.resume, Acts.stop, Acts.clear, Acts.change_interval, Acts.put_guard_back),
    *(Acts.forget, Acts.back_up, Acts.restore, Acts.let_time_pass, Acts.let_time_pass, Acts.trouble),
    *(Acts.keep_out, Acts.keep_out, Acts.let_in, Acts.change_tripwires, Acts.change_limits),
    *(Acts.trouble, Acts.peace, Acts.answer_otherwise, Acts.delete_or_restore_cohort),
)
