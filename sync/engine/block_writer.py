"""Write planned changes as blocks: those of the first step before the rest, or cut at the end of each step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sync.engine.lease import RunLease
from sync.engine.value_forms import ValueTally
from sync.model import ChangeKind
from sync.packing import ID_SIZE, pack
from sync.steps import WHOLE, Steps
from sync.store.batches import BATCHES_A_BLOCK, BLOCK_SIZE, LETTERS, Block

HASHES = 1 << (8 * ID_SIZE)  # how many id hashes there are; a share of them is a share of the people


@dataclass(frozen=True, slots=True)
class Change:
    """One planned change, not yet with its values."""

    kind: ChangeKind
    content: bytes
    user_id: str = ""


Planned = tuple[Change, str, list[object] | None]
"""A change with the id and the mapped values of its person."""


class StepCutter:
    """Decide whose change belongs to the first step, and where each step ends. Changes come in the order of id hashes."""

    def __init__(self, steps: Steps | None, chosen: frozenset[bytes]) -> None:
        """Cut by these steps; ``chosen``: the id hashes of those the first one is for."""
        self.has_front = bool(steps and steps.has_front)
        self._first, self._chosen = (steps.first or 0 if steps else 0), chosen
        self._ends = [int(HASHES * share / WHOLE) for share in steps.shares] if steps else []

    def is_in_front(self, id_hash: bytes, kind: ChangeKind) -> bool:
        """Return whether a change is of the first step, which stands before all others. Ask once for each change."""
        if self._first and kind is not ChangeKind.REMOVE:
            self._first -= 1
            return True
        return id_hash in self._chosen

    def is_next_step(self, id_hash: bytes) -> bool:
        """Return whether a change is beyond the step that is being written, which ends then."""
        if self._ends and int.from_bytes(id_hash) >= self._ends[0]:
            del self._ends[0]
            return True
        return False


class BlockWriter:
    """Gathers changes into blocks of forty batches, each block written in a transaction of its own."""

    def __init__(self, lease: RunLease, values: ValueTally | None = None) -> None:
        """Write for this run; mapped values are counted by ``values``."""
        self._lease, self._values = lease, values
        self._cutter = StepCutter(Steps.parse(lease.run.steps), lease.store.plan_history.list_chosen(lease.run.id))
        self._front: list[Planned] = []
        self._changes: list[Planned] = []
        self._number = int(self._cutter.has_front)  # the first block is the front's
        self._limits = [BATCHES_A_BLOCK] if self._cutter.has_front else []
        self.kinds: Counter[ChangeKind] = Counter()

    def add(self, id_hash: bytes, planned: Planned) -> None:
        """Take the next change in the order of id hashes; a full block is written."""
        self._count(planned)
        if self._cutter.is_in_front(id_hash, planned[0].kind):
            self._front.append(planned)
            return
        # A step is for somebody: without anybody yet it goes on to its first person.
        if (self._changes or self._number > self._step_start) and self._cutter.is_next_step(id_hash):
            self._flush()
            self._limits.append(self._number * BATCHES_A_BLOCK)
        self._changes.append(planned)
        if len(self._changes) == BLOCK_SIZE:
            self._flush()

    def finish(self) -> tuple[int, ...]:
        """Write the block that was begun and the front; return the batches at which the steps before the last end."""
        self._flush()
        if self._front:
            self._write_block(0, self._front)
        return tuple(limit for limit in self._limits if limit < self._number * BATCHES_A_BLOCK)

    @property
    def _step_start(self) -> int:
        """Return the block at which the step that is being written began."""
        return self._limits[-1] // BATCHES_A_BLOCK if self._limits else 0

    def _count(self, planned: Planned) -> None:
        self.kinds[planned[0].kind] += 1
        if self._values and planned[2]:
            self._values.add(planned[2])

    def _flush(self) -> None:
        """Write the block that was begun."""
        if self._changes:
            self._write_block(self._number, self._changes)
            self._number, self._changes = self._number + 1, []

    def _write_block(self, number: int, changes: list[Planned]) -> None:
        sealed = None
        if any(values is not None for _, _, values in changes):
            sealed = self._lease.vault.seal_bytes(pack([values for _, _, values in changes]))
        block = Block(
            number=number,
            kinds="".join(LETTERS[change.kind] for change, _, _ in changes),
            ids=[user_id for _, user_id, _ in changes],
            contents=tuple(change.content for change, _, _ in changes),
            sealed_values=sealed,
        )
        with self._lease.store.transaction():
            self._lease.renew()
            self._lease.store.batches.add_batches(self._lease.run.id, block)
