"""
Fixtures for all tests: a PostgreSQL 16 per run, and a database of its own for each test that asks for one.

Nothing is started before the first test that needs it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from m3w_core import migrations
from m3w_core.database_url import DatabaseSettings
from tests._databases import (
    Choice,
    choose_server,
    connect,
    new_database,
    open_temporary_directory,
    run_server,
)

CHOSEN_SERVER = pytest.StashKey[Choice]()
STARTED_SERVER = pytest.StashKey[Choice]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs us in the background has us ignore it, and the programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        config.stash[CHOSEN_SERVER] = choose_server(os.environ)
    except ValueError as exc:
        raise pytest.UsageError(str(exc)) from exc


def pytest_report_header(config: pytest.Config) -> str:
    return f"test database: {config.stash[CHOSEN_SERVER]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    started = config.stash.get(STARTED_SERVER, None)
    if started is not None and started != config.stash[CHOSEN_SERVER]:
        terminalreporter.write_line(f"test database: {started}")


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[DatabaseSettings]:
    """A database of the server, for creating others: tests use `database` or `migrated_database`."""
    with run_server(pytestconfig.stash[CHOSEN_SERVER]) as (settings, started):
        pytestconfig.stash[STARTED_SERVER] = started
        yield settings


@pytest.fixture
def database(server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """An empty database."""
    with new_database(server) as settings:
        yield settings


@pytest.fixture(scope="session")
def _migrated_template(server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with new_database(server) as settings:
        # Closed again, as only a database that nobody is connected to can be copied.
        with closing(connect(settings)) as connection:
            migrations.apply(connection)
        yield settings


@pytest.fixture
def migrated_database(
    server: DatabaseSettings, _migrated_template: DatabaseSettings
) -> Iterator[DatabaseSettings]:
    """A database with the schema of this release, and nothing in it."""
    with new_database(server, template=_migrated_template.database) as settings:
        yield settings


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A path for an embedded server's data, where nothing is yet; `tmp_path` is closed to root's stand-in."""
    with open_temporary_directory() as directory:
        yield directory / "data"
