"""
What may stand between us and PostgreSQL: something that ends TLS, and something that stops forwarding.

The embedded server is built without TLS, so the tests of it put this in front, as pgbouncer or stunnel would be.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import define, evolve, field, frozen

from m3w_core.database_url import DatabaseSettings

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@frozen
class Certificate:
    """
    A certificate with its key, signed by itself.

    Args:
        path: Of the certificate, for those who shall trust it.
        server_context: For the server that has it.
    """

    path: Path
    server_context: ssl.SSLContext


def make_certificate(directory: Path, host: str) -> Certificate:
    """Make a certificate for a host name, with a minimum of extensions, as many are in private networks."""
    key, certificate = directory / f"{host}.key", directory / f"{host}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Certificate(certificate, context)


@define(eq=False)
class Front:
    """
    Forwards connections from a TCP port of its own to a database.

    Args:
        database: Where to.
        tls: For the answer to those who ask for TLS; None refuses it.
        answer: Instead of all that, what to say to everybody.
    """

    database: DatabaseSettings
    tls: ssl.SSLContext | None = None
    answer: bytes | None = None
    #: Set when a client has closed its side.
    closed_by_client: threading.Event = field(factory=threading.Event, init=False)
    _flowing: threading.Event = field(factory=threading.Event, init=False)
    _listener: socket.socket = field(init=False)
    _sockets: list[socket.socket] = field(factory=list, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)

    def __enter__(self) -> Self:
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in (self._listener, *self._sockets):
            sock.close()

    def freeze(self) -> None:
        """Forward nothing any more, without closing anything."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on forwarding, beginning with what has come in the meantime."""
        self._flowing.set()

    def settings(self, **changes: object) -> DatabaseSettings:
        """The database as it is reached through here, by the name ``localhost``."""
        port = self._listener.getsockname()[1]
        return evolve(self.database, host="localhost", port=port, unix_socket=None, **changes)

    def _start(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self.answer is not None:
                client.recv(8)
                client.sendall(self.answer)
                with suppress(ConnectionResetError):  # a close with our answer unread
                    while client.recv(65536):
                        pass
                self.closed_by_client.set()
                return
            first = client.recv(8, socket.MSG_WAITALL)
            if first == _SSL_REQUEST:
                client.sendall(b"N" if self.tls is None else b"S")
                if self.tls is not None:
                    client = self.tls.wrap_socket(client, server_side=True)
                    self._sockets.append(client)
                first = b""
            upstream = self._connect()
            self._sockets.append(upstream)
            upstream.sendall(first)
            self._start(self._pump, upstream, client)
            self._pump(client, upstream)
            self.closed_by_client.set()

    def _connect(self) -> socket.socket:
        if self.database.unix_socket is None:
            return socket.create_connection((self.database.host, self.database.port))
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(self.database.unix_socket)
        return upstream

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                self._flowing.wait()
                sink.sendall(chunk)
        with suppress(OSError):
            # This direction only: whether the client closes the other one is what a test wants to know.
            sink.shutdown(socket.SHUT_WR)
