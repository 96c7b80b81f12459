"""Partners are spoken to by TLS 1.2 and newer, with a certificate that is trusted for their name, or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.process, pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]  # fmt: skip
_ASK = """
import asyncio, sys
from crossdock.kit.http import HttpSession
from crossdock.model.errors import CrossdockError

async def ask():
    async with HttpSession.open(sys.argv[1]) as session:
        try:
            answer = await session.request(None, "GET", "/v1/here", write=False)
            print(answer.status)
        except CrossdockError as error:
            print(error.code)

asyncio.run(ask())
"""
Version = ssl.TLSVersion


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, signed by itself; its key is in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=partner",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


def speaking(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    """Only this version, however weak."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    if version < Version.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


class Partner(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def listening(certificate: Path, version: ssl.TLSVersion) -> Iterator[int]:
    """A partner that speaks only this version; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Partner) as server:
        server.socket = speaking(version, context).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask_partner(certificate: Path, version: ssl.TLSVersion, host: str = "127.0.0.1", trusted: bool = True) -> str:
    """What a process of ours gets from a partner of that version; first a client that takes all has proven it alive."""
    with listening(certificate, version) as port:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            speaking(version, client).wrap_socket(plain) as opened,
        ):
            assert opened.version() == version.name.replace("_", ".")
        environment = {**os.environ, "SSL_CERT_FILE": str(certificate) if trusted else os.devnull}
        ran = subprocess.run(
            [sys.executable, "-c", _ASK, f"https://{host}:{port}"], env=environment, check=True, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        return ran.stdout.strip()


@pytest.mark.parametrize("version", [Version.TLSv1_2, Version.TLSv1_3])
def test_a_partner_with_a_safe_version_is_spoken_to(certificate: Path, version: ssl.TLSVersion) -> None:
    assert ask_partner(certificate, version) == "200"


def test_a_partner_with_an_old_version_is_not_spoken_to(certificate: Path) -> None:
    assert ask_partner(certificate, Version.TLSv1_1) == "partner_tls"


def test_a_partner_whom_nobody_vouches_for_is_not_spoken_to(certificate: Path) -> None:
    assert ask_partner(certificate, Version.TLSv1_3, trusted=False) == "partner_tls"


def test_a_certificate_for_another_name_is_not_taken(certificate: Path) -> None:
    assert ask_partner(certificate, Version.TLSv1_3, host="localhost") == "partner_tls"
