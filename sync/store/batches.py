"""Planned changes on their way to WebEngage, and the log of what was sent.

A **batch** is one request: pending, in flight (written before it is sent), confirmed. A **block** holds the changes
of forty batches, in the order of their id hashes: ids, kinds, content hashes and sealed values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sync.model import BATCH_SIZE, ChangeKind
from sync.packing import FORGOTTEN, find_places, hash_id, pack, split_contents, unpack_ids
from sync.store.database import Table, write_transaction

BATCHES_A_BLOCK = 40  # 1,000 people: sealed at once, and small enough to open for one of them
BLOCK_SIZE = BATCHES_A_BLOCK * BATCH_SIZE
MAX_BATCHES = 10**9  # more than any run has
KINDS = {"a": ChangeKind.ADD, "u": ChangeKind.UPDATE, "r": ChangeKind.REMOVE}
LETTERS = {kind: letter for letter, kind in KINDS.items()}
TRUE_LETTERS = "au"  # of changes that say true
WITHHELD = "n"  # the kind and the outcome of a change that was taken back before it was sent
STATES = {"pending": "p", "in_flight": "f", "confirmed": "c"}  # of a batch, as a letter of OUTCOMES
SENT_LETTERS = "cf"  # outcomes after which somebody was sent, or may have been


@dataclass(frozen=True, slots=True)
class Block:
    """The changes of up to forty batches; ``kinds`` has one letter each: a(dd), u(pdate), r(emove), n(ot sent)."""

    number: int
    kinds: str
    ids: list[str]
    contents: tuple[bytes, ...]
    sealed_values: bytes | None = None

    def changes(self, salt: int) -> Iterator[tuple[bytes, ChangeKind]]:
        """Yield whom it names, by id hash, and what it does to them; not who was forgotten or taken out since."""
        for kind, user_id in zip(self.kinds, self.ids, strict=True):
            if user_id != FORGOTTEN:
                yield hash_id(user_id, salt), KINDS[kind]


@dataclass(frozen=True, slots=True)
class PeopleBlock:
    """People of a run, planned or sent: a letter of KINDS and one of OUTCOMES each, and their ids, packed."""

    kinds: str
    outcomes: str
    packed_ids: bytes

    def ids(self) -> list[str]:
        """Return the user ids, in the order of the letters."""
        return unpack_ids(self.packed_ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """One request's state."""

    number: int
    state: str
    member_count: int


def _without_withheld(block: PeopleBlock) -> PeopleBlock:
    """Return a block without those who were taken back before they were sent."""
    if WITHHELD not in block.kinds:
        return block
    kept = [at for at, kind in enumerate(block.kinds) if kind != WITHHELD]
    ids = block.ids()
    return PeopleBlock(
        "".join(block.kinds[at] for at in kept),
        "".join(block.outcomes[at] for at in kept),
        pack([ids[at] for at in kept]),
    )


class Batches(Table):
    """The batches of runs that deliver."""

    def add_batches(self, run_id: int, block: Block) -> None:
        """Write a planned block and its batches."""
        first = block.number * BATCHES_A_BLOCK
        sizes = [min(BATCH_SIZE, len(block.ids) - at) for at in range(0, len(block.ids), BATCH_SIZE)]
        with write_transaction(self._db):
            self._db.execute(
                "insert into batch_block (run_id, block, kinds, ids, contents, sealed_values) values (?, ?, ?, ?, ?, ?)",
                (run_id, block.number, block.kinds, pack(block.ids), b"".join(block.contents), block.sealed_values),
            )
            self._db.executemany(
                "insert into batch (run_id, number, member_count) values (?, ?, ?)",
                ((run_id, number, size) for number, size in enumerate(sizes, first)),
            )

    def delete_batches(self, run_id: int, *, keep_approved: bool = False) -> None:
        """Forget the plan of a run; ``keep_approved`` leaves the plan that a person approved."""
        with write_transaction(self._db):
            self._db.execute("delete from batch where run_id = ?", (run_id,))
            self._db.execute(
                "delete from batch_block where run_id = ? and block >= ?", (run_id, 0 if keep_approved else -(10**9))
            )

    def set_aside(self, run_id: int) -> None:
        """Keep an approved plan beside the new one that is to be compared with it, under negative numbers."""
        with write_transaction(self._db):
            self._db.execute("delete from batch where run_id = ?", (run_id,))
            self.drop_aside(run_id)
            self._db.execute("update batch_block set block = -1 - block where run_id = ?", (run_id,))

    def drop_aside(self, run_id: int) -> None:
        """Forget the plan that was set aside."""
        self._execute("delete from batch_block where run_id = ? and block < 0", (run_id,))

    def blocks(self, run_id: int) -> Iterator[Block]:
        """Return the blocks of a run in order."""
        return (self.block(run_id, number) for number in self._list_numbers(run_id, aside=False))

    def _list_numbers(self, run_id: int, *, aside: bool) -> list[int]:
        rows = self._fetch_all(
            "select block from batch_block where run_id = ? and (block < 0) = ? order by abs(block + 0.5)",
            (run_id, aside),
        )
        return [row[0] for row in rows]

    def streams(self, run_id: int, *, aside: bool = False) -> list[list[int]]:
        """Return the numbers of a run's blocks in streams, each in the order of id hashes.

        There are two when the people of a first step stand before all others, whatever their id hashes.
        ``aside``: of the plan that was set aside.
        """
        has_front = self._fetch_value(
            """
            select step_hashes is not null or json_extract(steps, '$.first') is not null
            from run
            where id = ?
            """,
            (run_id,),
        )
        numbers = self._list_numbers(run_id, aside=aside)
        return [numbers[:1], numbers[1:]] if has_front else [numbers]

    def block(self, run_id: int, number: int) -> Block:
        """Return one block."""
        row = self._fetch_one("select * from batch_block where run_id = ? and block = ?", (run_id, number))
        assert row is not None  # a batch is written together with its block
        ids, contents = unpack_ids(row["ids"]), split_contents(row["contents"])
        return Block(row["block"], row["kinds"], ids, contents, row["sealed_values"])

    def states(self, run_id: int, block: int) -> str:
        """Return the state of each batch of a block, one letter each, in order."""
        first = block * BATCHES_A_BLOCK
        rows = self._fetch_all(
            "select state from batch where run_id = ? and number >= ? and number < ? order by number",
            (run_id, first, first + BATCHES_A_BLOCK),
        )
        return "".join(STATES[row[0]] for row in rows)

    def unconfirmed(self, run_id: int, besides: Iterable[int], limit: int) -> tuple[Batch, ...]:
        """Return the next batches to send, with those whose answer an earlier attempt did not hear.

        Of a run in steps none is returned that the step now allowed does not have.
        """
        away = set(besides)
        rows = self._fetch_all(
            """
            select number, state, member_count
            from batch
            where run_id = ?1 and state <> 'confirmed' and number < (
                select ifnull(json_extract(step_limits, '$[' || (step - 1) || ']'), 1 << 62)
                from run
                where id = ?1
            )
            order by number
            limit ?2
            """,
            (run_id, limit + len(away)),
        )
        return tuple(Batch(*row) for row in rows if row[0] not in away)[:limit]

    def planned_count(self, run_id: int) -> int:
        """Return how many changes a run planned."""
        return self._fetch_int("select coalesce(sum(member_count), 0) from batch where run_id = ?", (run_id,))

    def count_unconfirmed(self, run_id: int) -> int:
        """Return how many batches are not confirmed."""
        return self._fetch_int("select count(*) from batch where run_id = ? and state <> 'confirmed'", (run_id,))

    def any_sent(self, run_id: int, first: int = 0) -> bool:
        """Return whether any request of a run may have left, of its batches from ``first`` on."""
        return self._fetch_bool(
            """
                select exists (select 1 from batch where run_id = ? and number >= ? and state <> 'pending')
                """,
            (run_id, first),
        )

    def count_people(self, run_id: int, first: int = 0, end: int = MAX_BATCHES) -> int:
        """Return how many people a run's blocks have from batch ``first`` to before ``end``, both first of a block."""
        return self._fetch_int(
            """
                select coalesce(sum(length(replace(kinds, ?, ''))), 0)
                from batch_block
                where run_id = ? and block >= ? and block < ?
                """,
            (WITHHELD, run_id, first // BATCHES_A_BLOCK, end // BATCHES_A_BLOCK),
        )

    def mark_in_flight(self, run_id: int, numbers: Iterable[int]) -> None:
        """Write that requests are about to leave."""
        with write_transaction(self._db):
            self._db.executemany(
                "update batch set state = 'in_flight' where run_id = ? and number = ? and state = 'pending'",
                ((run_id, number) for number in numbers),
            )

    def mark_unsent(self, run_id: int, numbers: Iterable[int]) -> None:
        """Write that nobody of these batches can have arrived, since every request with them was refused."""
        with write_transaction(self._db):
            self._db.executemany(
                "update batch set state = 'pending' where run_id = ? and number = ? and state = 'in_flight'",
                ((run_id, number) for number in numbers),
            )

    def confirm(self, run_id: int, number: int) -> None:
        """Write that WebEngage answered for everybody of a batch."""
        self._execute("update batch set state = 'confirmed' where run_id = ? and number = ?", (run_id, number))

    def unconfirm(self, run_id: int) -> None:
        """Write that WebEngage's answers settle nothing about anybody of a run."""
        self._execute("update batch set state = 'in_flight' where run_id = ? and state = 'confirmed'", (run_id,))

    def find_sent_true(self, run_id: int, id_hashes: frozenset[bytes], salt: int) -> frozenset[bytes]:
        """Return which of these people a run under way has sent as true, or may have."""
        return frozenset(
            who
            for block in self.people_blocks(run_id)
            for user_id, kind, outcome in zip(block.ids(), block.kinds, block.outcomes, strict=True)
            if outcome in SENT_LETTERS and kind in TRUE_LETTERS and (who := hash_id(user_id, salt)) in id_hashes
        )

    def withhold(self, run_id: int, id_hashes: frozenset[bytes], salt: int) -> dict[bytes, str]:
        """Take additions and updates of these people out of batches that are still pending; return them, with the kind.

        Their places stay, blank, so that batches keep their numbers.
        """
        found: dict[bytes, str] = {}
        with write_transaction(self._db):
            for block in self.blocks(run_id) if id_hashes else ():
                states = self.states(run_id, block.number)
                places = {
                    at: who
                    for at, (user_id, kind) in enumerate(zip(block.ids, block.kinds, strict=True))
                    if states[at // BATCH_SIZE] == "p"
                    and kind in TRUE_LETTERS
                    and (who := hash_id(user_id, salt)) in id_hashes
                }
                if places:
                    found |= {who: block.kinds[at] for at, who in places.items()}
                    self._blank(run_id, block, set(places))
        return found

    def _blank(self, run_id: int, block: Block, places: set[int]) -> None:
        kinds = "".join(WITHHELD if at in places else kind for at, kind in enumerate(block.kinds))
        ids = pack([FORGOTTEN if at in places else user_id for at, user_id in enumerate(block.ids)])
        self._execute(
            """
            update batch_block
            set kinds = ?, ids = ?
            where run_id = ? and block = ?
            """,
            (kinds, ids, run_id, block.number),
        )

    def log(self, run_id: int, block: int, outcomes: str) -> None:
        """Keep a block for the history: who was sent what, and how it went."""
        self._execute(
            """
            insert or replace into delivery_log (run_id, block, kinds, outcomes, ids)
            select run_id, block, kinds, ?, ids from batch_block where run_id = ? and block = ?
            """,
            (outcomes, run_id, block),
        )

    def people_blocks(self, run_id: int) -> Iterator[PeopleBlock]:
        """Return everybody a run has or had something to send about, in blocks; ids stay packed until they are needed."""
        logged = self._fetch_all(
            """
            select block
            from delivery_log
            join run on run.id = delivery_log.run_id
            where run.id = ? and finished_at is not null
            order by block
            """,
            (run_id,),
        )
        for (number,) in logged:
            row = self._fetch_one(
                "select kinds, outcomes, ids from delivery_log where run_id = ? and block = ?", (run_id, number)
            )
            if row is not None:  # deleted since: it was kept for long enough
                yield _without_withheld(PeopleBlock(row["kinds"], row["outcomes"], row["ids"]))
        if not logged:
            yield from self._planned_blocks(run_id)

    def _planned_blocks(self, run_id: int) -> Iterator[PeopleBlock]:
        for number in self._list_numbers(run_id, aside=False):
            row = self._fetch_one("select kinds, ids from batch_block where run_id = ? and block = ?", (run_id, number))
            if row is not None:  # the run ended since
                outcomes = "".join(state * BATCH_SIZE for state in self.states(run_id, number))[: len(row["kinds"])]
                yield _without_withheld(PeopleBlock(row["kinds"], outcomes, row["ids"]))

    def iterate_sent(self, run_id: int) -> Iterator[tuple[str, ChangeKind, bool]]:
        """Yield whom requests of a run were about that left: id, kind, whether WebEngage answered; not who was forgotten."""
        for block in self.iterate_sent_blocks(run_id):
            for user_id, kind, outcome in zip(block.ids(), block.kinds, block.outcomes, strict=True):
                if outcome in SENT_LETTERS and user_id != FORGOTTEN:
                    yield user_id, KINDS[kind], outcome == "c"

    def iterate_sent_blocks(self, run_id: int) -> Iterator[PeopleBlock]:
        """Yield the blocks of a run with somebody whom a request that left was about."""
        for block in self.people_blocks(run_id):
            if not set(block.outcomes).isdisjoint(SENT_LETTERS):
                yield block

    def count_added(self, run_id: int, rejected: Mapping[str, bool]) -> int:
        """Return for how many more people the attribute may be true by what a run has sent so far; below zero for fewer.

        ``rejected``: whom WebEngage rejected in it. They hold what they held, unless an earlier try may have been taken.
        """
        more = 0
        for block in self.iterate_sent_blocks(run_id):
            ids = block.ids()
            changes = Counter(zip(block.kinds, block.outcomes, strict=True))
            if FORGOTTEN in ids or not rejected.keys().isdisjoint(ids):
                changes = Counter(
                    (kind, STATES["in_flight"] if user_id in rejected else outcome)
                    for user_id, kind, outcome in zip(ids, block.kinds, block.outcomes, strict=True)
                    if outcome in SENT_LETTERS and user_id != FORGOTTEN and rejected.get(user_id, True)
                )
            added = sum(changes[LETTERS[ChangeKind.ADD], outcome] for outcome in SENT_LETTERS)
            more += added - changes[LETTERS[ChangeKind.REMOVE], STATES["confirmed"]]
        return more

    def has_log(self, run_id: int) -> bool:
        """Return whether what a run sent is in the history, or some of it: it has ended, or is being recorded."""
        return self._fetch_bool("select exists (select 1 from delivery_log where run_id = ?)", (run_id,))

    def iterate_removed(self, sync_id: int) -> Iterator[str]:
        """Yield whom an ended run of a sync set to false, as long as its log is kept; those added since, too."""
        rows = self._fetch_all(
            """
            select kinds, outcomes, ids
            from delivery_log
            join run on run.id = delivery_log.run_id
            where run.sync_id = ? and finished_at is not null and instr(kinds, 'r')
            """,
            (sync_id,),
        )
        for row in rows:
            for user_id, kind, outcome in zip(unpack_ids(row["ids"]), row["kinds"], row["outcomes"], strict=True):
                if (kind, outcome) == (LETTERS[ChangeKind.REMOVE], "c"):
                    yield user_id

    def forget(self, user_id: str) -> int:
        """Blank a person in planned blocks and in the log; return in how many they were.

        Their place stays, so that counts add up and batches keep their numbers; a blank is not sent.
        """
        found = 0
        for table in ("batch_block", "delivery_log"):
            for (rowid,) in self._fetch_all(f"select rowid from {table}"):
                packed = self._fetch_value(f"select ids from {table} where rowid = ?", (rowid,))
                if packed and find_places(packed, user_id):
                    blanked = pack([FORGOTTEN if one == user_id else one for one in unpack_ids(packed)])
                    found += self._execute(f"update {table} set ids = ? where rowid = ?", (blanked, rowid))
        return found
