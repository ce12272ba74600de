"""A small reverse proxy on this machine, as the tests of the door need it: it changes each request's head, nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

HEAD_END = b"\r\n\r\n"
CHUNK_BYTES = 65_536


@contextlib.contextmanager
def reverse_proxy(upstream: str, *, host: str = "", added: tuple[str, ...] = ()) -> Iterator[int]:
    """Forward a free port to ``upstream`` (``127.0.0.1:8501``) with header lines added and, when given, another Host."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, upstream, host, added), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def _accept(listener: socket.socket, upstream: str, host: str, added: tuple[str, ...]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # closed at the end of the test
            return
        threading.Thread(target=_serve, args=(client, upstream, host, added), daemon=True).start()


def _serve(client: socket.socket, upstream: str, host: str, added: tuple[str, ...]) -> None:
    name, _, port = upstream.rpartition(":")
    with contextlib.suppress(OSError), client, socket.create_connection((name, int(port))) as server:
        received = b""
        while HEAD_END not in received:
            part = client.recv(CHUNK_BYTES)
            if not part:
                return
            received += part
        head, _, body = received.partition(HEAD_END)
        server.sendall(_rewrite(head.decode("latin-1"), host, added).encode("latin-1") + HEAD_END + body)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _rewrite(head: str, host: str, added: tuple[str, ...]) -> str:
    lines = head.split("\r\n")
    if host:
        lines = [f"Host: {host}" if line.lower().startswith("host:") else line for line in lines]
    if "upgrade: websocket" not in head.lower():  # one request a connection, so that every head is seen
        lines = [line for line in lines if not line.lower().startswith("connection:")] + ["Connection: close"]
    return "\r\n".join([*lines, *added])


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(CHUNK_BYTES):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
