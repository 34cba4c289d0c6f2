"""
Which of our exceptions a driver's error becomes, by SQLSTATE: it decides whether a batch is split, kept or given up.
"""

from __future__ import annotations

import socket
import ssl
import struct

import pytest
from pg8000.exceptions import DatabaseError, InterfaceError

from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core.exceptions import (
    SessionRefusedError,
    StorageConfigurationError,
    StorageTimeoutError,
    StorageUnavailableError,
)


def caused_by(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("22003", SessionRefusedError),
        ("22P05", SessionRefusedError),
        ("23502", SessionRefusedError),
        ("28000", StorageConfigurationError),
        ("28P01", StorageConfigurationError),
        ("3D000", StorageConfigurationError),
        ("3F000", StorageConfigurationError),
        ("42501", StorageConfigurationError),
        ("42P01", StorageConfigurationError),
        ("08006", StorageUnavailableError),
        ("25006", StorageUnavailableError),
        ("40001", StorageUnavailableError),
        ("40P01", StorageUnavailableError),
        ("53100", StorageUnavailableError),
        ("53300", StorageUnavailableError),
        ("55P03", StorageUnavailableError),
        ("57014", StorageUnavailableError),
        ("57P01", StorageUnavailableError),
        ("57P03", StorageUnavailableError),
        ("XX000", StorageUnavailableError),
        ("99999", StorageUnavailableError),
    ],
)
def test_the_sqlstate_decides_what_a_refusal_is(sqlstate, kind):
    """
    Only what lies in the rows is refused for good; the rest may be repeated, some of it after a change elsewhere.
    """
    error = translate(DatabaseError({"S": "ERROR", "C": sqlstate, "M": "it says why"}))

    assert type(error) is kind
    assert error.sqlstate == sqlstate
    assert str(error) == f"it says why (SQLSTATE {sqlstate})"


def test_what_needs_a_change_is_still_something_a_running_server_retries():
    """
    A password that is being rotated is wrong for a while only.
    """
    assert issubclass(StorageConfigurationError, StorageUnavailableError)


def test_the_detail_of_a_refusal_is_left_out():
    """
    PostgreSQL quotes the row there, and a payload is in no log.
    """
    error = translate(DatabaseError({"C": "23502", "M": "null value", "D": "Failing row contains (s3cret)."}))

    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("exc", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
        (OSError(), "OSError"),
        (TimeoutError("timed out"), "it did not answer in time"),
        (InterfaceError("network error"), "network error"),
        (InterfaceError(), "the connection broke"),
        (caused_by(InterfaceError("network error"), TimeoutError()), "it did not answer in time"),
        (caused_by(InterfaceError("network error"), BrokenPipeError(32, "Broken pipe")), "Broken pipe"),
        (
            struct.error("unpack requires a buffer of 5 bytes"),
            "the connection broke in the middle of a message",
        ),
        (ssl.SSLError(1, "[SSL] whatever"), "TLS failed: [SSL] whatever"),
        (DatabaseError(), "the connection broke"),
        (DatabaseError("odd"), "odd"),
        (KeyError(b"H"), "its answer could not be understood (KeyError)"),
        (
            UnicodeEncodeError("utf-8", "s3cret", 0, 1, "bad"),
            "its answer could not be understood (UnicodeEncodeError)",
        ),
    ],
)
def test_what_breaks_on_the_way_is_unavailable(exc, message):
    """
    Where no server said why, the same call may succeed later, and the message says what happened.
    """
    error = translate(exc)

    assert type(error) is StorageUnavailableError
    assert error.sqlstate is None
    assert str(error) == message


def test_a_certificate_that_is_not_trusted_needs_a_change():
    """
    It is the same certificate next time.
    """
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_message = "self-signed certificate"
    error = translate(exc)

    assert type(error) is StorageConfigurationError
    assert str(error) == "the server's certificate is not trusted: self-signed certificate"


def test_an_error_of_our_own_stays_what_it_is():
    """
    Translating twice changes nothing.
    """
    error = StorageTimeoutError("too late")

    assert translate(error) is error


@pytest.mark.parametrize(
    "exc", [DatabaseError(), InterfaceError(), TimeoutError(), struct.error(), ssl.SSLError()]
)
def test_driver_errors_covers_what_the_driver_raises(exc):
    """
    Whoever catches DRIVER_ERRORS catches them all.
    """
    assert isinstance(exc, DRIVER_ERRORS)
