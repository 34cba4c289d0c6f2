"""
What a database records of the migrations that were applied to it, in the table ``m3w_migrations``.

A release and a database fit if what was applied is the beginning of the files of the release, each unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen
from pg8000.native import Connection

from m3w_core._migration_files import Migration
from m3w_core.exceptions import MigrationError

# Not to_regclass alone: inside a transaction it can answer from a cache that does not know yet what others
# have made. Naming a table makes the server look.
_EXISTS = "SELECT count(*) > 0 FROM pg_class WHERE oid = to_regclass('m3w_migrations')"
_READ = "SELECT version, name, checksum, applied_at FROM m3w_migrations ORDER BY version ASC"
_CREATE = """
    CREATE TABLE IF NOT EXISTS m3w_migrations (
        version integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_RECORD = "INSERT INTO m3w_migrations (version, name, checksum) VALUES (:version, :name, :checksum)"


@frozen
class AppliedMigration:
    """
    The record that the database keeps of one migration.

    Args:
        version: Its number.
        name: Its words at that time.
        checksum: Of its text at that time.
        applied_at: When, by the clock of the database.
    """

    version: int
    name: str
    checksum: str
    applied_at: datetime


def read_history(connection: Connection) -> list[AppliedMigration]:
    """Read what was applied, in order of number; nothing where there is no such table."""
    # Without parameters each is one message, so a pooler may send the two to different sessions.
    if not connection.run(_EXISTS)[0][0]:
        return []
    return [AppliedMigration(*row) for row in connection.run(_READ)]


def record(connection: Connection, migration: Migration) -> None:
    """Write down that a migration is applied, in the transaction that applies it."""
    connection.run(_CREATE)
    connection.run(_RECORD, version=migration.version, name=migration.name, checksum=migration.checksum)


def pending_after(history: Sequence[AppliedMigration], migrations: Sequence[Migration]) -> list[Migration]:
    """
    Tell which migrations a database with this history lacks.

    Args:
        history: Of the database, in order of number.
        migrations: Of the release, in order of number, at least one.

    Raises:
        MigrationError: If the two do not fit.
    """
    known = {migration.version: migration for migration in migrations}
    for applied in history:
        migration = known.get(applied.version)
        if migration is None:
            raise MigrationError(
                f"A newer release has migrated this database to V{applied.version}__{applied.name}, and this "
                f"one ends at {migrations[-1].file_name}. Start that release or a later one."
            )
        if migration.checksum != applied.checksum:
            raise MigrationError(
                f"{migration.file_name} is not the file that was applied to this database on "
                f"{applied.applied_at:%Y-%m-%d}: it was changed since. Put the original back (install the "
                "release again), and make the change in a new migration."
            )
    recorded = {applied.version for applied in history}
    waiting = [migration for migration in migrations if migration.version not in recorded]
    if waiting and recorded and waiting[0].version < max(recorded):
        raise MigrationError(
            f"{waiting[0].file_name} was not applied to this database before V{max(recorded)} was. Give it a "
            "number after the last."
        )
    return waiting
