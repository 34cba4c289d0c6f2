"""``m3w export``: the way out. Data goes to standard output and everything else to standard error."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import click

from m3w_core import Settings, verify
from m3w_core.export import ExportError, ExportFormat, export_sessions
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_progress import progress_bar
from m3w_http.cli_time import moment


@click.command("export")
@click.option(
    "--since", type=moment, help="Only sessions at this time or later; UTC unless it says otherwise."
)
@click.option("--until", type=moment, help="Only sessions before this time.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["ndjson", "csv", "parquet"]),
    default="ndjson",
    show_default=True,
    help="NDJSON has everything, timelines too, and `m3w import` reads it; the others are the table.",
)
@data_dir_option
@click.pass_obj
def export_command(
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    format_: ExportFormat,
    data_dir: Path | None,
) -> None:
    """
    Write sessions to standard output.

    All are of one moment, however long it takes. docs/operations.md describes the formats.
    """
    output = sys.stdout.buffer
    if format_ == "parquet" and output.isatty():
        raise click.UsageError("Parquet is nothing for a terminal: add > sessions.parquet")
    with database_of(settings, data_dir) as database, progress_bar("Exporting") as bar:
        verify(database)

        def counted(sessions: int) -> None:
            bar.length = sessions

        try:
            count = export_sessions(
                database,
                output,
                format_=format_,
                since=since,
                until=until,
                counted=counted if bar else None,
                progress=bar.update if bar else None,
            )
        except ExportError as error:
            # What is still buffered would be tried again at the end, and told of once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
            if isinstance(error.__cause__, BrokenPipeError):
                raise SystemExit(1) from None  # whoever reads has enough, `head` for example
            raise
    click.echo(f"{count} sessions exported", err=True)
