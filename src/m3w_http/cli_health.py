"""
``m3w health``: the health check of the container, so that its image needs no other program.

It asks a server that runs already; nothing is started, and no database is asked.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

import click

from m3w_core import M3WError, Settings

_TIMEOUT_S = 4


class UnhealthyError(M3WError):
    """Nothing healthy answers at the address."""


@click.command("health")
@click.option("--url", help="Where to ask.  [default: http://127.0.0.1:$PORT/health]")
@click.pass_obj
def health(settings: Settings, url: str | None) -> None:
    """
    Tell, by the exit status, whether the backend answers.

    With --url …/ready it tells whether sessions can be stored.
    """
    address = url or f"http://127.0.0.1:{settings.port}/health"
    if not address.startswith(("http://", "https://")):
        raise click.BadParameter("expected http://… or https://…", param_hint="--url")
    # No proxy: where one is set for the whole container, it would be asked for this very address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=_TIMEOUT_S) as response:
            click.echo(response.read(1024).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        error.close()
        raise UnhealthyError(f"{address} answers with status {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnhealthyError(f"{address} does not answer: {getattr(error, 'reason', error)}") from error
