"""The process: one port, both APIs and the control side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from . import mixpanel, panel, webengage
from .faults import MIXPANEL, WEBENGAGE
from .http_protocol import TRANSPORT, Ending, Reply, Request, Wire, answer, end_connection
from .rate_limits import Entry
from .reply_faults import spoil
from .world import World

DRIFT_FRACTION = 0.01
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
GONE = 0
"""The status logged for a request that was never answered."""


async def read(scope: dict[str, Any], receive: Any) -> Request:
    """Read a request to its end."""
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, b"".join(chunks))


async def write(reply: Reply, scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Send a reply, or end the connection the way the reply says."""
    if reply.ending in (Ending.CLOSE, Ending.RESET):
        end_connection(scope[TRANSPORT], reply.ending)
        await receive()
        return
    cut = reply.ending is Ending.CUT
    body = reply.body[: len(reply.body) // 2] if cut else reply.body
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    await send({"type": "http.response.body", "body": body, "more_body": cut})
    if cut:
        scope[TRANSPORT].close()
        await receive()


def _headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    own = [("content-type", reply.content_type), ("content-length", str(len(reply.body))), *reply.headers]
    return [(name.encode(), value.encode("latin-1")) for name, value in own]


class Sandbox:
    """The ASGI application."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        request = await read(scope, receive)
        await write(await self._reply(request), scope, receive, send)

    async def _reply(self, request: Request) -> Reply:
        if request.path.startswith("/sandbox/"):
            return panel.act(self.world, request)
        if request.path.startswith("/api/"):
            return await self._visit(request, MIXPANEL, mixpanel.Visit(self.world, request))
        if request.path.startswith("/v1/"):
            return await self._visit(request, WEBENGAGE, webengage.Visit(self.world, request))
        return answer(404, {"error": "Not found", "status": "error"})

    async def _visit(self, request: Request, api: str, visit: mixpanel.Visit | webengage.Visit) -> Reply:
        began, kind = time.perf_counter(), ""
        reply = visit.refusal()
        try:
            if self.world.settings.latency:
                await asyncio.sleep(self.world.settings.latency / 1000)
            if reply is None:
                reply, kind = await self._act(request, api, visit)
        finally:
            visit.leave()
        self._note(request, reply, began, kind)
        return reply

    async def _act(self, request: Request, api: str, visit: mixpanel.Visit | webengage.Visit) -> tuple[Reply, str]:
        fault = self.world.faults.take(api, request.path, request.page)
        if fault is None:
            return visit.act(), ""
        return await spoil(fault, api, visit.act), fault.kind

    def _note(self, request: Request, reply: Reply, began: float, kind: str) -> None:
        status = reply.status if reply.ending in (Ending.SEND, Ending.CUT) else GONE
        ms = round((time.perf_counter() - began) * 1000, 2)
        request_id = request.headers.get(webengage.REQUEST_ID, "")
        self.world.meter.note(
            Entry(
                self.world.now(), request.method, request.path, status, ms, reply.users, request_id, request.page, kind
            )
        )


class Server(uvicorn.Server):
    """uvicorn, saying when it listens and leaving signals alone."""

    def __init__(self, config: uvicorn.Config, world: World, url: str, parent: int) -> None:
        super().__init__(config)
        self.world, self.url, self.parent = world, url, parent
        self.chores: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the process at once: there is nothing to save."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self.chores = [asyncio.create_task(self._drift()), asyncio.create_task(self._follow_parent())]
        print(f"sandbox ready on {self.url}", flush=True)

    async def _drift(self) -> None:
        beat, last = 0, time.monotonic()
        while True:
            await asyncio.sleep(min(self.world.settings.drift or 1.0, 1.0))
            every = self.world.settings.drift
            if every and time.monotonic() - last >= every:
                beat, last = beat + 1, time.monotonic()
                self.world.drift(beat, DRIFT_FRACTION)

    async def _follow_parent(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self.parent and os.getppid() != self.parent:
                os._exit(0)


def listen(host: str, port: int) -> socket.socket:
    """Bind a loopback address; port 0 picks a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay (40 ms a reply) off only where it reads TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(BACKLOG)
    return listening


def serve(world: World, host: str, port: int, parent: int) -> None:
    """Run until told to end."""
    listening = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        Sandbox(world),
        http=Wire,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )
    Server(config, world, f"http://{shown}:{listening.getsockname()[1]}", parent).run(sockets=[listening])
