"""Send the batches: in doubt before each request, settled after its answer, paced by the shared meter.

The store stays in this thread; a small pool only speaks HTTP. As many requests are in flight as the
pace times the latency needs, up to 24. Killed anywhere: batches in doubt are sent again.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sync.engine.interrupts import CancelRequested, RunPostponed
from sync.engine.lease import RunLease
from sync.errors import BatchRejected, LeaseLost, RetryLater
from sync.members import Entry, unpack_entries, unpack_values
from sync.model import Change, ChangeKind, Sync
from sync.store.batches import PackedBatch, Rejection
from sync.vault import Vault
from sync.webengage import WebEngage, build_payload

logger = logging.getLogger(__name__)
MAX_IN_FLIGHT = 24  # requests; 490 a minute needs 8.2 for each second of latency
READ_AT_ONCE, READ_BELOW = 64, 12  # batches fetched from the database at a time, and when
RESERVE_SECONDS = 0.5  # seconds of slots reserved and doubted in one transaction
GATHER_SECONDS = 0.25  # seconds of answers settled in one transaction; 24 in flight leave room for both at 2 s latency
MAX_LIMIT_TRIES = 10  # refusals for the limit alone after which a run is put off
MINUTE_SECONDS = 60.0  # seconds; WebEngage counts by the minute (WebEngage docs, rate limits)


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request: a batch or, after a refusal, a part of one. The id stays the same on every try.

    ``batch`` is the whole batch, whose values no reason may quote.
    """

    number: int
    changes: tuple[Change, ...]
    entries: tuple[Entry, ...]
    request_id: str
    batch: tuple[Change, ...]
    tries: int = 0
    limited: int = 0
    ready_at: float = 0.0


class Delivery:
    """Everything left to send of one planned run."""

    def __init__(self, lease: RunLease, sync: Sync, webengage: WebEngage, vault: Vault, a_minute: int) -> None:
        """Send this sync's changes through this client."""
        self._lease, self._sync, self._webengage, self._vault = lease, sync, webengage, vault
        self._store, self._run, self._a_minute = lease.store, lease.run, a_minute
        self._in_flight: dict[Future[None], BatchRequest] = {}
        self._ready: list[BatchRequest] = []
        self._open: Counter[int] = Counter()
        self._checked = False
        self._contents = lease.store.open_contents(sync.id, lease.run.id)
        self._page = -1
        self._page_values: list[list[object]] = []

    def send_all(self) -> None:
        """Send until nothing is left; what is in flight is always heard before leaving."""
        with ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="batch") as pool:
            try:
                while self._load_batches() or self._in_flight:
                    self._lease.renew()
                    self._submit_requests(pool)
                    self._collect_answers()
            except LeaseLost:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            except BaseException:
                self._finish_in_flight()
                raise

    def _finish_in_flight(self) -> None:
        """Settle what is in flight; more trouble there changes nothing, it stays in doubt."""
        while self._in_flight:
            try:
                self._collect_answers()
                self._lease.renew_now()
            except LeaseLost:
                return
            except CancelRequested:
                continue  # asked for already; the answers are heard all the same
            except Exception as problem:
                logger.info("run %s: while ending, %s", self._run.id, type(problem).__name__)
                # A full disk cannot settle anything: what is answered stays in doubt and is not looked at again.
                self._in_flight = {future: request for future, request in self._in_flight.items() if not future.done()}

    def _load_batches(self) -> bool:
        """Fetch more batches when few are waiting; False when there is nothing left to send."""
        if len(self._ready) < READ_BELOW:
            found = self._store.batches.list_unconfirmed(self._run.id, self._open, READ_AT_ONCE)
            self._ready += [self._build_request(batch) for batch in found]
            self._open.update(batch.number for batch in found)
        return bool(self._ready)

    def _build_request(self, batch: PackedBatch) -> BatchRequest:
        entries = tuple(unpack_entries(batch.entries))
        changes = tuple(Change(self._contents.get_user_id(one), one.kind, self._mapped_values(one)) for one in entries)
        return BatchRequest(batch.number, changes, entries, uuid.uuid4().hex, changes)

    def _mapped_values(self, entry: Entry) -> tuple[object, ...]:
        """The mapped values of someone who is in; a page's values are opened once."""
        if not self._sync.mapping or entry.kind is ChangeKind.REMOVE:
            return ()
        if entry.page != self._page:
            sealed = self._contents.get_page(entry.page).sealed
            self._page, self._page_values = entry.page, unpack_values(self._vault.open_bytes(sealed)) if sealed else []
        return tuple(self._page_values[entry.place]) if self._page_values else ()

    def _submit_requests(self, pool: ThreadPoolExecutor) -> None:
        """Hand parcels over for the slots of the next half second, as far as there is room in flight."""
        now = self._lease.now()
        due = [one for one in self._ready if one.ready_at <= now][: MAX_IN_FLIGHT - len(self._in_flight)]
        at = self._store.rate_limits.next_slot(self._sync.license_code, now)
        if due and at <= now + RESERVE_SECONDS:
            for request, slot in self._mark_in_flight(due, now):
                self._ready.remove(request)
                self._in_flight[pool.submit(self._send_request, request, slot)] = request
        elif at > now + MINUTE_SECONDS * 2:
            raise RunPostponed(at - now, "WebEngage asked to wait")

    def _mark_in_flight(self, due: list[BatchRequest], now: float) -> list[tuple[BatchRequest, float]]:
        """Write doubts, lease and slots in one transaction; only then may the requests leave."""
        with self._store.transaction():
            slots = self._store.rate_limits.reserve_slots(
                self._sync.license_code, now, RESERVE_SECONDS, len(due), self._a_minute
            )
            taken = list(zip(due, slots, strict=False))
            self._store.batches.mark_in_flight(self._run.id, (request.number for request, _ in taken))
            self._store.runs.add_counts(self._run.id, self._lease.owner, requests=len(taken))
        return taken

    def _send_request(self, request: BatchRequest, at: float) -> None:
        """Wait for the slot and send; runs in the pool and touches no store."""
        self._lease.sleep(at - self._lease.now())
        if not self._lease.is_safely_held():
            raise RetryLater("The lease ran out before the request was sent.")
        body = build_payload(self._sync.attribute, request.changes, self._sync.mapping)
        self._webengage.send_batch(body, request.request_id, request.batch)

    def _collect_answers(self) -> None:
        """Settle the answers of the last quarter second together."""
        if not self._in_flight:
            self._lease.sleep(GATHER_SECONDS if self._ready else 0.0)
            return
        done = wait(self._in_flight, GATHER_SECONDS, return_when=ALL_COMPLETED).done
        good = [future for future in done if future.exception() is None]
        if good:
            self._confirm_requests([self._in_flight[future] for future in good])
        for future in good:
            del self._in_flight[future]
        for future in done.difference(good):
            self._handle_failure(self._in_flight.pop(future), future)

    def _handle_failure(self, request: BatchRequest, future: Future[None]) -> None:
        try:
            future.result()
        except BatchRejected as problem:
            self._split_request(request, problem)
        except RetryLater as problem:
            self._retry_request(request, problem)

    def _confirm_requests(self, requests: list[BatchRequest]) -> None:
        """Write that WebEngage took these parcels; a batch is settled with its last part."""
        with self._closing_parts():
            self._store.runs.add_counts(
                self._run.id, self._lease.owner, delivered=sum(len(one.changes) for one in requests)
            )
            self._store.batches.clear_rejections(
                self._run.id, self._sync.id, (one.user_id for request in requests for one in request.changes)
            )
            for request in requests:
                self._close_part(request)

    @contextmanager
    def _closing_parts(self) -> Iterator[None]:
        """A transaction that closes parts; rolled back, they count as open again, or half a batch would settle the whole."""
        before = self._open.copy()
        try:
            with self._store.transaction():
                yield
        except BaseException:
            self._open = before
            raise

    def _close_part(self, request: BatchRequest) -> None:
        self._open[request.number] -= 1
        if not self._open[request.number]:
            self._store.batches.confirm_batch(self._run.id, request.number)
            del self._open[request.number]

    def _split_request(self, request: BatchRequest, problem: BatchRejected) -> None:
        """Cut a refused parcel in two until the bad people stand alone, then note them with the reason."""
        if not self._checked:
            self._webengage.check_credentials()  # a wrong license may answer 400 too: then nobody here is to blame
            self._checked = True
        if len(request.changes) == 1:
            return self._note_rejection(request, problem)
        middle = len(request.changes) // 2
        for cut in (slice(0, middle), slice(middle, None)):
            self._ready.append(
                replace(
                    request,
                    changes=request.changes[cut],
                    entries=request.entries[cut],
                    request_id=uuid.uuid4().hex,
                    tries=0,
                )
            )
        self._open[request.number] += 1
        return None

    def _note_rejection(self, request: BatchRequest, problem: BatchRejected) -> None:
        one, entry = request.changes[0], request.entries[0]
        kept = None if one.kind is ChangeKind.REMOVE else self._contents.get_mark(entry)
        with self._closing_parts():
            self._store.runs.add_counts(self._run.id, self._lease.owner, rejected=1)
            self._store.batches.add_rejections(
                self._run.id,
                self._sync.id,
                [Rejection(one.user_id, one.kind.value, str(problem), kept, entry)],
                self._lease.now(),
            )
            self._close_part(request)

    def _retry_request(self, request: BatchRequest, problem: RetryLater) -> None:
        """Send the same parcel later, with the same request id; RunPostponed when it was tried often enough."""
        now = self._lease.now()
        if problem.limit:
            pause = problem.seconds if problem.seconds is not None else MINUTE_SECONDS
            self._store.rate_limits.delay_account_until(self._sync.license_code, now + pause)
            if request.limited >= MAX_LIMIT_TRIES or pause > self._lease.policy.max_delay:
                raise RunPostponed(pause, str(problem))
            self._ready.append(replace(request, limited=request.limited + 1, ready_at=now + pause))
            return
        pause = self._lease.policy.delay(request.tries + 1, problem)
        self._ready.append(replace(request, tries=request.tries + 1, ready_at=now + pause))
