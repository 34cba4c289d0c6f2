"""
FastAPI, pydantic and an asyncpg pool: what most Python teams would write.

asyncpg prepares each statement once a connection by itself.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_KEY = os.environ["M3W_API_KEY"]

UPSERT_SESSION = """
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, m3w_event_at($2, now())
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
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING
"""

Instant = Annotated[int, Field(gt=0, le=253402300799999)]
Large = Annotated[int, Field(ge=0, lt=2**63)]
Small = Annotated[int, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(max_length=256)]


class Entry(BaseModel):
    """The state of the player at one moment."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)

    timestamp_ms: Instant
    elapsed_ms: Large
    playback_state: Literal["IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED"]
    current_bitrate: Large | None = None
    network_type: Text | None = None
    total_dropped_frames: Large
    buffered_duration_ms: Large | None = None
    rebuffer_count: Small
    rebuffer_time_ms: Large


class Summary(BaseModel):
    """One session, as the SDK sums it up."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)

    session_id: Annotated[str, Field(min_length=1, max_length=128)]
    timestamp: Instant
    session_start_date_iso: Annotated[str, Field(min_length=1, max_length=64)]
    session_duration_ms: Annotated[int, Field(gt=0, lt=2**63)]
    startup_time_ms: Large | None = None
    rebuffer_time_ms: Large | None = None
    rebuffer_count: Small | None = None
    play_time_ms: Large | None = None
    rebuffer_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    total_dropped_frames: Large | None = None
    total_seek_count: Small | None = None
    total_seek_time_ms: Large | None = None
    mean_video_format_bitrate: Annotated[int, Field(ge=-1, lt=2**63)] | None = None
    error_count: Small | None = None
    device_model: Text | None = None
    os_version: Small | None = None
    sdk_version: Text | None = None
    connection_type: Text | None = None
    timeline_events: Annotated[list[Entry], Field(max_length=500)] | None = None


class Stored(BaseModel):
    """The answer."""

    status: Literal["success"] = "success"
    session_id: str = Field(serialization_alias="sessionId")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a pool of connections."""
    # Where the database is stands in libpq's environment variables.
    async with asyncpg.create_pool(min_size=10, max_size=10) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
api_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def check_api_key(key: Annotated[str | None, Depends(api_key_header)]) -> None:
    """Let nobody in without the key."""
    if key is None or not secrets.compare_digest(key.encode(), API_KEY.encode()):
        raise HTTPException(401, "Invalid or missing API Key")


@app.get("/health")
async def health() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "healthy"}


@app.post("/v1/sessions", dependencies=[Depends(check_api_key)])
async def store(summary: Summary, request: Request) -> Stored:
    """Store one session; the answer comes after the commit."""
    bitrate = summary.mean_video_format_bitrate
    row = (
        summary.session_id,
        summary.timestamp,
        summary.session_start_date_iso,
        summary.session_duration_ms,
        summary.startup_time_ms,
        summary.rebuffer_time_ms,
        summary.rebuffer_count,
        summary.play_time_ms,
        summary.rebuffer_ratio,
        summary.total_dropped_frames,
        summary.total_seek_count,
        summary.total_seek_time_ms,
        None if bitrate == -1 else bitrate,
        summary.error_count,
        summary.device_model,
        summary.os_version,
        summary.sdk_version,
        summary.connection_type,
    )
    async with request.app.state.pool.acquire() as connection:
        if not summary.timeline_events:
            await connection.execute(UPSERT_SESSION, *row)
        else:
            async with connection.transaction():
                await connection.execute(UPSERT_SESSION, *row)
                await connection.executemany(
                    INSERT_ENTRY,
                    [
                        (
                            summary.session_id,
                            entry.timestamp_ms,
                            entry.elapsed_ms,
                            entry.playback_state,
                            entry.current_bitrate,
                            entry.network_type,
                            entry.total_dropped_frames,
                            entry.buffered_duration_ms,
                            entry.rebuffer_count,
                            entry.rebuffer_time_ms,
                        )
                        for entry in summary.timeline_events
                    ],
                )
    return Stored(session_id=summary.session_id)
