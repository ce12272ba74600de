"""WebEngage's REST API: check an account, send a batch of users.

Facts are from docs.webengage.com ("REST API": users, bulk-users, rate limits). A 2xx counts as success
only when its body says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote, urlsplit

import orjson

from sync.errors import CHECK_API_KEY, BatchRejected, ConfigurationError, InvalidRequest, RetryLater, UnexpectedResponse
from sync.http_client import HttpClient, Reply, describe_problem, is_loopback, parse_retry_after
from sync.model import MAX_QUOTED, Account, Change, ChangeKind
from sync.property_values import FIELD_TYPES, ValueForm, convert_value

DATA_CENTERS = {
    "global": "https://api.webengage.com",
    "in": "https://api.in.webengage.com",
    "ksa": "https://api.ksa.webengage.com",
    "eug": "https://api.eug.webengage.com",  # Europe: known from a public client only; the check at connect proves it
}
TIMEOUT_SECONDS = 45.0  # seconds for one batch; under half a lease, so that it is still ours when a late answer arrives
MINUTE_SECONDS = 60.0  # seconds; the limit is counted by the minute (WebEngage docs, rate limits)
NO_FORMS: Mapping[str, ValueForm] = MappingProxyType({})
SUCCESS_STATUSES = ("queued", "success")  # what a 2xx body must say

_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_MISSING_ID = re.compile(r"userId.*(cannot be|can't be|is) (empty|missing|required|null|blank)", re.IGNORECASE)


def get_base_url(data_center: str) -> str:
    """Return the API host of a data center: global, in, ksa, eug, *.webengage.com or loopback.

    Raise InvalidRequest for anything else.
    """
    asked = data_center.strip()
    known = DATA_CENTERS.get(asked.lower())
    if known:
        return known
    if is_loopback(asked) or _is_webengage_host(asked):
        return asked.rstrip("/")
    raise InvalidRequest(
        f"“{asked[:MAX_QUOTED]}” is not a WebEngage data center; choose global, in, ksa or eug (Europe).",
        "data_center",
    )


def _is_webengage_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        bare = parts.netloc == parts.hostname and not (parts.query or parts.fragment or parts.path.strip("/"))
    except ValueError:
        return False
    return parts.scheme == "https" and bare and (parts.hostname or "").endswith(".webengage.com")


def clean_license_code(license_code: str) -> str:
    """Return a license code without spaces at its ends; raise InvalidRequest when it cannot be part of a URL."""
    code = license_code.strip()
    if not _URL_SAFE.fullmatch(code) or not code.strip("."):
        raise InvalidRequest(
            "Enter the license code as your WebEngage dashboard shows it under Account Setup, "
            "such as va1w264d or in~58adbca1.",
            "license_code",
        )
    return code


class WebEngage:
    """A client of one account; usable from several threads at once."""

    def __init__(self, account: Account) -> None:
        """Prepare requests for this account; raise InvalidRequest when its settings cannot be sent."""
        self._path = f"/v1/accounts/{quote(clean_license_code(account.license_code), safe='~')}"
        _check_header(account.api_key)
        self._rest = HttpClient(get_base_url(account.data_center), {"Authorization": f"Bearer {account.api_key}"})
        # No other data center is tried: each would be shown the key.
        self._data_center_hint = (
            f"The data center ({account.data_center}) may also be the wrong one: "
            "choose what your dashboard's address in WebEngage starts with."
        )

    def check_credentials(self) -> None:
        """Send an empty user, which WebEngage rejects only after accepting key, license code and host.

        Nothing is written there. Raise ConfigurationError when a setting is wrong, RetryLater when WebEngage
        is busy, UnexpectedResponse when the answer proves nothing.
        """
        reply = self._rest.send_request("POST", f"{self._path}/users", json_bytes=b"{}", timeout=TIMEOUT_SECONDS)
        said = describe_problem(reply)
        if _MISSING_ID.search(said) and (reply.is_success or reply.status in (400, 422)):
            return
        asked = f"WebEngage was asked to check the account and answered {reply.status} “{said}”"
        if reply.status in (401, 403):
            raise ConfigurationError(f"{asked}; {CHECK_API_KEY} and its rights. {self._data_center_hint}")
        if reply.status in (400, 404):
            raise ConfigurationError(f"{asked}; check the license code and the data center. {self._data_center_hint}")
        if reply.status == 429 or reply.status >= 500:
            raise RetryLater(
                f"{asked}, so it could not be verified; try again in a minute.",
                parse_retry_after(reply.headers, time.time()),
            )
        raise UnexpectedResponse(f"{asked}, so it could not be verified; check the data center, then try again.")

    def send_batch(self, body: bytes, request_id: str, batch: Sequence[Change] = ()) -> None:
        """Send up to 25 users; return only when WebEngage answered that they are queued.

        ``request_id`` stays the same when the same batch is sent again. Raise BatchRejected when the content
        was rejected, ConfigurationError when a setting is wrong, RetryLater and UnexpectedResponse when it is
        unknown whether the users were taken. No error quotes an id or a value of ``body``, or of ``batch``:
        the whole batch this body may be a half of.
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
            _check_queued(reply, private)
            return
        asked = f"WebEngage was sent a batch of users and answered {reply.status} “{describe_problem(reply, private)}”"
        if reply.status in (400, 413, 422):
            raise BatchRejected(asked)
        if reply.status in (401, 403):
            raise ConfigurationError(f"{asked}; {CHECK_API_KEY} under Integrations.")
        if reply.status == 404:
            raise ConfigurationError(f"{asked}; check the license code and the data center under Integrations.")
        if reply.status == 429:
            delay = parse_retry_after(reply.headers, time.time())
            raise RetryLater(f"{asked}.", _seconds_to_next_minute() if delay is None else delay, "minute")
        if reply.status >= 500 or reply.status == 408:
            raise RetryLater(f"{asked}.", parse_retry_after(reply.headers, time.time()))
        raise UnexpectedResponse(
            f"{asked}, which is not documented; it is unknown whether these people were taken, so they are sent again."
        )


def _check_header(api_key: str) -> None:
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise InvalidRequest("The API key contains a space or another invalid character; copy it again.", "api_key")


def _seconds_to_next_minute() -> float:
    return MINUTE_SECONDS - time.time() % MINUTE_SECONDS + 1.0


@dataclass(frozen=True, slots=True)
class _Private:
    """The ids and values an answer may quote, collected only when there is an error to describe."""

    body: bytes
    batch: Sequence[Change]

    def __iter__(self) -> Iterator[object]:
        for user in orjson.loads(self.body)["users"]:
            named = {name: value for name, value in user.items() if name != "attributes"} | user["attributes"]
            yield from (value for value in named.values() if not isinstance(value, bool))  # membership is not private
        for one in self.batch:
            yield one.user_id
            yield from one.values


def _check_queued(reply: Reply, private: Iterable[object]) -> None:
    """Raise unless the body of a 2xx says that the users are queued."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise RetryLater(
            f"WebEngage answered {reply.status} to a batch, but the answer is incomplete or empty."
        ) from None
    inner = body.get("response", body) if isinstance(body, dict) else None
    status = inner.get("status") if isinstance(inner, dict) else None
    if not (isinstance(status, str) and status.lower() in SUCCESS_STATUSES):
        raise UnexpectedResponse(
            f"WebEngage answered {reply.status} to a batch, but with an error: “{describe_problem(reply, private)}”; "
            "none of its people count as sent."
        )


def build_payload(
    attribute: str,
    changes: Sequence[Change],
    mapping: tuple[tuple[str, str], ...],
    forms: Mapping[str, ValueForm] = NO_FORMS,
) -> bytes:
    """Return the JSON body of one bulk call: the attribute true for members and false for those removed.

    Mapped values are sent for members only, in the form of their attribute.
    """
    return orjson.dumps({"users": [_build_user(attribute, one, mapping, forms) for one in changes]})


def _build_user(
    attribute: str, change: Change, mapping: tuple[tuple[str, str], ...], forms: Mapping[str, ValueForm]
) -> dict[str, object]:
    user: dict[str, object] = {"userId": change.user_id}
    attributes: dict[str, object] = {}
    if change.kind is not ChangeKind.REMOVE:
        for (_, name), value in zip(mapping, change.values, strict=False):
            kept, _ = convert_value(name, value, forms.get(name))
            if kept is not None:
                (user if name in FIELD_TYPES else attributes)[name] = kept
    user["attributes"] = attributes | {attribute: change.kind is not ChangeKind.REMOVE}
    return user
