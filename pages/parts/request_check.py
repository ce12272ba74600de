"""Decide whether a request comes from a browser on this machine, from the headers of its WebSocket handshake."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

MAX_SHOWN_CHARS = 80  # of a header's value, which may be of any length
# What reverse proxies and tunnels add. Browsers send no header that begins with X- when they open a WebSocket.
PROXY_HEADERS = frozenset({"forwarded", "via", "true-client-ip", "cdn-loop", "front-end-https", "remote-user"})
PROXY_PREFIXES = ("x-", "cf-", "fly-", "fastly-", "ngrok-", "tailscale-")


def describe_remote_sign(headers: Iterable[tuple[str, str]]) -> str:
    """Return what shows that a request did not come straight from this machine; empty when nothing does.

    A proxy on the same host connects from loopback like a local browser, so only headers tell them
    apart. Their values are not trusted: a proxy passes on what its client sent.
    """
    pairs = [(name.strip(), value.strip()) for name, value in headers]
    for name, _ in pairs:
        if name.lower() in PROXY_HEADERS or name.lower().startswith(PROXY_PREFIXES):
            return f"came through a proxy (header “{_shorten_text(name)}”)"
    hosts = [value for name, value in pairs if name.lower() == "host"]
    if not hosts:
        return "does not say which host it is for"
    for host in hosts:
        if not is_loopback(f"//{host}"):
            return f"is addressed to “{_shorten_text(host)}”"
    # A proxy may write a loopback Host and add no header; the browser's Origin still names the proxy.
    for origin in (value for name, value in pairs if name.lower() == "origin"):
        if not is_loopback(origin):
            return f"comes from a page opened at “{_shorten_text(origin.partition('//')[2] or origin)}”"
    return ""


def is_loopback(url: str) -> bool:
    """Return whether a URL (``//host:port`` will do) names this machine and nothing but a host and port."""
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").removesuffix("."), parts.port  # an invalid port raises ValueError
    except ValueError:
        return False
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shorten_text(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
