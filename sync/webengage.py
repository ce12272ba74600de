"""WebEngage's REST API in our words: check an account, deliver a batch.

Facts are from docs.webengage.com ("REST API": users, bulk-users, rate limits). A bad answer is
never taken for a good one: a 2xx counts only when its body says queued.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import orjson

from sync.errors import BatchRejected, ConfigurationError, InvalidRequest, RetryLater, UnexpectedResponse
from sync.http_client import HttpClient, Reply, describe_problem, is_loopback, parse_retry_after
from sync.model import Account, Change, ChangeKind
from sync.text import cut_text

DATA_CENTERS = {
    "global": "https://api.webengage.com",
    "in": "https://api.in.webengage.com",
    "ksa": "https://api.ksa.webengage.com",
}
TIMEOUT_SECONDS = 45.0  # for one batch; shorter than half a lease, so a late answer finds us still holding
MAX_STRING_LENGTH = 1000  # UTF-16 units; longer strings are cut (WebEngage docs, custom attributes)
MINUTE_SECONDS = 60.0  # seconds; the limit is counted by the minute (WebEngage docs, rate limits)
STANDARD_FIELDS = frozenset(
    ("firstName", "lastName", "birthDate", "gender", "email", "phone", "company", "hashedEmail", "hashedPhone")
)  # standard fields of a user (WebEngage docs, users); opt-ins are never sent
SUCCESS_STATUSES = ("queued", "success")  # what a 2xx body must say

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_MARKS = re.compile(r"[\s().\-\u2010-\u2015\u2212/\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_NATIONAL_ZERO = re.compile(r"\(\s*0\s*\)")  # "+44 (0)20 …": which digits are dialled is a guess, so none is made
_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_MISSING_ID = re.compile(r"userId.*(cannot be|can't be|is) (empty|missing|required|null|blank)", re.IGNORECASE)


def get_base_url(data_center: str) -> str:
    """The API host of a data center (global, in, ksa), of *.webengage.com, or loopback; InvalidRequest otherwise."""
    asked = data_center.strip()
    known = DATA_CENTERS.get(asked.lower())
    if known:
        return known
    if is_loopback(asked) or _is_webengage_host(asked):
        return asked.rstrip("/")
    raise InvalidRequest(f"“{asked[:60]}” is not a WebEngage data center; choose global, in or ksa.", "data_center")


def _is_webengage_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = parts.netloc == parts.hostname and not (parts.query or parts.fragment or parts.path.strip("/"))
    except ValueError:
        return False
    return parts.scheme == "https" and bare and (parts.hostname or "").endswith(".webengage.com")


def clean_license_code(license_code: str) -> str:
    """A license code without spaces at its ends; InvalidRequest when it could not stand in an address."""
    code = license_code.strip()
    if not _URL_SAFE.fullmatch(code) or not code.strip("."):
        raise InvalidRequest(
            "Enter the license code as your WebEngage dashboard shows it under Account Setup, "
            "such as va1w264d or in~58adbca1.",
            "license_code",
        )
    return code


class WebEngage:
    """One account; usable from several threads at once."""

    def __init__(self, account: Account) -> None:
        """Speak to this account."""
        self._path = f"/v1/accounts/{quote(clean_license_code(account.license_code), safe='~')}"
        _check_header(account.api_key)
        self._rest = HttpClient(get_base_url(account.data_center), {"Authorization": f"Bearer {account.api_key}"})

    def check_credentials(self) -> None:
        """Ask WebEngage to refuse an empty user, which it does only after taking key, license and host.

        Nothing is written there. ConfigurationError names the setting, UnexpectedResponse means it could not be verified.
        """
        reply = self._rest.send_request("POST", f"{self._path}/users", json_bytes=b"{}", timeout=TIMEOUT_SECONDS)
        said = describe_problem(reply)
        if _MISSING_ID.search(said) and (reply.is_success or reply.status in (400, 422)):
            return
        asked = f"WebEngage was asked to check the account and answered {reply.status} “{said}”"
        if reply.status in (401, 403):
            raise ConfigurationError(f"{asked}; check the API key and its rights.")
        if reply.status in (400, 404):
            raise ConfigurationError(f"{asked}; check the license code and the data center.")
        if reply.status == 429 or reply.status >= 500:
            raise RetryLater(
                f"{asked}, so it could not be verified; try again in a minute.",
                parse_retry_after(reply.headers, time.time()),
            )
        raise UnexpectedResponse(f"{asked}, so it could not be verified; check the data center, then try again.")

    def send_batch(self, body: bytes, request_id: str, batch: Sequence[Change] = ()) -> None:
        """Tell about up to 25 users; ``request_id`` stays the same when the same batch is sent again.

        Returns only when WebEngage said it queued them. RetryLater: unknown whether they were taken. No error
        quotes an id or a value of the body, or of ``batch``: all those this body is a part of.
        """
        reply = self._rest.send_request(
            "POST",
            f"{self._path}/bulk-users",
            json_bytes=body,
            timeout=TIMEOUT_SECONDS,
            headers={"x-request-id": request_id},
        )
        private = _Private(body, batch)
        if reply.is_success:
            return _check_queued(reply, private)
        asked = f"WebEngage was sent a batch of users and answered {reply.status} “{describe_problem(reply, private)}”"
        if reply.status in (400, 413, 422):
            raise BatchRejected(asked)
        if reply.status in (401, 403):
            raise ConfigurationError(f"{asked}; check the API key under Integrations.")
        if reply.status == 404:
            raise ConfigurationError(f"{asked}; check the license code and the data center under Integrations.")
        if reply.status == 429:
            asked_to_wait = parse_retry_after(reply.headers, time.time())
            raise RetryLater(
                f"{asked}.", asked_to_wait if asked_to_wait is not None else _seconds_to_next_minute(), "minute"
            )
        if reply.status >= 500 or reply.status == 408:
            raise RetryLater(f"{asked}.", parse_retry_after(reply.headers, time.time()))
        raise UnexpectedResponse(
            f"{asked}, which is not documented; the people in it stay in doubt and are sent again."
        )


def _check_header(api_key: str) -> None:
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise InvalidRequest("The API key holds a space or a character no key has; copy it again.", "api_key")


def _seconds_to_next_minute() -> float:
    return MINUTE_SECONDS - time.time() % MINUTE_SECONDS + 1.0


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


def _check_queued(reply: Reply, private: Iterable[object]) -> None:
    """Read what a 2xx really says."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise RetryLater(f"WebEngage answered {reply.status} to a batch, but the answer is garbled or empty.") from None
    inner = body.get("response", body) if isinstance(body, dict) else None
    status = inner.get("status") if isinstance(inner, dict) else None
    if not (isinstance(status, str) and status.lower() in SUCCESS_STATUSES):
        raise UnexpectedResponse(
            f"WebEngage answered {reply.status} to a batch, but with an error: “{describe_problem(reply, private)}”; "
            "nobody is taken as told."
        )


def build_payload(attribute: str, changes: Sequence[Change], mapping: tuple[tuple[str, str], ...]) -> bytes:
    """The body of one bulk call: true for who is in, false for who left; mapped values only for who is in."""
    return orjson.dumps({"users": [_build_user(attribute, one, mapping) for one in changes]})


def _build_user(attribute: str, change: Change, mapping: tuple[tuple[str, str], ...]) -> dict[str, object]:
    user: dict[str, object] = {"userId": change.user_id}
    attributes: dict[str, object] = {}
    if change.kind is not ChangeKind.REMOVE:
        for (_, name), value in zip(mapping, change.values, strict=False):
            kept, _ = convert_value(name, value)
            if kept is not None:
                (user if name in STANDARD_FIELDS else attributes)[name] = kept
    user["attributes"] = attributes | {attribute: change.kind is not ChangeKind.REMOVE}
    return user


def convert_value(name: str, value: object) -> tuple[object, str]:
    """Return a value as WebEngage can hold it at this attribute; or None and why it is left out.

    No reason, when there is no value.
    """
    if value is None or value == "":
        return None, ""
    if name in _FORMS:
        convert, reason = _FORMS[name]
        kept = convert(value) if isinstance(value, str) else None
        return kept, "" if kept else reason
    if isinstance(value, str):
        return cut_text(value, MAX_STRING_LENGTH) or None, ""
    if name in STANDARD_FIELDS:
        return None, "not a text"
    if isinstance(value, bool | int | float):
        # A number too large for a float would be written as null.
        return (value, "") if math.isfinite(value) else (None, "not a number that can be sent")
    return None, "a list or an object, by which WebEngage cannot filter"


def _convert_phone(text: str) -> str | None:
    digits = "" if _NATIONAL_ZERO.search(text) else _PHONE_MARKS.sub("", text)
    return digits if _E164.fullmatch(digits) else None


def _convert_date(text: str) -> str | None:
    """Return a date in WebEngage's form (WebEngage docs, users); without a zone it is taken as UTC."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    zone = (at if at.tzinfo else at.replace(tzinfo=UTC)).strftime("%z")
    return at.replace(tzinfo=None).isoformat(timespec="seconds") + zone  # %Y would not fill up a year before 1000


def _convert_gender(text: str) -> str | None:
    return _GENDERS.get(text.strip().lower())


_GENDERS = dict.fromkeys(("f", "female", "woman"), "female") | dict.fromkeys(("m", "male", "man"), "male")
_GENDERS |= dict.fromkeys(("o", "other", "x", "diverse", "non-binary", "nonbinary"), "other")
# Fields with a form of their own (WebEngage docs, users), and what is said of a value that has another.
_FORMS: dict[str, tuple[Callable[[str], str | None], str]] = {
    "phone": (_convert_phone, "not an international phone number, such as +14155550100"),
    "birthDate": (_convert_date, "not a date such as 1990-04-01"),
    "gender": (_convert_gender, "not male, female or other"),
}


__all__ = ["WebEngage", "build_payload", "clean_license_code", "convert_value", "get_base_url"]
