"""Start a real nginx with the project's own docs/nginx.conf, changed only where it names another machine."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.workspace import ROOT, wait_until

BASE_PATH = "cohorts"
LIFE = datetime.timedelta(hours=1)
MAIN = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{ access_log {folder}/access.log; {temporary} include {folder}/site.conf; }}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx() -> str:
    """Return the path of this machine's nginx; a test without one is skipped, and fails under CI."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return found
    reason = "No nginx on this machine; install it (apt-get install nginx-light) to test the pages behind it."
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def write_certificate(folder: Path) -> None:
    """Write a key and a certificate of 127.0.0.1, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sync.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    draft = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    draft = draft.serial_number(1).not_valid_before(now - LIFE).not_valid_after(now + LIFE)
    signed = draft.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "site.pem").write_bytes(signed.public_bytes(pem) + plain)


@contextlib.contextmanager
def serve_behind_nginx(folder: Path, port: int, pages: str) -> Iterator[None]:
    """Serve the pages at ``https://127.0.0.1:port/cohorts/`` as docs/nginx.conf does."""
    nginx = find_nginx()
    write_certificate(folder)
    site = (ROOT / "docs" / "nginx.conf").read_text(encoding="utf-8")
    for documented, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("http://127.0.0.1:8501", pages),
        ("/etc/ssl/sync.example.com.pem", f"{folder}/site.pem"),
        ("/etc/ssl/sync.example.com.key", f"{folder}/site.pem"),
    ):
        assert documented in site
        site = site.replace(documented, here)
    (folder / "site.conf").write_text(site)
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, temporary=temporary))
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", f"{folder}/nginx.conf"])
    try:
        wait_until(lambda: _listens(port))
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
