"""WebEngage's REST API in our words: check an account, deliver a batch.

Facts are from docs.webengage.com ("REST API": users, bulk-users, rate limits). A bad answer is
never taken for a good one: a 2xx counts only when its body says queued.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import orjson

from sync.errors import BadBatch, FixSettings, Refused, Report, Wait
from sync.model import Account, Change, Kind
from sync.rest import Reply, Rest, loopback, problem, retry_after

DATA_CENTERS = {
    "global": "https://api.webengage.com",
    "in": "https://api.in.webengage.com",
    "ksa": "https://api.ksa.webengage.com",
}
ANSWER_SECONDS = 45.0  # for one batch; shorter than half a lease, so a late answer finds us still holding
STRING_MAX = 1000  # characters; longer strings are cut (WebEngage docs, custom attributes)
MINUTE = 60.0  # seconds; the limit is counted by the minute (WebEngage docs, rate limits)
FIELDS = frozenset(
    ("firstName", "lastName", "birthDate", "gender", "email", "phone", "company", "hashedEmail", "hashedPhone")
)  # standard fields of a user (WebEngage docs, users); opt-ins are never sent
GOOD = ("queued", "success")  # what a 2xx body must say

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_MISSING_ID = re.compile(r"userId.*(cannot be|can't be|is) (empty|missing|required|null|blank)", re.IGNORECASE)


def base_url(data_center: str) -> str:
    """The API host of a data center (global, in, ksa), of *.webengage.com, or loopback; Refused otherwise."""
    asked = data_center.strip()
    known = DATA_CENTERS.get(asked.lower())
    if known:
        return known
    if loopback(asked) or _at_webengage(asked):
        return asked.rstrip("/")
    raise Refused(f"“{asked[:60]}” is not a WebEngage data center; choose global, in or ksa.", "data_center")


def _at_webengage(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = parts.netloc == parts.hostname and not (parts.query or parts.fragment or parts.path.strip("/"))
    except ValueError:
        return False
    return parts.scheme == "https" and bare and (parts.hostname or "").endswith(".webengage.com")


def license_of(license_code: str) -> str:
    """A license code without spaces at its ends; Refused when it could not stand in an address."""
    code = license_code.strip()
    if not _URL_SAFE.fullmatch(code) or not code.strip("."):
        raise Refused(
            "Enter the license code as your WebEngage dashboard shows it under Account Setup, "
            "such as va1w264d or in~58adbca1.",
            "license_code",
        )
    return code


class WebEngage:
    """One account; usable from several threads at once."""

    def __init__(self, account: Account) -> None:
        """Speak to this account."""
        self._path = f"/v1/accounts/{quote(license_of(account.license_code), safe='~')}"
        _check_header(account.api_key)
        self._rest = Rest(base_url(account.data_center), {"Authorization": f"Bearer {account.api_key}"})

    def check(self) -> None:
        """Ask WebEngage to refuse an empty user, which it does only after taking key, license and host.

        Nothing is written there. FixSettings names the setting, Report means it could not be verified.
        """
        reply = self._rest.call("POST", f"{self._path}/users", json_bytes=b"{}", timeout=ANSWER_SECONDS)
        said = problem(reply)
        if _MISSING_ID.search(said) and (reply.ok or reply.status in (400, 422)):
            return
        asked = f"WebEngage was asked to check the account and answered {reply.status} “{said}”"
        if reply.status in (401, 403):
            raise FixSettings(f"{asked}; check the API key and its rights.")
        if reply.status in (400, 404):
            raise FixSettings(f"{asked}; check the license code and the data center.")
        if reply.status == 429 or reply.status >= 500:
            raise Wait(
                f"{asked}, so it could not be verified; try again in a minute.", retry_after(reply.headers, time.time())
            )
        raise Report(f"{asked}, so it could not be verified; check the data center, then try again.")

    def deliver(self, body: bytes, request_id: str, batch: Sequence[Change] = ()) -> None:
        """Tell about up to 25 users; ``request_id`` stays the same when the same batch is sent again.

        Returns only when WebEngage said it queued them. Wait: unknown whether they were taken. No error
        quotes an id or a value of the body, or of ``batch``: all those this body is a part of.
        """
        reply = self._rest.call(
            "POST",
            f"{self._path}/bulk-users",
            json_bytes=body,
            timeout=ANSWER_SECONDS,
            headers={"x-request-id": request_id},
        )
        private = _Private(body, batch)
        if reply.ok:
            return _must_be_queued(reply, private)
        asked = f"WebEngage was sent a batch of users and answered {reply.status} “{problem(reply, private)}”"
        if reply.status in (400, 413, 422):
            raise BadBatch(asked)
        if reply.status in (401, 403):
            raise FixSettings(f"{asked}; check the API key under Integrations.")
        if reply.status == 404:
            raise FixSettings(f"{asked}; check the license code and the data center under Integrations.")
        if reply.status == 429:
            asked_to_wait = retry_after(reply.headers, time.time())
            raise Wait(f"{asked}.", asked_to_wait if asked_to_wait is not None else _next_minute(), "minute")
        if reply.status >= 500 or reply.status == 408:
            raise Wait(f"{asked}.", retry_after(reply.headers, time.time()))
        raise Report(f"{asked}, which is not documented; the people in it stay in doubt and are sent again.")


def _check_header(api_key: str) -> None:
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise Refused("The API key holds a space or a character no key has; copy it again.", "api_key")


def _next_minute() -> float:
    return MINUTE - time.time() % MINUTE + 1.0


@dataclass(frozen=True, slots=True)
class _Private:
    """The ids and values an answer may quote; collected only when there is an error to write."""

    body: bytes
    batch: Sequence[Change]

    def __iter__(self) -> Iterator[object]:
        for user in orjson.loads(self.body)["users"]:
            named = {name: value for name, value in user.items() if name != "attributes"} | user["attributes"]
            yield from (value for value in named.values() if not isinstance(value, bool))  # membership is no secret
        for one in self.batch:
            yield one.user_id
            yield from one.values


def _must_be_queued(reply: Reply, private: Iterable[object]) -> None:
    """Read what a 2xx really says."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise Wait(f"WebEngage answered {reply.status} to a batch, but the answer is garbled or empty.") from None
    inner = body.get("response", body) if isinstance(body, dict) else None
    status = inner.get("status") if isinstance(inner, dict) else None
    if not (isinstance(status, str) and status.lower() in GOOD):
        raise Report(
            f"WebEngage answered {reply.status} to a batch, but with an error: “{problem(reply, private)}”; "
            "nobody is taken as told."
        )


def payload(attribute: str, changes: Sequence[Change], mapping: tuple[tuple[str, str], ...]) -> bytes:
    """The body of one bulk call: true for who is in, false for who left; mapped values only for who is in."""
    return orjson.dumps({"users": [_user(attribute, one, mapping) for one in changes]})


def _user(attribute: str, change: Change, mapping: tuple[tuple[str, str], ...]) -> dict[str, object]:
    user: dict[str, object] = {"userId": change.user_id}
    attributes: dict[str, object] = {}
    if change.kind is not Kind.EXIT:
        for (_, name), value in zip(mapping, change.values, strict=False):
            kept = _sendable(name, value)
            if kept is not None:
                (user if name in FIELDS else attributes)[name] = kept
    user["attributes"] = attributes | {attribute: change.kind is not Kind.EXIT}
    return user


def _sendable(name: str, value: object) -> object:
    """A value WebEngage can hold, or None: never null, phones as E.164 only, strings cut."""
    if isinstance(value, str):
        if name == "phone":
            return value if _E164.fullmatch(value) else None
        return value[:STRING_MAX] or None
    # A number too large for a float would be written as null.
    return value if isinstance(value, bool | int | float) and math.isfinite(value) and name not in FIELDS else None


__all__ = ["WebEngage", "base_url", "license_of", "payload"]
