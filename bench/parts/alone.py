"""
One request alone against one bare upsert alone: what the way through HTTP, checks and threads adds to a commit.

Both are measured in turns, block by block, on a server that does nothing else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from attrs import frozen
from pg8000.native import Connection

from bench.generator import connect, percentiles_ms, status_of
from bench.load import API_KEY
from bench.measure import Bench
from bench.payloads import Requests, random_session_id
from bench.processes import BenchError
from bench.rounds import Say
from bench.systems import System, serving

_BLOCKS = 10
_BLOCK = 100

_UPSERT = """
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    :session_id, :timestamp, '2026-02-15T10:00:00.000Z', 45000, 450, 1200, 2, 42000, 0.028, 12, 1, 300, 2500000, 0,
    'Pixel 8', 34, '1.0.1', 'WIFI', m3w_event_at(:timestamp, now())
)
ON CONFLICT (session_id) DO UPDATE SET timestamp = EXCLUDED.timestamp
WHERE sessions.timestamp <= EXCLUDED.timestamp
"""


@frozen(kw_only=True)
class Alone:
    """
    What came out.

    Args:
        system: Name of the contestant.
        request_ms: From sending a request to its answer, by percentile.
        upsert_ms: The same of pg8000's prepared upsert with its commit.
    """

    system: str
    request_ms: dict[str, float]
    upsert_ms: dict[str, float]

    @property
    def ratio(self) -> float:
        """How many times as long a request takes, at the median."""
        return self.request_ms["p50"] / self.upsert_ms["p50"]


def run(bench: Bench, system: System, say: Say) -> Alone:
    """
    Measure a contestant that is idle otherwise.

    Raises:
        BenchError: If a request is not answered with 200.
    """
    bench.start_over("insert")
    with serving(system, bench.database, bench.run_dir) as server:
        requests = Requests(server.port, API_KEY, bench.clock.now_ms, ())
        settings = bench.database.settings
        connection = Connection(settings.user, unix_sock=settings.unix_socket, database=settings.database)
        sock = connect(server.port)
        try:
            upsert = connection.prepare(_UPSERT)

            def one_upsert() -> None:
                upsert.run(session_id=random_session_id(), timestamp=bench.clock.now_ms)

            def one_request() -> None:
                _post(sock, requests.insert())

            _seconds(one_request, _BLOCK)
            _seconds(one_upsert, _BLOCK)
            request_s: list[float] = []
            upsert_s: list[float] = []
            for _ in range(_BLOCKS):
                request_s += _seconds(one_request, _BLOCK)
                upsert_s += _seconds(one_upsert, _BLOCK)
        finally:
            sock.close()
            connection.close()
        bench.clock.take(requests.created)
    outcome = Alone(
        system=system.name, request_ms=percentiles_ms(request_s), upsert_ms=percentiles_ms(upsert_s)
    )
    say(
        f"one alone  {system.name}  a request {outcome.request_ms['p50']:.2f} ms,"
        f" a bare upsert {outcome.upsert_ms['p50']:.2f} ms (medians)"
    )
    return outcome


def _seconds(work: Callable[[], None], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        started_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started_s)
    return taken


def _post(sock: socket.socket, request: bytes) -> None:
    sock.sendall(request)
    answer = b""
    while (status := status_of(answer)) is None:
        data = sock.recv(65536)
        if not data:
            raise BenchError("The connection broke.")
        answer += data
    if status != 200:
        raise BenchError(f"A request was answered with {status}.")
