"""``m3w keys``: API keys that are kept in the database, and what to do when one has leaked."""

from __future__ import annotations

from pathlib import Path

import click

from m3w_core import Settings, connected, verify
from m3w_core.auth import DEVELOPMENT_KEY_NAME, ROUTES
from m3w_core.exceptions import KeyNameError
from m3w_core.key_sessions import count_sessions, delete_sessions
from m3w_core.keys import add_key, revoke_key, stored_keys
from m3w_core.settings import DEFAULT_KEY_NAME
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_progress import progress_bar
from m3w_http.upkeep import EVERY_S

_SOON = f"within {EVERY_S:g} seconds"


@click.group()
def keys() -> None:
    """
    Make, list and revoke API keys.

    Keys of the environment (M3W_API_KEY, M3W_API_KEYS) stay valid beside these.
    """


@keys.command("add")
@click.argument("name")
@click.option(
    "--routes",
    type=click.Choice(ROUTES),
    multiple=True,
    default=ROUTES,
    show_default="all",
    help="What it may be used for; give it once for each.",
)
@data_dir_option
@click.pass_obj
def add(settings: Settings, name: str, routes: tuple[str, ...], data_dir: Path | None) -> None:
    """Make a key called NAME, which metrics and sessions will bear, and show it this once."""
    if name in {DEFAULT_KEY_NAME, DEVELOPMENT_KEY_NAME, *settings.api_keys}:
        raise click.ClickException(
            f"{name} is the name of a key of the environment: sessions are found by it. Choose another name."
        )
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            first = not stored_keys(connection)
            key = add_key(connection, name, routes)
    click.echo(key)
    click.echo(
        f"Keep it now: it is not stored and cannot be shown again. It is valid {_SOON} for"
        f" {' and '.join(routes)}.",
        err=True,
    )
    if first and not settings.api_keys:
        click.echo("The development key is not valid any more, now that there is one of your own.", err=True)


@keys.command("list")
@data_dir_option
@click.pass_obj
def list_(settings: Settings, data_dir: Path | None) -> None:
    """Show the names of all keys, with how those that are stored begin."""
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            stored = stored_keys(connection)
    if not stored and not settings.api_keys:
        click.echo(
            "There are none of your own, so dev-key is valid, which everybody knows: m3w keys add NAME"
        )
        return
    click.echo(f"{'NAME':<24} {'KEY':<12} {'ROUTES':<16} {'MADE':<17} STATE")
    for name in settings.api_keys:
        click.echo(f"{name:<24} {'-':<12} {', '.join(ROUTES):<16} {'-':<17} valid, of this environment")
    for key in stored:
        state = "valid" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
        click.echo(
            f"{key.name:<24} {key.prefix + '…':<12} {', '.join(key.routes):<16} "
            f"{key.created_at:%Y-%m-%d %H:%M}  {state}"
        )


@keys.command("revoke")
@click.argument("name")
@data_dir_option
@click.pass_obj
def revoke(settings: Settings, name: str, data_dir: Path | None) -> None:
    """End the validity of the key NAME."""
    if name in settings.api_keys:
        raise click.ClickException(
            f"{name} is a key of the environment: take it out of M3W_API_KEY or M3W_API_KEYS and restart."
        )
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            revoke_key(connection, name)
            count, _, _ = count_sessions(connection, name)
    click.echo(f"{name} is not valid any more {_SOON}. {count} sessions came by it.")
    if count:
        click.echo(f"If it has leaked: m3w keys delete-sessions {name}")


@keys.command("delete-sessions")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir_option
@click.pass_obj
def delete_sessions_command(settings: Settings, name: str, data_dir: Path | None, *, yes: bool) -> None:
    """
    Delete all sessions that came by the key NAME, which must be valid no more.

    The rollup is put right. There is no way back but a backup.
    """
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            stored = {key.name for key in stored_keys(connection) if key.revoked_at is None}
            if name in stored or name in settings.api_keys:
                raise KeyNameError(f"The key {name} is still valid. Revoke it first: m3w keys revoke {name}")
            count, first, last = count_sessions(connection, name)
            if first is None or last is None:
                click.echo(f"No session came by the key {name}.")
                return
            if not yes:
                click.confirm(
                    f"Delete {count} sessions, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC?",
                    abort=True,
                )
            with progress_bar("Deleting", count) as bar:
                deleted = delete_sessions(connection, name, progress=bar.update if bar else lambda _: None)
    click.echo(
        f"{deleted} sessions are deleted. Those under way when the key was revoked may be stored a few seconds"
        " later: if that was just now, run this again."
    )
