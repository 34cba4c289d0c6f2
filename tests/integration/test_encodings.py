"""
Databases that were created in another encoding than UTF-8.
"""

from __future__ import annotations

import secrets
from contextlib import closing, contextmanager

import pytest
from attrs import evolve

from m3w_core import MigrationError, PostgresSessionRepository, migrate, verify
from tests._databases import connect
from tests.factories import a_session


@contextmanager
def created(server, encoding):
    name = f"m3w_test_{secrets.token_hex(6)}"
    with closing(connect(server)) as connection:
        connection.run(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        try:
            yield evolve(server, database=name)
        finally:
            connection.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_text_of_any_script_is_kept(server, encoding):
    """
    A database made without a locale has no encoding at all and takes the bytes as they come.
    """
    session = a_session("Zoë 😀", device_model="画", extra={"título": "да"})
    with created(server, encoding) as database:
        migrate(database, log=print)
        with closing(PostgresSessionRepository(database)) as repository:
            repository.upsert([session])
            stored = repository.get("Zoë 😀")

    assert stored.session == session


def test_a_database_that_lacks_characters_is_refused(server):
    """
    Found out at the start, not with the first session that has one of them.
    """
    with created(server, "LATIN1") as database:
        with pytest.raises(MigrationError, match="LATIN1, which lacks characters") as caught:
            migrate(database, log=print)
        with pytest.raises(MigrationError, match="LATIN1"):
            verify(database)

    assert "ENCODING 'UTF8'" in str(caught.value)
