"""The WebEngage side: what is taken, what is refused, and what is quietly dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from .accounts import MISSING_ID, PER_MINUTE, Account, wrong_with
from .faults import Fault
from .http_protocol import Reply, Request, answer, retry_after
from .world import World

BULK_MAX = 25  # WebEngage docs, bulk users and bulk events: at most 25 in one call
BULK_USERS = "bulk-users"
REQUEST_ID = "x-request-id"


def error(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """An error as WebEngage writes the one it documents (WebEngage docs, users API)."""
    return answer(status, {"response": {"message": message, "status": "error"}}, headers)


def queued(world: World, users: int = 0) -> Reply:
    """The documented success: accepted, not yet stored, nothing per user."""
    return answer(world.settings.queued_status, {"response": {"status": "queued"}}, users=users)


def put_users(world: World, account: Account, users: list[Any], again: bool) -> Reply:
    """Take all users of a request, or none of them."""
    for user in users:
        if wrong := wrong_with(user, world.faults.poison):
            return error(400, _refusal(world, wrong, user))
    for user in users:
        if status := world.faults.failing.get(user.get("userId")):
            return error(status, _refusal(world, "Internal Server Error", user))
    for user in users:
        if user.get("userId"):
            world.meter.told_again += account.holds(user)
            account.put(user)
    world.meter.users_delivered += len(users)
    return queued(world, len(users))


def _refusal(world: World, wrong: str, user: Any) -> str:
    """The words of a refusal; with the person's own values, where WebEngage is set to quote them."""
    if world.settings.refusals == "plain" or not isinstance(user, dict):
        return wrong
    own = {name: value for name, value in user.items() if name != "attributes"} | (user.get("attributes") or {})
    return f"{wrong} Received: " + ", ".join(f'{name} "{value}"' for name, value in own.items())


def put_events(world: World, account: Account, events: list[Any], again: bool) -> Reply:
    """Take all events of a request; one that was taken under the same x-request-id is not taken twice."""
    for event in events:
        wrong = wrong_with(event, world.faults.poison) or _wrong_with_event(event)
        if wrong:
            return error(400, wrong)
    if not again:
        account.events.extend(events)
    return queued(world, len(events))


def _wrong_with_event(event: dict[str, Any]) -> str:
    return "" if event.get("eventName") else "Error: eventName cannot be empty."


def erase(world: World, account: Account, body: dict[str, Any]) -> Reply:
    """Erase the people an OpenGDPR request names."""
    identities = body.get("subject_identities")
    if not isinstance(identities, list) or not identities:
        return error(400, "Error: subject_identities cannot be empty.")
    for identity in identities:
        account.forget(str(identity.get("identity_value", "")))
    return queued(world, len(identities))


def _one(take: Callable[..., Reply]) -> Callable[..., Reply]:
    return lambda world, account, body, again: take(world, account, [body], again)


def _many(name: str, take: Callable[..., Reply]) -> Callable[..., Reply]:
    def taken(world: World, account: Account, body: dict[str, Any], again: bool) -> Reply:
        rows = body.get(name)
        if not isinstance(rows, list) or not rows:
            return error(400, f"Error: {name} cannot be empty.")
        if len(rows) > BULK_MAX:
            return error(400, f"Error: at most {BULK_MAX} {name} in one request.")
        return take(world, account, rows, again)

    return taken


ROUTES: dict[str, Callable[..., Reply]] = {
    "users": _one(put_users),
    BULK_USERS: _many("users", put_users),
    "events": _one(put_events),
    "bulk-events": _many("events", put_events),
    "opengdpr_requests": lambda world, account, body, again: erase(world, account, body),
}


@dataclass
class Visit:
    """One request to WebEngage from the door to the answer."""

    world: World
    request: Request
    account: Account | None = None

    def refusal(self) -> Reply | None:
        """Check key, license, method and limits; a reply means it ends here."""
        parts = self.request.parts
        if len(parts) != 4 or parts[1] != "accounts" or parts[3] not in ROUTES:
            return error(404, "Not found")
        if wrong := self._who(parts[2]):
            return wrong
        if self.request.method != "POST":
            return error(405, f"Method {self.request.method} not allowed")
        return self._limited(parts[3])

    def _who(self, license_code: str) -> Reply | None:
        token, accounts = self.request.bearer(), self.world.accounts
        if not any(account.api_key == token for account in accounts.values()):
            return error(401, "Unauthorized")
        if license_code not in accounts:
            return error(self.world.settings.unknown_license, "Invalid license code")
        self.account = accounts[license_code]
        return None if self.account.api_key == token else error(401, "Unauthorized")

    def _limited(self, what: str) -> Reply | None:
        assert self.account is not None
        settings, now = self.world.settings, self.world.now()
        limit = settings.bulk_per_minute if what == BULK_USERS else PER_MINUTE[what]
        window = self.account.window(what, settings.bulk_seconds if what == BULK_USERS else None)
        window.arrive(now)
        if window.used(now) >= limit:
            headers = (("x-ratelimit-limit", str(limit)), ("x-ratelimit-remaining", "0"))
            return error(429, "Rate limit exceeded", headers + retry_after(settings.retry_after))
        window.grant(now)
        self._remember_arrival()
        return None

    def _remember_arrival(self) -> None:
        request_id = self.request.headers.get(REQUEST_ID)
        if request_id and self.account is not None:
            self.world.meter.repeated_request_ids += request_id in self.account.arrived_ids
            self.account.arrived_ids.add(request_id)

    def act(self, fault: Fault | None = None) -> Reply:
        """Take what was sent."""
        try:
            body = orjson.loads(self.request.body)
        except orjson.JSONDecodeError:
            return error(400, "Error: malformed JSON.")
        if not isinstance(body, dict):
            return error(400, MISSING_ID)
        return self._taken(body)

    def _taken(self, body: dict[str, Any]) -> Reply:
        assert self.account is not None
        request_id = self.request.headers.get(REQUEST_ID, "")
        again = request_id in self.account.applied_ids
        reply = ROUTES[self.request.parts[3]](self.world, self.account, body, again)
        if request_id and reply.status < 300:
            self.world.meter.applied_again += again
            self.account.applied_ids.add(request_id)
        return reply

    def leave(self) -> None:
        """Nothing to hand back: WebEngage does not limit requests at once."""
