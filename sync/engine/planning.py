"""Compare what Mixpanel says with what WebEngage was sent, range by range of id hashes, and write what is to be sent.

Memory does not grow with the cohort: records are compared a range of id hashes at a time, and changes are written
in the order of their hashes, at most ``CHANGES_AT_ONCE`` in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise

from sync.engine.block_writer import BlockWriter, Change, Planned
from sync.engine.doubles import count_members, pick_records
from sync.engine.lease import RunLease
from sync.engine.seen_chunks import SENT, SeenChunks
from sync.engine.sent_range import SentRange
from sync.engine.value_forms import ValueTally, list_forms
from sync.engine.watchlist import Watchlist
from sync.model import ChangeKind, Sync
from sync.packing import (
    ENTRY_SIZE,
    ID_SIZE,
    RECORD_SIZE,
    UNCONFIRMED,
    cut_records,
    hash_id,
    split_records,
    unpack_values,
)
from sync.store.snapshot import FIRST_BYTES, bucket_width
from sync.store.staged import PagesOutdated

COMPARED_AT_ONCE = 4 * 2**20  # bytes of staged records held at a time where chunks are known
ALL_COMPARED_AT_ONCE = 2 * 2**20  # and where everybody is compared: memory counts then, and a few passes do not
CHANGES_AT_ONCE = 65_536  # changes held before they are written: some 50 MB


@dataclass(slots=True)
class Plan:
    """The result of a comparison: how many different people are in, and how many of each kind of change."""

    distinct: int = 0
    members: int = 0
    """How many different members those in are; more than there are people when some share a User ID."""
    unchanged: int = 0
    kinds: Counter[ChangeKind] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """People by the property whose value they lose, and why."""
    data_types: dict[str, str] = field(default_factory=dict)
    """WebEngage's data type of each mapped attribute that somebody has a value for."""
    never_exported: int = 0
    """How many of those in are on the never-export list, and so are not exported."""
    removed_by_list: int = 0
    """How many are removed because they are on it."""
    tripped: dict[bytes, str] = field(default_factory=dict)
    """The labels of those in who must not be, by id hash."""
    unknown_tripwires: frozenset[bytes] = frozenset()
    """The tripwires of which it is not known whether they are among those a take-back sets to true."""
    kept_out: set[bytes] = field(default_factory=set)
    """The id hashes of those in who are neither sent nor were sent before: listed, or rejected."""
    returned: set[str] = field(default_factory=set)
    """The User IDs of those who are in again after WebEngage rejected their removal."""
    listed_members: frozenset[tuple[bytes, bytes]] = frozenset()
    """Who is left out for the never-export list: the hashes of the User ID, and of what is on the list."""
    list_version: int = 0
    """Which never-export list it was made with."""
    step_limits: tuple[int, ...] = ()
    """The batches at which each step ends after which more is held back."""
    remarks: tuple[str, ...] = ()
    """What a person has to know before they approve it, besides the numbers."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of people added, updated and removed."""
        return self.kinds[ChangeKind.ADD], self.kinds[ChangeKind.UPDATE], self.kinds[ChangeKind.REMOVE]

    @property
    def doubles(self) -> int:
        """Return how many more members there are than different User IDs."""
        return max(0, self.members - self.distinct)

    @property
    def leaving(self) -> int:
        """Return how many people are removed because the cohort lacks them."""
        return self.kinds[ChangeKind.REMOVE] - self.removed_by_list


class Planner:
    """Plans one run from its staged pages. Killed anywhere: the next claim plans again."""

    def __init__(self, lease: RunLease, sync: Sync, *, believe_last: bool) -> None:
        """Plan this sync's run.

        ``believe_last``: with two readings, only the last says who is in; the first only keeps people from leaving.
        """
        self._lease, self._sync, self._believe_last = lease, sync, believe_last
        self._store, self._run_id = lease.store, lease.run.id
        self.watchlist = Watchlist(self._store, sync)
        self.plan = Plan(list_version=self.watchlist.version)
        self._members = self._store.snapshot.count_members(sync.id)
        self._chunks = SeenChunks.find(self._store, lease.run)
        self._width = FIRST_BYTES  # first bytes compared together
        # With the same content nobody rejected is tried again, but to clear: that is to leave nobody true.
        rejected = {} if lease.run.purpose == "clear" else self._store.rejections.list_active(sync.id)
        self._rejected = {hash_id(user_id, lease.salt): one for user_id, one in rejected.items()}
        removals = self._store.rejections.list_removals(sync.id) if rejected else {}
        self._not_removed = {hash_id(user_id, lease.salt): (user_id, at) for user_id, at in removals.items()}

    def write(self) -> Plan:
        """Write the batches; they count once the run is said to be planned."""
        with self._store.transaction():
            self._lease.renew()
            self._store.batches.delete_batches(self._run_id, keep_approved=True)
        self.watchlist.search(self._run_id, self._chunks)
        self.plan.tripped, self.plan.kept_out = self.watchlist.tripped, set(self.watchlist.listed)
        for who in self._not_removed.keys() & self.watchlist.listed:
            if self.watchlist.is_listed_since(who, self._not_removed[who][1]):
                self._rejected.pop(who, None)  # the list promises false by the next run
        self.plan.listed_members = self.watchlist.entries if self._sync.id_property else frozenset()
        self._plan_changes()
        self.plan.members = self._count_members() if self._sync.id_property else self.plan.distinct
        return self.plan

    def _plan_changes(self) -> None:
        """Compare, count and write what is to be sent."""
        if self._chunks.in_all or self._chunks.are_all:
            # Everybody of the snapshot, until they are found to be in none of these chunks.
            self.plan.distinct = self.plan.unchanged = self._members
        if self._chunks.are_all:
            return
        pending: dict[bytes, Change] = {}
        values = ValueTally(self._sync.mapping, list_forms(self._store, self._sync))
        writer = BlockWriter(self._lease, values)
        for low, high in self._compared_ranges():
            for changes in self._compare(low, high):
                pending |= changes
                if len(pending) >= CHANGES_AT_ONCE:
                    self._write(pending, writer)
                    pending = {}
        self._write(pending, writer)
        self.plan.step_limits = writer.finish()
        self.plan.kinds, self.plan.data_types = writer.kinds, values.decide()
        self.plan.left_out = values.left_out

    def _count_members(self) -> int:
        """Return how many different members are listed in what says who is in."""
        run, staged = self._lease.run, self._store.staged
        wanted = (run.reading,) if self._believe_last else (1, 2)
        rows = sum(staged.sum_pages(run.id, reading).rows for reading in wanted)
        return count_members(lambda: (blob for one, blob in staged.members(run.id) if one in wanted), rows)

    def _compared_ranges(self) -> list[tuple[int, int]]:
        """Cut the hashes so that the staged records of a range fit the memory set aside, compared a bucket at a time."""
        rows = self._store.staged.count_records(self._run_id) + self._chunks.count_compared(self._members)
        # Known chunks have those who were sent and are compared; otherwise everybody of the range is.
        self._width = bucket_width(rows if self._chunks.in_all else max(rows, self._members))
        at_once = COMPARED_AT_ONCE if self._chunks.in_all else ALL_COMPARED_AT_ONCE
        pieces = min(FIRST_BYTES, rows * RECORD_SIZE // at_once + 1)
        cuts = [piece * FIRST_BYTES // pieces for piece in range(pieces + 1)]
        return list(pairwise(cuts))

    def _compare(self, low: int, high: int) -> Iterator[dict[bytes, Change]]:
        """Compare a range of hashes; return the changes of each part of it."""
        self._lease.renew_when_due()
        bounds = [*range(low, high, self._width), high]
        listed = {reading: [bytearray() for _ in bounds[1:]] for reading in (SENT, 1, 2)}
        by_member, staged = bool(self._sync.id_property), self._store.staged
        pages = staged.members(self._run_id) if by_member else staged.pages(self._run_id)
        for reading, page in chain(pages, self._chunks.list_compared(self._store, self._sync.id)):
            cuts = cut_records(page, bounds, ENTRY_SIZE if by_member else RECORD_SIZE)
            for blob, first, last in zip(listed[reading], cuts, cuts[1:], strict=False):
                blob += page[first:last]
        for at, (start, end) in enumerate(pairwise(bounds)):
            everybody = SentRange(self._store, self._sync.id, start, end)
            compared = [listed[SENT][at]] if self._chunks.in_all else everybody.records()
            sent = set(chain.from_iterable(map(split_records, compared)))
            readings = (self._list_records(listed[1][at]), self._list_records(listed[2][at]))
            changes = self._compare_range(*readings, sent, everybody)
            self._name_leavers(changes, everybody)
            yield changes

    def _list_records(self, page: bytearray) -> set[bytes]:
        """Return the different records of what was read; one for each person when members may share a User ID."""
        return pick_records(page) if self._sync.id_property else set(split_records(page))

    def _compare_range(
        self, first: set[bytes], last: set[bytes], sent: set[bytes], everybody: SentRange
    ) -> dict[bytes, Change]:
        """Compare people of one range: sets of records first, single people only where they differ.

        ``sent`` are the records WebEngage was sent of those who may have changed; ``everybody`` has all of them.
        """
        plan = self.plan
        mine, kept = self._choose_believed(first, last)
        mine, listed = self.watchlist.leave_out(mine)
        kept -= self.watchlist.never_export
        self._note_returned(mine)
        plan.never_exported += listed
        came, gone = mine - sent, {record[:ID_SIZE]: record[ID_SIZE:] for record in sent - mine}
        unchanged = len(mine) - len(came) - (len(sent) if self._chunks.in_all else 0)
        plan.unchanged += unchanged
        plan.distinct += listed + unchanged
        if not came and not gone:
            return {}
        entered = {record[:ID_SIZE]: record[ID_SIZE:] for record in came}
        # Listed twice, once as sent before: one person, unchanged.
        for who in everybody.find_sent(entered.keys() - gone.keys()):
            del entered[who]
        plan.distinct += len(entered)
        changes = {
            who: Change(ChangeKind.UPDATE if who in gone else ChangeKind.ADD, content)
            for who, content in entered.items()
        }
        changes |= {who: Change(ChangeKind.REMOVE, UNCONFIRMED) for who in gone.keys() - entered.keys() - kept}
        rejected = {who for who, change in changes.items() if self._is_rejected(who, change)}
        plan.kept_out |= {who for who in rejected if changes[who].kind is ChangeKind.ADD}
        changes = {who: change for who, change in changes.items() if who not in rejected}
        plan.removed_by_list += len(changes.keys() & self.watchlist.never_export)  # none of them is added or updated
        return changes

    def _note_returned(self, mine: set[bytes]) -> None:
        """Note who is in again after their removal was rejected: when they leave once more, that is another change."""
        if self._not_removed:
            back = self._not_removed.keys() & {record[:ID_SIZE] for record in mine}
            self.plan.returned.update(self._not_removed[who][0] for who in back)

    def _choose_believed(self, first: set[bytes], last: set[bytes]) -> tuple[set[bytes], set[bytes]]:
        """Return the records of those who are in, and the id hashes of those who at least do not leave."""
        if self._lease.run.reading == 1:
            return first, set()
        listed_last = {record[:ID_SIZE] for record in last}
        only_first = {record for record in first if record[:ID_SIZE] not in listed_last}
        if self._believe_last:
            return last, {record[:ID_SIZE] for record in only_first}
        return last | only_first, set()

    def _is_rejected(self, who: bytes, change: Change) -> bool:
        kind, content = self._rejected.get(who, ("", None))
        if (kind == ChangeKind.REMOVE) != (change.kind is ChangeKind.REMOVE):
            return False
        return change.kind is ChangeKind.REMOVE or content == change.content

    def _name_leavers(self, changes: dict[bytes, Change], everybody: SentRange) -> None:
        """Give those who leave their ids, from the snapshot."""
        leaving = [who for who, change in changes.items() if change.kind is ChangeKind.REMOVE]
        for who, user_id in everybody.name(leaving):
            changes[who] = Change(ChangeKind.REMOVE, UNCONFIRMED, user_id)

    def _write(self, changes: dict[bytes, Change], writer: BlockWriter) -> None:
        """Find the ids and values of those who are in, page by page, and write everything in the order of hashes."""
        named: dict[bytes, Planned] = {
            who: (change, change.user_id, None) for who, change in changes.items() if change.user_id
        }
        wanted = {who + change.content for who, change in changes.items() if not change.user_id}
        for news in self._store.staged.news(self._run_id) if wanted else ():
            places = [at for at, record in enumerate(news.records) if record in wanted]
            sealed = news.sealed_values if places else None
            values = unpack_values(self._lease.vault.open_bytes(sealed)) if sealed else None
            for at in places:
                who = news.records[at][:ID_SIZE]
                named[who] = (changes[who], news.ids[at], values[at] if values else None)
            self._lease.renew_when_due()
        if len(named) < len(changes):
            raise PagesOutdated  # somebody was in the snapshot while the page was read, and was forgotten since
        for who in sorted(named):
            writer.add(who, named[who])
