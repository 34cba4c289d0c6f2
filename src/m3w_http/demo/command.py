"""The command line of the demo."""

from __future__ import annotations

import time
from pathlib import Path

import click

from m3w_core import Settings, verify
from m3w_core.auth import DEVELOPMENT_KEY
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_progress import progress_bar
from m3w_http.demo.catalogue import BAD_RELEASE, CELLULAR, GALAXY_A54
from m3w_http.demo.generator import INCIDENT_MS, Plan, generate
from m3w_http.demo.removal import remove
from m3w_http.demo.rhythm import HOUR_MS
from m3w_http.demo.sender import Sender

# The backend believes a client's time for 30 days; some minutes go by while the sessions are posted.
_MAX_DAYS = 29.98


@click.command("demo")
@click.option(
    "--sessions",
    type=click.IntRange(1, 1_000_000),
    default=20_000,
    show_default=True,
    help="How many to post.",
)
@click.option(
    "--days", type=click.IntRange(1, 30), default=7, show_default=True, help="Over how many days, until now."
)
@click.option(
    "--incident", is_flag=True, help="Let a bad release come out three hours ago, which alerts fire on."
)
@click.option("--seed", default=1, show_default=True, help="Of everything random.")
@click.option("--url", help="Of the backend.  [default: http://127.0.0.1:$PORT]")
@click.option(
    "--remove", "is_removal", is_flag=True, help="Delete the sessions of all demos from the database."
)
@data_dir_option
@click.pass_obj
def demo(
    settings: Settings,
    sessions: int,
    days: int,
    seed: int,
    url: str | None,
    data_dir: Path | None,
    *,
    incident: bool,
    is_removal: bool,
) -> None:
    """
    Fill a backend with life-like sessions.

    They are posted to a backend that runs, with the key in M3W_API_KEY, and stand among the real ones until
    --remove deletes them; each has the field m3wDemo.
    """
    if is_removal:
        _remove(settings, data_dir)
        return
    address = url or f"http://127.0.0.1:{settings.port}"
    if not address.startswith(("http://", "https://")):
        raise click.BadParameter("expected http://… or https://…", param_hint="--url")
    begun = time.time()
    plan = Plan(
        sessions=sessions,
        days=min(days, _MAX_DAYS),
        end_ms=int(begun * 1000),
        seed=seed,
        incident=incident,
    )
    sender = Sender(address, next(iter(settings.api_keys.values()), DEVELOPMENT_KEY))
    with progress_bar("Posting sessions", sessions) as bar:
        sender.send(generate(plan), sent=None if bar is None else bar.update)
    click.echo(f"Posted {sessions:,} sessions of {_days(days)} in {time.time() - begun:.0f} s.")
    if incident:
        click.echo(
            f"The incident: {GALAXY_A54.model} on {CELLULAR.connection_type} with app version"
            f" {BAD_RELEASE.app_version}, in the last {INCIDENT_MS // HOUR_MS} hours."
            " Where Prometheus runs, alerts fire within ten minutes."
        )
    click.echo("`m3w demo --remove` deletes them again.")


def _days(days: int) -> str:
    return "the last day" if days == 1 else f"the last {days} days"


def _remove(settings: Settings, data_dir: Path | None) -> None:
    with database_of(settings, data_dir) as database:
        verify(database)
        gone = remove(database)
    click.echo(
        f"Deleted {gone.sessions:,} sessions of the demo with {gone.timeline_entries:,} timeline entries."
    )
