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


TRUSTED_ISSUERS = "COHORT_SYNC_TRUSTED_ISSUERS"
ACCESS_SETTINGS = (*LISTS.values(), TRUSTED_ISSUERS)  # whoever sets one of these wants sign-in
NOT_VERIFIED = (
    "Your sign-in provider does not say that {address} is verified, so this address gives no access. Ask the admin of "
    "Cohort Sync to have the provider send the claim email_verified, or to trust its issuer in " + TRUSTED_ISSUERS + "."
)
NOT_LISTED = "{name} is signed in, but nobody gave this address access to Cohort Sync; ask its admin."


class Forbidden(Refused):
    """The person's grade is too low for the wish."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, as the audit names them; without access also why, in a sentence for that person."""

    name: str
    grade: Grade
    refusal: str = ""


RUNNER = Person("runner", Grade.ADMIN)
LOCAL = Person("someone at this machine", Grade.ADMIN)  # pages without sign-in answer this machine only


def operator() -> Person:
    """Whoever runs commands on this machine: they can read the database file anyway."""
    try:
        return Person(f"{getpass.getuser()} at the command line", Grade.ADMIN)
    except (OSError, KeyError):  # a container's user without a name
        return Person("someone at the command line", Grade.ADMIN)


def person_of(claims: Mapping[str, object], env: Mapping[str, str]) -> Person:
    """Return the person an identity provider vouches for, with the highest grade the lists give them.

    An entry is an address (``ann@example.com``), a domain (``@example.com``) or a claim
    (``groups=marketing``). An address counts only when it is verified, see ``_is_verified``.
    """
    given = _given_address(claims)
    address = given if _is_verified(claims, env) else ""
    grade = next(
        (
            grade
            for grade, name in LISTS.items()
            if any(_matches(entry.strip(), address, claims) for entry in env.get(name, "").split(","))
        ),
        Grade.NOBODY,
    )
    name = address or str(claims.get("sub") or "unknown")
    if grade is not Grade.NOBODY:
        return Person(name, grade)
    refusal = NOT_VERIFIED.format(address=given) if given and not address else NOT_LISTED.format(name=name)
    return Person(name, grade, refusal)


def _given_address(claims: Mapping[str, object]) -> str:
    address = claims.get("email")
    return address.strip().lower() if isinstance(address, str) and "@" in address else ""


def _is_verified(claims: Mapping[str, object], env: Mapping[str, str]) -> bool:
    """Return whether the provider says that the address belongs to the person.

    Some providers let people edit their address and omit ``email_verified``: then it counts only
    when the issuer is trusted by name. Some write the Boolean as text (AWS Cognito, Apple);
    nothing else is believed.
    """
    verified = claims.get("email_verified")
    if verified is None:
        trusted = {entry.strip().rstrip("/") for entry in env.get(TRUSTED_ISSUERS, "").split(",")} - {""}
        issuer = claims.get("iss")
        return isinstance(issuer, str) and issuer.rstrip("/") in trusted
    return verified is True or verified == "true"


def _matches(entry: str, address: str, claims: Mapping[str, object]) -> bool:
    if not entry:
        return False
    if "=" in entry:
        name, _, wanted = (part.strip() for part in entry.partition("="))
        given = address if name == "email" else claims.get(name)  # an address only when it is verified
        values = given if isinstance(given, list | tuple) else [given]
        return bool(wanted) and wanted in [_write_claim(value) for value in values]
    if entry.startswith("@"):
        return address.rpartition("@")[2] == entry[1:].lower() and bool(address)
    return address == entry.lower()


def _write_claim(value: object) -> str:
    """Return a claim's value as an entry writes it; empty when it is no text, number or Boolean."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""


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
        raise Forbidden(person.refusal or NOT_LISTED.format(name=person.name))
    wanted = "an admin" if grade is Grade.ADMIN else f"a {grade.name.lower()}"
    raise Forbidden(
        f"{person.name} is a {person.grade.name.lower()} here, and this needs {wanted}; ask an admin of Cohort Sync."
    )
