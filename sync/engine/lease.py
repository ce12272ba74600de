"""The claim on one run: its lease, the clock, and the two requests that may end it."""

from __future__ import annotations

from collections.abc import Callable

from sync.engine.retry import CancelRequested, Clock, RetryPolicy, ShutdownRequested
from sync.model import Run
from sync.store import Store
from sync.store.runs import LEASE_SECONDS

RENEW_SECONDS = 2.0  # between two extensions of the lease; also how soon a cancel is noticed


class RunLease:
    """A claimed run, checked before every step; what is written through it needs the lease."""

    def __init__(
        self, store: Store, run: Run, owner: str, clock: Clock, policy: RetryPolicy, is_stopping: Callable[[], bool]
    ) -> None:
        """Hold this run as ``owner``."""
        self.store, self.run, self.owner, self.policy = store, run, owner, policy
        self._clock, self._is_stopping = clock, is_stopping
        self._renewed_at = clock.now()

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait a little, at most a second."""
        if seconds > 0:
            self._clock.sleep(min(seconds, 1.0))

    def renew_when_due(self) -> None:
        """Extend the lease now and then; raises LeaseLost, CancelRequested or ShutdownRequested."""
        if self._is_stopping():
            raise ShutdownRequested
        if not 0.0 <= self.now() - self._renewed_at < RENEW_SECONDS:
            self.renew()

    def renew(self) -> None:
        """Extend the lease at once."""
        now = self.now()
        if self.store.runs.renew_lease(self.run.id, self.owner, now):
            raise CancelRequested
        self._renewed_at = now

    def is_safely_held(self) -> bool:
        """Return whether the lease is surely still ours; asked by the sending threads just before they send."""
        return 0.0 <= self.now() - self._renewed_at < LEASE_SECONDS / 2

    def write(self, **values: object) -> None:
        """Set columns of the run."""
        self.store.runs.write_run(self.run.id, self.owner, values)

    def count(self, **more: int) -> None:
        """Add to counters of the run."""
        self.store.runs.add_counts(self.run.id, self.owner, **more)

    def note_progress(self, furthest: int | None = None) -> None:
        """Forget earlier failures, since the run got on."""
        self.store.runs.note_progress(self.run.id, self.owner, furthest)
