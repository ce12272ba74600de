"""Access levels: the level of a person, and the level each method of the service requires; deny by default."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from sync.errors import InvalidRequest
from sync.settings import TRUSTED_ISSUERS_VARIABLE, Settings

P = ParamSpec("P")
Result = TypeVar("Result")


class AccessLevel(IntEnum):
    """Levels of access; each level includes those before it."""

    NOBODY = 0
    VIEWER = 1
    MARKETER = 2
    ADMIN = 3


NOT_VERIFIED = (
    "Your sign-in provider does not say that {address} is verified, so this address gives no access. Ask the admin of "
    "Cohort Sync to have the provider send the claim email_verified, or to trust its issuer in "
    + TRUSTED_ISSUERS_VARIABLE
    + "."
)
NOT_LISTED = "{name} is signed in, but nobody gave this address access to Cohort Sync; ask its admin."


class Forbidden(InvalidRequest):
    """The person's access level is too low for the request."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or program that asks, as the audit log names it; ``refusal`` is why it has no access."""

    name: str
    level: AccessLevel
    refusal: str = ""


COMMAND_LINE = " at the command line"  # the end of the names of all who run commands
RUNNER_ACTOR = Actor("runner", AccessLevel.ADMIN)
LOCAL_ACTOR = Actor("someone at this machine", AccessLevel.ADMIN)  # pages without sign-in answer this machine only


def command_line_actor() -> Actor:
    """Return the actor of a command: an admin, since who runs commands here can read the database file anyway."""
    try:
        return Actor(f"{getpass.getuser()}{COMMAND_LINE}", AccessLevel.ADMIN)
    except (OSError, KeyError):  # a container's user without a name
        return Actor(f"someone{COMMAND_LINE}", AccessLevel.ADMIN)


def actor_from_claims(claims: Mapping[str, object], env: Mapping[str, str]) -> Actor:
    """Return the signed-in person, with the highest access level the lists in ``env`` give them.

    An entry is an address (``ann@example.com``), a domain (``@example.com``) or a claim
    (``groups=marketing``). An address counts only when it is verified, see ``_is_verified``.
    """
    given = _given_address(claims)
    settings = Settings.from_env(env)
    address = given if _is_verified(claims, settings.trusted_issuers) else ""
    level = _find_level(settings, address, claims)
    name = address or str(claims.get("sub") or "unknown")
    if level is not AccessLevel.NOBODY:
        return Actor(name, level)
    refusal = NOT_VERIFIED.format(address=given) if given and not address else NOT_LISTED.format(name=name)
    return Actor(name, level, refusal)


def _find_level(settings: Settings, address: str, claims: Mapping[str, object]) -> AccessLevel:
    """Return the highest level whose list has an entry for this person."""
    lists = (
        (AccessLevel.ADMIN, settings.admins),
        (AccessLevel.MARKETER, settings.marketers),
        (AccessLevel.VIEWER, settings.viewers),
    )
    for level, entries in lists:
        if any(_matches_entry(entry, address, claims) for entry in entries):
            return level
    return AccessLevel.NOBODY


def _given_address(claims: Mapping[str, object]) -> str:
    address = claims.get("email")
    return _fold(address.strip()) if isinstance(address, str) and "@" in address else ""


def _fold(address: str) -> str:
    """Return an address in small letters; the sign for kelvin stays, whose small letter is that of somebody else's address."""
    return "".join(one if one > "\x7f" and one.lower() < "\x7f" else one.lower() for one in address)


def _is_verified(claims: Mapping[str, object], trusted_issuers: frozenset[str]) -> bool:
    """Return whether the provider says that the address belongs to the person.

    Some providers let people edit their address and omit ``email_verified``: then it counts only
    when the issuer is trusted by name. Some write the Boolean as text (AWS Cognito, Apple);
    no other value counts.
    """
    verified = claims.get("email_verified")
    if verified is None:
        issuer = claims.get("iss")
        return isinstance(issuer, str) and issuer.rstrip("/") in trusted_issuers
    return verified is True or verified == "true"


def _matches_entry(entry: str, address: str, claims: Mapping[str, object]) -> bool:
    if "=" in entry:
        name, _, wanted = (part.strip() for part in entry.partition("="))
        given = address if name == "email" else claims.get(name)  # an address only when it is verified
        values = given if isinstance(given, list) else [given]
        return bool(wanted) and wanted in [_write_claim(value) for value in values]
    return address.endswith(_fold(entry)) if entry.startswith("@") else address == _fold(entry)


def _write_claim(value: object) -> str:
    """Return a claim's value as an entry writes it; empty when it is no text, number or Boolean."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""


class HasActor(Protocol):
    """An object that has an actor."""

    @property
    def actor(self) -> Actor:
        """Return who asks."""


ActorOwner = TypeVar("ActorOwner", bound=HasActor)


def requires(
    level: AccessLevel,
) -> Callable[[Callable[Concatenate[ActorOwner, P], Result]], Callable[Concatenate[ActorOwner, P], Result]]:
    """Decorate a method of the service so that it raises Forbidden below this access level."""

    def guard_method(
        method: Callable[Concatenate[ActorOwner, P], Result],
    ) -> Callable[Concatenate[ActorOwner, P], Result]:
        @functools.wraps(method)
        def checked(self: ActorOwner, *values: P.args, **named: P.kwargs) -> Result:
            check_level(self.actor, level)
            return method(self, *values, **named)

        checked.requires = level  # type: ignore[attr-defined]  # read by the test that finds unguarded methods
        return cast(Callable[Concatenate[ActorOwner, P], Result], checked)

    return guard_method


def check_level(actor: Actor, level: AccessLevel) -> None:
    """Raise Forbidden unless this person has at least this access level."""
    if actor.level >= level:
        return
    if actor.level is AccessLevel.NOBODY:
        raise Forbidden(actor.refusal or NOT_LISTED.format(name=actor.name))
    wanted = "an admin" if level is AccessLevel.ADMIN else f"a {level.name.lower()}"
    raise Forbidden(
        f"{actor.name} is a {actor.level.name.lower()} here, and this needs {wanted}; ask an admin of Cohort Sync."
    )
