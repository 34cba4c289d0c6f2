"""
Fixtures of the tests that use a database: connections to an empty one, quicker ones for HTTP, one that is down.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pg8000.native import Connection

from m3w_core import PostgresSessionRepository
from m3w_core.database_url import DatabaseSettings
from m3w_core.export import export_sessions
from tests._databases import connect, new_database


@pytest.fixture
def connection(database: DatabaseSettings) -> Iterator[Connection]:
    """A connection to an empty database."""
    with closing(connect(database)) as open_connection:
        yield open_connection


@pytest.fixture
def steps(tmp_path: Path) -> Callable[..., Path]:
    """Write migrations: ``steps("CREATE TABLE a ()", "CREATE TABLE b ()")`` are V1 and V2."""

    def write(*texts: str) -> Path:
        for version, text in enumerate(texts, 1):
            (tmp_path / f"V{version}__step.sql").write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture(scope="module")
def _database_of_module(
    server: DatabaseSettings, _migrated_template: DatabaseSettings
) -> Iterator[DatabaseSettings]:
    with new_database(server, template=_migrated_template.database) as settings:
        yield settings


@pytest.fixture
def emptied_database(_database_of_module: DatabaseSettings) -> DatabaseSettings:
    """A database with the schema of this release, and nothing in it; the tests of a module take turns."""
    with closing(connect(_database_of_module)) as connection:
        # Not TRUNCATE, which is slower for a few rows.
        connection.run(
            "DELETE FROM sessions; DELETE FROM session_timeline; DELETE FROM rejected_payloads;"
            "DELETE FROM api_keys"
        )
    return _database_of_module


@pytest.fixture
def table(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    """A connection to that database."""
    with closing(connect(emptied_database)) as open_connection:
        yield open_connection


@pytest.fixture
def sql(table: Connection) -> Callable[..., Any]:
    """Run SQL on that database."""
    return table.run


@pytest.fixture
def repository(emptied_database: DatabaseSettings) -> Iterator[PostgresSessionRepository]:
    """That database as writers use it."""
    with closing(PostgresSessionRepository(emptied_database)) as repository:
        yield repository


@pytest.fixture
def store(repository: PostgresSessionRepository) -> Callable[..., None]:
    """Store sessions there."""
    return repository.upsert


@pytest.fixture
def export(emptied_database: DatabaseSettings) -> Callable[..., bytes]:
    """Export what is there; takes the options of `export_sessions`."""

    def run(**options: Any) -> bytes:
        output = io.BytesIO()
        export_sessions(emptied_database, output, **options)
        return output.getvalue()

    return run


@pytest.fixture
def nowhere() -> Iterator[DatabaseSettings]:
    """A database that is down: nothing listens on its port."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield DatabaseSettings(host="127.0.0.1", port=reserved.getsockname()[1], database="m3w", user="m3w")
