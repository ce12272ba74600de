"""HTTP connections with a deadline for the whole call.

requests and urllib3 only limit a single read, so a server that sends a byte now and then could keep a call
open without end. Here the name look-up and the connection run in a thread that is abandoned at the deadline,
and one watchdog thread shuts the socket down, which ends the TLS handshake, the sending, the headers and the
body alike.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

_current = threading.local()
_lock = threading.Lock()  # held while a socket changes owner or is shut down, so that no other call is hit


class Exchange:
    """One request and its reply in this thread, ended at a deadline (of ``time.monotonic``)."""

    def __init__(self, deadline: float) -> None:
        """Set the deadline; there is no connection yet."""
        self.deadline = deadline
        self.sent = self.abandoned = False
        self._connection: _Connection | None = None
        self._twin: socket.socket | None = None

    def __enter__(self) -> Self:
        """Let the watchdog end this thread's call from now on."""
        _current.exchange = self
        _watchdog.watch_exchange(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the connection, which may serve another call now; raise TimeoutError when the deadline cut the reply."""
        _watchdog.forget_exchange(self)
        del _current.exchange
        with _lock:
            self._close_twin()
        if self.abandoned and error is None:
            raise TimeoutError("the reply was cut off at the deadline")

    def _close_twin(self) -> None:
        if self._twin is not None:
            self._twin.close()
        self._twin = None

    def use_connection(self, connection: _Connection, connected: socket.socket | None) -> None:
        """Use this connection; raise TimeoutError after the deadline, so that nothing is sent then."""
        with _lock:
            if self.abandoned:
                raise TimeoutError("the deadline has passed")
            connection.exchange, self._connection = self, connection
            self._close_twin()
            # A second descriptor of the same socket: wrapping it in TLS takes the first one away.
            self._twin = None if connected is None else socket.socket(fileno=os.dup(connected.fileno()))

    def cut_off(self) -> None:
        """End the call: what its thread waits for at the socket fails at once."""
        with _lock:
            self.abandoned = True
            owns_socket = self._connection is not None and self._connection.exchange is self
            if self._twin is not None and owns_socket:
                with suppress(OSError):
                    self._twin.shutdown(socket.SHUT_RDWR)

    def connect_in_thread(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """Return what ``connect`` returns; raise TimeoutError at the deadline, as a name look-up cannot be interrupted."""
        outcome = Future[socket.socket]()

        def connect_and_report() -> None:
            try:
                outcome.set_result(connect())
            except BaseException as problem:
                outcome.set_exception(problem)

        threading.Thread(target=connect_and_report, name="connect", daemon=True).start()
        try:
            return outcome.result(max(0.0, self.deadline - time.monotonic()))
        except BaseException:
            outcome.add_done_callback(_close_late)
            raise


def _close_late(outcome: Future[socket.socket]) -> None:
    """Close a connection that was established after its call had ended."""
    if not outcome.exception():
        outcome.result().close()


class _Watchdog:
    """One thread that ends all calls of the process at their deadlines; it sleeps until the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Exchange] = set()
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def watch_exchange(self, exchange: Exchange) -> None:
        """End this exchange at its deadline, unless it is forgotten before."""
        with self._changed:
            self._watched.add(exchange)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run_forever, name="deadlines", daemon=True)
                self._thread.start()
            elif exchange.deadline < self._wakes_at:
                self._changed.notify()

    def forget_exchange(self, exchange: Exchange) -> None:
        """Stop watching this exchange."""
        with self._changed:
            self._watched.discard(exchange)

    def _run_forever(self) -> None:
        while True:
            for late in self._wait_for_late():
                late.cut_off()

    def _wait_for_late(self) -> list[Exchange]:
        with self._changed:
            self._wakes_at = min((one.deadline for one in self._watched), default=float("inf"))
            pause = self._wakes_at - time.monotonic()
            if pause > 0:
                self._changed.wait(None if self._wakes_at == float("inf") else pause)
            late = [one for one in self._watched if one.deadline <= time.monotonic()]
            self._watched.difference_update(late)
        return late


_watchdog = _Watchdog()


class _Connection(HTTPConnection):
    """A connection that registers its socket with the exchange of its thread."""

    exchange: Exchange | None = None
    _gathered: bytearray | None = None

    def _new_conn(self) -> socket.socket:
        exchange: Exchange = _current.exchange
        connected = exchange.connect_in_thread(super()._new_conn)
        try:
            exchange.use_connection(self, connected)
        except BaseException:
            connected.close()
            raise
        return connected

    def request(self, *values: Any, **named: Any) -> None:
        """Send a request; the connection may have served others before."""
        _current.exchange.use_connection(self, self.sock)
        self._gathered = bytearray()
        try:
            super().request(*values, **named)
            whole = bytes(self._gathered)
        finally:
            self._gathered = None
        super().send(whole)

    def send(self, data: Any) -> None:
        """Gather the parts of a request, so that one packet takes headers and body."""
        if self._gathered is None:
            super().send(data)
        else:
            self._gathered += data

    def getresponse(self) -> Any:
        """Wait for the reply; from here on the server may be working on the request."""
        _current.exchange.sent = True
        return super().getresponse()


class _SecureConnection(_Connection, HTTPSConnection):
    """A connection over TLS with a deadline."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Adapter(HTTPAdapter):
    """The adapter of requests with connections that end at the deadline of their exchange."""

    def init_poolmanager(self, *values: Any, **named: Any) -> None:
        """Create the pools for direct connections."""
        super().init_poolmanager(*values, **named)
        _use_our_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Return the pools for connections through this proxy; a SOCKS proxy keeps its own."""
        manager = super().proxy_manager_for(proxy, **named)
        if not proxy.lower().startswith("socks"):
            _use_our_pools(manager)
        return manager


def _use_our_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
