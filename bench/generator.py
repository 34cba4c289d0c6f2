"""
Load at a fixed rate, whether it is answered or not: a program of its own, ``python -m bench.generator``.

A request counts from when it was due, so time that it spends waiting here, because all connections are busy or this
program was late, is part of its latency. wrk cannot do this: where the server stalls, it just asks less.
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from bench.payloads import Requests

# The shortest sleep: what becomes due meanwhile is sent together. Without it this program took a CPU for itself.
_TICK_S = 0.000_25

_GRACE_S = 10.0

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@frozen(kw_only=True)
class Options:
    """
    What to send, see `Requests`.

    Args:
        port: Of the contestant, on 127.0.0.1.
        api_key: It knows.
        workload: ``insert`` or ``heartbeat``.
        rate: Requests a second.
        seconds: How long.
        connections: How many.
        timestamp_ms: The last timestamp that is taken already.
        session_ids_file: IDs of the playing sessions, one a line.
    """

    port: int
    api_key: str
    workload: str
    rate: float
    seconds: float
    connections: int
    timestamp_ms: int
    session_ids_file: str


def connect(port: int) -> socket.socket:
    """Open a connection that sends at once."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def status_of(answer: bytes) -> int | None:
    """Give the status of an answer, None if it is not complete yet."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    length = _CONTENT_LENGTH.search(head + b"\r\n")
    if length is None or len(body) < int(length[1]):
        return None
    return int(head[9:12])


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float]:
    """Give percentiles of *values_s*, in milliseconds; the value itself is one that occurred."""
    ordered = sorted(values_s)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {
        name: 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]
        for name, share in shares.items()
    }


@define(eq=False)
class _Connection:
    sock: socket.socket
    due_s: float = 0.0
    answer: bytes = b""


@define(eq=False)
class _Run:
    """One run: every request is due at its own time, and goes over the connection that has been free longest."""

    options: Options
    requests: Requests
    latencies_s: array[float] = field(factory=lambda: array("d"))
    lateness_s: array[float] = field(factory=lambda: array("d"))
    statuses: dict[int, int] = field(factory=dict)
    broken: int = 0
    sent: int = 0

    def run(self) -> None:
        connections = [_Connection(connect(self.options.port)) for _ in range(self.options.connections)]
        poll = select.epoll()
        by_descriptor = {}
        for connection in connections:
            connection.sock.setblocking(False)
            by_descriptor[connection.sock.fileno()] = connection
            poll.register(connection.sock, select.EPOLLIN)
        free = deque(connections)
        make = self.requests.insert if self.options.workload == "insert" else self.requests.heartbeat
        total = round(self.options.rate * self.options.seconds)
        interval_s = 1 / self.options.rate
        start_s = time.perf_counter() + 0.01
        give_up_s = start_s + self.options.seconds + _GRACE_S
        while len(self.latencies_s) + self.broken < total:
            now_s = time.perf_counter()
            while free and self.sent < total and (due_s := start_s + self.sent * interval_s) <= now_s:
                connection = free.popleft()
                connection.due_s = due_s
                connection.sock.send(make())
                self.lateness_s.append(now_s - due_s)
                self.sent += 1
            if now_s > give_up_s:
                break
            pause_s = 0.1
            if free and self.sent < total:
                pause_s = max(start_s + self.sent * interval_s - now_s, _TICK_S)
            # epoll itself sleeps whole milliseconds only.
            select.select([poll], [], [], pause_s)
            for descriptor, _ in poll.poll(0):
                connection = by_descriptor[descriptor]
                if self._read(connection):
                    free.append(connection)
                elif not connection.answer:
                    poll.unregister(descriptor)
                    self.broken += 1

    def _read(self, connection: _Connection) -> bool:
        """Read what there is; true where the answer is complete, nothing kept where the connection broke."""
        try:
            data = connection.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            connection.answer = b""
            return False
        connection.answer += data
        status = status_of(connection.answer)
        if status is None:
            return False
        self.latencies_s.append(time.perf_counter() - connection.due_s)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        connection.answer = b""
        return True


def main() -> None:
    """Read `Options` as JSON from the command line, send, and write what came of it as JSON."""
    options = Options(**json.loads(sys.argv[1]))
    ids = Path(options.session_ids_file).read_text().split()
    requests = Requests(options.port, options.api_key, options.timestamp_ms, ids)
    run = _Run(options, requests)
    # A pause of the collector would count as the server's latency.
    gc.disable()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    run.run()
    result = {
        "seconds": time.perf_counter() - started_s,
        "cpu_s": time.process_time() - cpu_s,
        "answers": len(run.latencies_s),
        "refused": sum(count for status, count in run.statuses.items() if status > 399),
        "broken": run.broken,
        "created": requests.created,
        "updated": requests.updated,
        "entries": requests.entries,
        "latency_ms": percentiles_ms(run.latencies_s),
        "lateness_ms": percentiles_ms(run.lateness_s),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
