"""``m3w prune``: what `m3w serve` does every hour, now; or what it would do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from m3w_core import Settings, connected, verify
from m3w_core.retention import TABLES, Retention, count_expired, cutoff
from m3w_http.cli_database import data_dir_option, database_of


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@data_dir_option
@click.pass_obj
def prune(settings: Settings, data_dir: Path | None, *, dry_run: bool) -> None:
    """
    Delete what is older than RETENTION_DAYS.

    A backend that runs does the same every hour; both may be at work at once.
    """
    days = settings.retention_days
    if not days:
        click.echo("RETENTION_DAYS is 0: everything is kept.")
        return
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            before = cutoff(connection, days)
            if dry_run:
                rows = count_expired(connection, days)
            else:
                rows = Counter[str]()
                Retention(days, lambda table, count: rows.update({table: count})).prune(
                    connection, all_timelines=True
                )
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(f"{verb} what is from before {before:%Y-%m-%d %H:%M %Z} (RETENTION_DAYS={days}), rows:")
    for table in TABLES:
        click.echo(f"  {table:<18}{rows[table]:>14,}")
