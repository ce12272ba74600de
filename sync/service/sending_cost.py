"""Count what sending takes at WebEngage's limit, as previews say it."""

from __future__ import annotations

from dataclasses import replace

from sync.model import BATCH_SIZE
from sync.store.rate_limits import BATCHES_A_MINUTE
from sync.views import Preview

MINUTE_SECONDS = 60.0


def add_cost_of_changes(found: Preview, before: int, unsure: int, *, sends_values: bool) -> Preview:
    """Add what sending takes: everybody at first, later the difference.

    Where that is not known, all members of now may be new, and all those exported before may have left. ``unsure`` of
    the people exported before are not confirmed, so they are sent again if they are still members. ``sends_values``:
    mapped properties are sent now or were before, so anybody may be sent again.
    """
    if not before:
        return replace(add_cost(found, found.people), may_take_less=False)
    if found.to_add is None or found.to_remove is None:
        return replace(add_cost(found, found.people + before), may_take_less=True)
    if sends_values:
        return replace(add_cost(found, found.people + found.to_remove), may_take_less=True)
    known = found.to_add + found.to_remove
    return replace(add_cost(found, known + min(unsure, found.people)), may_take_less=unsure > 0)


def add_cost(found: Preview, people: int) -> Preview:
    """Add the requests and seconds it takes to send so many people."""
    batches = -(-people // BATCH_SIZE)
    return replace(found, requests=batches, seconds=batches * MINUTE_SECONDS / BATCHES_A_MINUTE)
