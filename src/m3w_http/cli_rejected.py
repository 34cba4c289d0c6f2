"""``m3w rejected``: payloads that were answered 400, to be looked at and to be taken after all."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from m3w_core import Settings, connected, verify
from m3w_core.rejected_store import (
    StoredRejection,
    count_rejected,
    find_rejected,
    read_payload,
)
from m3w_core.replay import replay
from m3w_http.cli_database import data_dir_option, database_of
from m3w_http.cli_progress import progress_bar
from m3w_http.cli_time import moment

_since_option = click.option(
    "--since", type=moment, help="Only what came at this time or later; UTC unless it says otherwise."
)
_reason_option = click.option("--reason", help="Only of this reason, as `m3w rejected list` shows it.")


@click.group()
def rejected() -> None:
    """
    Payloads that did not validate.

    A client that is answered 400 deletes what it sent, so it is kept here, up to 64 MiB in all and for
    RETENTION_DAYS.
    """


@rejected.command("list")
@_since_option
@_reason_option
@click.option(
    "-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="The newest."
)
@data_dir_option
@click.pass_obj
def list_(
    settings: Settings, since: datetime | None, reason: str | None, lines: int, data_dir: Path | None
) -> None:
    """Show how many there are for which reason, and the newest of them."""
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            counts = count_rejected(connection, since=since, reason=reason)
            found = find_rejected(connection, since=since, reason=reason, limit=lines)
    if not counts:
        click.echo("There are none.")
        return
    click.echo(f"{'COUNT':>7}  {'NEWEST':<19}  {'KEY':<16} REASON")
    for row in counts:
        click.echo(f"{row.count:>7}  {row.newest:%Y-%m-%d %H:%M:%S}  {row.received_via:<16} {row.reason}")
    if found:
        click.echo(f"\n{'ID':<36}  {'RECEIVED':<19}  {'BYTES':>7}  MESSAGE")
    for each in found:
        click.echo(
            f"{each.id}  {each.received_at:%Y-%m-%d %H:%M:%S}  {each.payload_bytes:>7}  "
            f"{_one_line(each.message)[:160]}"
        )


def _one_line(text: str) -> str:
    """Keep what a client sent from moving the cursor or colouring the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


@rejected.command("show")
@click.argument("rejection_id", metavar="ID")
@click.option("--payload", "only_payload", is_flag=True, help="Print nothing but its bytes, as they came.")
@data_dir_option
@click.pass_obj
def show(settings: Settings, rejection_id: str, data_dir: Path | None, *, only_payload: bool) -> None:
    """Show one payload, and what is wrong with it."""
    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            found = find_rejected(connection, ids=[rejection_id])
            payload = read_payload(connection, rejection_id)
    if not found or payload is None:
        raise click.ClickException(
            "There is none of this ID. `m3w rejected list` shows those that there are."
        )
    (rejection,) = found
    if only_payload:
        click.echo(payload, nl=False)
        return
    facts: dict[str, Any] = {
        "id": rejection.id,
        "received at": f"{rejection.received_at:%Y-%m-%d %H:%M:%S} UTC",
        "key": rejection.received_via,
        "route": rejection.route,
        "media type": rejection.media_type,
        "place in its batch": rejection.batch_index,
        "code": rejection.code,
        "reason": rejection.reason,
        "message": _one_line(rejection.message),
        "bytes": rejection.payload_bytes,
    }
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name:<20}{value}")
    if len(payload) < rejection.payload_bytes:
        click.echo(f"{'bytes kept':<20}{len(payload)}")
    # What is not printable is escaped, line ends are not: JSON may be written over several lines.
    text = payload.decode("utf-8", "backslashreplace")
    click.echo("\n" + "\n".join(_one_line(line) for line in text.splitlines()))


@rejected.command("replay")
@click.argument("rejection_ids", metavar="[ID]...", nargs=-1)
@_since_option
@_reason_option
@click.option("--dry-run", is_flag=True, help="Only say what would become of them.")
@data_dir_option
@click.pass_obj
def replay_command(
    settings: Settings,
    rejection_ids: tuple[str, ...],
    since: datetime | None,
    reason: str | None,
    data_dir: Path | None,
    *,
    dry_run: bool,
) -> None:
    """
    Take payloads that are valid for this release, all or those of the given IDs.

    They count as of the time at which they came; of a session the newest summary wins. What is still rejected stays.
    """
    reasons: Counter[str] = Counter()

    def refused(_: StoredRejection, message: str) -> None:
        reasons[_one_line(message)[:160]] += 1

    with database_of(settings, data_dir) as database:
        verify(database)
        with connected(database) as connection:
            found = find_rejected(connection, ids=list(rejection_ids) or None, since=since, reason=reason)
            with progress_bar("Replaying", len(found)) as bar:
                report = replay(
                    connection,
                    found,
                    dry_run=dry_run,
                    refused=refused,
                    progress=bar.update if bar else lambda _: None,
                )
    would = "would be" if dry_run else "are"
    click.echo(f"{report.accepted} payloads with {report.sessions} summaries {would} accepted")
    click.echo(f"{report.refused} {would} still rejected")
    for message, count in reasons.most_common(20):
        click.echo(f"{count:>7}  {message}")
