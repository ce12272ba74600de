"""Requests and replies as values, and the ways a connection can end."""

from __future__ import annotations

import base64
import binascii
import socket
import struct
import time
from asyncio import Transport
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
TRANSPORT = "sandbox.transport"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: the peer sees a reset


class Ending(StrEnum):
    """How the exchange ends on the wire."""

    SEND = "send"
    CUT = "cut"
    CLOSE = "close"
    RESET = "reset"


@dataclass(frozen=True)
class Request:
    """One request, read to its end."""

    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes

    @cached_property
    def query(self) -> dict[str, str]:
        """The query string by name."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The form body by name; empty unless the content type says it is a form."""
        if not self.headers.get("content-type", "").startswith(FORM):
            return {}
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @cached_property
    def parts(self) -> list[str]:
        """The path's segments."""
        return self.path.strip("/").split("/")

    @cached_property
    def page(self) -> int:
        """The engage page asked for, 0 when none or nonsense."""
        text = self.form.get("page", "0")
        return int(text) if text.isdigit() else 0

    def basic(self) -> tuple[str, str]:
        """The Basic credentials, empty ones when there are none."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        try:
            username, _, secret = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return username, secret

    def bearer(self) -> str:
        """The Bearer token, empty when there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True)
class Reply:
    """What goes back, and how the connection ends."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.SEND
    users: int = 0
    """How many people the request carried, for the log."""


def answer(status: int, value: Any, headers: tuple[tuple[str, str], ...] = (), users: int = 0) -> Reply:
    """Reply with a value as JSON."""
    return Reply(status, orjson.dumps(value), headers=headers, users=users)


def retry_after(value: float | str | None) -> tuple[tuple[str, str], ...]:
    """Write a Retry-After header: seconds, or an HTTP date for "date:SECONDS"."""
    if value is None:
        return ()
    if isinstance(value, str) and value.startswith("date:"):
        value = formatdate(time.time() + float(value[5:]), usegmt=True)
    return (("retry-after", str(value)),)


def end_connection(transport: Transport, ending: Ending) -> None:
    """Close the connection at once, with a reset if that is the ending."""
    if ending is Ending.RESET:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


class Wire(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with the transport within the application's reach."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Remember the transport for this connection's requests."""
        super().connection_made(transport)
        inner = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = with_transport
