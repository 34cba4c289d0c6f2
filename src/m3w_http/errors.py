"""
Errors as clients see them: the one place where an exception becomes a status, a code and a body.

The status decides what the SDK does with its only copy of a session: on 408, 429 and 5xx it tries again, on any
other 4xx it deletes the payload. So an error of ours must never look like one of the client's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import falcon
import orjson
from attrs import field, frozen
from falcon.asgi import App, Request, Response

from m3w_core import (
    BatchTooLargeError,
    InvalidSessionError,
    M3WError,
    MigrationError,
    Problem,
    SessionRefusedError,
    StorageUnavailableError,
)

logger = logging.getLogger(__name__)

#: When a client may come again after the database did not take its session.
STORAGE_RETRY_AFTER_S = 5

JSON = "application/json"


@frozen
class Answer:
    """What a client is told: the status, a code for programs, a message for people."""

    status: HTTPStatus
    code: str
    message: str
    details: Sequence[Problem] = ()
    headers: Mapping[str, str] = field(factory=dict)

    def body(self) -> bytes:
        """Write the body that all errors have; the timestamp is Unix epoch milliseconds."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "timestamp": time.time_ns() // 1_000_000,
        }
        if self.details:
            error["details"] = [{"field": bad.field, "problem": bad.problem} for bad in self.details]
        return orjson.dumps({"error": error})


class RequestError(M3WError):
    """A request that is turned away for what it is rather than for its session."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


INVALID_API_KEY = Answer(HTTPStatus.UNAUTHORIZED, "INVALID_API_KEY", "Invalid or missing API Key")
INVALID_METRICS_TOKEN = Answer(
    HTTPStatus.UNAUTHORIZED,
    "INVALID_METRICS_TOKEN",
    "Invalid or missing token",
    headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
)
INVALID_HTTP = Answer(HTTPStatus.BAD_REQUEST, "INVALID_SCHEMA", "Invalid HTTP request")
BODY_CUT_SHORT = Answer(HTTPStatus.BAD_REQUEST, "INVALID_SCHEMA", "The body ended too early")
REQUEST_TIMEOUT = Answer(
    HTTPStatus.REQUEST_TIMEOUT,
    "REQUEST_TIMEOUT",
    "The request did not arrive in time",
    headers={"Retry-After": "5"},
)
REQUEST_HEAD_TOO_LARGE = Answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "The headers are too large"
)
TOO_MANY_CONNECTIONS = Answer(
    HTTPStatus.SERVICE_UNAVAILABLE, "SERVER_BUSY", "Too many connections", headers={"Retry-After": "5"}
)
INTERNAL_ERROR = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "Unexpected server error")

_HTTP_ERRORS = {
    HTTPStatus.NOT_FOUND: ("NOT_FOUND", "There is nothing at this path"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("METHOD_NOT_ALLOWED", "This path does not take this method"),
}


def invalid_schema(message: str, details: Sequence[Problem] = ()) -> Answer:
    """Answer a payload that breaks a rule."""
    return Answer(HTTPStatus.BAD_REQUEST, "INVALID_SCHEMA", message, details)


def payload_too_large(limit_bytes: int) -> RequestError:
    """Answer a body over the limit, before or after decompression."""
    return RequestError(_too_large(f"Payload exceeds maximum size of {limit_bytes} bytes"))


def _too_large(message: str) -> Answer:
    return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)


def unsupported_media_type(message: str) -> RequestError:
    """Answer a body that is not JSON, or packed in a way that is not understood."""
    return RequestError(Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))


def rate_limit_exceeded(message: str, retry_after_s: int) -> RequestError:
    """Answer one request too many."""
    headers = {"Retry-After": str(retry_after_s)}
    return RequestError(Answer(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message, headers=headers))


def _unavailable(message: str) -> Answer:
    headers = {"Retry-After": str(STORAGE_RETRY_AFTER_S)}
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "DATABASE_ERROR", message, headers=headers)


def answer_for(error: Exception) -> Answer:
    """
    Find the answer to an exception.

    Args:
        error: Whatever handling a request raised. What is unknown here is a bug of ours, hence a 500.
    """
    match error:
        case RequestError():
            return error.answer
        case InvalidSessionError():
            return invalid_schema(error.message, error.problems)
        case BatchTooLargeError():
            return _too_large(str(error))
        case SessionRefusedError():
            return invalid_schema("The database refuses what this session holds")
        case StorageUnavailableError():
            return _unavailable("Temporary storage issue")
        case MigrationError():
            return _unavailable("Database migrations are not current")
        case falcon.HTTPError():
            status = HTTPStatus(falcon.http_status_to_code(error.status))
            code, message = _HTTP_ERRORS.get(status, ("INVALID_SCHEMA", error.title))
            return Answer(status, code, message, headers=dict(error.headers or {}))
        case _:
            return INTERNAL_ERROR


async def _handle(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    answer = answer_for(error)
    if answer is INTERNAL_ERROR:
        logger.error("A request failed unexpectedly", exc_info=error)
    req.context.answer = answer
    resp.status = answer.status
    resp.content_type = JSON
    resp.data = answer.body()
    for name, value in answer.headers.items():
        resp.set_header(name, value)


def add_error_handlers(app: App[Request, Response]) -> None:
    """Let every error of *app*, Falcon's own included, be answered from here."""
    app.add_error_handler(Exception, _handle)
    app.add_error_handler(falcon.HTTPError, _handle)
