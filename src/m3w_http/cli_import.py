"""``m3w import``: the way back in, for what ``m3w export`` wrote."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import click

from m3w_core import Settings, verify
from m3w_core.importing import import_sessions
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_progress import progress_bar

#: So many broken lines are named; the others are only counted.
_MAX_NAMED = 100


@click.command("import")
@click.argument("file", type=click.File("rb"))
@data_dir_option
@click.pass_obj
def import_command(settings: Settings, file: BinaryIO, data_dir: Path | None) -> None:
    """
    Read sessions from FILE, or from standard input where it is -: NDJSON of m3w export, or of the API.

    The newest summary of a session stays, so an import can be repeated. Lines that are no sessions are named and left
    out, and make the exit status 1.
    """
    named = 0

    def broken(number: int, reason: str) -> None:
        nonlocal named
        named += 1
        if named <= _MAX_NAMED:
            # A file from elsewhere can hold anything, what a terminal obeys too.
            printable = "".join(letter if letter.isprintable() else "\ufffd" for letter in reason)
            click.echo(f"Line {number} is left out: {printable}", err=True)

    with (
        database_of(settings, data_dir) as database,
        progress_bar("Importing", _size(file)) as bar,
    ):
        verify(database)
        report = import_sessions(database, file, broken=broken, progress=bar.update if bar else None)
    whole = report.read - report.broken
    click.echo(f"{whole} sessions read, {report.changed} of them new or newer than what was there", err=True)
    oldest_kept = datetime.now(UTC) - timedelta(days=settings.retention_days)
    if settings.retention_days and report.oldest is not None and report.oldest < oldest_kept:
        click.echo(
            f"Some are older than {settings.retention_days} days: a backend with that RETENTION_DAYS deletes them "
            "again within the hour",
            err=True,
        )
    if report.broken:
        raise click.ClickException(
            f"{report.broken} of {report.read} lines are no sessions and were left out"
        )


def _size(file: BinaryIO) -> int:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
