"""Read a cohort page by page, up to four at once, each page durable as soon as it is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from sync import members
from sync.errors import Report, SessionExpired, Wait
from sync.mixpanel import Mixpanel
from sync.model import Columns, Member, Run, Sync
from sync.pipeline.ends import Snooze
from sync.pipeline.holder import Holder
from sync.store.batches import Refused
from sync.store.meters import Ticket
from sync.store.staged import StagedPage

AHEAD = 4  # pages in flight: Mixpanel allows 5 at once, one is left for the pages people look at
RESTARTS = 4  # pulls begun anew before a run gives up on an inconsistent or expiring answer
INVALID_KEPT = 1000  # invalid people kept by name a page; all are counted
TICK = 0.25  # seconds between looks at the lease while a page is on its way


@dataclass(frozen=True, slots=True)
class Asked:
    """A page on its way."""

    number: int
    tries: int
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Packed:
    """A page ready to be written, and what it said about the whole."""

    staged: StagedPage
    invalid: list[Refused]
    size: int
    total: int | None
    session_id: str | None


class Incomplete(Exception):
    """The pages do not add up; the pull must begin anew."""


class Pull:
    """One complete reading of a cohort into ``staged``."""

    def __init__(self, holder: Holder, sync: Sync, mixpanel: Mixpanel, salt: int) -> None:
        """Read this sync's cohort through this client."""
        self._holder, self._sync, self._mixpanel, self._salt = holder, sync, mixpanel, salt
        self._store, self._run = holder.store, holder.run
        self._properties = tuple(name for name, _ in sync.mapping)

    def carry(self) -> Run:
        """Read every page that is not here yet; the run with what page 0 said.

        Raises Report when the answer stays inconsistent: an incomplete reading is never a diff.
        """
        problem = ""
        for _ in range(RESTARTS):
            try:
                return self._whole()
            except (SessionExpired, Incomplete) as again:
                problem = str(again)
                self._forget()
        raise Report(f"Cohort “{self._sync.cohort_name}” could not be read completely from Mixpanel ({problem}); "
                     "nothing was changed, try again later.")

    def _forget(self) -> None:
        with self._store.transaction():
            self._holder.write(session_id=None, page_size=None, expected=None, staged=0)
            self._store.staged.clear(self._run.id)
        self._run = replace(self._run, session_id=None, page_size=None, expected=None)

    def _whole(self) -> Run:
        here = self._store.staged.numbers(self._run.id)
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="page") as pool:
            try:
                if 0 not in here:
                    self._store.staged.clear(self._run.id)
                    here = frozenset()
                    self._fetch(pool, iter((0,)))
                self._fetch(pool, self._missing(here))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._check_rows()
        return self._run

    def _missing(self, here: frozenset[int]) -> Iterator[int]:
        """The pages still to ask for: by page 0's total, or one by one until a page is not full."""
        size, total = self._run.page_size or 1, self._run.expected
        if total is not None:
            yield from (number for number in range(1, math.ceil(total / size)) if number not in here)
            return
        number = 0
        while self._store.staged.tally(self._run.id).short is None:
            number += 1
            if number not in here:
                yield number

    def _check_rows(self) -> None:
        tally, total = self._store.staged.tally(self._run.id), self._run.expected
        if total is not None and tally.rows < total:
            raise Incomplete(f"it announced {total:,} members and sent {tally.rows:,}")

    def check_distinct(self, distinct: int) -> None:
        """Refuse more different people than announced; repeated ones are accounted for."""
        total = self._run.expected
        if total is not None and distinct > total:
            raise Incomplete(f"it announced {total:,} members and sent {distinct:,} different ones")

    def begin_anew(self) -> None:
        """Forget the pull, since it did not add up."""
        self._forget()

    def _fetch(self, pool: ThreadPoolExecutor, numbers: Iterator[int]) -> None:
        """Ask for pages, as many at once as the limits and ``AHEAD`` allow, and keep each as it comes."""
        flying: dict[Future[Packed], Asked] = {}
        again: list[tuple[float, int, int]] = []
        known = self._run.expected is not None  # else the next page is only known to exist when this one is full
        waiting = next(numbers, None)
        while flying or again or waiting is not None:
            self._holder.hold()
            ready = self._due(again)
            asked = ready or (None if waiting is None else (waiting, 0))
            if asked and len(flying) < (AHEAD if known else 1) and self._ask(pool, flying, *asked):
                if ready:
                    again.pop(0)
                else:
                    waiting = next(numbers, None) if known else None
                continue
            self._gather(flying, again)
            if not (known or flying or again) and waiting is None:
                waiting = next(numbers, None)

    def _due(self, again: list[tuple[float, int, int]]) -> tuple[int, int] | None:
        again.sort()
        if again and again[0][0] <= self._holder.now():
            return again[0][1], again[0][2]
        return None

    def _ask(self, pool: ThreadPoolExecutor, flying: dict[Future[Packed], Asked], number: int, tries: int) -> bool:
        """Send one request if the meters allow it; Snooze when the hour is used up."""
        with self._store.transaction():
            ticket = self._store.meters.take_query(self._sync.project_id, self._holder.now(),
                                                   later_page=number > 0, at_once=AHEAD)
            if ticket.id is not None:
                self._store.runs.count(self._run.id, self._holder.owner, requests=1)
        if ticket.id is None:
            if ticket.limit == "hourly":
                raise Snooze(ticket.wait, "Mixpanel's hourly limit of queries is used up")
            if not flying:
                self._holder.pause(ticket.wait)
            return False
        future = pool.submit(self._read, number, self._run.session_id)
        flying[future] = Asked(number, tries + 1, ticket)
        return True

    def _read(self, number: int, session_id: str | None) -> Packed:
        """Ask for a page and pack it; runs in the pool and touches no store."""
        page = self._mixpanel.columns(self._sync.cohort_id, number, session_id, self._properties)
        return pack_page(page, self._salt, self._holder.seal)

    def _gather(self, flying: dict[Future[Packed], Asked], again: list[tuple[float, int, int]]) -> None:
        """Keep the pages that came, in one transaction; plan another try for those that did not."""
        if not flying:
            self._holder.pause(TICK if again else 0.0)
            return
        done = wait(flying, timeout=TICK, return_when=FIRST_COMPLETED).done
        with self._store.transaction():
            for future in done:
                self._store.meters.landed(flying[future].ticket)
                if future.exception() is None:
                    self._keep(future.result())
        for asked, future in [(flying.pop(future), future) for future in done]:
            try:
                future.result()
            except Wait as problem:
                again.append((self._holder.now() + self._pause(asked, problem), asked.number, asked.tries))

    def _pause(self, asked: Asked, problem: Wait) -> float:
        now = self._holder.now()
        if problem.limit == "hourly":
            until = now + problem.seconds if problem.seconds is not None else self._store.meters.free_again(
                self._sync.project_id, now)
            self._store.meters.hush(self._sync.project_id, until, pages_count=asked.number > 0)
            raise Snooze(until - now, str(problem))
        return self._holder.policy.pause(asked.tries, problem)

    def _keep(self, page: Packed) -> None:
        """Write a page and, with page 0, what it says about the whole; part of the caller's transaction."""
        if page.staged.number == 0:
            told = {"session_id": page.session_id, "page_size": page.size, "expected": page.total,
                    "staged": 0, "anonymous": 0, "invalid": 0}
            self._run = replace(self._run, **told)  # type: ignore[arg-type]
            self._holder.write(**told)
        self._store.staged.add(self._run.id, page.staged)
        self._store.batches.refuse(self._run.id, self._sync.id, page.invalid, self._holder.now())
        self._store.runs.count(self._run.id, self._holder.owner, staged=page.staged.rows,
                               anonymous=page.staged.anonymous, invalid=page.staged.invalid)


def pack_page(page: Columns, salt: int, seal: Callable[[bytes], bytes]) -> Packed:
    """Pack the members who can be exported, by ascending marks; name the invalid ones."""
    marks = members.marks_of(page.ids, page.values, salt)
    places = dict(zip(marks, range(len(marks)), strict=True))  # someone listed twice stands once
    ordered = sorted(places)
    ids = members.pack([page.ids[places[one]] for one in ordered])
    values = seal(members.pack_values(page.values[places[one]] for one in ordered)) if page.values else None
    invalid = [one for one in page.others if one.fate.invalid]
    staged = StagedPage(page.number, page.rows, len(page.others) - len(invalid), len(invalid), page.rows >= page.size,
                        members.join_marks(ordered), ids, values)
    return Packed(staged, [_invalid(one) for one in invalid[:INVALID_KEPT]], page.size, page.total, page.session_id)


def _invalid(one: Member) -> Refused:
    """Name an invalid member, shortened so that a monstrous id cannot fill the file."""
    return Refused(one.id[:200], "invalid", one.fate.value, None)
