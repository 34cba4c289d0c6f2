"""
Numbered changes of the schema, each applied once, in order and whole.

The files are plain SQL, ``V<number>__<words>.sql``. The number is the identity, the words are for people. A
file that has been shipped is never edited, which its checksum in the table ``m3w_migrations`` ensures. The
first also adopts a database of the Kotlin backend. The functions take a pg8000 connection that is in no
transaction and that nothing else uses meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Literal

from attrs import frozen
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from m3w_core import _adoption
from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core._migration_files import Migration, available, shipped_directory
from m3w_core._migration_history import AppliedMigration, pending_after, read_history, record
from m3w_core.exceptions import MigrationError

__all__ = [
    "AppliedMigration",
    "Migration",
    "MigrationStatus",
    "applied",
    "apply",
    "available",
    "check",
    "pending",
    "status",
]

State = Literal["applied", "pending", "changed", "unknown"]

_log = logging.getLogger(__name__)

#: Updates that change a column under a BRIN index are HOT from this version on; the schema counts on it.
MIN_SERVER_VERSION = 16

#: Shared by all processes that migrate one database, or give rights in it: "m3w_migr" in ASCII.
LOCK_KEY = int.from_bytes(b"m3w_migr")

#: The second takes bytes as they come, and what comes from us is UTF-8.
_ENCODINGS = ("UTF8", "SQL_ASCII")

_MIGRATE_AS_OWNER = "Run `m3w migrate` with a role that may change the schema."

_INSUFFICIENT_PRIVILEGE = "42501"


@frozen
class MigrationStatus:
    """
    One line of ``m3w migrate --status``.

    Args:
        version: Its number.
        name: Its words.
        applied_at: When it was applied, by the clock of the database; None if it was not.
        state: ``changed``: the file is not the one that was applied. ``unknown``: it was applied, and this
            release has no such file.
    """

    version: int
    name: str
    applied_at: datetime | None
    state: State


def applied(connection: Connection) -> list[AppliedMigration]:
    """
    Read what was applied to this database, in order of number; nothing where nobody has migrated it yet.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with _driver_errors():
        return read_history(connection)


def pending(connection: Connection, *, directory: Traversable | None = None) -> list[Migration]:
    """
    Tell what `apply` would apply.

    Args:
        connection: To the database.
        directory: Where the files lie; the ones shipped with the package where None.

    Raises:
        MigrationError: If the files do not fit what was applied: one was changed, one was passed over, or a
            newer release has migrated the database.
        StorageUnavailableError: If the database does not answer.
    """
    return pending_after(applied(connection), available(directory))


def check(connection: Connection, *, directory: Traversable | None = None) -> None:
    """
    Make sure that nothing is pending. Changes nothing and needs no right but to read.

    Args:
        connection: To the database.
        directory: Where the files lie; the ones shipped with the package where None.

    Raises:
        MigrationError: If the schema is not the one of this release.
        StorageUnavailableError: If the database does not answer.
    """
    with _driver_errors():
        _require_supported_server(connection)
    waiting = pending(connection, directory=directory)
    if waiting:
        names = ", ".join(migration.file_name for migration in waiting)
        raise MigrationError(f"The database lacks {names}. {_MIGRATE_AS_OWNER}")


def status(connection: Connection, *, directory: Traversable | None = None) -> list[MigrationStatus]:
    """
    List every migration that this release or the database knows, in order of number.

    Args:
        connection: To the database.
        directory: Where the files lie; the ones shipped with the package where None.

    Raises:
        MigrationError: If the files cannot be read.
        StorageUnavailableError: If the database does not answer.
    """
    files = {migration.version: migration for migration in available(directory)}
    history = {done.version: done for done in applied(connection)}
    rows = []
    for version in sorted(files.keys() | history.keys()):
        file, done = files.get(version), history.get(version)
        if done is None:
            rows.append(MigrationStatus(version, files[version].name, None, "pending"))
        elif file is None:
            rows.append(MigrationStatus(version, done.name, done.applied_at, "unknown"))
        else:
            state: State = "applied" if file.checksum == done.checksum else "changed"
            rows.append(MigrationStatus(version, file.name, done.applied_at, state))
    return rows


# A regrole is written as an identifier, quoted where it has to be.
_OTHER_OWNER = """
SELECT relowner::regrole::text FROM pg_class
WHERE oid = to_regclass('m3w_migrations') AND relowner <> current_user::regrole
    AND pg_has_role(relowner, 'MEMBER')
"""


def apply(
    connection: Connection,
    *,
    log: Callable[[str], None] = _log.info,
    directory: Traversable | None = None,
) -> list[Migration]:
    """
    Apply what is pending, each migration in one transaction together with its record.

    Any number of processes may do this at once: one works, the others wait and find nothing left to do. Where
    nothing is pending, nothing is locked or written.

    Args:
        connection: To the database. Its socket without a time-out: a migration of many rows takes long.
        log: Takes one line for each migration, and one when it has to wait for another process.
        directory: Where the files lie; the ones shipped with the package where None.

    Returns:
        What this call has applied.

    Raises:
        MigrationError: If the server is too old, the files do not fit what was applied, or a statement fails.
            Earlier migrations stay applied, of the one that failed nothing does.
        StorageUnavailableError: If the connection breaks; the call may be repeated on a new one.
    """
    migrations = available(directory)
    done = []
    with _driver_errors():
        _require_supported_server(connection)
        while pending_after(read_history(connection), migrations):
            migration = _apply_next(connection, migrations, directory or shipped_directory(), log)
            if migration is not None:
                log(f"applied {migration.file_name}")
                done.append(migration)
    return done


def _apply_next(
    connection: Connection,
    migrations: Sequence[Migration],
    directory: Traversable,
    log: Callable[[str], None],
) -> Migration | None:
    with _transaction(connection):
        _take_lock(connection, log)
        # Read again: whoever held the lock may have done it.
        waiting = pending_after(read_history(connection), migrations)
        if not waiting:
            return None
        migration = waiting[0]
        with _named_failure(migration):
            record(connection, migration)
            kotlin_version = None
            if migration.version == 1:
                kotlin_version = _adoption.find_kotlin_version(connection)
            else:
                _become_owner(connection)
            if kotlin_version is None:
                connection.run(migration.sql)
            else:
                _adoption.adopt(connection, kotlin_version, migration.sql, directory, log)
        return migration


def _become_owner(connection: Connection) -> None:
    # Adopted tables stay with their owner, whoever migrates; what is added later belongs to the same role, or
    # the backend could not use it.
    for (owner,) in connection.run(_OTHER_OWNER):
        connection.run(f"SET LOCAL ROLE {owner}")


def _require_supported_server(connection: Connection) -> None:
    number = int(connection.run("SHOW server_version_num")[0][0])
    if number < MIN_SERVER_VERSION * 10_000:
        raise MigrationError(
            f"The server is PostgreSQL {number // 10_000}, and {MIN_SERVER_VERSION} or newer is needed. "
            "Upgrade it, or name another in DATABASE_URL."
        )
    encoding = connection.run("SHOW server_encoding")[0][0]
    if encoding not in _ENCODINGS:
        raise MigrationError(
            f"The database holds text in {encoding}, which lacks characters that sessions have. "
            "Create one with ENCODING 'UTF8', and name it in DATABASE_URL."
        )


def _take_lock(connection: Connection, log: Callable[[str], None]) -> None:
    # Of the transaction, not the session: behind a transaction-level pooler the session is not ours to keep.
    if not connection.run(f"SELECT pg_try_advisory_xact_lock({LOCK_KEY})")[0][0]:
        log("waiting for another process that is migrating this database")
        connection.run(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    # Read committed, whatever the role's default: what is read after waiting for a lock must be the newest.
    connection.run("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        connection.run("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        yield
    except Exception:
        # The error that counts is the one under way.
        with suppress(Exception):
            connection.run("ROLLBACK")
        raise
    connection.run("COMMIT")


@contextmanager
def _named_failure(migration: Migration) -> Iterator[None]:
    try:
        yield
    except DatabaseError as exc:
        report = exc.args[0]
        # Not the file's fault: a broken connection, a deadlock or a server that is going away.
        if report["C"].startswith(("08", "40", "57P", "25006")):
            raise
        lines = [f"{migration.file_name} failed, and nothing of it was kept: {report['M']} ({report['C']})"]
        lines += [report[key] for key in ("D", "H") if key in report]
        if report["C"] == _INSUFFICIENT_PRIVILEGE:
            lines.append(_MIGRATE_AS_OWNER)
        raise MigrationError("\n".join(lines)) from exc


@contextmanager
def _driver_errors() -> Iterator[None]:
    try:
        yield
    except DRIVER_ERRORS as exc:
        raise translate(exc) from exc
