"""Hold what executing a run needs besides the store; a runner makes one for all its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sync.engine.retry import Clock, RetryPolicy
from sync.model import BATCHES_A_MINUTE
from sync.vault import Vault


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that executing a run needs besides the store."""

    open_vault: Callable[[], Vault]
    clock: Clock
    policy: RetryPolicy
    is_stopping: Callable[[], bool]
    batches_a_minute: int = BATCHES_A_MINUTE
    page_size: int | None = None
