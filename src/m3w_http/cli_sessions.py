"""``m3w sessions``: what arrives, readable; the first thing to look at when an app is being connected."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import orjson

from m3w_core import (
    PostgresSessionRepository,
    Session,
    Settings,
    StorageUnavailableError,
    StoredSession,
    TimelineEntry,
    session_to_dict,
    verify,
)
from m3w_http.cli_database import data_dir_option, database_of

_POLL_S = 0.5

# A session gets its time when its transaction begins and is seen when it ends; later than this no one waits for it.
_OVERLAP = timedelta(seconds=10)

_SHOWN_AT_FIRST = timedelta(hours=1)


@click.group()
def sessions() -> None:
    """Look at sessions."""


@sessions.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Of the last hour, at first.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with what arrives.")
@data_dir_option
@click.pass_obj
def tail(settings: Settings, lines: int, data_dir: Path | None, *, follow: bool) -> None:
    """Show sessions as they arrive, one line for each summary."""
    with database_of(settings, data_dir) as database:
        verify(database)
        repository = PostgresSessionRepository(database)
        now = repository.now()
        recent = repository.received_since(now - _SHOWN_AT_FIRST)
        for stored in recent[-lines:] if lines else ():
            click.echo(summary_line(stored))
        if not follow:
            return
        click.echo(f"Waiting for sessions in {database} (Ctrl-C ends it)", err=True)
        try:
            for stored in _arriving(repository, now, recent):
                click.echo(summary_line(stored))
        except KeyboardInterrupt:
            return


def _arriving(
    repository: PostgresSessionRepository, since: datetime, known: Iterable[StoredSession]
) -> Iterator[StoredSession]:
    """Give each summary that is stored after *since* and not *known*, once, for ever."""
    seen = {_identity(stored): stored.received_at for stored in known}
    while True:
        try:
            arrived = repository.received_since(since - _OVERLAP)
        except StorageUnavailableError as error:
            click.echo(f"The database does not answer ({error}); trying again", err=True)
            arrived = []
        for stored in arrived:
            if _identity(stored) not in seen:
                seen[_identity(stored)] = stored.received_at
                yield stored
        since = max([since, *seen.values()])
        seen = {key: at for key, at in seen.items() if at >= since - _OVERLAP}
        time.sleep(_POLL_S)


def _identity(stored: StoredSession) -> tuple[str, datetime]:
    return stored.session.session_id, stored.received_at


def summary_line(stored: StoredSession) -> str:
    """Write one line: when it came, which session, how startup and rebuffering went, errors, device."""
    session = stored.session
    parts = [
        f"{stored.received_at.astimezone():%H:%M:%S}",
        _one_line(session.session_id),
        f"startup {_duration(session.startup_time_ms)}",
        f"rebuffered {_count(session.rebuffer_count)}x {_duration(session.rebuffer_time_ms)}",
        f"played {_duration(session.play_time_ms)}",
        f"errors {_count(session.error_count)}",
        _device(session),
    ]
    return "  ".join(part for part in parts if part)


def _device(session: Session) -> str:
    known = (
        session.device_model,
        None if session.os_version is None else f"API {session.os_version}",
        session.connection_type,
    )
    return _one_line(", ".join(part for part in known if part))


def _one_line(text: str) -> str:
    """Keep what a client sent from moving the cursor or colouring the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    if milliseconds < 10_000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s"


@sessions.command()
@click.argument("session_id")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON object of the API instead.")
@data_dir_option
@click.pass_context
def show(ctx: click.Context, session_id: str, data_dir: Path | None, *, as_json: bool) -> None:
    """Show one session in full, with its timeline."""
    with database_of(ctx.obj, data_dir) as database:
        verify(database)
        stored = PostgresSessionRepository(database).get(session_id)
    if stored is None:
        raise click.ClickException(
            f"There is no session {_one_line(session_id)}. `m3w sessions tail` shows what arrives."
        )
    if as_json:
        click.echo(orjson.dumps(session_to_dict(stored.session), option=orjson.OPT_INDENT_2))
        return
    payload = session_to_dict(stored.session)
    del payload["timelineEvents"]
    payload |= {
        "created at": _moment(stored.created_at),
        "received at": _moment(stored.received_at),
        "event at": _moment(stored.event_at),
        "received via": stored.received_via,
    }
    for name, value in payload.items():
        text = "-" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
        click.echo(f"{_one_line(name):<24} {_one_line(text)}")
    if stored.session.timeline_events:
        click.echo("\nTimeline")
    for entry in stored.session.timeline_events:
        click.echo(_timeline_line(entry))


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _timeline_line(entry: TimelineEntry) -> str:
    bitrate = "-" if entry.current_bitrate is None else f"{entry.current_bitrate / 1e6:.2f} Mbit/s"
    return (
        f"  +{_duration(entry.elapsed_ms):<10} {entry.playback_state:<10} {bitrate:<13} "
        f"buffer {_duration(entry.buffered_duration_ms):<9} stalls {entry.rebuffer_count} "
        f"({_duration(entry.rebuffer_time_ms)})  dropped {entry.total_dropped_frames}  "
        f"{_one_line(entry.network_type or '-')}"
    )
