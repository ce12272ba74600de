"""Members that were not taken, grouped by reason, each with what to do about it."""

from __future__ import annotations

from sync.model import USER_ID_MAX
from sync.views import Refusal

SHOWN = 20
EMPTY = "Give these profiles a user id in Mixpanel ($distinct_id); an empty one cannot be matched."
LONG = f"Shorten these user ids to {USER_ID_MAX} characters in Mixpanel, and in your app."
REJECTED = (
    "WebEngage did not accept these people. Correct what it names in their Mixpanel profiles; the next sync "
    "sends them again."
)


def grouped(refusals: tuple[Refusal, ...]) -> dict[str, list[Refusal]]:
    """Put members with the same reason together, the largest group first."""
    groups: dict[str, list[Refusal]] = {}
    for one in refusals:
        groups.setdefault(one.reason, []).append(one)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def advice(one: Refusal) -> str:
    """Tell what a person can do about a member that was not taken."""
    if not one.user_id.strip():
        return EMPTY
    return LONG if len(one.user_id) > USER_ID_MAX else REJECTED
