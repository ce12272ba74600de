"""One request to WebEngage, and what it becomes when it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sync.model import Change, ChangeKind
from sync.packing import hash_id
from sync.store.rejections import Rejection


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request: a batch or, after a refusal, a part of one. The request id stays the same on every try.

    ``batch`` is the whole batch, whose values no reason may quote. ``unheard``: a try was not answered, so WebEngage
    may have taken it. ``limited``: how often it was refused for the limit alone. ``confirmed_before``: how many parcels
    were confirmed when it, or the batch it is part of, first failed. ``reason``: why it is sent without its values.
    """

    number: int
    changes: tuple[Change, ...]
    contents: tuple[bytes, ...]
    request_id: str
    batch: tuple[Change, ...]
    unheard: bool = False
    tries: int = 0
    limited: int = 0
    ready_at: float = 0.0
    confirmed_before: int | None = None
    reason: str = ""

    def halve(self) -> list[Parcel]:
        """Return its two halves, each a request of its own."""
        middle = len(self.changes) // 2
        fresh = replace(self, tries=0, ready_at=0.0)
        halves = range(middle), range(middle, len(self.changes))
        return [replace(fresh._keep(places), request_id=uuid.uuid4().hex) for places in halves]

    def leave_out(self, listed: frozenset[bytes], salt: int) -> Parcel:
        """Return it without the members who must not be sent; nobody is kept from being removed."""
        return self._keep(
            at
            for at, one in enumerate(self.changes)
            if one.kind is ChangeKind.REMOVE or hash_id(one.user_id, salt) not in listed
        )

    def keep_ids(self, user_ids: Iterable[str]) -> Parcel:
        """Return it with these people only."""
        kept = set(user_ids)
        return self._keep(at for at, one in enumerate(self.changes) if one.user_id in kept)

    def make_rejection(self, outcome: str) -> Rejection:
        """Return that the lone person of it was not taken as planned."""
        [change] = self.changes
        return Rejection(
            user_id=change.user_id,
            kind=change.kind.value,
            reason=self.reason,
            outcome=outcome,
            content_hash=None if change.kind is ChangeKind.REMOVE else self.contents[0],
            may_be_sent=self.unheard,
        )

    def _keep(self, places: Iterable[int]) -> Parcel:
        kept = list(places)
        return replace(
            self,
            changes=tuple(self.changes[at] for at in kept),
            contents=tuple(self.contents[at] for at in kept),
        )
