"""
The one PostgreSQL of a run: the embedded one, over its Unix socket for every contestant alike.

Its durability settings are PostgreSQL's own; a run on anything less is refused, because the numbers would mean nothing.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from pg8000.native import Connection

from bench import processes
from bench.processes import BenchError, wait_until
from m3w_core import DatabaseSettings, connected, migrate
from m3w_http.embedded import EmbeddedPostgres

#: How many sessions are playing in ``heartbeat`` and ``mixed``.
PLAYING_SESSIONS = 100_000

#: Printed and kept with the results.
SHOWN_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "shared_buffers",
    "max_connections",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
)

_DISCONNECT_TIMEOUT_S = 20.0

_FILL = """
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
SELECT
    {session_id}, {timestamp_ms}, '2026-02-15T10:00:00.000Z', 15000, 450, 1200, 2, 14000, 0.028, 12, 1, 300, 2500000, 0,
    'Pixel 8', 34, '1.0.1', 'WIFI', m3w_event_at({timestamp_ms}, now())
FROM {source}
"""


@frozen(kw_only=True)
class Counters:
    """
    What the database has done since it was started, and how large its tables are.

    Args:
        cpu_s: CPU time of all its processes.
        wal_bytes: Write-ahead log.
        sessions_bytes: The table ``sessions`` with its indexes.
        timeline_bytes: The table ``session_timeline`` with its index.
    """

    cpu_s: float
    wal_bytes: int
    sessions_bytes: int
    timeline_bytes: int

    @property
    def table_bytes(self) -> int:
        """Both."""
        return self.sessions_bytes + self.timeline_bytes


@frozen(kw_only=True)
class Updates:
    """Updates of ``sessions`` since the server was started, and how many of them were HOT."""

    all: int
    hot: int


@frozen(eq=False)
class Database:
    """
    The running server.

    Args:
        settings: How to connect.
        pid: Of the postmaster.
        session_ids_file: IDs of the playing sessions, one a line.
    """

    settings: DatabaseSettings
    pid: int
    session_ids_file: Path
    _connection: Connection

    def run(self, sql: str, **parameters: Any) -> list[list[Any]]:
        """Run one statement, in a transaction of its own."""
        rows: list[list[Any]] | None = self._connection.run(sql, **parameters)
        return rows or []

    def value(self, sql: str) -> Any:
        """Give the only value of a query."""
        return self.run(sql)[0][0]

    @property
    def environment(self) -> dict[str, str]:
        """How contestants are told where it is: our URL, and libpq's variables."""
        assert self.settings.unix_socket is not None  # the embedded server has nothing else
        return {
            "DATABASE_URL": str(self.settings),
            "PGHOST": str(Path(self.settings.unix_socket).parent),
            "PGPORT": str(self.settings.port),
            "PGUSER": self.settings.user,
            "PGDATABASE": self.settings.database,
        }

    def shown_settings(self) -> dict[str, str]:
        """Give the settings that matter for the numbers."""
        return {name: self.value(f"SHOW {name}") for name in SHOWN_SETTINGS}

    def empty(self) -> None:
        """Empty the tables, and let every contestant begin with a fresh checkpoint."""
        self.run("TRUNCATE sessions, session_timeline")
        self.run("CHECKPOINT")

    def fill(self, timestamp_ms: int) -> None:
        """Leave nothing but the playing sessions in the tables, last heard of at *timestamp_ms*."""
        self.run("TRUNCATE sessions, session_timeline")
        self.run(
            _FILL.format(
                session_id="session_id",
                timestamp_ms=f"{timestamp_ms}::bigint",
                source="bench.playing_sessions",
            )
        )
        self.run("VACUUM (ANALYZE) sessions")
        self.run("CHECKPOINT")

    def add_random(self, sessions: int, timestamp_ms: int) -> None:
        """Add sessions with IDs that nobody has seen."""
        self.run(
            _FILL.format(
                session_id="gen_random_uuid()::text",
                timestamp_ms=f"{timestamp_ms}::bigint",
                source=f"generate_series(1, {sessions})",
            )
        )

    def counters(self) -> Counters:
        """Read the counters."""
        wal_bytes, sessions_bytes, timeline_bytes = self.run("""
            SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, pg_total_relation_size('sessions'),
                pg_total_relation_size('session_timeline')
            """)[0]
        return Counters(
            cpu_s=processes.cpu_s(self.pid),
            wal_bytes=wal_bytes,
            sessions_bytes=sessions_bytes,
            timeline_bytes=timeline_bytes,
        )

    def updates(self) -> Updates:
        """Count updates, once every contestant is gone: a connection hands in its last counts when it ends."""
        wait_until(
            self._is_alone, timeout_s=_DISCONNECT_TIMEOUT_S, what="the contestant's connections to end"
        )
        updates, hot = self.run("""
            SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'
            """)[0]
        return Updates(all=updates, hot=hot)

    def _is_alone(self) -> bool:
        others = self.value("""
            SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
            """)
        return bool(others == 0)


@contextmanager
def started(run_dir: Path) -> Iterator[Database]:
    """
    Run PostgreSQL with our tables for the length of a ``with`` block.

    Args:
        run_dir: Where its data goes.

    Raises:
        BenchError: If it does not wait for the disk.
    """
    server = EmbeddedPostgres(run_dir / "database")
    with server as settings:
        migrate(settings, log=lambda _: None)
        with connected(settings) as connection:
            assert server.pid is not None  # it has just been started
            database = Database(settings, server.pid, run_dir / "playing_sessions.txt", connection)
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                if database.value(f"SHOW {name}") != "on":
                    raise BenchError(f"PostgreSQL runs with {name} off.")
            _make_playing_sessions(database)
            yield database


def _make_playing_sessions(database: Database) -> None:
    source = random.Random(PLAYING_SESSIONS)
    ids = [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(PLAYING_SESSIONS)]
    database.session_ids_file.write_text("".join(f"{session_id}\n" for session_id in ids))
    database.run("CREATE SCHEMA bench")
    database.run("CREATE TABLE bench.playing_sessions (session_id text)")
    database.run("INSERT INTO bench.playing_sessions SELECT unnest(CAST(:ids AS text[]))", ids=ids)
