"""A run while it is ours: the lease, the clock, and the two wishes that may end it."""

from __future__ import annotations

from collections.abc import Callable

from sync.model import Run
from sync.pipeline.ends import CancelWanted, Clock, Policy, StopWanted
from sync.store import Store
from sync.store.runs import LEASE

HOLD_EVERY = 2.0  # seconds between two extensions of the lease; also how soon a cancel is noticed


class Holder:
    """The claim on one run, checked before every step."""

    def __init__(
        self,
        store: Store,
        run: Run,
        owner: str,
        clock: Clock,
        policy: Policy,
        stopping: Callable[[], bool],
        seal: Callable[[bytes], bytes],
    ) -> None:
        """Hold this run as ``owner``."""
        self.store, self.run, self.owner, self.policy, self.seal = store, run, owner, policy, seal
        self._clock, self._stopping = clock, stopping
        self._held_at = clock.now()

    def now(self) -> float:
        """The time, in seconds since 1970."""
        return self._clock.now()

    def pause(self, seconds: float) -> None:
        """Wait a little."""
        if seconds > 0:
            self._clock.sleep(min(seconds, 1.0))

    def hold(self) -> None:
        """Extend the lease now and then; raises LeaseLost, CancelWanted or StopWanted."""
        if self._stopping():
            raise StopWanted
        if not 0.0 <= self.now() - self._held_at < HOLD_EVERY:
            self.hold_now()

    def hold_now(self) -> None:
        """Extend the lease at once."""
        now = self.now()
        if self.store.runs.hold(self.run.id, self.owner, now):
            raise CancelWanted
        self._held_at = now

    def may_send(self) -> bool:
        """Whether the lease is surely still ours; asked by the sending threads just before they send."""
        return 0.0 <= self.now() - self._held_at < LEASE / 2

    def write(self, **values: object) -> None:
        """Set columns of the run."""
        self.store.runs.write(self.run.id, self.owner, values)
