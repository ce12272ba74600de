"""Signed webhooks, as the Standard Webhooks specification describes them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sync.alerting.addresses import DeliveryFailed
from sync.errors import ApiError, InvalidRequest
from sync.http_client import HttpClient, Reply, describe_problem, parse_retry_after
from sync.redaction import hide_secret

SECRET_PREFIX = "whsec_"  # begins every secret (Standard Webhooks, "Signature scheme")  # noqa: S105  # nosec B105
SECRET_BYTES = 32  # bytes; the specification asks for 24 to 64
READ_BYTES = 2**14  # bytes of an answer that are read, for its reason; that it is 2xx is all that counts
SEND_SECONDS = 20.0  # seconds a receiver has to answer (Standard Webhooks: 15 to 30)
# Answers after which the same message may be taken later (RFC 9110); any other 3xx or 4xx is final.
RETRIED_STATUSES = frozenset({408, 425, 429})
SERVER_ERROR = 500  # the first status that blames the server
NOT_A_URL = "A webhook is an http:// or https:// address, for instance https://example.com/cohort-sync"


def make_secret() -> str:
    """Return a new signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign_body(secret: str, key: str, timestamp: int, body: bytes) -> str:
    """Return the signature of one try: HMAC-SHA256 of "key.timestamp.body", in base64, after "v1,"."""
    signed = f"{key}.{timestamp}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def mask_url(url: str) -> str:
    """Return a webhook's address without its path and credentials; raise InvalidRequest when it is none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InvalidRequest(NOT_A_URL, "url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(NOT_A_URL, "url")
    hide_secret(url)
    return f"{parts.scheme}://{parts.hostname}{port}/…"


def build_body(topic: str, data: str, created_at: float) -> bytes:
    """Return the JSON of a message; the same for each try."""
    timestamp = datetime.fromtimestamp(created_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": topic, "timestamp": timestamp, "data": json.loads(data)}).encode()


def send_webhook(url: str, secret: str, key: str, body: bytes, now: Callable[[], float]) -> None:
    """Send one message once, within twenty seconds; raise DeliveryFailed with the reason."""
    parts, timestamp = urlsplit(url), int(now())
    base = f"{parts.scheme}://{parts.netloc}"
    headers = {
        "webhook-id": f"msg_{key}",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_body(secret, f"msg_{key}", timestamp, body),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        reply = HttpClient(base).send_request(
            "POST", path, timeout=SEND_SECONDS, json_bytes=body, headers=headers, read_at_most=READ_BYTES
        )
    except ApiError as problem:
        raise DeliveryFailed(str(problem)) from None
    _require_success(reply, now())


def _require_success(reply: Reply, now: float) -> None:
    if reply.is_success:
        return
    is_final = reply.status not in RETRIED_STATUSES and reply.status < SERVER_ERROR
    said = f"The receiver answered {reply.status}: {describe_problem(reply)}"
    raise DeliveryFailed(said, is_final=is_final, retry_after=parse_retry_after(reply.headers, now))
