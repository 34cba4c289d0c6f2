"""``m3w rollup``: the hourly sums that make long ranges fast; they can always be made again from the sessions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from m3w_core import Settings, connected, rollup, verify
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_time import moment


@click.group("rollup")
def rollup_command() -> None:
    """Look after the hourly sums that dashboards read."""


@rollup_command.command()
@click.option("--since", type=moment, help="First hour.  [default: all]")
@click.option("--until", type=moment, help="Before this hour; UTC unless it says otherwise.  [default: all]")
@data_dir_option
@click.pass_obj
def rebuild(
    settings: Settings, since: datetime | None, until: datetime | None, data_dir: Path | None
) -> None:
    """
    Make the sums again from the sessions that are there.

    For rows of sessions that were changed by hand. The backend may run meanwhile.
    """
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection, click.progressbar(label="Days", length=1) as bar:

            def show(done: int, days: int) -> None:
                bar.length = days
                bar.update(done - bar.pos)

            report = rollup.rebuild(connection, since, until, progress=show)
            newest = rollup.refresh(connection)
    click.echo(f"{report.rows + newest.rows:,} rows written.")
