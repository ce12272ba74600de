"""Receivers of alerts and webhooks on this machine: an SMTP server, and an HTTP server that answers as it is told."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.workspace import Workspace, free_port

PIECE_BYTES = 2**20  # bytes of a large answer that are written at a time


@dataclass
class Mailbox:
    """The messages an SMTP server took; ``answers`` are given first, one for each message."""

    port: int = 0
    mails: list[Any] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Take one message."""
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    @property
    def url(self) -> str:
        """Return the address of a team whose mail goes here."""
        return f"mailto://127.0.0.1:{self.port}/?from=sync@example.com&to=team@example.com&mode=insecure"

    @property
    def subjects(self) -> list[str]:
        """Return the subjects, in the order they came."""
        return [str(mail["subject"]) for mail in self.mails]

    @property
    def texts(self) -> list[str]:
        """Return everything that was sent, as plain text."""
        return [str(mail) + str(mail.get_body(("plain", "html")).get_content()) for mail in self.mails]


@contextmanager
def serve_mail(port: int | None = None) -> Iterator[Mailbox]:
    """Run an SMTP server."""
    mailbox = Mailbox(port or free_port())
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@dataclass
class Hook:
    """The requests an HTTP server got: headers and body; ``answers`` are the statuses it gives first, then 200.

    Its answers have so many bytes as body, lead to ``location``, and come after so many ``seconds``.
    """

    port: int = 0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    body_bytes: int = 0
    location: str = ""
    seconds: float = 0.0

    @property
    def url(self) -> str:
        """Return the address of a webhook, with a token in its path."""
        return f"http://127.0.0.1:{self.port}/hooks/token-of-the-receiver"


@contextmanager
def serve_hook(port: int = 0) -> Iterator[Hook]:
    """Run an HTTP server that takes webhooks."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(hook.seconds)
            self.send_response(hook.answers.pop(0) if hook.answers else 200)
            if hook.location:
                self.send_header("Location", hook.location)
            self.send_header("Content-Length", str(hook.body_bytes))
            self.end_headers()
            with suppress(OSError):  # who asked does not read all of it
                for _ in range(0, hook.body_bytes, PIECE_BYTES):
                    self.wfile.write(b"x" * PIECE_BYTES)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    hook.port = server.server_port
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


def add_address(workspace: Workspace, url: str) -> int:
    """Send alerts to an address; return its number."""
    with workspace.open() as service:
        return service.alerts.add(url).id


def look(workspace: Workspace) -> None:
    """Do what the runner does every few seconds."""
    with workspace.open() as service:
        service.alerts.update()
        service.alerts.deliver()
