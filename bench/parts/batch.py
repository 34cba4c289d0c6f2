"""
The batch route against ``COPY``: what reading, checking and HTTP leave of the fastest way into the table.

Both write the same sessions into an empty table, in turns. Bodies are made before the clock starts, and each of
them is one answer with its commit; a ``COPY`` is one commit for all.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import StringIO
from statistics import median

from attrs import field, frozen

from bench.load import API_KEY
from bench.measure import Bench
from bench.payloads import new_session
from bench.processes import BenchError
from bench.rounds import Say
from bench.systems import System, serving
from m3w_core import connected

BATCH = 500

_SESSIONS = 100_000
_CLIENTS = 4
_ROUNDS = 5

_COLUMNS = {
    "session_id": "sessionId",
    "timestamp": "timestamp",
    "session_start_date_iso": "sessionStartDateIso",
    "session_duration_ms": "sessionDurationMs",
    "startup_time_ms": "startupTimeMs",
    "rebuffer_time_ms": "rebufferTimeMs",
    "rebuffer_count": "rebufferCount",
    "play_time_ms": "playTimeMs",
    "rebuffer_ratio": "rebufferRatio",
    "total_dropped_frames": "totalDroppedFrames",
    "total_seek_count": "totalSeekCount",
    "total_seek_time_ms": "totalSeekTimeMs",
    "mean_video_format_bitrate": "meanVideoFormatBitrate",
    "error_count": "errorCount",
    "device_model": "deviceModel",
    "os_version": "osVersion",
    "sdk_version": "sdkVersion",
    "connection_type": "connectionType",
}


@frozen(kw_only=True)
class Batch:
    """
    What came out.

    Args:
        system: Name of the contestant.
        rates: Sessions a second by the batch route, of each round.
        copy_rates: The same by ``COPY``.
        problems: What is wrong with it.
    """

    system: str
    rates: list[float]
    copy_rates: list[float]
    problems: list[str] = field(factory=list)

    @property
    def rate(self) -> float:
        """Sessions a second by the batch route, the median."""
        return median(self.rates)

    @property
    def ratio(self) -> float:
        """That against ``COPY``, of the medians."""
        return self.rate / median(self.copy_rates)


def run(bench: Bench, system: System, say: Say) -> Batch:
    """Send the sessions in batches, and copy them."""
    outcome = Batch(system=system.name, rates=[], copy_rates=[])
    for _ in range(_ROUNDS):
        sessions = [json.loads(new_session(bench.clock.now_ms + number)) for number in range(_SESSIONS)]
        bench.clock.take(_SESSIONS)
        bodies = [json.dumps(chunk).encode() for chunk in _chunks(sessions)]
        outcome.rates.append(_by_route(bench, system, bodies))
        stored = bench.database.value("SELECT count(*) FROM sessions")
        if stored != _SESSIONS:
            outcome.problems.append(f"{_SESSIONS - stored:,} of {_SESSIONS:,} sessions are missing")
        outcome.copy_rates.append(_by_copy(bench, sessions))
        say(
            f"batches    {system.name}  {outcome.rates[-1]:,.0f} sessions/s, {BATCH} a request;"
            f" COPY {outcome.copy_rates[-1]:,.0f}"
        )
    return outcome


def _chunks(sessions: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    return [sessions[start : start + BATCH] for start in range(0, len(sessions), BATCH)]


def _by_route(bench: Bench, system: System, bodies: list[bytes]) -> float:
    bench.database.empty()
    with serving(system, bench.database, bench.run_dir) as server, ThreadPoolExecutor(_CLIENTS) as clients:
        shares = [bodies[client::_CLIENTS] for client in range(_CLIENTS)]
        started_s = time.perf_counter()
        accepted = sum(clients.map(lambda share: _send(server.port, share), shares))
        seconds = time.perf_counter() - started_s
    if accepted != _SESSIONS:
        raise BenchError(f"{accepted:,} of {_SESSIONS:,} sessions were accepted.")
    return _SESSIONS / seconds


def _send(port: int, bodies: list[bytes]) -> int:
    """Send one body after the other, and count what was accepted."""
    accepted = 0
    connection = HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json", "X-API-Key": API_KEY}
    for body in bodies:
        connection.request("POST", "/v1/sessions/batch", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise BenchError(f"A batch was answered with {answer.status}: {content[:200]!r}")
        accepted += json.loads(content)["accepted"]
    connection.close()
    return accepted


def _by_copy(bench: Bench, sessions: list[dict[str, object]]) -> float:
    bench.database.empty()
    lines = ["\t".join(str(session[name]) for name in _COLUMNS.values()) + "\tnow\n" for session in sessions]
    rows = StringIO("".join(lines))
    with connected(bench.database.settings) as connection:
        started_s = time.perf_counter()
        connection.run(f"COPY sessions ({', '.join(_COLUMNS)}, event_at) FROM STDIN", stream=rows)
        return _SESSIONS / (time.perf_counter() - started_s)
