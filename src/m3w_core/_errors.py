"""
What the driver raises, turned into m3w_core's own exceptions.

A connection that breaks shows as whatever the driver was doing at the time: an OSError, its own
InterfaceError, or struct.error for half a message.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pg8000.exceptions import DatabaseError, Error

from m3w_core.exceptions import (
    SessionRefusedError,
    StorageConfigurationError,
    StorageError,
    StorageUnavailableError,
)

#: What pg8000 raises when the server refuses or the connection breaks.
DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (Error, OSError, struct.error)

# Classes of SQLSTATE: data exception, integrity constraint violation.
_ROWS = ("22", "23")
# Invalid authorization, no such database, no such schema, syntax error or access rule violation.
_SETUP = ("28", "3D", "3F", "42")


def translate(exc: Exception) -> StorageError:
    """
    Give m3w_core's exception for one of the driver's; raise it from that one.

    The message quotes the server's own, but not its detail, which holds the row.

    Args:
        exc: One of `DRIVER_ERRORS`. Any other is taken for a connection in an unknown state.
    """
    if isinstance(exc, StorageError):
        return exc
    reason = exc.args[0] if isinstance(exc, DatabaseError) and exc.args else None
    if isinstance(reason, dict):
        sqlstate = reason.get("C")
        message = f"{reason.get('M', 'no message')} (SQLSTATE {sqlstate})"
        return _kind(sqlstate or "")(message, sqlstate=sqlstate)
    if isinstance(exc, ssl.SSLCertVerificationError):
        reason = getattr(exc, "verify_message", None) or exc
        return StorageConfigurationError(f"the server's certificate is not trusted: {reason}")
    return StorageUnavailableError(_text(exc))


@contextmanager
def translating() -> Iterator[None]:
    """Raise m3w_core's exceptions instead of the driver's, for the length of a ``with`` block."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def _kind(sqlstate: str) -> type[StorageError]:
    if sqlstate.startswith(_ROWS):
        return SessionRefusedError
    return StorageConfigurationError if sqlstate.startswith(_SETUP) else StorageUnavailableError


def _text(exc: Exception) -> str:
    # The driver says "network error" for all of them and keeps what happened as the cause.
    if isinstance(exc, Error) and isinstance(exc.__cause__, OSError):
        return _text(exc.__cause__)
    if isinstance(exc, TimeoutError):
        return "it did not answer in time"
    if isinstance(exc, ssl.SSLError):
        # Only those that come from OpenSSL have a reason.
        return f"TLS failed: {getattr(exc, 'reason', None) or exc}"
    if isinstance(exc, OSError):
        return exc.strerror or str(exc) or type(exc).__name__
    if isinstance(exc, Error):
        return str(exc) or "the connection broke"
    if isinstance(exc, struct.error):
        return "the connection broke in the middle of a message"
    # Not its text: an error about an encoding quotes what could not be encoded, which may be a password.
    return f"its answer could not be understood ({type(exc).__name__})"
