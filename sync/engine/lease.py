"""A run while it is ours: the lease, the clock, and the two wishes that may end it."""

from __future__ import annotations

from collections.abc import Callable

from sync.engine.interrupts import CancelRequested, ShutdownRequested
from sync.engine.retry import Clock, RetryPolicy
from sync.model import Run
from sync.store import Store
from sync.store.runs import LEASE_SECONDS

RENEW_SECONDS = 2.0  # seconds between two extensions of the lease; also how soon a cancel is noticed


class RunLease:
    """The claim on one run, checked before every step."""

    def __init__(
        self,
        store: Store,
        run: Run,
        owner: str,
        clock: Clock,
        policy: RetryPolicy,
        stopping: Callable[[], bool],
        seal: Callable[[bytes], bytes],
    ) -> None:
        """Hold this run as ``owner``."""
        self.store, self.run, self.owner, self.policy, self.seal = store, run, owner, policy, seal
        self._clock, self._stopping = clock, stopping
        self._renewed_at = clock.now()

    def now(self) -> float:
        """The time, in seconds since 1970."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait a little."""
        if seconds > 0:
            self._clock.sleep(min(seconds, 1.0))

    def renew(self) -> None:
        """Extend the lease now and then; raises LeaseLost, CancelRequested or ShutdownRequested."""
        if self._stopping():
            raise ShutdownRequested
        if not 0.0 <= self.now() - self._renewed_at < RENEW_SECONDS:
            self.renew_now()

    def renew_now(self) -> None:
        """Extend the lease at once."""
        now = self.now()
        if self.store.runs.renew_lease(self.run.id, self.owner, now):
            raise CancelRequested
        self._renewed_at = now

    def is_safely_held(self) -> bool:
        """Whether the lease is surely still ours; asked by the sending threads just before they send."""
        return 0.0 <= self.now() - self._renewed_at < LEASE_SECONDS / 2

    def write_run(self, **values: object) -> None:
        """Set columns of the run."""
        self.store.runs.write_run(self.run.id, self.owner, values)
