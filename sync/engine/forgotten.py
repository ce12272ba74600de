"""Leave out of what waits in a runner's memory whom somebody forgot meanwhile: their places in the plan are blank."""

from __future__ import annotations

from sync.engine.parcel import Parcel
from sync.store import Store
from sync.store.batches import BATCHES_A_BLOCK


class ForgottenPeople:
    """Whom people forgot since the delivery of a run began; nothing about them is kept but that there are some."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store, self._run_id = store, run_id
        self._first = self._followed = store.maintenance.get_forget_version()

    def are_more(self) -> bool:
        """Return whether somebody was forgotten since this was last followed."""
        return self._store.maintenance.get_forget_version() != self._followed

    def follow(self) -> bool:
        """Return whether somebody was forgotten since this was last asked: what was read of the plan is outdated then."""
        version = self._store.maintenance.get_forget_version()
        is_news = version != self._followed
        self._followed = version
        return is_news

    def leave_out(self, parcel: Parcel) -> Parcel:
        """Return a request without those who were forgotten since the delivery began."""
        if self._store.maintenance.get_forget_version() == self._first:
            return parcel
        return parcel.keep_ids(self._store.batches.block(self._run_id, parcel.number // BATCHES_A_BLOCK).ids)
