"""How both APIs are spoken to: one try, one reply or one error; the only home of requests.

Nothing of a request is ever put into an error: addresses carry project ids, headers carry keys.
"""

from __future__ import annotations

import datetime
import email.utils
import http.client
import ipaddress
import math
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from requests.hooks import default_hooks
from requests.utils import get_environ_proxies

from sync.errors import NoAnswer, ReplyTooLarge, RetryLater, UnexpectedResponse
from sync.http_adapter import Adapter, Exchange
from sync.redaction import redact_text, strip_values

CONNECT_SECONDS = 10.0  # to reach one address of a host; longer means it is not there
MAX_BODY_BYTES = 64 * 2**20  # bytes; a page of 40,000 members with every property is smaller
CHUNK_BYTES = 2**18  # bytes read at a time
MAX_RETRY_AFTER_SECONDS = 3600.0  # seconds; Mixpanel's window is an hour, nobody may put us off for longer
PROBLEM_READ = 20_000  # characters of an API's own words that are looked at
MAX_PROBLEM_LENGTH = 200  # characters of an API's own words that are shown or stored
USER_AGENT = "cohort-sync"
CA_BUNDLE = "REQUESTS_CA_BUNDLE"  # environment variable: a file or folder of certificates to trust instead of certifi's
# Everything requests, urllib3, http.client, ssl and the socket module raise when a call cannot be made.
TROUBLES = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError, RuntimeError)
POOL_CONNECTIONS = 24  # connections kept open; as many as requests in flight

_TAGS = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def is_success(self) -> bool:
        """Whether the status says success; what the body says is another matter."""
        return 200 <= self.status < 300


class HttpClient:
    """A host and how to be recognised there; usable from several threads at once."""

    def __init__(
        self, base: str, headers: Mapping[str, str] | None = None, auth: tuple[bytes, bytes] | None = None
    ) -> None:
        """Speak to ``base``; netrc and cookies are ignored, the environment's proxy is used but for loopback."""
        self._base, self._auth, self._headers = base, auth, {"User-Agent": USER_AGENT, **(headers or {})}
        # The adapter below requests' session: no netrc, no cookies, no redirects, and half the work a call.
        self._adapter = Adapter(pool_connections=1, pool_maxsize=POOL_CONNECTIONS)
        self._verify: bool | str = os.environ.get(CA_BUNDLE) or True
        self._prepared = lru_cache(maxsize=8)(self._prepare_request)

    @cached_property
    def _find_proxies(self) -> dict[str, str]:
        return {} if is_loopback(self._base) else dict(get_environ_proxies(self._base))

    def _prepare_request(self, method: str, path: str, params: tuple[tuple[str, str], ...]) -> requests.PreparedRequest:
        """What stays the same from call to call, prepared once."""
        request = requests.PreparedRequest()
        request.prepare(
            method,
            self._base + path,
            headers=self._headers,
            params=dict(params),
            auth=self._auth,
            hooks=default_hooks(),
        )
        return request

    def send_request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json_bytes: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask once, and return or raise within ``timeout`` seconds, whatever the other side does.

        Raise NoAnswer when the request was sent and no whole answer came in time, Wait when it could not
        be sent or the answer broke off, UnexpectedResponse when the answer is absurd. Nothing is sent after the deadline.
        Redirects are not followed: credentials go to the configured host and nowhere else.
        """
        exchange = Exchange(time.monotonic() + timeout)
        try:
            request = self._prepared(method, path, tuple((params or {}).items())).copy()
            _add_body(request, form, json_bytes)
            request.headers.update(headers or {})
            with exchange:
                return self._send_prepared(request, timeout)
        except TROUBLES as problem:
            raise self._failure_of(problem, exchange) from None

    def _send_prepared(self, request: requests.PreparedRequest, timeout: float) -> Reply:
        # These timeouts are for one read each; the deadline of the whole is kept by the exchange.
        limits = (min(CONNECT_SECONDS, timeout), timeout)
        with self._adapter.send(
            request, stream=True, timeout=limits, verify=self._verify, proxies=self._find_proxies
        ) as response:
            return Reply(response.status_code, _read_body(response), response.headers)

    def _failure_of(self, problem: Exception, exchange: Exchange) -> RetryLater:
        """Return the error that says in one sentence why there is no reply."""
        cut_off = exchange.abandoned or exchange.deadline <= time.monotonic()
        late = cut_off or isinstance(problem, TimeoutError | requests.Timeout)
        kind = "timed out" if cut_off else self._describe_failure(problem)
        said = f"{clean_text(_host_of(self._base))} could not be reached or did not answer ({kind})."
        return NoAnswer(said) if late and exchange.sent else RetryLater(said)

    def _describe_failure(self, problem: Exception) -> str:
        """Name the failure by its class only: the text of the exception holds the address."""
        if isinstance(self._verify, str) and self._base.startswith("https") and not _is_ca_bundle(self._verify):
            return f"{CA_BUNDLE} names “{clean_text(self._verify)}”, which holds no certificates: correct or remove it"
        kinds = (
            (requests.exceptions.SSLError, "its certificate was not accepted"),
            ((TimeoutError, requests.Timeout), "timed out"),
            (requests.exceptions.ChunkedEncodingError, "the answer broke off"),
            (requests.exceptions.ProxyError, "the proxy did not let it through"),
        )
        named = next((said for kind, said in kinds if isinstance(problem, kind)), "")
        if not named and isinstance(problem, ValueError):
            return "the proxy set in the environment is not valid" if self._find_proxies else "its address is not valid"
        return named or "no connection"


def _add_body(request: requests.PreparedRequest, form: Mapping[str, str] | None, json_bytes: bytes | None) -> None:
    if json_bytes is not None:
        request.headers["Content-Type"] = "application/json"
    if form or json_bytes is not None:
        request.prepare_body(form or json_bytes, None)


def _read_body(response: requests.Response) -> bytes:
    """Read the whole body, up to the cap; a body cut short is a requests error."""
    pieces, size = [], 0
    for piece in response.iter_content(CHUNK_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise ReplyTooLarge(
                f"{_host_of(response.url)} sent more than {MAX_BODY_BYTES // 2**20} MB in one answer; that was not read."
            )
    return b"".join(pieces)


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "the host"


def _is_ca_bundle(path: str) -> bool:
    """Return whether OpenSSL can load a file or folder of certificates."""
    try:
        if Path(path).is_dir():
            return True  # a folder is only looked into when a certificate is checked
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        return False
    return True


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return Retry-After as seconds from now, be it seconds or a date (RFC 9110); None when absent or absurd."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(text)
            # A date without a zone (asctime, -0000) is UTC (RFC 9110), not the zone of this process.
            seconds = (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 1.0), MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def parse_json(reply: Reply) -> Any:
    """The body as JSON; UnexpectedResponse when it is none."""
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise UnexpectedResponse(f"the answer ({reply.status}) is not JSON: {describe_problem(reply)}") from None


def describe_problem(reply: Reply, private: Iterable[object] = ()) -> str:
    """Return what the other side said went wrong, in at most 200 characters, without addresses or keys.

    ``private`` holds profile values and ids the answer may quote: they are stripped before anything is cut.
    """
    try:
        said = _find_message(orjson.loads(reply.body))
    except orjson.JSONDecodeError:
        said = _read_text(reply.body)
    return clean_text(said, private) or "no explanation"


def _read_text(body: bytes) -> str:
    """Return the words of a page or a plain line; a piece of JSON may be members' profiles, so it is never quoted."""
    text = body[:PROBLEM_READ].decode("utf-8", "replace").strip("\ufeff \r\n\t")
    if not text.startswith("<") and any(sign in text for sign in '{["'):
        return "an answer that is garbled or cut off"
    return _TAGS.sub(" ", text)


def _find_message(body: object) -> str:
    """Find the sentence in the shapes the two APIs use."""
    if not isinstance(body, dict):
        return "an unexpected answer"
    inner = body.get("response")
    for place in (body, inner if isinstance(inner, dict) else {}):
        for name in ("error", "message"):
            if isinstance(place.get(name), str):
                return str(place[name])
    return "no explanation"


def clean_text(text: str, private: Iterable[object] = ()) -> str:
    """Take out private values and what could be an e-mail address, a key or an invisible character, and cut."""
    text = strip_values(text[:PROBLEM_READ], private)
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    plain = redact_text(" ".join(plain.split()))
    return plain if len(plain) <= MAX_PROBLEM_LENGTH else plain[: MAX_PROBLEM_LENGTH - 1] + "…"


def is_loopback(url: str) -> bool:
    """Whether an address surely means this machine, without asking a name server; no user, path or query."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    bare = not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in ("http", "https") or not bare or port == 0 or not parts.hostname:
        return False
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
