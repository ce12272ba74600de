"""Send the batches: in flight in the database before each request, confirmed after its answer, evenly paced.

The store stays in this thread; a small pool only speaks HTTP. As many requests are in flight as the pace times
the latency needs, up to 24. Killed anywhere: batches in flight are sent again.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial

from sync.engine.forgotten import ForgottenPeople
from sync.engine.former_ids import describe_withheld
from sync.engine.lease import RunLease
from sync.engine.parcel import Parcel
from sync.engine.retry import AccountAtFault, CancelRequested, Postpone
from sync.engine.value_forms import fix_forms
from sync.engine.watchlist import load_listed, require_no_new_tripwires
from sync.engine.witness import is_witness_taken
from sync.errors import BatchRejected, ConfigurationError, LeaseLost, RetryLater, UnexpectedResponse
from sync.model import BATCH_SIZE, Change, Sync
from sync.packing import FORGOTTEN, unpack_values
from sync.store.batches import BATCHES_A_BLOCK, KINDS, Batch, Block
from sync.store.rejections import MEMBERSHIP_ONLY
from sync.webengage import WebEngage, build_payload

logger = logging.getLogger(__name__)
IN_FLIGHT = 24  # requests; 490 a minute needs 8.2 for each second of latency
BATCHES_READ, READ_BELOW = 64, 12  # batches fetched from the database at a time, and when
BLOCKS_OPEN = 4  # blocks kept open; batches are sent in order, so two would nearly do
AHEAD_SECONDS = 0.5  # slots reserved and batches marked in flight in one transaction
TICK_SECONDS = 0.25  # answers confirmed in one transaction; 24 in flight leave room for both at 2 s latency
LIMIT_TRIES = 10  # refusals for the limit alone after which a run is put off
MINUTE = 60.0  # seconds; WebEngage counts by the minute (WebEngage docs, rate limits)
SUSPECTED_AFTER = 3  # refusals and nothing confirmed: from then on only small parts are tried, a few at a time
SUSPECTED_AT_ONCE = 4
REFUSED_ALIKE, FEW = 8, 5  # lone people refused for one reason, and nothing confirmed: the account is at fault


class Delivery:
    """Everything left to send of one planned run."""

    def __init__(self, lease: RunLease, sync: Sync, webengage: WebEngage) -> None:
        self._lease, self._sync, self._webengage = lease, sync, webengage
        self._store, self._run = lease.store, lease.run
        self._flying: dict[Future[None], Parcel] = {}
        self._ready: list[Parcel] = []
        self._open: Counter[int] = Counter()  # parts of each batch that are not answered yet
        self._blocks: OrderedDict[int, tuple[Block, list[list[object] | None] | None]] = OrderedDict()
        self._forms = fix_forms(lease, sync)
        self._is_checked = self._is_cleared = False  # the credentials; the account, when it was suspected
        self._confirmed, self._was_delivered = 0, lease.run.delivered
        planned = self._store.runs.get_run(self._run.id)
        self._list_version = planned.list_version if planned else None  # of the lists the plan was made with
        self._listed = frozenset[bytes]()  # put on a list since
        self._refused: Counter[str] = Counter()  # lone people by reason
        people = planned.change_count if planned else 0
        self._enough = max(FEW, min(REFUSED_ALIKE, people))  # of them, to blame the account
        self._refusals = 0
        self._does_account_take_others = partial(is_witness_taken, lease, sync, webengage)
        self._forgotten = ForgottenPeople(self._store, self._run.id)
        self._maybe_taken = set[int]()  # batches of which WebEngage took somebody, or may have

    def send_all(self) -> None:
        """Send until nothing is left; what is in flight is always heard before leaving."""
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="batch") as pool:
            try:
                while self._refill() or self._flying:
                    self._lease.renew_when_due()
                    self._follow_lists()
                    self._follow_forgotten()
                    self._dispatch(pool)
                    self._gather()
            except LeaseLost:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            except BaseException as end:
                self._gather_rest(is_refused=isinstance(end, ConfigurationError))
                self._mark_refused_unsent()
                raise

    def _gather_rest(self, *, is_refused: bool) -> None:
        """Confirm what is in flight; more trouble there changes nothing, it stays in flight.

        ``is_refused``: a setting is wrong, for which WebEngage may have rejected batches, too.
        """
        while self._flying:
            try:
                self._gather()
                self._lease.renew()
            except LeaseLost:
                return
            except CancelRequested:
                continue  # asked for already; the answers are heard all the same
            except Exception as problem:
                logger.info("run %s: while ending, %s", self._run.id, type(problem).__name__)
                # A full disk cannot confirm anything: what is answered stays in flight and is not looked at again.
                answered = [future for future in self._flying if future.done()]
                for future, parcel in [(future, self._flying.pop(future)) for future in answered]:
                    self._note_answer(parcel, future)
                    if isinstance(future.exception(), BatchRejected) and not is_refused:
                        self._maybe_taken.add(parcel.number)

    def _mark_refused_unsent(self) -> None:
        """Let those be not sent whose every request was refused for a setting or a limit: they surely did not arrive."""
        refused = self._open.keys() - self._maybe_taken - {parcel.number for parcel in self._flying.values()}
        try:
            with self._store.transaction():
                self._store.runs.renew_lease(self._run.id, self._lease.owner, self._lease.now())
                self._store.batches.mark_unsent(self._run.id, refused)
        except Exception as problem:  # they stay in flight, which is true of less
            logger.info("run %s: while ending, %s", self._run.id, type(problem).__name__)

    def _refill(self) -> bool:
        """Fetch more batches when few are waiting; False when there is nothing left to send."""
        if len(self._ready) < READ_BELOW:
            for batch in self._store.batches.unconfirmed(self._run.id, self._open, BATCHES_READ):
                self._open[batch.number] += 1
                self._ready.append(self._make_parcel(batch))
        return bool(self._ready)

    def _follow_lists(self) -> None:
        """Look at the lists again when one was changed since the plan was made, as long as somebody is to be sent.

        Nobody is sent as a member who is on the never-export list by now. Who is in WebEngage already, or in a request
        on its way, is removed by the next run. Raise TripwireFound when a tripwire is in the cohort.
        """
        version = self._store.safety_lists.get_version()
        if version == self._list_version or not self._ready:
            return
        self._listed = load_listed(self._store, self._run, self._sync)
        self._mark_refused_unsent()
        self._withhold_listed()
        self._ready = [self._leave_out_listed(parcel) for parcel in self._ready]
        require_no_new_tripwires(self._lease, self._sync)
        self._list_version = version

    def _follow_forgotten(self) -> None:
        """Leave those out of what waits who were forgotten since it was read from the plan."""
        if self._forgotten.follow():
            self._blocks.clear()
            self._ready = [self._forgotten.leave_out(parcel) for parcel in self._ready]

    def _withhold_listed(self) -> None:
        """Take those who are listed out of the batches that wait; a tripwire finds them in the cohort all the same."""
        with self._store.transaction():
            self._lease.renew()
            found = self._store.batches.withhold(self._run.id, self._listed, self._lease.salt)
            if found:
                people, kinds = len(found), Counter(found.values())
                self._store.staged.add_others(self._run.id, found)
                self._lease.count(entered=-kinds["a"], updated=-kinds["u"], never_exported=people)
                line = describe_withheld(self._store, self._run, self._sync, people)
                self._store.events.add_event(line, self._lease.now(), self._sync.id, self._run.id)
        self._blocks.clear()

    def _leave_out_listed(self, parcel: Parcel) -> Parcel:
        return parcel.leave_out(self._listed, self._lease.salt) if self._listed else parcel

    def _send_again(self, parcel: Parcel) -> None:
        """Put back a request that was refused or not answered; who was listed meanwhile is not sent once more."""
        self._ready.append(self._leave_out_listed(parcel))

    def _make_parcel(self, batch: Batch) -> Parcel:
        block, values = self._open_block(batch.number // BATCHES_A_BLOCK)
        start = batch.number % BATCHES_A_BLOCK * BATCH_SIZE
        places = [at for at in range(start, start + batch.member_count) if block.ids[at] != FORGOTTEN]
        changes = tuple(
            Change(block.ids[at], KINDS[block.kinds[at]], tuple(values[at] or ()) if values else ()) for at in places
        )
        contents = tuple(block.contents[at] for at in places)
        unheard = batch.state == "in_flight"
        if unheard:
            self._maybe_taken.add(batch.number)
        parcel = Parcel(batch.number, changes, contents, uuid.uuid4().hex, changes, unheard=unheard)
        return self._leave_out_listed(parcel) if unheard else parcel

    def _open_block(self, number: int) -> tuple[Block, list[list[object] | None] | None]:
        """Return a block and its mapped values, opened once."""
        if number not in self._blocks:
            block = self._store.batches.block(self._run.id, number)
            values = unpack_values(self._lease.vault.open_bytes(block.sealed_values)) if block.sealed_values else None
            self._blocks[number] = block, values
            if len(self._blocks) > BLOCKS_OPEN:
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _dispatch(self, pool: ThreadPoolExecutor) -> None:
        """Send parcels in the slots of the next half second, as far as there is room in flight."""
        now = self._lease.now()
        due = [one for one in self._ready if one.ready_at <= now]
        room = IN_FLIGHT
        if self._is_account_suspected():
            due.sort(key=lambda one: len(one.changes))
            room = SUSPECTED_AT_ONCE
        due = due[: max(0, room - len(self._flying))]
        at = self._store.rate_limits.next_slot(self._sync.license_code, now)
        if due and at <= now + AHEAD_SECONDS:
            for parcel, slot in self._mark_in_flight(due, now):
                self._ready.remove(parcel)
                self._flying[pool.submit(self._send, parcel, slot)] = parcel
        elif at > now + MINUTE * 2 and (wait := self._store.rate_limits.find_wait(self._sync.license_code, now)):
            raise Postpone(wait, "WebEngage asked to wait", failed=False)

    def _mark_in_flight(self, due: list[Parcel], now: float) -> list[tuple[Parcel, float]]:
        """Write batches, lease and slots in one transaction; only then may the requests leave."""
        with self._store.transaction():
            if self._store.safety_lists.get_version() != self._list_version or self._forgotten.are_more():
                return []  # nobody put on a list or forgotten by now may leave
            slots = self._store.rate_limits.reserve_slots(
                self._sync.license_code, now, AHEAD_SECONDS, len(due), self._lease.context.batches_a_minute
            )
            taken = list(zip(due, slots, strict=False))
            self._store.batches.mark_in_flight(self._run.id, (parcel.number for parcel, _ in taken))
            self._lease.count(requests=len(taken))
        return taken

    def _send(self, parcel: Parcel, at: float) -> None:
        """Wait for the slot and send; runs in the pool and touches no store."""
        self._lease.sleep(at - self._lease.now())
        if not self._lease.is_safely_held():
            raise RetryLater("The lease ran out before the request was sent.")
        if parcel.changes:
            body = build_payload(self._sync.attribute, parcel.changes, self._sync.mapping, self._forms)
            self._webengage.send_batch(body, parcel.request_id, parcel.batch)

    def _gather(self) -> None:
        """Confirm the answers of the last quarter second together."""
        if not self._flying:
            self._lease.sleep(TICK_SECONDS if self._ready else 0.0)
            return
        done = wait(self._flying, TICK_SECONDS, return_when=ALL_COMPLETED).done
        good = [future for future in done if future.exception() is None]
        if good:
            self._confirm([self._flying[future] for future in good])
        for future in good:
            del self._flying[future]
        for future in done.difference(good):
            self._handle_failure(self._flying.pop(future), future)

    def _handle_failure(self, parcel: Parcel, future: Future[None]) -> None:
        self._note_answer(parcel, future)
        parcel = self._forgotten.leave_out(parcel)
        try:
            future.result()
        except (BatchRejected, RetryLater, UnexpectedResponse) as problem:
            if not parcel.changes:
                self._ready.append(parcel)  # everybody of it was forgotten: it is closed without a request
            elif isinstance(problem, BatchRejected):
                self._handle_refusal(parcel, str(problem))
            else:
                self._try_again(parcel, problem if isinstance(problem, RetryLater) else RetryLater(str(problem)))

    def _note_answer(self, parcel: Parcel, future: Future[None]) -> None:
        """Note that people of a request may be taken, unless the answer says surely not; see ``_handle_refusal``, too."""
        problem = future.exception()
        is_limit = isinstance(problem, RetryLater) and bool(problem.limit)
        if not is_limit and not isinstance(problem, BatchRejected | ConfigurationError):
            self._maybe_taken.add(parcel.number)

    def _confirm(self, parcels: list[Parcel]) -> None:
        """Write that WebEngage took these parcels; a batch is confirmed with its last part."""
        self._maybe_taken.update(parcel.number for parcel in parcels)
        with self._closing():
            self._lease.count(delivered=sum(len(one.changes) for one in parcels))
            self._lease.note_progress()
            self._store.rejections.clear_taken(
                self._run.id, self._sync.id, (one.user_id for parcel in parcels for one in parcel.changes)
            )
            stripped = [parcel for parcel in parcels if parcel.reason and parcel.changes]
            if stripped:
                self._note(stripped, MEMBERSHIP_ONLY)
            for parcel in parcels:
                self._close_part(parcel)
        self._confirmed += len(parcels)

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Open a transaction that closes parts; rolled back, they are open again, or half a batch would confirm all of it."""
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
            self._store.batches.confirm(self._run.id, parcel.number)
            del self._open[parcel.number]

    def _handle_refusal(self, parcel: Parcel, reason: str) -> None:
        """Find out who is to blame: the account, or one person who stands alone after some halving."""
        if not self._is_checked:
            self._webengage.check_credentials()  # a wrong license may answer 400 too: then nobody here is to blame
            self._is_checked = True
        self._maybe_taken.add(parcel.number)  # it is not documented whether the others of a refused batch are taken
        self._blame_account(parcel, reason)
        if len(parcel.changes) > 1:
            self._halve(parcel)
        elif any(value is not None for value in parcel.changes[0].values) and not parcel.reason:
            # The values may be at fault: the membership must not be lost with them.
            alone = replace(parcel.changes[0], values=())
            self._send_again(replace(parcel, changes=(alone,), request_id=uuid.uuid4().hex, tries=0, reason=reason))
        else:
            self._reject(parcel, parcel.reason or reason)

    @cached_property
    def _rejected_before(self) -> frozenset[str]:
        return self._store.rejections.list_rejected_before(self._sync.id, self._run.id)

    def _is_account_suspected(self) -> bool:
        nobody_taken = not self._confirmed and not self._was_delivered and not self._is_cleared
        return nobody_taken and self._refusals >= SUSPECTED_AFTER

    def _blame_account(self, parcel: Parcel, reason: str) -> None:
        """Raise AccountAtFault when everybody sent is refused for one reason and nothing was ever confirmed.

        Only lone people count: where one in eight is bad, hardly a part of a batch is without one.
        """
        if all(one.user_id in self._rejected_before for one in parcel.changes):
            return  # they were refused when others were taken: their refusal says nothing about the account
        kind = re.sub(r"\d+|“.*?”|'.*?'|\".*?\"", "…", reason)
        self._refusals += 1
        self._refused[kind] += len(parcel.changes) == 1
        if self._is_account_suspected() and self._refused[kind] >= self._enough:
            if self._does_account_take_others():
                self._is_cleared = True
                return
            then = "clear again" if self._run.purpose == "clear" else "resume"
            raise AccountAtFault(
                f"{reason.removesuffix('.')}, for everybody, so nothing more is sent. Correct it in WebEngage, then {then}."
            )

    def _halve(self, parcel: Parcel) -> None:
        for half in parcel.halve():
            self._send_again(half)
        self._open[parcel.number] += 1

    def _reject(self, parcel: Parcel, reason: str) -> None:
        with self._closing():
            self._lease.count(rejected=self._note([replace(parcel, reason=reason)], "rejected"))
            self._lease.note_progress()
            self._close_part(parcel)

    def _note(self, parcels: list[Parcel], outcome: str) -> int:
        """Note lone people who were not taken as planned, in the transaction of the caller; return how many.

        Nobody who was forgotten while WebEngage was asked is noted.
        """
        noted = [one.make_rejection(outcome) for one in map(self._forgotten.leave_out, parcels) if one.changes]
        self._store.rejections.add(self._run.id, self._sync.id, noted, self._lease.now())
        return len(noted)

    def _try_again(self, parcel: Parcel, problem: RetryLater) -> None:
        """Send the same parcel later, with the same request id.

        One that keeps failing while others pass is halved, until the person stands alone who is then rejected. When
        nothing passes, the run is put off.
        """
        now = self._lease.now()
        if problem.limit:
            pause = problem.seconds if problem.seconds is not None else MINUTE
            self._store.rate_limits.delay_account_until(self._sync.license_code, now + pause)
            if parcel.limited >= LIMIT_TRIES or pause > self._lease.policy.max_delay:
                raise Postpone(pause, str(problem), failed=False)
            self._send_again(replace(parcel, limited=parcel.limited + 1, ready_at=now + pause))
            return
        before = self._confirmed if parcel.confirmed_before is None else parcel.confirmed_before
        parcel = replace(parcel, tries=parcel.tries + 1, unheard=True, confirmed_before=before)
        try:
            pause = self._lease.policy.delay(parcel.tries, problem)
        except Postpone:
            self._single_out(parcel, problem)
        else:
            self._send_again(replace(parcel, ready_at=now + pause))

    def _single_out(self, parcel: Parcel, problem: RetryLater) -> None:
        """Blame the people of a parcel when others pass; else WebEngage is at fault: Postpone."""
        is_last = not self._flying and not self._ready and len(parcel.changes) > 1
        asked_to_wait = (problem.seconds or 0.0) > self._lease.policy.max_delay
        others_passed = self._confirmed > (parcel.confirmed_before or 0)
        if asked_to_wait or not (others_passed or is_last or self._does_account_take_others()):
            raise Postpone(problem.seconds, str(problem))
        if len(parcel.changes) > 1:
            self._halve(parcel)
        else:
            self._webengage.check_credentials()  # down by now: then nobody is to blame
            self._reject(parcel, f"{problem} It was tried {parcel.tries} times, while others were taken.")
