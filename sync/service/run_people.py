"""Find the people of a run, planned or sent, one page at a time; ids are unpacked only where they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.records import NO_OPERATION, OUTCOMES, ExportRow, RejectionView
from sync.store import Store
from sync.store.batches import KINDS, PeopleBlock
from sync.store.rejections import INVALID
from sync.text import matches_id
from sync.views import PeopleCount, RunPeople

MAX_REJECTIONS = 1_000_000  # read for a file or a list of everybody
Pair = tuple[str, str]
"""An operation and an outcome."""


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Which people of a run are asked for; None and an empty text leave everybody.

    ``operation``: add, update, remove or none. ``outcome``: not sent, unconfirmed, accepted, rejected, invalid or
    membership only. ``text`` is part of the user id, in capital or small letters.
    """

    operation: str | None = None
    outcome: str | None = None
    text: str = ""

    def takes(self, pair: Pair) -> bool:
        """Return whether people with this operation and outcome are asked for."""
        return self.operation in (None, pair[0]) and self.outcome in (None, pair[1])


@dataclass(slots=True)
class _Reading:
    """A page being filled: how many matching people to skip and to take, and what was counted so far."""

    wanted: PeopleFilter
    skip: int
    take: int
    rows: list[ExportRow]
    counts: Counter[Pair]

    def add_rows(self, rows: Iterable[ExportRow]) -> None:
        """Count the people whose id has the text or is meant by the label, and take those that are on the page."""
        text = self.wanted.text.strip().casefold()
        found = [row for row in rows if matches_id(text, row.user_id)]
        self.add(Counter((row.operation, row.outcome) for row in found), found)

    def add(self, counts: Counter[Pair], rows: Iterable[ExportRow]) -> None:
        """Count some people; draw their rows only when one of them is on the page."""
        self.counts.update(counts)
        matching = sum(number for pair, number in counts.items() if self.wanted.takes(pair))
        if self.skip >= matching or not self.take:
            self.skip -= min(self.skip, matching)
            return
        found = [row for row in rows if self.wanted.takes((row.operation, row.outcome))][self.skip :][: self.take]
        self.skip, self.take = 0, self.take - len(found)
        self.rows += found


def iterate_people(store: Store, run_id: int) -> Iterator[ExportRow]:
    """Yield everybody a run has or had something to do with: whom it changes, then who was rejected or invalid besides."""
    rejected, invalid = _read_rejections(store, run_id)
    for block in store.batches.people_blocks(run_id):
        yield from _take_rows(block, rejected)
    yield from _list_others(rejected, invalid)


def read_people(store: Store, run_id: int, wanted: PeopleFilter, limit: int, offset: int) -> RunPeople:
    """Return the people of a run that a filter leaves, from ``offset`` on, and how many each filter would leave."""
    rejected, invalid = _read_rejections(store, run_id)
    reading = _Reading(wanted, offset, limit, [], Counter())
    for block in store.batches.people_blocks(run_id):
        if rejected or wanted.text:
            reading.add_rows(_take_rows(block, rejected))
        else:
            reading.add(_count_letters(block), _take_rows(block, {}))
    reading.add_rows(_list_others(rejected, invalid))
    return RunPeople(
        rows=tuple(reading.rows),
        matching=sum(number for pair, number in reading.counts.items() if wanted.takes(pair)),
        counts=tuple(PeopleCount(*pair, number) for pair, number in sorted(reading.counts.items())),
    )


def _read_rejections(store: Store, run_id: int) -> tuple[dict[str, RejectionView], list[RejectionView]]:
    """Return whom WebEngage rejected, by user id, and who is invalid: somebody else may have an id that reads the same."""
    found = store.rejections.list(run_id, MAX_REJECTIONS)
    rejected = {one.user_id: one for one in found if one.outcome != INVALID}
    return rejected, [one for one in found if one.outcome == INVALID]


def _list_others(rejected: dict[str, RejectionView], invalid: list[RejectionView]) -> Iterator[ExportRow]:
    """Yield those left in ``rejected``, of whom no change is stored, and who is invalid."""
    for one in (*rejected.values(), *invalid):
        yield ExportRow(one.user_id, NO_OPERATION, one.outcome, one.reason)


def _take_rows(block: PeopleBlock, rejected: dict[str, RejectionView]) -> Iterator[ExportRow]:
    """Yield the people of a block, and take out of ``rejected`` who is among them."""
    for user_id, kind, letter in zip(block.ids(), block.kinds, block.outcomes, strict=True):
        one = rejected.pop(user_id, None)
        outcome = one.outcome if one else OUTCOMES[letter]
        yield ExportRow(user_id, KINDS[kind].value, outcome, one.reason if one else "")


def _count_letters(block: PeopleBlock) -> Counter[Pair]:
    letters = Counter(zip(block.kinds, block.outcomes, strict=True))
    return Counter({(KINDS[kind].value, OUTCOMES[letter]): n for (kind, letter), n in letters.items()})
