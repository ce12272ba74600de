"""Count what sending takes at the pace of this installation, as previews say it."""

from __future__ import annotations

from dataclasses import replace

from sync.model import BATCH_SIZE
from sync.views import MINUTE_SECONDS, Preview


def add_cost_of_changes(
    found: Preview, before: int, unsure: int, *, sends_values: bool, requests_a_minute: int
) -> Preview:
    """Add what sending takes: everybody at first, later the difference.

    Where that is not known, all members of now may be new, and all those exported before may have left. ``unsure`` of
    the people exported before are not confirmed, so they are sent again if they are still members. ``sends_values``:
    mapped properties are sent now or were before, so anybody may be sent again.
    """
    if not before:
        people, may_take_less = found.people, False
    elif found.to_add is None or found.to_remove is None:
        people, may_take_less = found.people + before, True
    elif sends_values:
        people, may_take_less = found.people + found.to_remove, True
    else:
        people, may_take_less = found.to_add + found.to_remove + min(unsure, found.people), unsure > 0
    batches = -(-people // BATCH_SIZE)
    seconds = batches * MINUTE_SECONDS / requests_a_minute
    return replace(found, requests=batches, seconds=seconds, may_take_less=may_take_less)
