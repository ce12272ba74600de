"""Who may do what: a person with a grade, and the grade each wish needs; deny by default."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from sync.errors import InvalidRequest

P = ParamSpec("P")
Result = TypeVar("Result")


class AccessLevel(IntEnum):
    """What a person may do; each grade includes those before it."""

    NOBODY = 0
    VIEWER = 1
    MARKETER = 2
    ADMIN = 3


LIST_VARIABLES = {
    AccessLevel.ADMIN: "COHORT_SYNC_ADMINS",
    AccessLevel.MARKETER: "COHORT_SYNC_MARKETERS",
    AccessLevel.VIEWER: "COHORT_SYNC_VIEWERS",
}


TRUSTED_ISSUERS = "COHORT_SYNC_TRUSTED_ISSUERS"
ACCESS_SETTINGS = (*LIST_VARIABLES.values(), TRUSTED_ISSUERS)  # whoever sets one of these wants sign-in
NOT_VERIFIED = (
    "Your sign-in provider does not say that {address} is verified, so this address gives no access. Ask the admin of "
    "Cohort Sync to have the provider send the claim email_verified, or to trust its issuer in " + TRUSTED_ISSUERS + "."
)
NOT_LISTED = "{name} is signed in, but nobody gave this address access to Cohort Sync; ask its admin."


class Forbidden(InvalidRequest):
    """The person's grade is too low for the wish."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, as the audit names them; without access also why, in a sentence for that person."""

    name: str
    level: AccessLevel
    refusal: str = ""


RUNNER_ACTOR = Actor("runner", AccessLevel.ADMIN)
LOCAL_ACTOR = Actor("someone at this machine", AccessLevel.ADMIN)  # pages without sign-in answer this machine only


def command_line_actor() -> Actor:
    """Whoever runs commands on this machine: they can read the database file anyway."""
    try:
        return Actor(f"{getpass.getuser()} at the command line", AccessLevel.ADMIN)
    except (OSError, KeyError):  # a container's user without a name
        return Actor("someone at the command line", AccessLevel.ADMIN)


def actor_from_claims(claims: Mapping[str, object], env: Mapping[str, str]) -> Actor:
    """Return the person an identity provider vouches for, with the highest grade the lists give them.

    An entry is an address (``ann@example.com``), a domain (``@example.com``) or a claim
    (``groups=marketing``). An address counts only when it is verified, see ``_is_verified``.
    """
    given = _given_address(claims)
    address = given if _is_verified(claims, env) else ""
    level = next(
        (
            level
            for level, name in LIST_VARIABLES.items()
            if any(_matches_entry(entry.strip(), address, claims) for entry in env.get(name, "").split(","))
        ),
        AccessLevel.NOBODY,
    )
    name = address or str(claims.get("sub") or "unknown")
    if level is not AccessLevel.NOBODY:
        return Actor(name, level)
    refusal = NOT_VERIFIED.format(address=given) if given and not address else NOT_LISTED.format(name=name)
    return Actor(name, level, refusal)


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


def _matches_entry(entry: str, address: str, claims: Mapping[str, object]) -> bool:
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


class HasActor(Protocol):
    """Whatever knows who asks."""

    actor: Actor


ActorOwner = TypeVar("ActorOwner", bound=HasActor)


def requires(
    level: AccessLevel,
) -> Callable[[Callable[Concatenate[ActorOwner, P], Result]], Callable[Concatenate[ActorOwner, P], Result]]:
    """Let a method of the service be called only by people of at least this grade."""

    def guarding(method: Callable[Concatenate[ActorOwner, P], Result]) -> Callable[Concatenate[ActorOwner, P], Result]:
        @functools.wraps(method)
        def guarded(self: ActorOwner, *values: P.args, **named: P.kwargs) -> Result:
            check_level(self.actor, level)
            return method(self, *values, **named)

        guarded.requires = level  # type: ignore[attr-defined]  # read by the test that finds unguarded methods
        return cast(Callable[Concatenate[ActorOwner, P], Result], guarded)

    return guarding


def check_level(actor: Actor, level: AccessLevel) -> None:
    """Raise Forbidden unless this person has at least this grade."""
    if actor.level >= level:
        return
    if actor.level is AccessLevel.NOBODY:
        raise Forbidden(actor.refusal or NOT_LISTED.format(name=actor.name))
    wanted = "an admin" if level is AccessLevel.ADMIN else f"a {level.name.lower()}"
    raise Forbidden(
        f"{actor.name} is a {actor.level.name.lower()} here, and this needs {wanted}; ask an admin of Cohort Sync."
    )
