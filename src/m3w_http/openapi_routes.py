"""
What each route takes and answers, for the OpenAPI document.

An error stands at every route that can answer with it; one that belongs to no route stands in `openapi_errors` only.
"""

from __future__ import annotations

from typing import Any

from m3w_core import Settings
from m3w_core.batch import MAX_BATCH_SESSIONS
from m3w_http.errors import JSON
from m3w_http.openapi_errors import error_responses
from m3w_http.resources import MAX_BATCH_BYTES

_NDJSON = "application/x-ndjson"

_EXAMPLE = {
    "sessionId": "550e8400-e29b-41d4-a716-446655440000",
    "timestamp": 1771150045000,
    "sessionStartDateIso": "2026-02-15T10:00:00.000Z",
    "sessionDurationMs": 45000,
    "startupTimeMs": 450,
    "rebufferTimeMs": 1200,
    "rebufferCount": 2,
    "playTimeMs": 42000,
    "rebufferRatio": 0.028,
    "totalDroppedFrames": 12,
    "totalSeekCount": 1,
    "totalSeekTimeMs": 300,
    "meanVideoFormatBitrate": 2500000,
    "errorCount": 0,
    "deviceModel": "Pixel 8",
    "osVersion": 34,
    "sdkVersion": "1.0.1",
    "connectionType": "WIFI",
    "timelineEvents": [
        {
            "timestampMs": 1771150015000,
            "elapsedMs": 15000,
            "playbackState": "PLAYING",
            "currentBitrate": 2500000,
            "networkType": "WIFI",
            "totalDroppedFrames": 4,
            "bufferedDurationMs": 18000,
            "rebufferCount": 1,
            "rebufferTimeMs": 600,
        }
    ],
    "contentId": "a field of the app's own",
}

#: What every route that takes sessions can answer but 200.
_REFUSALS = {
    "400": "InvalidSchema",
    "401": "InvalidApiKey",
    "413": "PayloadTooLarge",
    "415": "UnsupportedMediaType",
    "429": "RateLimitExceeded",
    "500": "InternalError",
    "503": "DatabaseError",
}


def _json(schema: str, **more: Any) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, **more}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{_REFUSALS[status]}"} for status in statuses}


def paths(settings: Settings) -> dict[str, Any]:
    """
    Describe the routes by their paths.

    Args:
        settings: Decide on limits, and on whether ``/metrics`` is one of them.
    """
    described = {
        "/v1/sessions": {"post": _post_session(settings.max_body_bytes)},
        "/v1/sessions/batch": {"post": _post_batch()},
        "/health": _probe(
            "health",
            "Whether the process lives",
            "It does. The database is not asked, so that its outage restarts no backend.",
            "healthy",
        ),
        "/ready": _probe(
            "ready",
            "Whether sessions can be stored",
            "The database answers, and its migrations are current.",
            "ready",
            "500",
            "503",
        ),
        "/openapi.json": {
            "get": {
                "operationId": "getOpenApi",
                "summary": "This document",
                "responses": {"200": {"description": "OpenAPI 3.1.", "content": {JSON: {"schema": {}}}}},
            }
        },
    }
    if settings.metrics_enabled and settings.metrics_port is None:
        described["/metrics"] = {"get": _get_metrics(protected=settings.metrics_token is not None)}
    return described


def _post_session(max_body_bytes: int) -> dict[str, Any]:
    return {
        "operationId": "postSession",
        "summary": "Store one session summary",
        "security": [{"apiKey": []}],
        "requestBody": {
            "required": True,
            "description": f"At most {max_body_bytes} bytes, unpacked. May be packed: `Content-Encoding: gzip`.",
            "content": _json("Session", example=_EXAMPLE),
        },
        "responses": {
            "200": {
                "description": "The summary is stored, or an equal or newer one was there already.",
                "content": _json("Stored", example={"status": "success", "sessionId": _EXAMPLE["sessionId"]}),
            },
            **_refusals(*_REFUSALS),
        },
    }


def _post_batch() -> dict[str, Any]:
    array = {
        "type": "array",
        "maxItems": MAX_BATCH_SESSIONS,
        "items": {},
        "description": "Each item should be a `Session`; one that is not is rejected without harm to the others.",
    }
    lines = {"type": "string", "description": "A `Session` on each line; blank lines are passed over."}
    rejected = {
        "index": 1,
        "sessionId": "s-2",
        "code": "INVALID_SCHEMA",
        "message": "Invalid value for sessionDurationMs: must be positive",
    }
    return {
        "operationId": "postSessions",
        "summary": "Store many session summaries",
        "security": [{"apiKey": []}],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BATCH_SESSIONS} summaries and {MAX_BATCH_BYTES} bytes, unpacked. "
            "May be packed: `Content-Encoding: gzip`.",
            "content": {JSON: {"schema": array, "example": [_EXAMPLE]}, _NDJSON: {"schema": lines}},
        },
        "responses": {
            "200": {
                "description": "All that are valid are stored; the others are named.",
                "content": _json(
                    "BatchStored", example={"status": "success", "accepted": 1, "rejected": [rejected]}
                ),
            },
            **_refusals(*_REFUSALS),
        },
    }


def _probe(name: str, summary: str, meaning: str, status: str, *refusals: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"status": {"const": status}},
        "required": ["status"],
        "additionalProperties": False,
    }
    answer = {"description": meaning, "content": {JSON: {"schema": schema}}}
    title = name.title()
    head: dict[str, Any] = {"200": {"description": meaning}}
    for refusal in refusals:
        error = error_responses()[_REFUSALS[refusal]]
        head[refusal] = {name: error[name] for name in ("description", "headers") if name in error}
    return {
        "get": {
            "operationId": f"get{title}",
            "summary": summary,
            "responses": {"200": answer, **_refusals(*refusals)},
        },
        "head": {
            "operationId": f"head{title}",
            "summary": f"{summary}, told by the status alone",
            "responses": head,
        },
    }


def _get_metrics(*, protected: bool) -> dict[str, Any]:
    answer = {
        "description": "Prometheus' text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    described: dict[str, Any] = {
        "operationId": "getMetrics",
        "summary": "Metrics for Prometheus, summed over all workers",
        "responses": {"200": answer},
    }
    if protected:
        described["security"] = [{"metricsToken": []}]
        described["responses"] |= _refusals("429") | {
            "401": {"$ref": "#/components/responses/InvalidMetricsToken"}
        }
    return described
