"""
The application as its clients see it: Falcon's own client around the real ASGI application.

Its event loop turns only while a request is under way; what is to happen in the background has to be waited for
with `Client.run`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import define, field
from falcon.asgi import App
from falcon.testing import ASGIConductor, Result

T = TypeVar("T")

DATA = Path(__file__).parent / "data"

KEY = {"X-API-Key": "dev-key"}
JSON = {"Content-Type": "application/json; charset=utf-8"}
#: As the SDK sends them.
HEADERS = {**KEY, **JSON}

#: How far the clock of an answer may be from ours, in milliseconds: the time a busy machine takes to answer.
CLOCK_TOLERANCE_MS = 10_000


@define(eq=False)
class Client:
    """
    Sends requests to an application, and runs it from ASGI's startup to its shutdown; a context manager.

    Args:
        app: The application.
    """

    app: App[Any, Any]
    _runner: asyncio.Runner = field(factory=asyncio.Runner, init=False)
    _conductor: ASGIConductor = field(init=False)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Not told of the error: the application is to shut down in its own way whatever a test has found.
            self.run(self._conductor.__aexit__(None, None, None))
        finally:
            self._runner.__exit__(kind, error, trace)

    async def _start(self) -> None:
        # Made inside the loop, which its condition belongs to.
        self._conductor = ASGIConductor(self.app)
        await self._conductor.__aenter__()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the application's loop, several requests at once for example."""
        return self._runner.run(work)

    async def send(self, method: str, path: str, **options: Any) -> Result:
        """Send one request; *options* are those of Falcon's ``simulate_request``."""
        result = await self._conductor.simulate_request(method, path, **options)
        assert isinstance(result, Result)
        return result

    def request(self, method: str, path: str, **options: Any) -> Result:
        """Send one request and wait for its answer."""
        return self.run(self.send(method, path, **options))

    def get(self, path: str, **options: Any) -> Result:
        """Send a GET."""
        return self.request("GET", path, **options)

    def post(self, payload: object, headers: Mapping[str, str] = HEADERS, **options: Any) -> Result:
        """Post a session summary: bytes as they are, anything else as JSON."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.request("POST", "/v1/sessions", body=body, headers=headers, **options)


def sdk_payload(name: str) -> bytes:
    """Read what the SDK has sent, ``sdk-0.x-complete`` for example."""
    return (DATA / "sdk-payloads" / f"{name}.json").read_bytes().strip()


def error_of(result: Result, status: int) -> dict[str, Any]:
    """
    Check what all error answers have in common.

    Returns:
        The error object without its timestamp.
    """
    body = json.loads(result.content)
    assert result.status_code == status, body
    assert result.headers["content-type"] == "application/json"
    assert list(body) == ["error"]
    error = body["error"]
    assert {"code", "message", "timestamp"} <= error.keys() <= {"code", "message", "timestamp", "details"}
    assert all(error.values())
    assert type(error["timestamp"]) is int
    assert abs(error.pop("timestamp") - time.time() * 1000) < CLOCK_TOLERANCE_MS
    return dict(error)
