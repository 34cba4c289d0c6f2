"""
The files of the migrations, as they lie in the package or in the source tree.

Only names that begin with ``V`` are migrations: the adoption of a Kotlin database has its own beside them.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from attrs import field, frozen

from m3w_core.exceptions import MigrationError

_FILE_NAME = re.compile(r"V([1-9][0-9]*)__([a-z0-9_]+)\.sql")

_NO_FILES = "The SQL files of the migrations are missing: install this release again."


@frozen
class Migration:
    """
    One file.

    Args:
        version: Its number, from 1.
        name: Its words, ``create_sessions``.
        sql: Its text, with a line feed at the end of each line.
    """

    version: int
    name: str
    sql: str = field(repr=False)

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """``V1__create_sessions.sql``."""
        return f"V{self.version}__{self.name}.sql"


def available(directory: Traversable | None = None) -> list[Migration]:
    """
    Read the migrations of this release, in their order.

    Args:
        directory: Where the files lie; the ones shipped with the package where None.

    Raises:
        MigrationError: If there are none, or their names are not ``V1__words.sql``, ``V2__words.sql`` and so
            on without a gap. Files that do not begin with ``V`` are left alone.
    """
    found: dict[int, Migration] = {}
    for file in (directory or shipped_directory()).iterdir():
        if not file.name.startswith("V"):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file.name} is not named like V2__add_some_column.sql: rename it.")
        # As text, not bytes: a checkout with CRLF is the same migration.
        migration = Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        if migration.version in found:
            other = found[migration.version]
            raise MigrationError(f"{other.file_name} and {file.name} have the same number: rename one.")
        found[migration.version] = migration
    if not found:
        raise MigrationError(_NO_FILES)
    for version in range(1, max(found)):
        if version not in found:
            raise MigrationError(f"There is no migration V{version}, but V{max(found)}: a file is missing.")
    return [found[version] for version in sorted(found)]


def shipped_directory() -> Traversable:
    """
    Find the SQL files that belong to this package.

    Raises:
        MigrationError: If they are not there.
    """
    packaged = resources.files("m3w_core") / "migrations"
    if packaged.is_dir():
        return packaged
    # In a source tree the files lie beside src/.
    source = Path(__file__).resolve().parents[2] / "migrations"
    if source.is_dir():
        return source
    raise MigrationError(_NO_FILES)
