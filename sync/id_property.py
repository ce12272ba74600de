"""The User ID property of a sync: its name as people give it, what is wrong with one, and what changing it means.

Empty stands for the distinct_id, Mixpanel's own name of a member, which is the User ID unless a person chooses another.
"""

from __future__ import annotations

from sync.text import count_people, has_only_visible

DISTINCT_ID = "$distinct_id"  # how people name the default
MAX_NAME = 255  # characters; longer than any property name Mixpanel keeps (its docs: 255)


def parse_id_property(name: str) -> str:
    """Return a User ID property as it is stored: empty for the distinct_id. Nothing typed means the distinct_id, too."""
    return "" if name == DISTINCT_ID else name


def show_id_property(id_property: str) -> str:
    """Return a stored User ID property as people name it."""
    return id_property or DISTINCT_ID


def find_id_property_problem(id_property: str) -> str | None:
    """Return why this cannot be the name of a profile property, or None."""
    if not id_property:
        return None
    if not id_property.strip() or len(id_property) > MAX_NAME or not has_only_visible(id_property):
        return f"The User ID property is the name of a profile property, or {DISTINCT_ID}; type it again."
    return None


def explain_change(before: str, after: str, *, removed: int, added: int, kept: int) -> str:
    """Return what a plan does that changes the User ID property, and why a person has to approve it."""
    return (
        f"The User ID property changes from {show_id_property(before)} to {show_id_property(after)}. "
        f"{count_people(removed)} with an old User ID would be set to false and {count_people(added)} with a new one to true; "
        f"{kept:,} stay the same. A new User ID that WebEngage does not know becomes a new profile there, and what the "
        "old profile has is not moved. While this is sent, somebody may be true under both User IDs, or under neither: "
        "start no campaign to this cohort before the run has ended."
    )


def explain_lost_listings(before: str) -> str:
    """Return that nobody is found by values of this property any more who is on a list by them."""
    return f"People on the never-export list or tripwires by {before} only are not found any more: list them by distinct_id."


def explain_nobody(id_property: str, members: int) -> str:
    """Return that no member has a usable value in the User ID property."""
    return (
        f"None of the {members:,} members has a value in the User ID property {id_property}. Check its spelling, and "
        "that the service account may read it."
    )


def describe_doubles(doubles: int) -> str:
    """Return how many members share their User ID with another one, and what that means."""
    members = "1 member has" if doubles == 1 else f"{doubles:,} members have"
    return (
        f"{members} a User ID that another member has, too: one person in WebEngage. Of different values, those of "
        "always the same one of the members are sent."
    )
