"""Read a cohort page by page, up to four at once, each page durable as soon as it is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from sync import members
from sync.engine.interrupts import RunPostponed
from sync.engine.lease import RunLease
from sync.errors import RetryLater, SessionExpired, UnexpectedResponse
from sync.mixpanel.client import Mixpanel
from sync.model import Columns, Member, Run, Sync
from sync.store.batches import Rejection
from sync.store.rate_limits import QuerySlot
from sync.store.staged import StagedPage

MAX_PAGES_IN_FLIGHT = 4  # pages in flight: Mixpanel allows 5 at once, one is left for the pages people look at
MAX_RESTARTS = 4  # pulls begun anew before a run gives up on an inconsistent or expiring answer
INVALID_KEPT_PER_PAGE = 1000  # invalid people kept by name a page; all are counted
POLL_SECONDS = 0.25  # seconds between looks at the lease while a page is on its way
LINGER_SECONDS = 0.01  # seconds a page that came waits for its neighbours, to share a durable write with them
SLOT_RENEW_SECONDS = 30.0  # seconds between two such words
CROWDED_SECONDS = 20.0  # seconds a run waits for a place in its lane, and how long it is put off then
RELEASE_WAIT_SECONDS = 10.0  # seconds given to queries on their way when a run stops reading


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page on its way."""

    number: int
    tries: int
    slot: QuerySlot


@dataclass(frozen=True, slots=True)
class PackedPage:
    """A page ready to be written, and what it said about the whole."""

    staged: StagedPage
    invalid: list[Rejection]
    size: int
    total: int | None
    session_id: str | None


class PageQueue:
    """The pages still to ask for: those tried before when their time has come, then the next ones."""

    def __init__(self, numbers: Iterator[int], at_once: int) -> None:
        """Ask for these, so many at once."""
        self._numbers, self.most, self.at_once = numbers, at_once, at_once
        self._retries: list[tuple[float, int, int]] = []
        self._next: int | None = None

    def is_empty(self, in_flight: int) -> bool:
        """Whether nothing may be asked for while so many are on their way."""
        if in_flight >= self.at_once:
            return True
        if self._next is None and not (self.most == 1 and self._retries):
            self._next = next(self._numbers, None)
        return self._next is None and not self._retries

    def take_next(self, now: float) -> tuple[int, int] | None:
        """Take out a number to ask for now and how often it was tried; None when it is too early."""
        self._retries.sort()
        if self._retries and self._retries[0][0] <= now:
            return self._retries.pop(0)[1:]
        number, self._next = self._next, None
        return None if number is None else (number, 0)

    def retry_at(self, at: float, number: int, tries: int) -> None:
        """Ask for a page once more at this time."""
        self._retries.append((at, number, tries))


class Incomplete(Exception):
    """The pages do not add up; the pull must begin anew."""


class Pull:
    """One complete reading of a cohort into ``staged``."""

    def __init__(self, lease: RunLease, sync: Sync, mixpanel: Mixpanel, salt: int) -> None:
        """Read this sync's cohort through this client."""
        self._lease, self._sync, self._mixpanel, self._salt = lease, sync, mixpanel, salt
        self._store, self._run = lease.store, lease.run
        # A resync doubts the whole snapshot, so its chunks are no answer then.
        self._chunks = (
            {}
            if self._run.purpose == "resync"
            else {members.digest_marks(marks): chunk for chunk, marks in self._store.snapshot.iterate_marks(sync.id)}
        )
        self._renewed_at = 0.0
        self._restarted = False
        self._crowded_since: float | None = None
        self._properties = tuple(name for name, _ in sync.mapping)

    def read_all(self) -> Run:
        """Read every page that is not here yet; the run with what page 0 said.

        Raises UnexpectedResponse when the answer stays inconsistent: an incomplete reading is never a diff.
        """
        problem = ""
        for _ in range(MAX_RESTARTS):
            try:
                return self._read_once()
            except (SessionExpired, Incomplete) as again:
                problem = str(again)
                self._reset_pull()
        raise UnexpectedResponse(
            f"Cohort “{self._sync.cohort_name}” could not be read completely from Mixpanel ({problem}); "
            "nothing was changed, try again later."
        )

    def _reset_pull(self) -> None:
        with self._store.transaction():
            self._lease.write_run(session_id=None, page_size=None, expected_total=None, staged=0)
            self._store.staged.delete_pages(self._run.id)
        self._run = replace(self._run, session_id=None, page_size=None, expected_total=None)

    def _read_once(self) -> Run:
        here = self._store.staged.list_numbers(self._run.id)
        pool = ThreadPoolExecutor(MAX_PAGES_IN_FLIGHT, thread_name_prefix="page")
        try:
            if 0 not in here:
                self._store.staged.delete_pages(self._run.id)
                here = frozenset()
                self._fetch_pages(pool, iter((0,)))
            self._fetch_pages(pool, self._missing_pages(here))
        finally:
            pool.shutdown(
                wait=False, cancel_futures=True
            )  # a page may take Mixpanel 8 minutes; nobody needs it any more
        self._check_rows()
        return self._run

    def _missing_pages(self, here: frozenset[int]) -> Iterator[int]:
        """The pages still to ask for: by page 0's total, or one by one until a page is not full."""
        size, total = self._run.page_size or 1, self._run.expected_total
        if total is not None:
            yield from (number for number in range(1, math.ceil(total / size)) if number not in here)
            return
        number = 0
        while self._store.staged.sum_pages(self._run.id).short is None:
            number += 1
            if number not in here:
                yield number

    def _check_rows(self) -> None:
        tally, total = self._store.staged.sum_pages(self._run.id), self._run.expected_total
        if total is not None and tally.rows < total:
            raise Incomplete(f"it announced {total:,} members and sent {tally.rows:,}")

    def check_people(self, distinct: int, leaving: int) -> None:
        """Refuse more different people than announced; and once, before anybody is told to have left, fewer.

        Someone listed twice may stand in the place of another, or the total may count both (nobody could
        confirm either): a second reading that says the same is believed.
        """
        total, tally = self._run.expected_total, self._store.staged.sum_pages(self._run.id)
        if total is None:
            return
        if distinct > total:
            raise Incomplete(f"it announced {total:,} members and sent {distinct:,} different ones")
        missing = total - distinct - tally.anonymous - tally.invalid
        if leaving and missing > 0 and not self._restarted:
            raise Incomplete(
                f"it listed people twice, so {missing:,} others may be missing while {leaving:,} would leave"
            )

    def restart(self) -> None:
        """Forget the pull, since it did not add up."""
        self._restarted = True
        self._reset_pull()

    def _fetch_pages(self, pool: ThreadPoolExecutor, numbers: Iterator[int]) -> None:
        """Ask for pages, as many at once as the limits and ``MAX_PAGES_IN_FLIGHT`` allow, and keep each as it comes."""
        # Without a total, the next page is only known to exist once this one turned out full.
        queue = PageQueue(numbers, MAX_PAGES_IN_FLIGHT if self._run.expected_total is not None else 1)
        in_flight: dict[Future[PackedPage], PageRequest] = {}
        try:
            while True:
                self._lease.renew()
                self._renew_queries(in_flight)
                for asked in self._take_turn(in_flight, queue):
                    in_flight[pool.submit(self._read_page, asked.number, self._run.session_id)] = asked
                if in_flight:
                    wait(in_flight, POLL_SECONDS, FIRST_COMPLETED)
                    wait(in_flight, LINGER_SECONDS, ALL_COMPLETED)
                elif queue.is_empty(0):
                    return
                else:
                    self._lease.sleep(POLL_SECONDS)
        except BaseException:
            self._release_finished(in_flight)
            raise

    def _renew_queries(self, in_flight: dict[Future[PackedPage], PageRequest]) -> None:
        """Keep the places of slow queries, which may take Mixpanel eight minutes."""
        now = self._lease.now()
        if in_flight and not 0 <= now - self._renewed_at < SLOT_RENEW_SECONDS:
            self._store.rate_limits.renew_queries((asked.slot for asked in in_flight.values()), now)
            self._renewed_at = now

    def _take_turn(self, in_flight: dict[Future[PackedPage], PageRequest], queue: PageQueue) -> list[PageRequest]:
        """Keep what came and take leave for what is asked next, in one transaction."""
        done = [(in_flight.pop(one), one) for one in list(in_flight) if one.done()]
        failed = any(one.exception() for _, one in done)
        if not done and queue.is_empty(len(in_flight)):
            return []
        with self._store.transaction():
            for asked, future in done:
                self._store.rate_limits.release_query(asked.slot, self._lease.now())
                if not future.exception():
                    self._store_page(future.result())
            asks, refused = ([], None) if failed else self._acquire_queries(queue, len(in_flight))
        for asked, future in done:
            self._check_answer(asked, future, queue)
        if refused and not (asks or in_flight):
            self._postpone_for(refused)
        self._crowded_since = None if asks or in_flight else self._crowded_since
        return asks

    def _postpone_for(self, refused: QuerySlot) -> None:
        """Put the run off when the hour is used up, or when others have all places for long."""
        if refused.limit == "hourly":
            raise RunPostponed(refused.wait, "Mixpanel's hourly limit of queries is used up")
        now = self._lease.now()
        self._crowded_since = now if self._crowded_since is None else self._crowded_since
        if now - self._crowded_since > CROWDED_SECONDS:
            raise RunPostponed(CROWDED_SECONDS, "all of Mixpanel's concurrent queries are in use")

    def _acquire_queries(self, queue: PageQueue, in_flight: int) -> tuple[list[PageRequest], QuerySlot | None]:
        """Take tickets for the next pages, as far as there are any; else tell which limit refused."""
        asks: list[PageRequest] = []
        refused = None
        queue.at_once = self._fair_share(queue.most)
        while not queue.is_empty(in_flight + len(asks)):
            now = self._lease.now()
            due = queue.take_next(now)
            if due is None:
                break
            slot = self._store.rate_limits.acquire_query(
                self._sync.project_id, now, later_page=due[0] > 0, at_once=MAX_PAGES_IN_FLIGHT
            )
            if slot.id is None:
                queue.retry_at(now, *due)
                refused = slot
                break
            asks.append(PageRequest(due[0], due[1] + 1, slot))
        if asks:
            self._store.runs.add_counts(self._run.id, self._lease.owner, requests=len(asks))
        return asks, refused

    def _fair_share(self, most: int) -> int:
        """How many pages we may have on their way: the places are shared by all runs that read the same project."""
        return max(1, most // max(1, self._store.runs.count_reading(self._sync.project_id, self._lease.now())))

    def _check_answer(self, asked: PageRequest, future: Future[PackedPage], queue: PageQueue) -> None:
        """Raise what ended the reading; plan another try for a page that may come later."""
        try:
            future.result()
        except RetryLater as problem:
            queue.retry_at(self._lease.now() + self._retry_delay(asked, problem), asked.number, asked.tries)

    def _release_finished(self, in_flight: dict[Future[PackedPage], PageRequest]) -> None:
        """Give back the places of queries that end soon; those still running keep theirs, as they do at Mixpanel."""
        ended, running = wait(in_flight, RELEASE_WAIT_SECONDS)
        for future in ended:
            self._store.rate_limits.release_query(in_flight[future].slot, self._lease.now())
        for future in running:
            self._store.rate_limits.abandon_query(in_flight[future].slot)

    def _read_page(self, number: int, session_id: str | None) -> PackedPage:
        """Ask for a page and pack it; runs in the pool and touches no store."""
        page = self._mixpanel.read_columns(self._sync.cohort_id, number, session_id, self._properties)
        try:
            return pack_page(page, self._salt, self._lease.seal, self._chunks)
        except ValueError:  # the quick reading of a page skips over values, so here is where one is found to be none
            raise RetryLater(
                f"Mixpanel was asked for page {number} of cohort {self._sync.cohort_id} and sent a value that is "
                "garbled."
            ) from None

    def _retry_delay(self, asked: PageRequest, problem: RetryLater) -> float:
        now = self._lease.now()
        if problem.limit in ("hourly", "unnamed"):
            until = (
                now + problem.seconds
                if problem.seconds is not None
                else self._store.rate_limits.next_query_at(self._sync.project_id, now)
            )
            self._store.rate_limits.block_until(
                self._sync.project_id, until, pages_count=asked.number > 0 and problem.limit == "hourly"
            )
            raise RunPostponed(until - now, str(problem))
        return self._lease.policy.delay(asked.tries, problem)

    def _store_page(self, page: PackedPage) -> None:
        """Write a page and, with page 0, what it says about the whole; part of the caller's transaction."""
        if page.staged.number == 0:
            told = {
                "session_id": page.session_id,
                "page_size": page.size,
                "expected_total": page.total,
                "staged": 0,
                "anonymous": 0,
                "invalid": 0,
            }
            self._run = replace(self._run, **told)  # type: ignore[arg-type]
            self._lease.write_run(**told)
        self._store.staged.add_page(self._run.id, page.staged)
        self._store.batches.add_rejections(self._run.id, self._sync.id, page.invalid, self._lease.now())
        self._store.runs.add_counts(
            self._run.id,
            self._lease.owner,
            staged=page.staged.rows,
            anonymous=page.staged.anonymous,
            invalid=page.staged.invalid,
        )


def pack_page(page: Columns, salt: int, seal: Callable[[bytes], bytes], chunks: Mapping[bytes, int]) -> PackedPage:
    """Pack the members who can be exported, by ascending marks; name the invalid ones.

    When the very same people with the same values already are a chunk of the snapshot (``chunks``
    by digest), the page only names it: nothing about them needs to be kept twice.
    """
    marks = members.compute_marks(page.ids, page.values, salt)
    places = dict(zip(marks, range(len(marks)), strict=True))  # someone listed twice stands once
    ordered = sorted(places)
    blob = members.join_marks(ordered)
    chunk = chunks.get(members.digest_marks(blob))
    order = [places[one] for one in ordered] if chunk is None else []
    invalid = [one for one in page.others if one.eligibility.is_invalid]
    staged = StagedPage(
        page.number,
        page.rows,
        len(page.others) - len(invalid),
        len(invalid),
        page.rows >= page.size,
        blob if chunk is None else None,
        members.pack_list([page.ids[at] for at in order]) if chunk is None else None,
        seal(members.pack_values([page.values[at] for at in order])) if page.values and order else None,
        chunk,
    )
    return PackedPage(
        staged,
        [_invalid_rejection(one) for one in invalid[:INVALID_KEPT_PER_PAGE]],
        page.size,
        page.total,
        page.session_id,
    )


def _invalid_rejection(one: Member) -> Rejection:
    """Name an invalid member, shortened so that a monstrous id cannot fill the file."""
    return Rejection(one.id[:200], "invalid", one.eligibility.value, None)
