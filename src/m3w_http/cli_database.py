"""Which database a command works on: that of ``DATABASE_URL``, else the embedded one of a data directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from m3w_core import DatabaseSettings, Settings
from m3w_http.embedded import EmbeddedPostgres, default_data_dir, running

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="M3W_DATA_DIR",
    help=f"Where the embedded PostgreSQL keeps its data.  [default: {default_data_dir()}]",
)


@contextmanager
def database_of(settings: Settings, data_dir: Path | None) -> Iterator[DatabaseSettings]:
    """
    Find the database; the embedded one is started for the length of the block if it does not run.

    Args:
        settings: Of the program.
        data_dir: From the command line.
    """
    if settings.database is not None:
        yield settings.database
        return
    directory = data_dir or default_data_dir()
    database = running(directory)
    if database is not None:
        yield database
        return
    with EmbeddedPostgres(directory) as started:
        yield started
