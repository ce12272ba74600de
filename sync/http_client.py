"""Send HTTP requests to both APIs: one try, then one reply or one error. Only this module imports requests.

Nothing of a request is ever put into an error: addresses contain project ids, headers contain keys.
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
from urllib.parse import urlencode, urlsplit

import orjson
import requests
import urllib3
from requests.hooks import default_hooks
from requests.utils import get_environ_proxies

from sync.errors import NoAnswer, ReplyTooLarge, RetryLater, UnexpectedResponse
from sync.http_adapter import Adapter, Exchange
from sync.redaction import redact_text, strip_values

CONNECT_SECONDS = 10.0  # seconds to connect to one address of a host
MEGABYTE = 2**20  # bytes
MAX_BODY_BYTES = 64 * MEGABYTE  # a page of 40,000 members with every property is smaller
CHUNK_BYTES = 2**18  # bytes read at a time
MAX_RETRY_AFTER_SECONDS = 3600.0  # seconds; Mixpanel's longest limit is an hour, so no longer delay is accepted
MAX_MESSAGE_READ = 20_000  # characters of an API's error message that are examined
MAX_PROBLEM_LENGTH = 200  # characters of an API's error message that are shown or stored
ROUTES_KEPT = 8  # different routes a client keeps prepared
USER_AGENT = "cohort-sync"
CA_BUNDLE = "REQUESTS_CA_BUNDLE"  # environment variable: a file or folder of certificates to trust instead of certifi's
# All that requests, urllib3, http.client, ssl and the socket module raise when a call cannot be made.
CALL_ERRORS = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError, RuntimeError)
POOL_CONNECTIONS = 24  # connections kept open; as many as requests in flight at most

_TAGS = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class _BrokenOff(OSError):
    """An answer that began and did not come to its end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of an API: status, body and headers (names in any case)."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx; the body may still report an error."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class _Route:
    """What is the same for all requests with a method, a path and parameters."""

    pool: urllib3.HTTPConnectionPool
    method: str
    target: str
    headers: Mapping[str, str]

    def call(self, body: bytes | None, headers: Mapping[str, str], timeout: float, read_at_most: int | None) -> Reply:
        """Send a request once and return the reply."""
        # These timeouts are for one read each; the exchange ends the whole call at its deadline.
        response = self.pool.urlopen(
            self.method,
            self.target,
            body,
            {**self.headers, **headers},
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout),
            preload_content=False,
        )
        try:
            return Reply(response.status, _read_body(response, read_at_most), response.headers)
        except urllib3.exceptions.ProtocolError as problem:
            raise _BrokenOff from problem
        finally:
            response.close()  # a whole answer gave its connection back before


class HttpClient:
    """One API host with its credentials; usable from several threads at once."""

    def __init__(
        self, base: str, headers: Mapping[str, str] | None = None, auth: tuple[bytes, bytes] | None = None
    ) -> None:
        """Send to ``base``; netrc and cookies are ignored; the environment's proxy is used, except for loopback."""
        self._base, self._auth, self._headers = base, auth, {"User-Agent": USER_AGENT, **(headers or {})}
        # The adapter of requests knows certificates and proxies. It is asked once for each route, and the connections
        # it gives are used directly: no netrc, no cookies, no redirects, and less work for a call.
        self._adapter = Adapter(pool_connections=1, pool_maxsize=POOL_CONNECTIONS)
        self._verify: bool | str = os.environ.get(CA_BUNDLE) or True
        self._find_route = lru_cache(maxsize=ROUTES_KEPT)(self._prepare_route)

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return {} if is_loopback(self._base) else dict(get_environ_proxies(self._base))

    def _prepare_route(self, method: str, path: str, params: tuple[tuple[str, str], ...]) -> _Route:
        """Return the parts of a request that stay the same."""
        request = requests.PreparedRequest()
        request.prepare(
            method,
            self._base + path,
            headers=self._headers,
            params=dict(params),
            auth=self._auth,
            hooks=default_hooks(),
        )
        pool: Any = self._adapter.get_connection_with_tls_context(request, self._verify, self._proxies)
        self._adapter.cert_verify(pool, request.url, self._verify, None)  # type: ignore[no-untyped-call]
        return _Route(pool, method, self._adapter.request_url(request, self._proxies), dict(request.headers))

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
        read_at_most: int | None = None,
    ) -> Reply:
        """Send a request once, and return or raise within ``timeout`` seconds, whatever the server does.

        Raise NoAnswer when the request was sent and no whole answer came in time, RetryLater when it could
        not be sent or the answer broke off, UnexpectedResponse when the answer is too large, unless only
        ``read_at_most`` bytes of it are of interest. Nothing is sent after the deadline. Redirects are not
        followed: credentials go to the configured host only.
        """
        exchange = Exchange(time.monotonic() + timeout)
        try:
            route = self._find_route(method, path, tuple((params or {}).items()))
            body, kind = _build_body(form, json_bytes)
            with exchange:
                return route.call(body, {**kind, **(headers or {})}, timeout, read_at_most)
        except CALL_ERRORS as problem:
            raise self._build_error(problem, exchange) from None

    def _build_error(self, problem: Exception, exchange: Exchange) -> RetryLater:
        """Return the error that explains in one sentence why there is no reply."""
        cut_off = exchange.abandoned or exchange.deadline <= time.monotonic()
        late = cut_off or _is_timeout(problem)
        kind = "timed out" if cut_off else self._describe_failure(problem)
        said = f"{clean_text(urlsplit(self._base).hostname or 'the host')} could not be reached or did not answer ({kind})."
        return NoAnswer(said) if late and exchange.sent else RetryLater(said)

    def _describe_failure(self, problem: Exception) -> str:
        """Return the kind of failure, from its class only: the text of the exception contains the address."""
        if isinstance(self._verify, str) and self._base.startswith("https") and not _is_ca_bundle(self._verify):
            return (
                f"{CA_BUNDLE} names “{clean_text(self._verify)}”, which contains no certificates: correct or remove it"
            )
        kinds = (
            (urllib3.exceptions.SSLError, "its certificate was not accepted"),
            (_BrokenOff, "the answer broke off"),
            (urllib3.exceptions.ProxyError, "the proxy did not let it through"),
        )
        named = next((said for kind, said in kinds if isinstance(problem, kind)), "")
        if not named and _is_timeout(problem):
            return "timed out"
        if not named and isinstance(problem, ValueError):
            return "the proxy set in the environment is not valid" if self._proxies else "its address is not valid"
        return named or "no connection"


def _build_body(form: Mapping[str, str] | None, json_bytes: bytes | None) -> tuple[bytes | None, Mapping[str, str]]:
    """Return a body as it is sent, with the headers that describe it; None without one."""
    if json_bytes is None and not form:
        return None, {}
    body = urlencode(form or {}).encode() if json_bytes is None else json_bytes
    kind = "application/x-www-form-urlencoded" if json_bytes is None else "application/json"
    return body, {"Content-Type": kind, "Content-Length": str(len(body))}


def _read_body(response: urllib3.BaseHTTPResponse, read_at_most: int | None) -> bytes:
    """Return the whole body, or its beginning; raise ReplyTooLarge above 64 MB. One cut short is a ProtocolError."""
    length = response.length_remaining
    if read_at_most is None and length and length <= MAX_BODY_BYTES and "Content-Encoding" not in response.headers:
        return response.read()
    pieces, size = [], 0
    for piece in response.stream(min(CHUNK_BYTES, read_at_most or CHUNK_BYTES)):
        pieces.append(piece)
        size += len(piece)
        if read_at_most is not None and size >= read_at_most:
            break
        if size > MAX_BODY_BYTES:
            raise ReplyTooLarge(f"More than {MAX_BODY_BYTES // MEGABYTE} MB came in one answer, so it was not read.")
    else:
        response.release_conn()
    return b"".join(pieces)


def _is_timeout(problem: Exception) -> bool:
    """Return whether time ran out; for urllib3 a connection that was refused is one, too."""
    timeouts = TimeoutError | urllib3.exceptions.TimeoutError
    return isinstance(problem, timeouts) and not isinstance(problem, urllib3.exceptions.NewConnectionError)


def _is_ca_bundle(path: str) -> bool:
    """Return whether OpenSSL can load a file or folder of certificates."""
    try:
        if Path(path).is_dir():
            return True  # a folder is only read when a certificate is checked
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        return False
    return True


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return Retry-After (seconds or a date, RFC 9110) as seconds from now, 1 to 3600; None when absent or invalid."""
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
    """Return the body as JSON; raise UnexpectedResponse when it is not JSON."""
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise UnexpectedResponse(f"the answer ({reply.status}) is not JSON: {describe_problem(reply)}") from None


def describe_problem(reply: Reply, private: Iterable[object] = ()) -> str:
    """Return the API's error message in at most 200 characters, without e-mail addresses or keys.

    ``private`` are profile values and ids the message may quote: they are stripped before it is cut.
    """
    try:
        said = _find_message(orjson.loads(reply.body))
    except orjson.JSONDecodeError:
        said = _read_text(reply.body)
    return clean_text(said, private) or "no explanation"


def _read_text(body: bytes) -> str:
    """Return the text of an HTML page or a plain line; broken JSON may contain members' profiles, so it is not quoted."""
    text = body[:MAX_MESSAGE_READ].decode("utf-8", "replace").strip("\ufeff \r\n\t")
    if not text.startswith("<") and any(sign in text for sign in '{["'):
        return "an answer that is garbled or cut off"
    return _TAGS.sub(" ", text)


def _find_message(body: object) -> str:
    """Return the error message in one of the shapes the two APIs use."""
    if not isinstance(body, dict):
        return "an unexpected answer"
    inner = body.get("response")
    for place in (body, inner if isinstance(inner, dict) else {}):
        for name in ("error", "message"):
            if isinstance(place.get(name), str):
                return str(place[name])
    return "no explanation"


def clean_text(text: str, private: Iterable[object] = ()) -> str:
    """Return a text of at most 200 characters without private values, e-mail addresses, keys and invisible characters."""
    text = strip_values(text[:MAX_MESSAGE_READ], private)
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    plain = redact_text(" ".join(plain.split()))
    return plain if len(plain) <= MAX_PROBLEM_LENGTH else plain[: MAX_PROBLEM_LENGTH - 1] + "…"


def is_loopback(url: str) -> bool:
    """Return whether a URL surely means this machine, without a name look-up; False with a user, path or query."""
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
