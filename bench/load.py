"""
Load from wrk: as many requests as the connections allow, and an exact count of the answers.

wrk runs with one thread: on a small machine it takes less of it than two, and it is far from its limit.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Literal

from attrs import define, frozen

from bench.database import Database
from bench.payloads import TEMPLATES
from bench.processes import BenchError

Workload = Literal["insert", "heartbeat", "mixed"]

API_KEY = "bench-key"

#: After the sending, so that what is under way is answered.
QUIET_S = 1

_SCRIPT = Path(__file__).parent / "lua" / "sessions.lua"

# Far longer than any answer takes; wrk keeps a counter for each microsecond of it.
_TIMEOUT_S = 4

_MARGIN_S = 30


@frozen(kw_only=True)
class Load:
    """
    What was sent and what came back.

    Args:
        seconds: How long the answers took to come.
        answers: Of every status.
        refused: Answers above 399.
        broken: Connections that broke, and writes and reads that failed.
        created: Summaries of new sessions that were sent.
        updated: Summaries of playing sessions that were sent.
        bad: Payloads that break a rule that were sent.
        entries: Timeline entries that were sent.
        latency_ms: From request to answer, by percentile.
        cpu_s: CPU time of the generator.
    """

    seconds: float
    answers: int
    refused: int
    broken: int
    created: int
    updated: int
    bad: int
    entries: int
    latency_ms: dict[str, float]
    cpu_s: float

    @property
    def sent(self) -> int:
        """Requests that were sent."""
        return self.created + self.updated + self.bad

    @property
    def acknowledged(self) -> int:
        """Sessions whose sender was told that they are stored."""
        return self.answers - self.refused

    @property
    def rate(self) -> float:
        """Acknowledged sessions a second."""
        return self.acknowledged / self.seconds


@define
class Clock:
    """Hands out client timestamps, each larger than all before it, whatever contestant they go to."""

    # Behind the real time, because load makes them run ahead of it: then all of them are plausible.
    _next_ms: int = int(time.time() * 1000) - 7 * 86_400_000

    @property
    def now_ms(self) -> int:
        """The last timestamp handed out, or the one before the first."""
        return self._next_ms

    def take(self, requests: int) -> None:
        """Count the timestamps of so many requests as used."""
        # Two a request, one of them for a second timeline entry, and one for wrk's look at the script.
        self._next_ms += 2 * (requests + 1)


def run_wrk(
    database: Database, clock: Clock, port: int, *, workload: Workload, connections: int, seconds: int
) -> Load:
    """
    Send sessions as fast as they are answered.

    Args:
        database: Whose playing sessions are updated.
        clock: Where the client's timestamps come from.
        port: Of the contestant, on 127.0.0.1.
        workload: What is sent.
        connections: How many, all kept alive.
        seconds: How long to send; it takes a second longer.

    Raises:
        BenchError: If wrk fails.
    """
    arguments = [
        workload,
        seconds,
        random.getrandbits(31),
        clock.now_ms,
        API_KEY,
        database.session_ids_file,
        TEMPLATES,
    ]
    before = os.times()
    output = _wrk(
        port, "/", connections, seconds + QUIET_S, ["-s", str(_SCRIPT)], [str(each) for each in arguments]
    )
    after = os.times()
    match = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if match is None:
        raise BenchError(f"wrk did not get to its end:\n{output}")
    result = json.loads(match[1])
    load = Load(
        # The last answers come, on the average, half a latency after the last requests.
        seconds=seconds + result["latency_mean_us"] / 2e6,
        answers=round(result["answers"]),
        refused=round(result["refused"]),
        broken=round(result["broken"]),
        created=round(result["created"]),
        updated=round(result["updated"]),
        bad=round(result["bad"]),
        entries=round(result["entries"]),
        latency_ms={
            name: result[f"latency_{name}_us"] / 1000 for name in ("mean", "p50", "p95", "p99", "p999", "max")
        },
        cpu_s=after.children_user + after.children_system - before.children_user - before.children_system,
    )
    clock.take(load.sent)
    return load


def run_wrk_get(port: int, path: str, *, connections: int, seconds: int) -> float:
    """
    Get one path as fast as it is answered.

    Returns:
        Answers a second.

    Raises:
        BenchError: If wrk fails, or any answer is not a 2xx or 3xx.
    """
    output = _wrk(port, path, connections, seconds, [], [])
    match = re.search(r"^Requests/sec: +([\d.]+)$", output, re.MULTILINE)
    if match is None or "Non-2xx" in output:
        raise BenchError(f"{path} under load:\n{output}")
    return float(match[1])


def _wrk(
    port: int, path: str, connections: int, seconds: int, options: list[str], arguments: list[str]
) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT_S}s", *options]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}", "--", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + _MARGIN_S,
    )
    if done.returncode != 0:
        raise BenchError(f"wrk failed:\n{done.stdout}{done.stderr}")
    return done.stdout
