"""
The ``m3w`` command.

What m3w_core or the server raises on purpose ends a command with its message and status 1; anything else is a bug
and shows its traceback.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from m3w_core import M3WError, Settings, connected, migrate, migrations, verify
from m3w_http import logs
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_export import export_command
from m3w_http.cli_health import health
from m3w_http.cli_import import import_command
from m3w_http.cli_keys import keys
from m3w_http.cli_prune import prune
from m3w_http.cli_rejected import rejected
from m3w_http.cli_rollup import rollup_command
from m3w_http.cli_sessions import sessions
from m3w_http.demo.command import demo
from m3w_http.server import ServeOptions, serve

_NOTES = {
    "applied": "",
    "pending": "pending",
    "changed": ", but its file is not the one that was applied",
    "unknown": ", by a newer release",
}


class _Group(click.Group):
    """Turns our own errors into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except M3WError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("media3watch-backend"), prog_name="m3w")
@click.pass_context
def main(ctx: click.Context) -> None:
    """
    Media3Watch backend: takes playback sessions from the SDK and keeps them in PostgreSQL.

    Settings come from the environment; README.md lists them.
    """
    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    ctx.obj = settings


@main.command("serve")
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="M3W_HOST", help="Address to listen on."
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: $PORT or 8080]")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    envvar="M3W_WORKERS",
    help="Worker processes; more than one for each CPU gains nothing.",
)
@data_dir_option
@click.pass_obj
def serve_command(
    settings: Settings, host: str, port: int | None, workers: int, data_dir: Path | None
) -> None:
    """
    Run the backend.

    Without DATABASE_URL it brings a PostgreSQL of its own along and keeps the data in --data-dir.
    """
    options = ServeOptions(
        host=host, port=settings.port if port is None else port, workers=workers, data_dir=data_dir
    )
    try:
        serve(settings, options)
    except KeyboardInterrupt:
        # Stopped before it served; everything that was started is stopped again.
        raise SystemExit(0) from None


@main.command("migrate")
@click.option("--status", is_flag=True, help="Only show which migrations are applied.")
@data_dir_option
@click.pass_obj
def migrate_command(settings: Settings, data_dir: Path | None, *, status: bool) -> None:
    """
    Bring the database's schema up to date.

    A database of the Kotlin backend is adopted with its sessions.
    """
    with database_of(settings, data_dir) as database:
        if not status:
            migrate(database, log=click.echo, grafana_password=settings.grafana_db_password)
            verify(database)
            click.echo("The schema is up to date.")
            return
        with connected(database) as connection:
            for row in migrations.status(connection):
                applied = "" if row.applied_at is None else f"applied {row.applied_at:%Y-%m-%d %H:%M:%S %Z}"
                click.echo(f"V{row.version:<4} {row.name:<30} {applied}{_NOTES[row.state]}")


main.add_command(demo)
main.add_command(export_command)
main.add_command(health)
main.add_command(keys)
main.add_command(rejected)
main.add_command(import_command)
main.add_command(prune)
main.add_command(rollup_command)
main.add_command(sessions)
