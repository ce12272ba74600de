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

from sync.errors import BadBatch, LeaseLost, Wait
from sync.members import Entry, unpack_entries, unpack_values
from sync.model import Change, Kind, Sync
from sync.pipeline.ends import CancelWanted, Snooze
from sync.pipeline.holder import Holder
from sync.store.batches import PackedBatch, Refused
from sync.vault import Vault
from sync.webengage import WebEngage, payload

logger = logging.getLogger(__name__)
IN_FLIGHT = 24  # requests; 490 a minute needs 8.2 for each second of latency
READ_AT_ONCE, READ_BELOW = 64, 12  # batches fetched from the database at a time, and when
AHEAD = 0.5  # seconds of slots reserved and doubted in one transaction
TICK = 0.25  # seconds of answers settled in one transaction; 24 in flight leave room for both at 2 s latency
LIMIT_TRIES = 10  # refusals for the limit alone after which a run is put off
MINUTE = 60.0  # seconds; WebEngage counts by the minute (WebEngage docs, rate limits)


@dataclass(frozen=True, slots=True)
class Parcel:
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

    def __init__(self, holder: Holder, sync: Sync, webengage: WebEngage, vault: Vault, a_minute: int) -> None:
        """Send this sync's changes through this client."""
        self._holder, self._sync, self._webengage, self._vault = holder, sync, webengage, vault
        self._store, self._run, self._a_minute = holder.store, holder.run, a_minute
        self._flying: dict[Future[None], Parcel] = {}
        self._ready: list[Parcel] = []
        self._open: Counter[int] = Counter()
        self._checked = False
        self._contents = holder.store.contents(sync.id, holder.run.id)
        self._page = -1
        self._opened: list[list[object]] = []

    def carry(self) -> None:
        """Send until nothing is left; what is in flight is always heard before leaving."""
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="batch") as pool:
            try:
                while self._refill() or self._flying:
                    self._holder.hold()
                    self._dispatch(pool)
                    self._gather()
            except LeaseLost:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            except BaseException:
                self._hear_the_rest()
                raise

    def _hear_the_rest(self) -> None:
        """Settle what is in flight; more trouble there changes nothing, it stays in doubt."""
        while self._flying:
            try:
                self._gather()
                self._holder.hold_now()
            except LeaseLost:
                return
            except CancelWanted:
                continue  # asked for already; the answers are heard all the same
            except Exception as trouble:
                logger.info("run %s: while ending, %s", self._run.id, type(trouble).__name__)
                # A full disk cannot settle anything: what is answered stays in doubt and is not looked at again.
                self._flying = {future: parcel for future, parcel in self._flying.items() if not future.done()}

    def _refill(self) -> bool:
        """Fetch more batches when few are waiting; False when there is nothing left to send."""
        if len(self._ready) < READ_BELOW:
            found = self._store.batches.unsettled(self._run.id, self._open, READ_AT_ONCE)
            self._ready += [self._parcel(batch) for batch in found]
            self._open.update(batch.number for batch in found)
        return bool(self._ready)

    def _parcel(self, batch: PackedBatch) -> Parcel:
        entries = tuple(unpack_entries(batch.entries))
        changes = tuple(Change(self._contents.user_id(one), one.kind, self._values(one)) for one in entries)
        return Parcel(batch.number, changes, entries, uuid.uuid4().hex, changes)

    def _values(self, entry: Entry) -> tuple[object, ...]:
        """The mapped values of someone who is in; a page's values are opened once."""
        if not self._sync.mapping or entry.kind is Kind.EXIT:
            return ()
        if entry.page != self._page:
            sealed = self._contents.page(entry.page).sealed
            self._page, self._opened = entry.page, unpack_values(self._vault.open_bytes(sealed)) if sealed else []
        return tuple(self._opened[entry.place]) if self._opened else ()

    def _dispatch(self, pool: ThreadPoolExecutor) -> None:
        """Hand parcels over for the slots of the next half second, as far as there is room in flight."""
        now = self._holder.now()
        due = [one for one in self._ready if one.ready_at <= now][: IN_FLIGHT - len(self._flying)]
        at = self._store.meters.next_slot(self._sync.license_code, now)
        if due and at <= now + AHEAD:
            for parcel, slot in self._doubt(due, now):
                self._ready.remove(parcel)
                self._flying[pool.submit(self._send, parcel, slot)] = parcel
        elif at > now + MINUTE * 2:
            raise Snooze(at - now, "WebEngage asked to wait")

    def _doubt(self, due: list[Parcel], now: float) -> list[tuple[Parcel, float]]:
        """Write doubts, lease and slots in one transaction; only then may the requests leave."""
        with self._store.transaction():
            slots = self._store.meters.slots(self._sync.license_code, now, AHEAD, len(due), self._a_minute)
            taken = list(zip(due, slots, strict=False))
            self._store.batches.doubt(self._run.id, (parcel.number for parcel, _ in taken))
            self._store.runs.count(self._run.id, self._holder.owner, requests=len(taken))
        return taken

    def _send(self, parcel: Parcel, at: float) -> None:
        """Wait for the slot and send; runs in the pool and touches no store."""
        self._holder.pause(at - self._holder.now())
        if not self._holder.may_send():
            raise Wait("The lease ran out before the request was sent.")
        body = payload(self._sync.attribute, parcel.changes, self._sync.mapping)
        self._webengage.deliver(body, parcel.request_id, parcel.batch)

    def _gather(self) -> None:
        """Settle the answers of the last quarter second together."""
        if not self._flying:
            self._holder.pause(TICK if self._ready else 0.0)
            return
        done = wait(self._flying, TICK, return_when=ALL_COMPLETED).done
        good = [future for future in done if future.exception() is None]
        if good:
            self._settle([self._flying[future] for future in good])
        for future in good:
            del self._flying[future]
        for future in done.difference(good):
            self._trouble(self._flying.pop(future), future)

    def _trouble(self, parcel: Parcel, future: Future[None]) -> None:
        try:
            future.result()
        except BadBatch as problem:
            self._halve(parcel, problem)
        except Wait as problem:
            self._again(parcel, problem)

    def _settle(self, parcels: list[Parcel]) -> None:
        """Write that WebEngage took these parcels; a batch is settled with its last part."""
        with self._closing():
            self._store.runs.count(self._run.id, self._holder.owner, delivered=sum(len(one.changes) for one in parcels))
            self._store.batches.accepted(
                self._run.id, self._sync.id, (one.user_id for parcel in parcels for one in parcel.changes)
            )
            for parcel in parcels:
                self._close_part(parcel)

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """A transaction that closes parts; rolled back, they count as open again, or half a batch would settle the whole."""
        before = self._open.copy()
        try:
            with self._store.transaction():
                yield
        except BaseException:
            self._open = before
            raise

    def _close_part(self, parcel: Parcel) -> None:
        self._open[parcel.number] -= 1
        if not self._open[parcel.number]:
            self._store.batches.settle(self._run.id, parcel.number)
            del self._open[parcel.number]

    def _halve(self, parcel: Parcel, problem: BadBatch) -> None:
        """Cut a refused parcel in two until the bad people stand alone, then note them with the reason."""
        if not self._checked:
            self._webengage.check()  # a wrong license may answer 400 too: then nobody here is to blame
            self._checked = True
        if len(parcel.changes) == 1:
            return self._reject(parcel, problem)
        middle = len(parcel.changes) // 2
        for cut in (slice(0, middle), slice(middle, None)):
            self._ready.append(
                replace(
                    parcel,
                    changes=parcel.changes[cut],
                    entries=parcel.entries[cut],
                    request_id=uuid.uuid4().hex,
                    tries=0,
                )
            )
        self._open[parcel.number] += 1
        return None

    def _reject(self, parcel: Parcel, problem: BadBatch) -> None:
        one, entry = parcel.changes[0], parcel.entries[0]
        kept = None if one.kind is Kind.EXIT else self._contents.mark(entry)
        with self._closing():
            self._store.runs.count(self._run.id, self._holder.owner, rejected=1)
            self._store.batches.refuse(
                self._run.id,
                self._sync.id,
                [Refused(one.user_id, one.kind.value, str(problem), kept, entry)],
                self._holder.now(),
            )
            self._close_part(parcel)

    def _again(self, parcel: Parcel, problem: Wait) -> None:
        """Send the same parcel later, with the same request id; Snooze when it was tried often enough."""
        now = self._holder.now()
        if problem.limit:
            pause = problem.seconds if problem.seconds is not None else MINUTE
            self._store.meters.yield_until(self._sync.license_code, now + pause)
            if parcel.limited >= LIMIT_TRIES or pause > self._holder.policy.longest:
                raise Snooze(pause, str(problem))
            self._ready.append(replace(parcel, limited=parcel.limited + 1, ready_at=now + pause))
            return
        pause = self._holder.policy.pause(parcel.tries + 1, problem)
        self._ready.append(replace(parcel, tries=parcel.tries + 1, ready_at=now + pause))
