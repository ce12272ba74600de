"""Read a cohort page by page, up to four at once, each page durable as soon as it is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
LINGER = 0.01  # seconds a page that came waits for its neighbours, to share a durable write with them
FLIES_EVERY = 30.0  # seconds between two such words
CROWDED = 20.0  # seconds a run waits for a place in its lane, and how long it is put off then
LANDING = 10.0  # seconds given to queries on their way when a run stops reading


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


class Queue:
    """The pages still to ask for: those tried before when their time has come, then the next ones."""

    def __init__(self, numbers: Iterator[int], at_once: int) -> None:
        """Ask for these, so many at once."""
        self._numbers, self.most, self.at_once = numbers, at_once, at_once
        self._again: list[tuple[float, int, int]] = []
        self._next: int | None = None

    def empty(self, flying: int) -> bool:
        """Whether nothing may be asked for while so many are on their way."""
        if flying >= self.at_once:
            return True
        if self._next is None and not (self.most == 1 and self._again):
            self._next = next(self._numbers, None)
        return self._next is None and not self._again

    def take(self, now: float) -> tuple[int, int] | None:
        """Take out a number to ask for now and how often it was tried; None when it is too early."""
        self._again.sort()
        if self._again and self._again[0][0] <= now:
            return self._again.pop(0)[1:]
        number, self._next = self._next, None
        return None if number is None else (number, 0)

    def again(self, at: float, number: int, tries: int) -> None:
        """Ask for a page once more at this time."""
        self._again.append((at, number, tries))


class Incomplete(Exception):
    """The pages do not add up; the pull must begin anew."""


class Pull:
    """One complete reading of a cohort into ``staged``."""

    def __init__(self, holder: Holder, sync: Sync, mixpanel: Mixpanel, salt: int) -> None:
        """Read this sync's cohort through this client."""
        self._holder, self._sync, self._mixpanel, self._salt = holder, sync, mixpanel, salt
        self._store, self._run = holder.store, holder.run
        # A resync doubts the whole snapshot, so its chunks are no answer then.
        self._chunks = (
            {}
            if self._run.purpose == "resync"
            else {members.digest(marks): chunk for chunk, marks in self._store.snapshot.marks(sync.id)}
        )
        self._said_at = 0.0
        self._anew = False
        self._crowded_since: float | None = None
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
        raise Report(
            f"Cohort “{self._sync.cohort_name}” could not be read completely from Mixpanel ({problem}); "
            "nothing was changed, try again later."
        )

    def _forget(self) -> None:
        with self._store.transaction():
            self._holder.write(session_id=None, page_size=None, expected=None, staged=0)
            self._store.staged.clear(self._run.id)
        self._run = replace(self._run, session_id=None, page_size=None, expected=None)

    def _whole(self) -> Run:
        here = self._store.staged.numbers(self._run.id)
        pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="page")
        try:
            if 0 not in here:
                self._store.staged.clear(self._run.id)
                here = frozenset()
                self._fetch(pool, iter((0,)))
            self._fetch(pool, self._missing(here))
        finally:
            pool.shutdown(
                wait=False, cancel_futures=True
            )  # a page may take Mixpanel 8 minutes; nobody needs it any more
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

    def check_people(self, distinct: int, leaving: int) -> None:
        """Refuse more different people than announced; and once, before anybody is told to have left, fewer.

        Someone listed twice may stand in the place of another, or the total may count both (nobody could
        confirm either): a second reading that says the same is believed.
        """
        total, tally = self._run.expected, self._store.staged.tally(self._run.id)
        if total is None:
            return
        if distinct > total:
            raise Incomplete(f"it announced {total:,} members and sent {distinct:,} different ones")
        missing = total - distinct - tally.anonymous - tally.invalid
        if leaving and missing > 0 and not self._anew:
            raise Incomplete(
                f"it listed people twice, so {missing:,} others may be missing while {leaving:,} would leave"
            )

    def begin_anew(self) -> None:
        """Forget the pull, since it did not add up."""
        self._anew = True
        self._forget()

    def _fetch(self, pool: ThreadPoolExecutor, numbers: Iterator[int]) -> None:
        """Ask for pages, as many at once as the limits and ``AHEAD`` allow, and keep each as it comes."""
        # Without a total, the next page is only known to exist once this one turned out full.
        queue = Queue(numbers, AHEAD if self._run.expected is not None else 1)
        flying: dict[Future[Packed], Asked] = {}
        try:
            while True:
                self._holder.hold()
                self._say_they_fly(flying)
                for asked in self._turn(flying, queue):
                    flying[pool.submit(self._read, asked.number, self._run.session_id)] = asked
                if flying:
                    wait(flying, TICK, FIRST_COMPLETED)
                    wait(flying, LINGER, ALL_COMPLETED)
                elif queue.empty(0):
                    return
                else:
                    self._holder.pause(TICK)
        except BaseException:
            self._land_the_rest(flying)
            raise

    def _say_they_fly(self, flying: dict[Future[Packed], Asked]) -> None:
        """Keep the places of slow queries, which may take Mixpanel eight minutes."""
        now = self._holder.now()
        if flying and not 0 <= now - self._said_at < FLIES_EVERY:
            self._store.meters.still_flying((asked.ticket for asked in flying.values()), now)
            self._said_at = now

    def _turn(self, flying: dict[Future[Packed], Asked], queue: Queue) -> list[Asked]:
        """Keep what came and take leave for what is asked next, in one transaction."""
        done = [(flying.pop(one), one) for one in list(flying) if one.done()]
        failed = any(one.exception() for _, one in done)
        if not done and queue.empty(len(flying)):
            return []
        with self._store.transaction():
            for asked, future in done:
                self._store.meters.landed(asked.ticket, self._holder.now())
                if not future.exception():
                    self._keep(future.result())
            asks, refused = ([], None) if failed else self._take_leave(queue, len(flying))
        for asked, future in done:
            self._look(asked, future, queue)
        if refused and not (asks or flying):
            self._wait_for(refused)
        self._crowded_since = None if asks or flying else self._crowded_since
        return asks

    def _wait_for(self, refused: Ticket) -> None:
        """Put the run off when the hour is used up, or when others have all places for long."""
        if refused.limit == "hourly":
            raise Snooze(refused.wait, "Mixpanel's hourly limit of queries is used up")
        now = self._holder.now()
        self._crowded_since = now if self._crowded_since is None else self._crowded_since
        if now - self._crowded_since > CROWDED:
            raise Snooze(CROWDED, "all of Mixpanel's concurrent queries are in use")

    def _take_leave(self, queue: Queue, flying: int) -> tuple[list[Asked], Ticket | None]:
        """Take tickets for the next pages, as far as there are any; else tell which limit refused."""
        asks: list[Asked] = []
        refused = None
        queue.at_once = self._share(queue.most)
        while not queue.empty(flying + len(asks)):
            now = self._holder.now()
            due = queue.take(now)
            if due is None:
                break
            ticket = self._store.meters.take_query(self._sync.project_id, now, later_page=due[0] > 0, at_once=AHEAD)
            if ticket.id is None:
                queue.again(now, *due)
                refused = ticket
                break
            asks.append(Asked(due[0], due[1] + 1, ticket))
        if asks:
            self._store.runs.count(self._run.id, self._holder.owner, requests=len(asks))
        return asks, refused

    def _share(self, most: int) -> int:
        """How many pages we may have on their way: the places are shared by all runs that read the same project."""
        return max(1, most // max(1, self._store.runs.reading(self._sync.project_id, self._holder.now())))

    def _look(self, asked: Asked, future: Future[Packed], queue: Queue) -> None:
        """Raise what ended the reading; plan another try for a page that may come later."""
        try:
            future.result()
        except Wait as problem:
            queue.again(self._holder.now() + self._pause(asked, problem), asked.number, asked.tries)

    def _land_the_rest(self, flying: dict[Future[Packed], Asked]) -> None:
        """Give back the places of queries that end soon; those still running keep theirs, as they do at Mixpanel."""
        ended, running = wait(flying, LANDING)
        for future in ended:
            self._store.meters.landed(flying[future].ticket, self._holder.now())
        for future in running:
            self._store.meters.abandon_query(flying[future].ticket)

    def _read(self, number: int, session_id: str | None) -> Packed:
        """Ask for a page and pack it; runs in the pool and touches no store."""
        page = self._mixpanel.columns(self._sync.cohort_id, number, session_id, self._properties)
        try:
            return pack_page(page, self._salt, self._holder.seal, self._chunks)
        except ValueError:  # the quick reading of a page skips over values, so here is where one is found to be none
            raise Wait(
                f"Mixpanel was asked for page {number} of cohort {self._sync.cohort_id} and sent a value that is "
                "garbled."
            ) from None

    def _pause(self, asked: Asked, problem: Wait) -> float:
        now = self._holder.now()
        if problem.limit in ("hourly", "unnamed"):
            until = (
                now + problem.seconds
                if problem.seconds is not None
                else self._store.meters.free_again(self._sync.project_id, now)
            )
            self._store.meters.hush(
                self._sync.project_id, until, pages_count=asked.number > 0 and problem.limit == "hourly"
            )
            raise Snooze(until - now, str(problem))
        return self._holder.policy.pause(asked.tries, problem)

    def _keep(self, page: Packed) -> None:
        """Write a page and, with page 0, what it says about the whole; part of the caller's transaction."""
        if page.staged.number == 0:
            told = {
                "session_id": page.session_id,
                "page_size": page.size,
                "expected": page.total,
                "staged": 0,
                "anonymous": 0,
                "invalid": 0,
            }
            self._run = replace(self._run, **told)  # type: ignore[arg-type]
            self._holder.write(**told)
        self._store.staged.add(self._run.id, page.staged)
        self._store.batches.refuse(self._run.id, self._sync.id, page.invalid, self._holder.now())
        self._store.runs.count(
            self._run.id,
            self._holder.owner,
            staged=page.staged.rows,
            anonymous=page.staged.anonymous,
            invalid=page.staged.invalid,
        )


def pack_page(page: Columns, salt: int, seal: Callable[[bytes], bytes], chunks: Mapping[bytes, int]) -> Packed:
    """Pack the members who can be exported, by ascending marks; name the invalid ones.

    When the very same people with the same values already are a chunk of the snapshot (``chunks``
    by digest), the page only names it: nothing about them needs to be kept twice.
    """
    marks = members.marks_of(page.ids, page.values, salt)
    places = dict(zip(marks, range(len(marks)), strict=True))  # someone listed twice stands once
    ordered = sorted(places)
    blob = members.join_marks(ordered)
    chunk = chunks.get(members.digest(blob))
    order = [places[one] for one in ordered] if chunk is None else []
    invalid = [one for one in page.others if one.fate.invalid]
    staged = StagedPage(
        page.number,
        page.rows,
        len(page.others) - len(invalid),
        len(invalid),
        page.rows >= page.size,
        blob if chunk is None else None,
        members.pack([page.ids[at] for at in order]) if chunk is None else None,
        seal(members.pack_values([page.values[at] for at in order])) if page.values and order else None,
        chunk,
    )
    return Packed(staged, [_invalid(one) for one in invalid[:INVALID_KEPT]], page.size, page.total, page.session_id)


def _invalid(one: Member) -> Refused:
    """Name an invalid member, shortened so that a monstrous id cannot fill the file."""
    return Refused(one.id[:200], "invalid", one.fate.value, None)
