"""
Falcon and pg8000, row by row in a thread pool: the straightforward version of this backend.

It reads payloads with our own m3w_core, so that the difference is what sharing transactions gives and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import falcon
import falcon.asgi
import orjson
from attrs import define, field
from pg8000.native import Connection

from m3w_core import InvalidSessionError, Session, parse_database_url, parse_session

API_KEY = os.environ["M3W_API_KEY"]
DATABASE = parse_database_url(os.environ["DATABASE_URL"])

#: Threads, and so connections, of each worker.
POOL_SIZE = 10

UPSERT_SESSION = """
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    :session_id, :timestamp, :session_start_date_iso, :session_duration_ms, :startup_time_ms, :rebuffer_time_ms,
    :rebuffer_count, :play_time_ms, :rebuffer_ratio, :total_dropped_frames, :total_seek_count,
    :total_seek_time_ms, :mean_video_format_bitrate, :error_count, :device_model, :os_version, :sdk_version,
    :connection_type, m3w_event_at(:timestamp, now())
)
ON CONFLICT (session_id) DO UPDATE SET
    timestamp = EXCLUDED.timestamp,
    session_start_date_iso = EXCLUDED.session_start_date_iso,
    session_duration_ms = EXCLUDED.session_duration_ms,
    startup_time_ms = EXCLUDED.startup_time_ms,
    rebuffer_time_ms = EXCLUDED.rebuffer_time_ms,
    rebuffer_count = EXCLUDED.rebuffer_count,
    play_time_ms = EXCLUDED.play_time_ms,
    rebuffer_ratio = EXCLUDED.rebuffer_ratio,
    total_dropped_frames = EXCLUDED.total_dropped_frames,
    total_seek_count = EXCLUDED.total_seek_count,
    total_seek_time_ms = EXCLUDED.total_seek_time_ms,
    mean_video_format_bitrate = EXCLUDED.mean_video_format_bitrate,
    error_count = EXCLUDED.error_count,
    device_model = EXCLUDED.device_model,
    os_version = EXCLUDED.os_version,
    sdk_version = EXCLUDED.sdk_version,
    connection_type = EXCLUDED.connection_type,
    received_at = EXCLUDED.received_at,
    event_at = EXCLUDED.event_at
WHERE sessions.timestamp <= EXCLUDED.timestamp
"""

INSERT_ENTRY = """
INSERT INTO session_timeline (
    session_id, timestamp_ms, elapsed_ms, playback_state, current_bitrate, network_type, total_dropped_frames,
    buffered_duration_ms, rebuffer_count, rebuffer_time_ms
)
VALUES (
    :session_id, :timestamp_ms, :elapsed_ms, :playback_state, :current_bitrate, :network_type,
    :total_dropped_frames, :buffered_duration_ms, :rebuffer_count, :rebuffer_time_ms
)
ON CONFLICT DO NOTHING
"""

SESSION_NAMES = (
    "session_id",
    "timestamp",
    "session_start_date_iso",
    "session_duration_ms",
    "startup_time_ms",
    "rebuffer_time_ms",
    "rebuffer_count",
    "play_time_ms",
    "rebuffer_ratio",
    "total_dropped_frames",
    "total_seek_count",
    "total_seek_time_ms",
    "mean_video_format_bitrate",
    "error_count",
    "device_model",
    "os_version",
    "sdk_version",
    "connection_type",
)
ENTRY_NAMES = (
    "timestamp_ms",
    "elapsed_ms",
    "playback_state",
    "current_bitrate",
    "network_type",
    "total_dropped_frames",
    "buffered_duration_ms",
    "rebuffer_count",
    "rebuffer_time_ms",
)


class Store:
    """A connection with its prepared statements, for one thread."""

    def __init__(self) -> None:
        self.connection = Connection(
            DATABASE.user, unix_sock=DATABASE.unix_socket, database=DATABASE.database
        )
        self.upsert_session = self.connection.prepare(UPSERT_SESSION)
        self.insert_entry = self.connection.prepare(INSERT_ENTRY)

    def upsert(self, session: Session) -> None:
        """Store one session in one transaction."""
        row = {name: getattr(session, name) for name in SESSION_NAMES}
        if not session.timeline_events:
            self.upsert_session.run(**row)
            return
        self.connection.run("BEGIN")
        self.upsert_session.run(**row)
        for entry in session.timeline_events:
            values = {name: getattr(entry, name) for name in ENTRY_NAMES}
            self.insert_entry.run(session_id=session.session_id, **values)
        self.connection.run("COMMIT")


of_thread = threading.local()


def connect() -> None:
    """Give this thread its connection."""
    of_thread.store = Store()


def upsert(session: Session) -> None:
    """Store one session over this thread's connection."""
    of_thread.store.upsert(session)


@define(eq=False)
class SessionsResource:
    """``POST /v1/sessions``."""

    _pool: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(POOL_SIZE, initializer=connect))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Store one session; the answer comes after the commit."""
        key = req.get_header("X-API-Key", default="")
        if not secrets.compare_digest(key.encode(), API_KEY.encode()):
            raise falcon.HTTPUnauthorized(description="Invalid or missing API Key")
        try:
            session = parse_session(await req.stream.read())
        except InvalidSessionError as error:
            raise falcon.HTTPBadRequest(description=str(error)) from error
        await asyncio.get_running_loop().run_in_executor(self._pool, upsert, session)
        resp.data = orjson.dumps({"status": "success", "sessionId": session.session_id})


class HealthResource:
    """``GET /health``."""

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Tell that the process lives."""
        resp.data = b'{"status":"healthy"}'


app = falcon.asgi.App()
app.add_route("/health", HealthResource())
app.add_route("/v1/sessions", SessionsResource())
