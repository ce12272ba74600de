"""Each fault as it spoils an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import orjson

from .faults import MIXPANEL, PAGE_KINDS, Fault
from .http_protocol import JSON, Ending, Reply, retry_after

ACT = Callable[["Fault | None"], Reply]
HTML = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
SERVER_ERROR = 503
BAD_GATEWAY = 502


async def spoil(fault: Fault, api: str, act: ACT) -> Reply:
    """Apply a fault: before the request is acted on, after, or instead."""
    if fault.kind in PAGE_KINDS:
        return act(fault)
    if fault.kind == "slow":
        await asyncio.sleep(fault.ms / 1000)
        return act(None)
    if fault.kind == "late":
        reply = act(None) if fault.code is None else INSTEAD["status"](fault, api)
        await asyncio.sleep(fault.ms / 1000)
        return reply
    if fault.kind == "stall":
        await asyncio.sleep(fault.seconds)
        return Reply(0, ending=Ending.CLOSE)
    if fault.kind == "reset":
        return Reply(0, ending=Ending.RESET)
    if fault.kind in AFTER:
        return AFTER[fault.kind](act(None))
    return INSTEAD[fault.kind](fault, api)


def _vanished(reply: Reply) -> Reply:
    return replace(reply, status=0, ending=Ending.CLOSE)


def _garbled(reply: Reply) -> Reply:
    return replace(reply, status=200, body=reply.body[: len(reply.body) // 2] + b"\x00<<")


def _truncated(reply: Reply) -> Reply:
    return replace(reply, ending=Ending.CUT)


def _status(fault: Fault, api: str) -> Reply:
    code = SERVER_ERROR if fault.code is None else fault.code
    return Reply(code, _body(fault, api, f"HTTP {code}"), fault.content_type or JSON, retry_after(fault.retry_after))


def _html(fault: Fault, api: str) -> Reply:
    body = fault.body if isinstance(fault.body, str) else HTML
    return Reply(
        fault.code or BAD_GATEWAY,
        body.encode(),
        fault.content_type or "text/html; charset=utf-8",
        retry_after(fault.retry_after),
    )


def _says_error(fault: Fault, api: str) -> Reply:
    return Reply(fault.code or 200, _body(fault, api, "Something went wrong"), fault.content_type or JSON)


def _body(fault: Fault, api: str, message: str) -> bytes:
    if isinstance(fault.body, str):
        return fault.body.encode()
    if fault.body is not None:
        return orjson.dumps(fault.body)
    plain = {"error": message, "status": "error"}
    return orjson.dumps(plain if api == MIXPANEL else {"response": {"message": message, "status": "error"}})


AFTER: dict[str, Callable[[Reply], Reply]] = {"vanish": _vanished, "garbled": _garbled, "truncated": _truncated}
INSTEAD: dict[str, Callable[[Fault, str], Reply]] = {"status": _status, "html": _html, "says_error": _says_error}
