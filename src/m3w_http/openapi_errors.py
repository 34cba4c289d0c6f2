"""
The errors in the OpenAPI document.

Some belong to no route: 404, 405, and what the server answers before it looks for one, which it can do to any
request. Its 503 has the status of the database's, but another code.
"""

from __future__ import annotations

from typing import Any

from m3w_http.errors import JSON
from m3w_http.resources import MAX_BATCH_BYTES

_BAD_FIELD = {"field": "sessionDurationMs", "problem": "must be positive"}

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the request is sent again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_ALLOW = {
    "Allow": {
        "description": "The methods that the path takes.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_WWW_AUTHENTICATE = {
    "WWW-Authenticate": {
        "description": "How the token is sent.",
        "required": True,
        "schema": {"const": 'Bearer realm="metrics"'},
    }
}


def error_responses() -> dict[str, Any]:
    """Describe the errors, by the names that routes refer to."""
    return {
        "InvalidSchema": _error(
            "INVALID_SCHEMA",
            "Not JSON, or fields that break a rule; the message names every one.",
            "Invalid value for sessionDurationMs: must be positive",
            details=[_BAD_FIELD],
        ),
        "InvalidApiKey": _error(
            "INVALID_API_KEY", "The key is missing or wrong.", "Invalid or missing API Key"
        ),
        "InvalidMetricsToken": _error(
            "INVALID_METRICS_TOKEN",
            "The token of `METRICS_TOKEN` is missing or wrong.",
            "Invalid or missing token",
            headers=_WWW_AUTHENTICATE,
        ),
        "NotFound": _error("NOT_FOUND", "There is no such path.", "There is nothing at this path"),
        "MethodNotAllowed": _error(
            "METHOD_NOT_ALLOWED",
            "The path does not take the method.",
            "This path does not take this method",
            headers=_ALLOW,
        ),
        "PayloadTooLarge": _error(
            "PAYLOAD_TOO_LARGE",
            "The body is over the limit, before or after decompression, or holds too many summaries.",
            f"Payload exceeds maximum size of {MAX_BATCH_BYTES} bytes",
        ),
        "UnsupportedMediaType": _error(
            "UNSUPPORTED_MEDIA_TYPE",
            "The body is not JSON in UTF-8 by its `Content-Type`, or packed with something other than gzip.",
            "Content-Type must be application/json in UTF-8",
        ),
        "RateLimitExceeded": _error(
            "RATE_LIMIT_EXCEEDED",
            "Too many requests, or too many wrong keys from one address.",
            "Too many requests",
            headers=_RETRY_AFTER,
        ),
        "RequestTimeout": _error(
            "REQUEST_TIMEOUT",
            "The request did not arrive in time.",
            "The request did not arrive in time",
            headers=_RETRY_AFTER,
        ),
        "HeadersTooLarge": _error(
            "HEADERS_TOO_LARGE", "The headers are too large.", "The headers are too large"
        ),
        "ServerBusy": _error(
            "SERVER_BUSY", "Too many connections.", "Too many connections", headers=_RETRY_AFTER
        ),
        "InternalError": _error("INTERNAL_ERROR", "A bug of the backend.", "Unexpected server error"),
        "DatabaseError": _error(
            "DATABASE_ERROR",
            "The database did not take it in time. It may be stored all the same; sending it again is safe.",
            "Temporary storage issue",
            also="SERVER_BUSY",
            headers=_RETRY_AFTER,
        ),
    }


def _error(
    code: str,
    description: str,
    message: str,
    *,
    also: str | None = None,
    details: list[dict[str, str]] | None = None,
    headers: dict[str, Any] | None = None,
) -> dict[str, Any]:
    codes = [code] if also is None else [code, also]
    error: dict[str, Any] = {"code": code, "message": message, "timestamp": 1771150045000}
    if details is not None:
        error["details"] = details
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Error"},
            {"properties": {"error": {"properties": {"code": {"enum": codes}}}}},
        ]
    }
    described = {
        "description": description,
        "content": {JSON: {"schema": schema, "example": {"error": error}}},
    }
    return described if headers is None else {**described, "headers": headers}
