"""``m3w serve``: from settings to a listening backend, in the order in which things can fail."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from attrs import frozen

from m3w_core import ApiKeys, DatabaseSettings, M3WError, Settings, connected, migrate, verify, wait_until_up
from m3w_core.keys import stored_keys
from m3w_http import open_files
from m3w_http.embedded import EmbeddedPostgres, default_data_dir
from m3w_http.metrics_directory import metrics_directory
from m3w_http.supervisor import WORKER, Supervisor
from m3w_http.worker import run_worker

logger = logging.getLogger(__name__)

#: How long a database that is still starting is waited for.
DATABASE_PATIENCE_S = 60.0

_EXAMPLE = (
    '{"sessionId":"550e8400-e29b-41d4-a716-446655440000","timestamp":1771150045000,'
    '"sessionStartDateIso":"2026-02-15T10:00:00.000Z","sessionDurationMs":45000,"startupTimeMs":450}'
)


class ListenError(M3WError):
    """The address cannot be listened on."""


@frozen(kw_only=True)
class ServeOptions:
    """
    What the command line adds to the settings.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        workers: Number of worker processes.
        data_dir: Where the embedded database lies; None for the default.
    """

    host: str
    port: int
    workers: int
    data_dir: Path | None


def serve(settings: Settings, options: ServeOptions) -> None:
    """
    Serve until a signal comes.

    Args:
        settings: From the environment.
        options: From the command line.

    Raises:
        M3WError: If it cannot start; the message says what to do.
    """
    # Until the supervisor takes over: leave by the way of Ctrl-C, so that everything started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    open_files.allow_many()
    if settings.ignored:
        logger.warning("No effect any more, there is no connection pool: %s", ", ".join(settings.ignored))
    if settings.rate_limit_requests and settings.rate_limit_storage_uri:
        # Imported here, as the other commands do without it. The workers make their own; whether it can be used is
        # found out before.
        from m3w_http.rate_limits import SharedCounts

        SharedCounts(settings.rate_limit_storage_uri)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(_bound_socket(options.host, options.port))
        metrics_sock = None
        if settings.metrics_enabled and settings.metrics_port is not None:
            metrics_sock = stack.enter_context(
                _bound_socket(options.host, settings.metrics_port, "METRICS_PORT")
            )
        embedded = None
        database = settings.database
        if database is None:
            embedded = EmbeddedPostgres(options.data_dir or default_data_dir())
            database = stack.enter_context(embedded)
        wait_until_up(database, patience_s=DATABASE_PATIENCE_S, log=logger.warning)
        if settings.migrate == "auto":
            migrate(database, log=logger.info, grafana_password=settings.grafana_db_password)
        else:
            verify(database)
        with connected(database) as connection:
            keys = ApiKeys.from_settings(settings, stored_keys(connection))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(stack.enter_context(metrics_directory()))
        _supervise(settings, keys, options, sock, metrics_sock, database, embedded)
    logger.info("Stopped")


def _bound_socket(host: str, port: int, where: str = "--host and --port") -> socket.socket:
    """Bind before anything else is started: an address in use is found out at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        with _listen_errors(host, port, where):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except ListenError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _listen_errors(host: str, port: int, where: str = "--host and --port") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with {where}."
        ) from error


def _supervise(
    settings: Settings,
    keys: ApiKeys,
    options: ServeOptions,
    sock: socket.socket,
    metrics_sock: socket.socket | None,
    database: DatabaseSettings,
    embedded: EmbeddedPostgres | None,
) -> None:
    # Not before the metrics directory is named: prometheus-client looks for it when it is imported.
    from prometheus_client import CollectorRegistry, Counter, multiprocess

    from m3w_http.housekeeper import run_housekeeper

    restarts = Counter(
        "m3w_worker_restarts", "Workers that died and were replaced.", registry=CollectorRegistry()
    )

    def work(lifeline: int, ready: Callable[[], None]) -> None:
        run_worker(settings, database, sock, metrics_sock=metrics_sock, lifeline=lifeline, ready=ready)

    def close_sockets() -> None:
        sock.close()
        if metrics_sock is not None:
            metrics_sock.close()

    def housekeep(lifeline: int, _: object) -> None:
        # Else the ports would stay open as long as this process lives.
        close_sockets()
        run_housekeeper(database, retention_days=settings.retention_days, lifeline=lifeline)

    def watch() -> None:
        if embedded is not None and embedded.pid is None:
            logger.error("The embedded PostgreSQL ended by itself; starting it again")
            embedded.start()

    def replaced(pid: int, kind: str) -> None:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        if kind == WORKER:
            restarts.inc()

    # The sockets are closed here as soon as the workers are to close theirs: who comes then is refused at once.
    supervisor = Supervisor(
        options.workers, work, watch=watch, replaced=replaced, stopping=close_sockets, housekeep=housekeep
    )
    port = sock.getsockname()[1]
    # Two may be bound to one port as long as neither listens: better found out here than by every worker.
    with _listen_errors(options.host, port):
        sock.listen()
    metrics_port = None
    if metrics_sock is not None:
        metrics_port = metrics_sock.getsockname()[1]
        with _listen_errors(options.host, metrics_port, "METRICS_PORT"):
            metrics_sock.listen()
    supervisor.run(
        on_ready=lambda: click.echo(_greeting(keys, options.host, port, metrics_port, database, embedded))
    )


def _greeting(
    keys: ApiKeys,
    host: str,
    port: int,
    metrics_port: int | None,
    database: DatabaseSettings,
    embedded: EmbeddedPostgres | None,
) -> str:
    """Say where it is, where the data is, and how to try it."""
    anywhere = host in ("0.0.0.0", "::")  # noqa: S104 - told apart, not bound
    name = "127.0.0.1" if anywhere else f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}"
    data = f"{embedded.data_dir} (PostgreSQL 16)" if embedded is not None else str(database)
    key = "dev-key" if keys.is_development else "$M3W_API_KEY"
    lines = [
        "",
        "Media3Watch backend is ready.",
        "",
        f"  Sessions   {url}/v1/sessions",
        f"  Data       {data}",
    ]
    if metrics_port is not None:
        lines.append(f"  Metrics    http://{name}:{metrics_port}/metrics")
    if not anywhere and _is_loopback(host):
        lines.append("  Phones     reach it with --host 0.0.0.0; the Android emulator as 10.0.2.2")
    if keys.is_development and not _is_loopback(host):
        lines += [
            "",
            "  WARNING: anyone who reaches this address can send sessions with the key dev-key, which everybody",
            "  knows. Set M3W_API_KEY to one of your own.",
        ]
    lines += [
        "",
        "Try it:",
        "",
        f"  curl {url}/v1/sessions -H 'Content-Type: application/json' -H \"X-API-Key: {key}\" \\",
        f"    -d '{_EXAMPLE}'",
        "",
    ]
    return "\n".join(lines)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
