"""Read a cohort page by page, up to four at once, each page durable as soon as it is here.

A reading is one session, one total and one page size throughout; anything else is another reading and starts over.
While a page is full the next one is asked for, whatever the total says. Where no total says that everybody is here, a
reading of several pages ends only with an empty page after one that was not full: a single odd page ends nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from sync.engine.lease import RunLease
from sync.engine.page_packer import Known, Packed, PagePacker
from sync.engine.query_places import PAGES_AT_ONCE, QueryPlaces
from sync.engine.retry import Postpone
from sync.errors import ConfigurationError, NoAnswer, ReplyTooLarge, RetryLater, SessionExpired
from sync.mixpanel.client import Mixpanel
from sync.model import Run, Sync
from sync.packing import RecordSet, digest_text, mapping_salt
from sync.store.rate_limits import QuerySlot
from sync.store.staged import StagedPage

RESTARTS_AT_ONCE = 4  # readings begun again before the run is put off
EMPTY_PAGES = 3  # one after the other, after which nobody else is expected: the total counts others, too
REFUSED = (0, True)  # rows and fullness of a page that Mixpanel refused behind a full one: others may follow
TICK_SECONDS = 0.25  # between looks at the lease while a page is on its way
SHARE_SECONDS = 0.03  # a page that came waits for its neighbours, to share a durable write with them
OTHERS_KEPT = 50_000  # people not exported whose hashes are held, some 6 MB; beyond that a reading is made twice
LANDING_SECONDS = 10.0  # given to queries on their way when a run stops reading


class MixedReading(Exception):
    """A page belongs to another reading than the first one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A page on its way."""

    number: int
    tries: int
    ticket: QuerySlot


class Reader:
    """One complete reading of a cohort into staged pages."""

    def __init__(self, lease: RunLease, sync: Sync, mixpanel: Mixpanel, *, is_exact: bool) -> None:
        """Read this sync's cohort through this client; ``is_exact`` compares its pages with whole records, for more memory."""
        self._lease, self._sync, self._mixpanel, self._salt = lease, sync, mixpanel, lease.salt
        self._store, self._run = lease.store, lease.run
        self._properties = tuple(name for name, _ in sync.mapping)
        self._content_salt = mapping_salt(lease.salt, sync.mapping + sync.forms)
        self._failures, self._furthest = self._run.failures, self._run.furthest
        self._again: dict[int, tuple[float, int]] = {}  # page: when to ask for it once more, tries so far
        self._here: dict[int, tuple[int, bool]] = {}  # page: rows, whether it was full
        # Without a property, a page's bytes say who is on it; with one, whose members they are is counted each time.
        self._pages = {} if sync.id_property else self._store.known_chunks.list_pages(sync.id)
        self._chunks = set[bytes]()  # loaded, as those sent are, with the first page that is not known as a whole
        # Of a first export nothing is kept: the first refresh reads the same pages, and knows them then.
        self._keeps_chunks = not sync.id_property and self._store.snapshot.count_members(sync.id) > 0
        self._sent: RecordSet | None = None
        self._is_exact = is_exact
        self._contiguous = 0  # pages here without a gap
        self._is_resumed = False  # whether the session was opened before this claim
        self._people_seen = set[bytes]()  # digests of who is on each page
        self._others: set[bytes] = set()  # those not exported, by hash
        self.repeated_others: int | None = 0
        """How many rows list somebody who is not exported once more; None when that is not known."""
        self._places = QueryPlaces(lease, sync)

    def read(self) -> Run:
        """Read every page that is not here yet; return the run with what page 0 said. Raise Postpone if it gets stuck."""
        while True:
            try:
                run = self._read_all()
                self._chunks, self._sent = set(), None  # large, and the plan needs the room
                return run
            except (SessionExpired, MixedReading) as problem:
                self._drop_pages()
                now = self._lease.now()
                self._failures, _ = self._store.runs.note_failure(self._run.id, self._lease.owner, now, True)
                if self._failures > RESTARTS_AT_ONCE:
                    raise Postpone(None, f"Mixpanel's pages did not stay together ({problem})") from None

    def _drop_pages(self) -> None:
        with self._store.transaction():
            self._lease.write(session_id=None, page_size=None, expected_total=None, staged=0)
            self._store.staged.delete_pages(self._run.id, self._run.reading)
        self._run = replace(self._run, session_id=None, page_size=None, expected_total=None)

    def _read_all(self) -> Run:
        self._contiguous, self._again = 0, {}
        self._here = self._store.staged.list_numbers(self._run.id, self._run.reading)
        if 0 not in self._here:
            with self._store.transaction():
                self._lease.renew()
                self._store.staged.delete_pages(self._run.id, self._run.reading)
            self._here = {}
        self._is_resumed = bool(self._here)
        self._others, self.repeated_others = set(), None if self._here else 0
        self._people_seen = set[bytes]()
        if self._sent is None and not self._pages:
            self._load_sent()
        pool = ThreadPoolExecutor(PAGES_AT_ONCE, thread_name_prefix="page")
        in_flight: dict[Future[Packed], Asked] = {}
        try:
            self._read_pages(pool, in_flight)
        finally:
            self._release_queries(in_flight)
            # A page may take Mixpanel 8 minutes; nobody needs it any more.
            pool.shutdown(wait=False, cancel_futures=True)
        return self._run

    def _load_sent(self) -> None:
        """Load what pages are compared with that are not known."""
        self._chunks = self._store.known_chunks.list_digests(self._sync.id) if self._keeps_chunks else set()
        self._sent = self._store.snapshot.load_records(self._sync.id, whole=self._is_exact)

    def _read_pages(self, pool: ThreadPoolExecutor, in_flight: dict[Future[Packed], Asked]) -> None:
        arrived, pages = SimpleQueue[Future[Packed]](), list[Future[Packed]]()
        while True:
            self._lease.renew_when_due()
            if in_flight:
                self._places.renew_when_due(asked.ticket for asked in in_flight.values())
            for asked in self._turn(pages, in_flight):
                page = pool.submit(self._read_page, asked.number, self._run.session_id)
                in_flight[page] = asked
                page.add_done_callback(arrived.put)
            pages = _await_pages(arrived, len(in_flight))
            if not in_flight:
                if not self._again and self._next_number(set()) is None:
                    return
                self._lease.sleep(TICK_SECONDS)

    def _next_number(self, away: set[int]) -> int | None:
        """Return the lowest missing page that exists by the total, or that a full page before it may have."""
        while self._contiguous in self._here:
            self._contiguous += 1
        number = self._contiguous
        while number in self._here or number in away:
            number += 1
        if number == 0:
            return 0
        if 0 not in self._here or self._run.session_id is None:
            return None  # without a session a later page would be of another reading
        may_exist = number == self._contiguous and self._may_follow(number)
        return number if self._is_announced(number) or may_exist else None

    def _is_announced(self, number: int) -> bool:
        """Return whether a page exists by the total; nobody is behind some empty pages, whatever that says."""
        behind = range(self._contiguous - EMPTY_PAGES, self._contiguous)
        if all(self._here.get(page, (1, True))[0] == 0 for page in behind):
            return False
        size = max(1, self._run.page_size or self._here[0][0])
        return number * size < (self._run.expected_total or 0)

    def _may_follow(self, number: int) -> bool:
        """Return whether members may be on this page, all before it being here."""
        (rows, is_full), first_rows = self._here[number - 1], self._here[0][0]
        if is_full:
            return rows > 0  # behind a page that was refused nothing is asked for
        if number == 1:  # small cohorts are many: a second query only where somebody would leave
            return self._run.expected_total is None and self._run.reading > 1 and rows > 0
        counts_itself = self._run.expected_total == first_rows and self._here[1][0] > 0
        says_nothing = self._run.expected_total is None or counts_itself
        return says_nothing and (rows > 0 or self._here[number - 2][1])

    def _turn(self, arrived: list[Future[Packed]], in_flight: dict[Future[Packed], Asked]) -> list[Asked]:
        """Keep what came and acquire the queries for what is asked next, in one transaction; none when there is neither."""
        away = {asked.number for asked in in_flight.values()}
        if not arrived and (len(away) >= PAGES_AT_ONCE or self._find_page(away) is None):
            return []
        done = [(in_flight.pop(one), one) for one in arrived]
        pages = [future.result() for _, future in done if not future.exception()]
        mixed = next((problem for page in pages if (problem := self._mixed(page))), None)
        refused: QuerySlot | None = None
        asks: list[Asked] = []
        with self._store.transaction():
            for asked, future in done:
                self._places.release(asked.ticket, is_answered=_is_answered(future))
            if not mixed:
                self._keep_all(pages)
            if not mixed and len(pages) == len(done):
                asks, refused = self._acquire({asked.number for asked in in_flight.values()})
        if mixed:
            raise MixedReading(mixed)
        if self._sent is None and any(page.staged.news for page in pages):
            self._load_sent()
        for asked, future in done:
            self._handle_failure(asked, future)
        self._places.wait_for(None if asks or in_flight else refused)
        return asks

    def _release_queries(self, in_flight: dict[Future[Packed], Asked]) -> None:
        """Give back the places of queries that end soon; those still running keep theirs, as they do at Mixpanel."""
        if in_flight:
            wait(in_flight, LANDING_SECONDS)
        for future, asked in in_flight.items():
            self._places.release(asked.ticket, is_answered=_is_answered(future))

    def _find_page(self, away: set[int]) -> int | None:
        """Return the page to ask for next: one whose other try is due, else the lowest that is missing and not away."""
        now = self._lease.now()
        due = next((number for number, (at, _) in self._again.items() if at <= now), None)
        return self._next_number(away | set(self._again)) if due is None else due

    def _acquire(self, in_flight: set[int]) -> tuple[list[Asked], QuerySlot | None]:
        """Acquire queries for the next pages, as far as there are any; else return which limit refused."""
        asks: list[Asked] = []
        allowed = self._places.count_allowed()
        while len(in_flight) + len(asks) < allowed:
            number = self._find_page(in_flight | {one.number for one in asks})
            if number is None:
                break
            slot = self._places.acquire(number)
            if slot.id is None:
                return asks, slot
            asks.append(Asked(number, self._again.pop(number, (0.0, 0))[1] + 1, slot))
        if asks:
            self._lease.count(requests=len(asks))
        return asks, None

    def _handle_failure(self, asked: Asked, future: Future[Packed]) -> None:
        """Raise what ended the reading; plan another try for a page that may come later."""
        try:
            future.result()
        except SessionExpired:
            # It is not documented how Mixpanel answers for a page behind the last one: this may be it.
            if not self._may_be_behind_all(asked.number):
                raise
            self._keep_refused(asked.number)
        except ReplyTooLarge as problem:
            # Fewer properties would be another content of everybody, so a person decides which.
            what = f"with {', '.join(self._properties)}" if self._properties else "although no property is mapped"
            raise ConfigurationError(
                f"Page {asked.number} of the cohort cannot be read {what}: {problem} Unmap what is large, then resume."
            ) from None
        except RetryLater as problem:
            now = self._lease.now()
            if problem.limit in ("hourly", "unnamed"):
                raise self._places.use_up_hour(asked.number, problem) from None
            pause = self._lease.policy.delay(asked.tries, problem, self._failures)
            self._again[asked.number] = (now + pause, asked.tries)

    def _may_be_behind_all(self, number: int) -> bool:
        """Return whether a refused page need not exist: the one before is not full, or everybody announced is here.

        Behind a full page without a whole total that is not known. The first reading then ends there, incomplete; the
        second one only where that was refused the same page. A session from before a wait may have ended meanwhile.
        """
        if self._is_announced(number):
            return False
        rows = sum(rows for rows, _ in self._here.values())
        if not self._here[number - 1][1] or rows == self._run.expected_total:
            return True
        if self._is_resumed:
            return False
        if self._run.reading == 1:
            return True
        before = self._store.staged.list_numbers(self._run.id, self._run.reading - 1)
        return before.get(number) == REFUSED and sum(rows for rows, _ in before.values()) == rows

    def _keep_refused(self, number: int) -> None:
        """Keep a page that does not exist as an empty one; as a full one of nobody where others may follow."""
        rows = sum(rows for rows, _ in self._here.values())
        is_open = self._here[number - 1][1] and rows != self._run.expected_total
        page = StagedPage(self._run.reading, number, rows=0, anonymous=0, invalid=0, is_full=is_open, total=None)
        with self._store.transaction():
            self._lease.renew()
            self._store.staged.add_page(self._run.id, page)
        self._here[number] = REFUSED if is_open else (0, False)

    def _read_page(self, number: int, session_id: str | None) -> Packed:
        """Ask for a page and pack it; runs in the pool and touches no store."""
        known = Known(pages=self._pages, chunks=self._chunks, sent=self._sent, keeps_chunks=self._keeps_chunks)
        packer = PagePacker(known, self._salt, self._content_salt)
        page = self._mixpanel.read_columns(
            self._sync.cohort_id, number, session_id, self._properties, packer, self._sync.id_property
        )
        return packer.pack(page, self._run.reading, lambda values: self._lease.vault.seal_bytes(values))

    def _mixed(self, page: Packed) -> str | None:
        """Return why a page belongs to another reading, or None."""
        run, staged = self._run, page.staged
        is_repeated = self._is_repeated(staged)
        if staged.number == 0:
            return None
        if is_repeated and not self._is_announced(staged.number):
            return f"page {staged.number} lists the same people as a page before it"
        if page.session_id not in (None, run.session_id):
            return f"page {staged.number} is of another session"
        if None not in (page.size, run.page_size) and page.size != run.page_size:
            return f"page {staged.number} has another size"
        counts_itself = staged.total == staged.rows and run.expected_total == self._here[0][0]
        if None not in (staged.total, run.expected_total) and staged.total != run.expected_total and not counts_itself:
            return f"page {staged.number} names another total"
        return None

    def _is_repeated(self, page: StagedPage) -> bool:
        """Return whether a page lists exactly the people of another one; pages that no total bounds could go on for ever."""
        people = page.records + page.news + page.others + page.seen
        digest, seen = digest_text(people, self._salt), len(self._people_seen)
        self._people_seen.add(digest)
        return bool(people) and len(self._people_seen) == seen

    def _keep_all(self, pages: list[Packed]) -> None:
        """Write pages and count them; part of the caller's transaction."""
        for page in pages:
            self._keep(page)
        if pages:
            staged = [page.staged for page in pages]
            self._lease.count(
                staged=sum(page.rows for page in staged),
                anonymous=sum(page.anonymous for page in staged),
                invalid=sum(page.invalid for page in staged),
            )
            self._lease.note_progress(len(self._here))
        if len(self._here) > self._furthest:
            self._failures, self._furthest = 0, len(self._here)

    def _keep(self, page: Packed) -> None:
        """Write a page and, with page 0, what it says about the whole."""
        staged = page.staged
        if page.size is None and staged.number:  # the first page shows the size
            staged = replace(staged, is_full=staged.rows >= max(1, self._run.page_size or self._here[0][0]))
        if staged.number == 0:
            head = {"session_id": page.session_id, "page_size": page.size, "expected_total": staged.total}
            self._run = replace(self._run, session_id=page.session_id, page_size=page.size, expected_total=staged.total)
            self._lease.write(**head, staged=0, anonymous=0, invalid=0)
        self._store.staged.add_page(self._run.id, staged)
        self._store.rejections.add(self._run.id, self._sync.id, page.invalid, self._lease.now())
        self._count_others(page.others)
        self._here[staged.number] = (staged.rows, staged.is_full)

    def _count_others(self, others: list[bytes]) -> None:
        """Count who is listed once more without being exported, as long as they fit the memory set aside for them."""
        if self.repeated_others is None:
            return
        before = len(self._others)
        self._others.update(others)
        self.repeated_others += before + len(others) - len(self._others)
        if len(self._others) > OTHERS_KEPT:
            self._others, self.repeated_others = set(), None


def _is_answered(page: Future[Packed]) -> bool:
    """Return whether Mixpanel is done with a query, however it answered."""
    return page.done() and not isinstance(page.exception(), NoAnswer)


def _await_pages(arrived: SimpleQueue[Future[Packed]], in_flight: int) -> list[Future[Packed]]:
    """Return the first page that comes and those that come soon after it; none when none comes for a while."""
    pages = list[Future[Packed]]()
    with suppress(Empty):
        if in_flight:
            pages.append(arrived.get(timeout=TICK_SECONDS))
        share_until = time.monotonic() + SHARE_SECONDS
        while len(pages) < in_flight:
            pages.append(arrived.get(timeout=max(0.0, share_until - time.monotonic())))
    return pages
