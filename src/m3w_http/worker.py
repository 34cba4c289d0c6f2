"""One worker process: uvicorn serving the application on a socket that its parent has bound."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Callable

import uvicorn

from m3w_core import DatabaseSettings, Settings
from m3w_http import logs
from m3w_http.protocol import end_overdue, protocol

#: Requests under way when the signal comes are finished; the parent kills a worker only later than this.
GRACE_S = 10


class _Server(uvicorn.Server):
    """A server that says when it takes connections, and stops when its parent is gone."""

    def __init__(self, config: uvicorn.Config, lifeline: int, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._lifeline = lifeline
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            # Nobody ever writes to the pipe: it becomes readable when its last writer, the parent, has died.
            asyncio.get_running_loop().add_reader(self._lifeline, self._orphaned)
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second, and once a second end the connections whose time is over."""
        if counter % 10 == 0:
            end_overdue(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.should_exit = True


def _connections(wanted: int) -> int:
    """Tell how many connections this process can serve with the files that it may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Those beyond the limit are open too, until they have been told so.
    return wanted if files == resource.RLIM_INFINITY else min(wanted, files // 2)


def run_worker(
    settings: Settings,
    database: DatabaseSettings,
    sock: socket.socket,
    *,
    metrics_sock: socket.socket | None,
    lifeline: int,
    ready: Callable[[], None],
) -> None:
    """
    Serve until a signal comes or the parent dies.

    Args:
        settings: Of the whole program.
        database: Where sessions go.
        sock: Bound; shared with the other workers.
        metrics_sock: The same for ``/metrics`` alone; None where it has no port of its own.
        lifeline: File descriptor that reaches its end when the parent is gone.
        ready: Called when connections are taken.
    """
    # Imported here because prometheus-client looks for the metrics directory when it is imported.
    from m3w_http.app import app_for
    from m3w_http.metrics import Metrics

    metrics = Metrics()
    config = uvicorn.Config(
        app_for(
            settings,
            database,
            metrics=metrics,
            metrics_port=None if metrics_sock is None else metrics_sock.getsockname()[1],
        ),
        loop="uvloop",
        http=protocol(_connections(settings.max_connections), metrics.refused),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=",".join(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACE_S,
        backlog=4096,
    )
    server = _Server(config, lifeline, ready)

    def stop(*_: object) -> None:
        server.should_exit = True

    # For a signal that comes before uvicorn listens. It raises its signals once more when it is done; that must
    # not count as a crash.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    logs.be_lazy()
    # What is there now stays: the collector need not look at it again and again. And a request leaves no cycles, so
    # that looking for them every few requests costs 5 % of the time and finds nothing.
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    try:
        server.run(sockets=[sock] if metrics_sock is None else [sock, metrics_sock])
    finally:
        logs.flush_lines()
