"""
Fuzz the backend for as long as asked: ``python -m tests.fuzz --bodies 1000000 --seed 7``.

It ends with 0 if every answer was one that the OpenAPI document promises, none of them a 5xx, and everything that was
accepted could be read. An embedded PostgreSQL is started for it, unless ``M3W_TEST_DATABASE_URL`` names another.
"""

from __future__ import annotations

import faulthandler
import gzip
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import click
import psutil

from m3w_core import DatabaseSettings, migrations
from tests._client import DATA
from tests._databases import choose_server, connect, new_database, run_server
from tests._serve import on
from tests.fuzz._boundary import open_boundary
from tests.fuzz._rounds import fuzz

#: A round takes some ten milliseconds; this is a hang.
HANG_S = 60

_REPORT_EVERY_S = 10


@click.command()
@click.option("--bodies", type=click.IntRange(1), default=20_000, show_default=True, help="How many to send.")
@click.option("--seed", type=int, help="Decides what is sent; without it, one by chance.")
@click.option(
    "--first-round", type=click.IntRange(0), default=0, help="To send a round that failed once more."
)
@click.option(
    "--guided-seconds",
    type=click.IntRange(0),
    default=0,
    help="Then let atheris look for more bodies, so long.",
)
def main(bodies: int, seed: int | None, first_round: int, guided_seconds: int) -> None:
    """Send fuzzed requests to the backend and judge every answer."""
    seed = secrets.randbits(31) if seed is None else seed
    click.echo(f"seed {seed}")
    # Each refusal would be a line.
    logging.disable(logging.CRITICAL)
    with run_server(choose_server(os.environ)) as (server, _), new_database(server) as database:
        with closing(connect(database)) as connection:
            migrations.apply(connection)
        send_rounds(database, bodies=bodies, seed=seed, first_round=first_round)
        if guided_seconds:
            run_guided(database, seed=seed, seconds=guided_seconds)


def send_rounds(database: DatabaseSettings, *, bodies: int, seed: int, first_round: int) -> None:
    """Send rounds of requests, and print what came of them."""
    with open_boundary(database) as boundary:
        began = reported = time.monotonic()
        memory_before = psutil.Process().memory_info().rss
        for tally in fuzz(boundary, seed=seed, bodies=bodies, first_round=first_round):
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            if time.monotonic() - reported > _REPORT_EVERY_S:
                reported = time.monotonic()
                click.echo(f"{tally.bodies} bodies in {reported - began:.0f} s")
        faulthandler.cancel_dump_traceback_later()
        seconds = time.monotonic() - began
        grown = psutil.Process().memory_info().rss - memory_before
        metrics = boundary.client.get("/metrics").content
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(boundary.statuses.items()))
    click.echo(f"{tally.bodies} bodies in {seconds:.0f} s, seed {seed}: no 5xx, no hang")
    click.echo(f"answers: {statuses}")
    click.echo(f"{tally.stored} sessions stored, and all of them read")
    click.echo(f"slowest round: {tally.slowest_round} with {tally.slowest_round_s * 1000:.0f} ms")
    click.echo(f"memory: {grown / 2**20:+.0f} MiB; metrics: {len(metrics.splitlines())} lines")


def run_guided(database: DatabaseSettings, *, seed: int, seconds: int) -> None:
    """
    Let atheris fuzz, beginning with what the SDK sends.

    Raises:
        ClickException: If it has found something.
    """
    with tempfile.TemporaryDirectory(prefix="m3w-fuzz-") as name:
        for path in (DATA / "sdk-payloads").glob("*.json"):
            payload = path.read_bytes().strip()
            for choice, body in enumerate([payload, b"[" + payload + b"]", payload + b"\n" + payload]):
                # How the first byte is read, tests.fuzz.guided says.
                packed = gzip.compress(body, mtime=0)
                for packing, content in enumerate((body, body, packed)):
                    seed_file = Path(name, f"{path.stem}-{choice}-{packing}")
                    seed_file.write_bytes(bytes([choice + 3 * packing]) + content)
        options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={HANG_S}", "-max_len=4096"]
        run = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", name, *options],
            env={**os.environ, **on(database)},
            capture_output=True,
            check=False,
            errors="replace",
            text=True,
        )
    if run.returncode != 0:
        raise click.ClickException(f"atheris has found something:\n{run.stdout}\n{run.stderr}")
    click.echo(f"guided by coverage: {run.stderr.splitlines()[-1]}")


if __name__ == "__main__":
    main()
