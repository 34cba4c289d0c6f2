"""
Every error that m3w_core raises on purpose.

None of them knows of HTTP: an adapter decides which status an error becomes. What a caller needs to decide
lies on the instance, so that nobody has to parse a message.
"""

from __future__ import annotations

from attrs import frozen


class M3WError(Exception):
    """Base of every error m3w_core raises on purpose."""


@frozen
class Problem:
    """
    What is wrong with one field of a payload.

    Args:
        field: JSON name and path of the field, ``timelineEvents[3].playbackState``.
        problem: What is wrong with it, for people.
    """

    field: str
    problem: str


class InvalidSessionError(M3WError):
    """
    The payload is not a valid session summary; *problems* names every bad field.

    *problems* is empty where the payload could not be read as a JSON object at all.
    """

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class BatchTooLargeError(M3WError):
    """One body holds more sessions than one transaction should."""


class SettingsError(M3WError):
    """A setting has a value that cannot work; the message names the variable and what is expected."""


class KeyNameError(M3WError):
    """No stored key has this name, or none can get it; the message says what to do."""


class StorageError(M3WError):
    """
    The database did not take it. Whether a retry can help is told by the subclass.

    *sqlstate* is the five characters PostgreSQL gave as the reason, or None where no server answered.
    """

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate


class StorageUnavailableError(StorageError):
    """The database could not be reached or was not able to answer: the same call may succeed later."""


class StorageConfigurationError(StorageUnavailableError):
    """
    The server or the way to it is not set up for us: wrong password, no such database, untrusted certificate.

    A start ends here, as waiting does not help. It is a StorageUnavailableError all the same, because a
    running server keeps trying: a password that is being rotated is wrong for a while only.
    """


class StorageTimeoutError(StorageUnavailableError):
    """The database did not take it within the time its caller can wait."""


class StorageOverloadedError(StorageUnavailableError):
    """Too much is waiting for the database already."""


class SessionRefusedError(StorageError):
    """The database refuses these rows for what they hold (SQLSTATE class 22 or 23): a retry cannot help."""


class MigrationError(M3WError):
    """The schema cannot be brought to, or is not at, the version this release needs."""
