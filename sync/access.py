"""Who may do what: a person with a grade, and the grade each wish needs; deny by default."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from sync.errors import Refused

P = ParamSpec("P")
Answer = TypeVar("Answer")


class Grade(IntEnum):
    """What a person may do; each grade includes those before it."""

    NOBODY = 0
    VIEWER = 1
    MARKETER = 2
    ADMIN = 3


LISTS = {
    Grade.ADMIN: "COHORT_SYNC_ADMINS",
    Grade.MARKETER: "COHORT_SYNC_MARKETERS",
    Grade.VIEWER: "COHORT_SYNC_VIEWERS",
}


class Forbidden(Refused):
    """The person's grade is too low for the wish."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, as the audit names them."""

    name: str
    grade: Grade


RUNNER = Person("runner", Grade.ADMIN)
LOCAL = Person("someone at this machine", Grade.ADMIN)  # pages without sign-in serve loopback only


def operator() -> Person:
    """Whoever runs commands on this machine: they can read the database file anyway."""
    try:
        return Person(f"{getpass.getuser()} at the command line", Grade.ADMIN)
    except (OSError, KeyError):  # a container's user without a name
        return Person("someone at the command line", Grade.ADMIN)


def person_of(claims: Mapping[str, object], env: Mapping[str, str]) -> Person:
    """The person an identity provider vouches for, with the highest grade the lists give them.

    An entry is an address (``ann@example.com``), a domain (``@example.com``) or a claim
    (``groups=marketing``). An address the provider calls unverified counts for nothing.
    """
    address = _address(claims)
    grade = next(
        (
            grade
            for grade, name in LISTS.items()
            if any(_matches(entry.strip(), address, claims) for entry in env.get(name, "").split(","))
        ),
        Grade.NOBODY,
    )
    return Person(address or str(claims.get("sub") or "unknown"), grade)


def _address(claims: Mapping[str, object]) -> str:
    verified = claims.get("email_verified", True) in (True, "true")
    address = claims.get("email")
    return address.strip().lower() if verified and isinstance(address, str) and "@" in address else ""


def _matches(entry: str, address: str, claims: Mapping[str, object]) -> bool:
    if not entry:
        return False
    if "=" in entry:
        name, _, wanted = entry.partition("=")
        given = (
            address if name.strip() == "email" else claims.get(name.strip(), ())
        )  # an address only when it is verified
        return wanted.strip() in [str(one) for one in (given if isinstance(given, list | tuple) else [given])]
    if entry.startswith("@"):
        return address.rpartition("@")[2] == entry[1:].lower() and bool(address)
    return address == entry.lower()


class Asked(Protocol):
    """Whatever knows who asks."""

    person: Person


Holder = TypeVar("Holder", bound=Asked)


def needs(
    grade: Grade,
) -> Callable[[Callable[Concatenate[Holder, P], Answer]], Callable[Concatenate[Holder, P], Answer]]:
    """Let a method of the service be called only by people of at least this grade."""

    def guarding(method: Callable[Concatenate[Holder, P], Answer]) -> Callable[Concatenate[Holder, P], Answer]:
        @functools.wraps(method)
        def guarded(self: Holder, *values: P.args, **named: P.kwargs) -> Answer:
            require(self.person, grade)
            return method(self, *values, **named)

        guarded.needs = grade  # type: ignore[attr-defined]  # read by the test that finds unguarded methods
        return cast(Callable[Concatenate[Holder, P], Answer], guarded)

    return guarding


def require(person: Person, grade: Grade) -> None:
    """Raise Forbidden unless this person has at least this grade."""
    if person.grade >= grade:
        return
    if person.grade is Grade.NOBODY:
        raise Forbidden(
            f"{person.name} is signed in, but nobody gave this address access to Cohort Sync; ask its admin."
        )
    wanted = "an admin" if grade is Grade.ADMIN else f"a {grade.name.lower()}"
    raise Forbidden(
        f"{person.name} is a {person.grade.name.lower()} here, and this needs {wanted}; ask an admin of Cohort Sync."
    )
