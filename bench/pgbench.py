"""
The bare database under the same statement: ``pgbench -M prepared``, without HTTP, JSON or checks.

It commits row by row as the peers do, so whoever shares commits among rows can be faster.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from bench.database import Database
from bench.load import Clock
from bench.processes import BenchError
from m3w_http.embedded.programs import wheel_bin

#: Its rate depends on how many there are, so its own best counts.
CLIENTS = (8, 32, 64)

_SCRIPT = Path(__file__).parent / "pgbench" / "upsert.sql"

# Connections of ours, and those that PostgreSQL keeps back.
_SPARE_CONNECTIONS = 6

_MARGIN_S = 30


@frozen(kw_only=True)
class Upserts:
    """What pgbench did: committed transactions, their rate a second, and its own CPU time."""

    committed: int
    rate: float
    cpu_s: float


def find_pgbench() -> str | None:
    """Give the path of the program: that of the embedded PostgreSQL, else any."""
    embedded = wheel_bin()
    if embedded is not None and os.access(embedded / "pgbench", os.X_OK):
        return str(embedded / "pgbench")
    return shutil.which("pgbench")


def client_counts(database: Database) -> list[int]:
    """Give the numbers of clients to try, as far as the server lets them in."""
    most = int(database.value("SHOW max_connections")) - _SPARE_CONNECTIONS
    return sorted({min(clients, most) for clients in CLIENTS})


def run_pgbench(database: Database, clock: Clock, *, clients: int, seconds: int) -> Upserts:
    """
    Upsert new sessions, one a transaction.

    Raises:
        BenchError: If it fails.
    """
    program = find_pgbench()
    assert program is not None  # asked before
    command = [program, "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds)]
    command += ["-f", str(_SCRIPT), "-D", f"timestamp_ms={clock.now_ms}"]
    before = os.times()
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **database.environment},
        timeout=seconds + _MARGIN_S,
    )
    after = os.times()
    committed = re.search(r"number of transactions actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or committed is None or rate is None:
        raise BenchError(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return Upserts(
        committed=int(committed[1]),
        rate=float(rate[1]),
        cpu_s=after.children_user + after.children_system - before.children_user - before.children_system,
    )
