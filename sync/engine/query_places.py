"""Hold a run's places among the queries that Mixpanel allows at once and in an hour, while its pages are read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sync.engine.lease import RunLease
from sync.engine.retry import Postpone
from sync.errors import RetryLater
from sync.model import Sync
from sync.store.rate_limits import QuerySlot

PAGES_AT_ONCE = 4  # Mixpanel allows 5 at once (Mixpanel docs); one is left for the pages people look at
RENEW_SECONDS = 30.0  # between two extensions of the places of slow queries
CROWDED_SECONDS = 20.0  # a run waits for a place among the concurrent queries, and is then put off as long


class QueryPlaces:
    """The places of one run; a killed run's are free again when Mixpanel must be done with them."""

    def __init__(self, lease: RunLease, sync: Sync) -> None:
        self._lease, self._sync, self._limits = lease, sync, lease.store.rate_limits
        self._renewed_at = self._crowded_since = -math.inf

    def count_allowed(self) -> int:
        """Return how many pages this run may ask for at once, beside the other runs that read."""
        readers = self._lease.store.runs.count_reading(self._sync.project_id, self._lease.now())
        return max(1, PAGES_AT_ONCE // max(1, readers))

    def acquire(self, number: int) -> QuerySlot:
        """Acquire a place for this page, or learn how long to wait."""
        return self._limits.acquire_query(
            self._sync.project_id,
            self._lease.now(),
            later_page=number > 0,
            at_once=PAGES_AT_ONCE,
            sync_id=self._sync.id,
        )

    def renew_when_due(self, slots: Iterable[QuerySlot]) -> None:
        """Keep the places of slow queries, which may take Mixpanel eight minutes."""
        now = self._lease.now()
        if not 0 <= now - self._renewed_at < RENEW_SECONDS:
            self._limits.renew_queries(slots, now)
            self._renewed_at = now

    def release(self, slot: QuerySlot, *, is_answered: bool) -> None:
        """Free a query's place when Mixpanel is done with it; otherwise it keeps it until Mixpanel's own deadline."""
        if is_answered:
            self._limits.release_query(slot, self._lease.now())
        else:
            self._limits.abandon_query(slot)

    def wait_for(self, refused: QuerySlot | None) -> None:
        """Put the run off when the hour is used up, or when others have all places for long; None: nothing was refused."""
        if refused is None:
            self._crowded_since = -math.inf
        elif refused.limit == "hourly":
            raise Postpone(refused.wait, "Mixpanel's hourly limit of queries is used up", failed=False)
        elif self._crowded_since == -math.inf:
            self._crowded_since = self._lease.now()
        elif self._lease.now() - self._crowded_since > CROWDED_SECONDS:
            raise Postpone(CROWDED_SECONDS, "all of Mixpanel's concurrent queries are in use", failed=False)

    def use_up_hour(self, number: int, problem: RetryLater) -> Postpone:
        """Let no query of the project leave until its hour allows one; return until when the run is put off.

        Mixpanel refused this page for its limit of an hour, or for one it did not name.
        """
        project, now = self._sync.project_id, self._lease.now()
        until = now + problem.seconds if problem.seconds is not None else self._limits.next_query_at(project, now)
        self._limits.block_until(project, until, pages_count=number > 0 and problem.limit == "hourly", now=now)
        return Postpone(until - now, str(problem), failed=False)
