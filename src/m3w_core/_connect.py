"""
Connections to PostgreSQL, with the socket made here rather than by the driver.

pg8000 writes a message in several pieces and leaves TCP_NODELAY off, so that every larger parameter would
wait 40 ms for a delayed acknowledgement.
"""

from __future__ import annotations

import math
import socket
import ssl
import struct
import sys
from contextlib import suppress
from typing import Any

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from m3w_core._errors import translate
from m3w_core.database_url import SYSTEM_ROOTS, DatabaseSettings
from m3w_core.exceptions import StorageConfigurationError, StorageUnavailableError

# Length and code of the message that asks for TLS, and the server's two answers.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_TLS_ACCEPTED, _TLS_REFUSED = b"S", b"N"

#: How much longer than the server's own limit the socket waits before the server counts as frozen.
GRACE_S = 2.0

_INVALID_PASSWORD = "28P01"  # noqa: S105 - a SQLSTATE


class _Connection(Connection):  # type: ignore[misc] # pg8000 has no types
    """
    A connection whose socket is closed when it is, also after an error.

    The driver closes the socket but not its file object, and a socket stays open as long as that lives: in the
    traceback of the error, for one.
    """

    _sock: Any = None

    def close(self) -> None:
        file = self._sock
        try:
            super().close()
        finally:
            if file is not None:
                with suppress(OSError):  # of what could not be sent any more
                    file.close()


def open_connection(
    database: DatabaseSettings,
    *,
    connect_timeout_s: float,
    statement_timeout_s: float | None,
    application_name: str,
) -> Connection:
    """
    Connect to PostgreSQL.

    Args:
        database: Where to, and as whom.
        connect_timeout_s: How long to wait for each step: an address, TLS, one answer of the log-in.
        statement_timeout_s: How long one statement may take, on the server. Two seconds later the socket
            gives up too, as a frozen server stops no statement. None is without end for both.
        application_name: What ``pg_stat_activity`` shows.

    Returns:
        A connection that one thread at a time may use.

    Raises:
        StorageConfigurationError: If it cannot work until somebody changes something: a wrong password, no
            such database, TLS refused or a certificate not trusted.
        StorageUnavailableError: If there is no answer now.
    """
    handled = sys.exception()
    try:
        return _open(database, connect_timeout_s, statement_timeout_s, application_name)
    except Exception as exc:
        error = translate(_server_error(exc, handled) or exc)
        advice = ""
        if error.sqlstate == _INVALID_PASSWORD and database.password is None:
            advice = "; no password was given, set DATABASE_PASSWORD"
        message = f"cannot connect to {database}: {error.message}{advice}"
        raise type(error)(message, sqlstate=error.sqlstate) from exc


def _server_error(exc: BaseException | None, handled: BaseException | None) -> DatabaseError | None:
    # After a refusal pg8000 says goodbye, and where the server is gone already that error hides the refusal.
    # What our caller is handling stands further back in the same chain.
    while exc is not None and exc is not handled:
        if isinstance(exc, DatabaseError):
            return exc
        exc = exc.__context__
    return None


def _open(
    database: DatabaseSettings,
    connect_timeout_s: float,
    statement_timeout_s: float | None,
    application_name: str,
) -> Connection:
    # Whatever the default of the database or the role is, both sides speak UTF-8.
    startup = {"client_encoding": "UTF8"}
    if statement_timeout_s is not None:
        startup["options"] = f"-c statement_timeout={math.ceil(statement_timeout_s * 1000)}"
    sock = _connected_socket(database, connect_timeout_s)
    try:
        sock = _with_tls(sock, database)
        connection = _Connection(
            database.user,
            database=database.database,
            # pg8000 fails on None with an AttributeError where the server wants SCRAM.
            password=database.password or "",
            sock=sock,
            ssl_context=False,
            application_name=application_name,
            startup_params=startup,
        )
        sock.settimeout(None if statement_timeout_s is None else statement_timeout_s + GRACE_S)
    except BaseException:
        sock.close()
        raise
    return connection


def _connected_socket(database: DatabaseSettings, timeout_s: float) -> socket.socket:
    if database.unix_socket is None:
        sock = socket.create_connection((database.host, database.port), timeout_s)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if database.unix_socket is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        else:
            sock.settimeout(timeout_s)
            sock.connect(database.unix_socket)
    except BaseException:
        sock.close()
        raise
    return sock


def _with_tls(sock: socket.socket, database: DatabaseSettings) -> socket.socket:
    # Asked for here, not by pg8000: it would keep the wrapped socket, and its time-out, to itself.
    if database.unix_socket is not None or database.sslmode == "disable":
        return sock
    context = _tls_context(database)
    sock.sendall(_SSL_REQUEST)
    # Nothing more is read than this: what follows in plain text must not count as said under TLS.
    answer = sock.recv(1)
    if answer == _TLS_ACCEPTED:
        return context.wrap_socket(sock, server_hostname=database.host)
    if answer != _TLS_REFUSED:
        raise StorageUnavailableError("it closed the connection or does not speak PostgreSQL's protocol")
    if database.sslmode == "prefer":
        return sock
    raise StorageConfigurationError(
        f"the server does not offer TLS, which sslmode={database.sslmode} asks for"
    )


def _tls_context(database: DatabaseSettings) -> ssl.SSLContext:
    # Not create_default_context: from Python 3.13 on it refuses what many private authorities issue.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = database.sslmode == "verify-full"
    roots = database.sslrootcert
    # As in libpq, a file of trusted certificates makes require check them.
    if database.sslmode == "prefer" or (database.sslmode == "require" and roots is None):
        context.verify_mode = ssl.CERT_NONE
    elif roots is None or roots == SYSTEM_ROOTS:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(roots)
        except OSError as exc:
            reason = "it holds no certificate in PEM form" if isinstance(exc, ssl.SSLError) else exc.strerror
            raise StorageConfigurationError(f"sslrootcert {roots} cannot be used: {reason}") from exc
    return context
