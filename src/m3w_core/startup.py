"""
Getting a database ready, and telling whether it is.

Each function opens a connection of its own, so that what it says is true of a connection made now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pg8000.native import Connection

from m3w_core import migrations
from m3w_core._connect import open_connection
from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import StorageConfigurationError, StorageUnavailableError
from m3w_core.grafana_role import ensure_grafana_role, hide_private_tables

_CONNECT_TIMEOUT_S = 2.0
_PROBE_TIMEOUT_S = 2.0
_WAIT_STEP_S = 0.5


@contextmanager
def connected(
    database: DatabaseSettings, *, statement_timeout_s: float | None = None
) -> Iterator[Connection]:
    """
    Open a connection for the length of a ``with`` block.

    Args:
        database: Where it is.
        statement_timeout_s: How long one statement may take; None for as long as it needs.

    Raises:
        StorageUnavailableError: If it cannot be reached, or the connection breaks inside the block.
    """
    connection = open_connection(
        database,
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        statement_timeout_s=statement_timeout_s,
        application_name="media3watch-backend",
    )
    try:
        yield connection
    except DRIVER_ERRORS as error:
        raise translate(error) from error
    finally:
        with suppress(*DRIVER_ERRORS):  # it may be broken already
            connection.close()


def migrate(
    database: DatabaseSettings, *, log: Callable[[str], None], grafana_password: str | None = None
) -> None:
    """
    Apply all pending migrations, and see to the role that Grafana reads with.

    Args:
        database: Whose user may create tables.
        log: Is given a line for each step.
        grafana_password: Of that role; None leaves it alone.

    Raises:
        MigrationError: If the database is in a state that no migration starts from, or one fails.
        StorageUnavailableError: If it cannot be reached.
    """
    with connected(database) as connection:
        migrations.apply(connection, log=log)
        hide_private_tables(connection)
        if grafana_password is not None:
            ensure_grafana_role(connection, grafana_password)


def verify(database: DatabaseSettings) -> None:
    """
    Make sure that the database answers and its migrations are current.

    Raises:
        MigrationError: If they are not.
        StorageUnavailableError: If it does not answer within seconds.
    """
    with connected(database, statement_timeout_s=_PROBE_TIMEOUT_S) as connection:
        migrations.check(connection)


def wait_until_up(database: DatabaseSettings, *, patience_s: float, log: Callable[[str], None]) -> None:
    """
    Wait for a database that is still starting.

    Args:
        database: Where it is.
        patience_s: How long to wait at most.
        log: Is told, once, what it waits for.

    Raises:
        StorageConfigurationError: At once, if waiting cannot help (a wrong password).
        StorageUnavailableError: If it is not up by then.
    """
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            with connected(database, statement_timeout_s=_PROBE_TIMEOUT_S) as connection:
                connection.run("SELECT 1")
                return
        except StorageConfigurationError:
            raise
        except StorageUnavailableError as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                log(f"Waiting up to {patience_s:g} s for {database}: {error}")
                told = True
            time.sleep(_WAIT_STEP_S)
