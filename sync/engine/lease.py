"""The claim on one run: its lease, what executing it needs, and the two requests that may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sync.engine.retry import CancelRequested, Clock, RetryPolicy, ShutdownRequested
from sync.model import BATCHES_A_MINUTE, Account, Project, Run
from sync.store import Store
from sync.store.runs import LEASE_SECONDS
from sync.vault import Vault

RENEW_SECONDS = 2.0  # between two extensions of the lease; also how soon a cancel is noticed


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that executing a run needs besides the store; a runner makes one for all its runs."""

    open_vault: Callable[[], Vault]
    clock: Clock
    policy: RetryPolicy
    is_stopping: Callable[[], bool]
    batches_a_minute: int = BATCHES_A_MINUTE
    page_size: int | None = None


class RunLease:
    """A claimed run, checked before every step; what is written through it needs the lease."""

    def __init__(self, store: Store, run: Run, owner: str, context: RunContext) -> None:
        self.store, self.run, self.owner, self.context = store, run, owner, context
        self.policy = context.policy
        self._renewed_at = context.clock.now()
        self.connections: list[Project | Account] = []
        """What the clients of this claim were opened with."""

    @cached_property
    def vault(self) -> Vault:
        """Open when it is needed: a lost key ends the run with its reason, and a run without it can be cancelled."""
        return self.context.open_vault()

    def open_text(self, sealed: str) -> str:
        """Return a stored secret, decrypted."""
        return self.vault.open_text(sealed)

    @cached_property
    def salt(self) -> int:
        """Return the secret number in all hashes of this database."""
        return self.store.connections.get_salt()

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self.context.clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait a little, at most a second."""
        if seconds > 0:
            self.context.clock.sleep(min(seconds, 1.0))

    def renew_when_due(self) -> None:
        """Extend the lease now and then; raises LeaseLost, CancelRequested or ShutdownRequested."""
        if self.context.is_stopping():
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
        self.store.runs.write_run(self.run.id, self.owner, **values)

    def count(self, **more: int) -> None:
        """Add to counters of the run."""
        self.store.runs.add_counts(self.run.id, self.owner, **more)

    def note_progress(self, furthest: int | None = None) -> None:
        """Forget earlier failures, since the run got on."""
        self.store.runs.note_progress(self.run.id, self.owner, furthest)
