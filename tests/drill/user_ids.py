"""The User IDs of a random life: by the distinct_id, or by a property whose first value two people share."""

from __future__ import annotations

from collections.abc import Iterable

CUSTOMER = "customer"
DRAWN = (None, None, None, None, "", CUSTOMER, CUSTOMER)  # None: as it is; empty: the distinct_id


def user_id_of(who: str, id_property: str) -> str:
    """Return the User ID of somebody by a property; empty: the distinct_id."""
    life, _, number = who.rpartition("-p")
    return f"{life}-c{max(1, int(number))}" if id_property else who


def user_ids(people: Iterable[str], id_property: str) -> set[str]:
    """Return the User IDs of people by a property."""
    return {user_id_of(who, id_property) for who in people}


def both_ids(people: Iterable[str]) -> set[str]:
    """Return the User IDs of people by the distinct_id and by the property."""
    found = set(people)
    return found | user_ids((who for who in found if "-p" in who), CUSTOMER)


def of_other_property(found: Iterable[str], id_property: str) -> set[str]:
    """Return the User IDs that are by the other property than this one."""
    return {who for who in found if ("-c" in who) != bool(id_property)}


def is_double(who: str) -> bool:
    """Return whether somebody shares the value of the property with another one."""
    return who.endswith(("-p0", "-p1"))
