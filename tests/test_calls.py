"""One call at a time: it ends by its deadline, every failure below HTTP is a sentence, a date is UTC."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import ipaddress
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sync.engine import RetryPolicy
from sync.errors import NoAnswer, RetryLater
from sync.export_terms import ExportTerms
from sync.http_client import CONNECT_SECONDS, HttpClient, parse_retry_after
from sync.model import Mode
from sync.runner import Runner
from sync.service import Service
from sync.store import Store
from tests.sandbox.control import API_KEY, LICENSE, PROJECT, SECRET, USERNAME, Sandbox, member

TIMEOUT = 0.4  # seconds a call is given here
DRIP_SECONDS = 0.05  # between two bytes, far below any timeout of a single read
DRIPS = 120  # bytes before the peer sends the rest at once: a call without a deadline then succeeds
PATIENCE = 30.0  # seconds something awaited may take on a busy machine; never asserted
NOW = 1_700_000_000.0
AHEAD = 600  # seconds the other side asks us to wait

GREETING = b"HTTP/1.1 200 OK\r\n"
PADDING = b"x" * DRIPS
CHUNKS = b"1\r\nx\r\n" * DRIPS + b"0\r\n\r\n"
SLOW_ANSWERS = {
    "headers": (b"", GREETING + b"X-Slow: " + PADDING + b"\r\nContent-Length: 0\r\n\r\n"),
    "many headers": (GREETING, b"X: y\r\n" * 60 + b"Content-Length: 0\r\n\r\n"),
    "a sized body": (GREETING + b"Content-Length: %d\r\n\r\n" % DRIPS, PADDING),
    "a chunked body": (GREETING + b"Transfer-Encoding: chunked\r\n\r\n", CHUNKS),
    "the length of a chunk": (GREETING + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * DRIPS + b"\r\n\r\n"),
    "a body until the end": (GREETING + b"Connection: close\r\n\r\n", PADDING),
}


class Peer:
    """The other side of one connection, as slow as the test wants it."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        """Listen, and treat the first connection like this."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.left = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(behave,), daemon=True)
        self._thread.start()

    def _serve(self, behave: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            with connection:
                with contextlib.suppress(OSError):
                    behave(connection)
                self._watch(connection)

    def _watch(self, connection: socket.socket) -> None:
        """Note that the caller hung up, be it in order or with a reset."""
        connection.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass
        self.left.set()

    def close(self) -> None:
        """Stop listening."""
        self._listening.close()


@contextlib.contextmanager
def peer(behave: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """Serve a peer for the time of a test."""
    one = Peer(behave)
    try:
        yield one
    finally:
        one.close()


def drip(connection: socket.socket, content: bytes) -> None:
    """Send byte by byte for a while, then the rest."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(DRIPS):
        connection.sendall(content[at : at + 1])
        time.sleep(DRIP_SECONDS)
    connection.sendall(content[DRIPS:])


def answering(at_once: bytes, slowly: bytes) -> Callable[[socket.socket], None]:
    """Read the request, send the first part at once and the second drop by drop."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(at_once)
        drip(connection, slowly)
        connection.shutdown(socket.SHUT_WR)

    return behave


@pytest.mark.parametrize("part", SLOW_ANSWERS)
def test_call_when_the_answer_drips_ends_at_its_deadline(part: str) -> None:
    """Whatever comes byte by byte, the call is given up in time, named unanswered, and the connection closed."""
    with peer(answering(*SLOW_ANSWERS[part])) as slow:
        with pytest.raises(NoAnswer, match="timed out"):
            HttpClient(f"http://127.0.0.1:{slow.port}").send_request("GET", "/", timeout=TIMEOUT)
        assert slow.left.wait(PATIENCE)


@pytest.mark.parametrize("silent", [True, False], ids=["says nothing", "drips"])
def test_call_when_the_handshake_is_slow_ends_at_its_deadline(silent: bool) -> None:
    """A TLS handshake has no longer than the call; nothing was asked, so nothing can be under way there."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        if not silent:
            drip(connection, b"\x16\x03\x03\x40\x00" + bytes(DRIPS))

    began = time.monotonic()
    with peer(behave) as slow:
        with pytest.raises(RetryLater, match="timed out") as given_up:
            HttpClient(f"https://127.0.0.1:{slow.port}").send_request("GET", "/", timeout=TIMEOUT)
        assert time.monotonic() - began < CONNECT_SECONDS
        assert not isinstance(given_up.value, NoAnswer)
        assert slow.left.wait(PATIENCE)


@pytest.mark.slow
def test_call_over_tls_when_the_body_drips_ends_at_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing works through TLS too."""
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as secure:
            answering(*SLOW_ANSWERS["a sized body"])(secure)

    with peer(behave) as slow:
        with pytest.raises(NoAnswer, match="timed out"):
            HttpClient(f"https://127.0.0.1:{slow.port}").send_request("GET", "/", timeout=2.0)
        assert slow.left.wait(PATIENCE)


def self_signed(folder: Path) -> Path:
    """Write a key and its certificate for 127.0.0.1 into one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "here.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def test_call_when_the_last_one_was_given_up_uses_a_connection_of_its_own() -> None:
    """The same client goes on after a call that was given up."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)

    with peer(behave) as dead, contextlib.ExitStack() as stack:
        client = HttpClient(f"http://127.0.0.1:{dead.port}")
        with pytest.raises(NoAnswer):
            client.send_request("GET", "/", timeout=TIMEOUT)
        dead.close()
        server = socket.create_server(("127.0.0.1", dead.port))
        stack.callback(server.close)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                for _ in range(3):
                    connection.recv(65536)
                    connection.sendall(GREETING + b"Content-Length: 2\r\n\r\nok")

        threading.Thread(target=answer, daemon=True).start()
        assert [client.send_request("GET", "/", timeout=PATIENCE).body for _ in range(3)] == [b"ok"] * 3


PACKED = gzip.compress(b"ok")
WHOLE_ANSWERS = {
    "sized": (b"Content-Length: 2\r\n\r\nok", b"ok"),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    "empty": (b"Content-Length: 0\r\n\r\n", b""),
    "packed": (b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(PACKED), PACKED), b"ok"),
}


@pytest.mark.parametrize("kind", WHOLE_ANSWERS)
def test_call_when_a_whole_answer_came_before_uses_its_connection_again(kind: str) -> None:
    """However an answer says where it ends, the next call needs no connection of its own."""
    sent, body = WHOLE_ANSWERS[kind]

    def behave(connection: socket.socket) -> None:
        for _ in range(3):
            connection.recv(65536)
            connection.sendall(GREETING + sent)

    with peer(behave) as one:  # which accepts one connection only
        client = HttpClient(f"http://127.0.0.1:{one.port}")
        assert [client.send_request("POST", "/", timeout=5.0).body for _ in range(3)] == [body] * 3


def test_call_when_the_name_look_up_hangs_ends_at_its_deadline_and_sends_nothing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look-up cannot be interrupted; when it comes back after all, the connection is closed unused."""
    received, answer = [], threading.Event()

    def behave(connection: socket.socket) -> None:
        received.append(connection.recv(65536))

    def look_up(*_: object, **__: object) -> list[object]:
        answer.wait(PATIENCE)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", late.port))]

    with peer(behave) as late:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(RetryLater, match="timed out") as given_up:
            HttpClient("http://localhost:1").send_request("POST", "/", json_bytes=b"{}", timeout=TIMEOUT)
        assert not isinstance(given_up.value, NoAnswer)
        answer.set()
        assert late.left.wait(PATIENCE) and received == [b""]


@pytest.mark.slow
def test_call_with_a_short_deadline_when_another_has_a_long_one_ends_first() -> None:
    """The deadlines of calls under way at the same time do not wait for each other."""
    ended: list[str] = []

    def ask(name: str, port: int, timeout: float) -> None:
        with contextlib.suppress(RetryLater):
            HttpClient(f"http://127.0.0.1:{port}").send_request("GET", "/", timeout=timeout)
        ended.append(name)

    with peer(lambda one: None) as first, peer(lambda one: None) as second:
        long = threading.Thread(target=ask, args=("long", first.port, 3.0))
        long.start()
        ask("short", second.port, TIMEOUT)
        assert ended == ["short"]
        long.join(PATIENCE)
    assert ended == ["short", "long"]


BROKEN_SURROUNDINGS = [
    ({"REQUESTS_CA_BUNDLE": "{folder}/none.pem"}, "mixpanel.com", "REQUESTS_CA_BUNDLE"),
    ({"REQUESTS_CA_BUNDLE": "{folder}/garbage.pem"}, "mixpanel.com", "REQUESTS_CA_BUNDLE"),
    ({"REQUESTS_CA_BUNDLE": "{folder}/\x01\udc80"}, "mixpanel.com", "REQUESTS_CA_BUNDLE"),
    ({"HTTPS_PROXY": "http://user:pass-word@[::1"}, "mixpanel.com", "proxy"),
    ({"HTTPS_PROXY": "gopher://user:pass-word@127.0.0.1:1"}, "mixpanel.com", "proxy"),
    ({"HTTPS_PROXY": "socks5://user:pass-word@127.0.0.1:1"}, "mixpanel.com", "proxy"),
    ({"HTTPS_PROXY": "http://user:pass-word@127.0.0.1:99999"}, "mixpanel.com", "proxy"),
    ({"HTTPS_PROXY": "http://user:pass-word@127.0.0.1:1"}, "mixpanel.com", "proxy"),
    ({"HTTPS_PROXY": ""}, "a" * 70 + ".webengage.com", "could not be reached"),
    ({"HTTPS_PROXY": ""}, "a..webengage.com", "could not be reached"),
    ({"HTTPS_PROXY": ""}, "x\x7f.webengage.com", "could not be reached"),
]


@pytest.mark.parametrize(("environment", "host", "named"), BROKEN_SURROUNDINGS, ids=lambda one: ascii(one)[:60])
def test_call_when_its_surroundings_are_broken_says_so_in_a_sentence(
    environment: dict[str, str], host: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that names no file, no proxy or no host is one sentence that names it, and no secret in it."""
    (tmp_path / "garbage.pem").write_text("no certificate")
    for name in ("REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    with pytest.raises(RetryLater, match=named) as trouble:
        HttpClient(f"https://{host}").send_request("GET", "/secret-path", timeout=5.0)
    said = str(trouble.value)
    assert said.endswith(".") and said.isprintable() and len(said) < 500
    assert "pass-word" not in said and "secret-path" not in said and not isinstance(trouble.value, NoAnswer)


def test_run_when_the_certificates_are_missing_waits_with_that_reason(
    data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback and no run left reading: it waits, says why, and goes on by itself once that is mended."""
    env = {"COHORT_SYNC_DATA": str(data_dir)}
    with closing(Service(Store.open(data_dir), env)) as service:
        service.connections.connect_mixpanel(PROJECT, USERNAME, SECRET, sandbox.url)
        service.connections.connect_webengage(LICENSE, API_KEY, sandbox.url)
        cohort = sandbox.add_cohort("Fans", [member("a")])
        run_id = service.syncs.start_export(PROJECT, cohort, ExportTerms(mode=Mode.DYNAMIC)).run_id
        with closing(sqlite3.connect(data_dir / "app.db")) as plain, plain:
            plain.execute("update mixpanel_project set region = ?", (sandbox.url.replace("http:", "https:"),))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(data_dir / "none.pem"))
        Runner(env, policy=RetryPolicy(delays=(), postponements=(600.0,))).run_once()
        run = service.runs.get(run_id)
        assert run.lease_owner is None and run.wait_reason is not None and "REQUESTS_CA_BUNDLE" in run.wait_reason


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 30.0),
        ("7200", 3600.0),
        ("1e9", 3600.0),
        ("0", 1.0),
        ("-5", 1.0),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_kept_within_a_second_and_an_hour(written: str, seconds: float | None) -> None:
    """An hour is Mixpanel's longest limit, so nobody can make a run wait longer; what cannot be read says nothing."""
    assert parse_retry_after({"Retry-After": written}, NOW) == seconds


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "UTC"])
@pytest.mark.parametrize(
    "form",
    ["%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S -0000", "%a %b %e %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT"],
)
def test_retry_after_as_a_date_is_utc_in_every_zone(zone: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 dates are UTC, also those that do not name a zone, wherever this process runs."""
    written = time.strftime(form, time.gmtime(NOW + AHEAD))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after({"Retry-After": written}, NOW) == AHEAD
    finally:
        monkeypatch.undo()
        time.tzset()
