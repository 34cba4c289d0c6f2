"""What happens around every request: the clock, the log line, the counters, and the writer's life."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import falcon
from attrs import define, field
from falcon.asgi import Request, Response

from m3w_core import GroupCommitWriter
from m3w_http import logs
from m3w_http.metrics import Metrics
from m3w_http.upkeep import Upkeep

#: Probes come every few seconds and tell nothing.
_NOT_LOGGED = frozenset({"/health", "/ready", "/metrics"})

_METHODS = frozenset(falcon.HTTP_METHODS)

_SAMPLE_S = 1.0


@define(eq=False)
class Observation:
    """Logs and counts every request, when its answer is known."""

    metrics: Metrics

    async def process_request(self, req: Request, resp: Response) -> None:
        """Start the clock."""
        req.context.started = time.perf_counter()
        req.context.answer = None

    async def process_response(
        self, req: Request, resp: Response, resource: Any, req_succeeded: bool
    ) -> None:
        """Stop it, and tell."""
        seconds = time.perf_counter() - req.context.started
        status = resp.status_code
        # The template, not the path, and no invented method: what a stranger sends must not become a label.
        method = req.method if req.method in _METHODS else "other"
        self.metrics.request_finished(method, req.uri_template or "other", status, seconds)
        answer = req.context.answer
        if answer is not None and status < 500:
            self.metrics.payload_rejected(answer.code, answer.details)
        if req.uri_template not in _NOT_LOGGED:
            logs.request_finished(req.method, req.path, status, seconds)


@define(eq=False)
class Lifespan:
    """
    Runs the writer for as long as the server serves; on shutdown it writes what it has accepted.

    Args:
        writer: Of sessions.
        metrics: Is told of the process every now and then.
        upkeep: Of keys and rejected payloads; None where there is none.
    """

    writer: GroupCommitWriter
    metrics: Metrics
    upkeep: Upkeep | None = None
    _sampling: asyncio.Task[None] | None = field(default=None, init=False)

    async def process_startup(self, scope: Any, event: Any) -> None:
        """Start the writer, and know the keys."""
        await self.writer.__aenter__()
        if self.upkeep is not None:
            await self.upkeep.start()
        self._sampling = asyncio.create_task(self._sample())

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        """Finish the writer's work; uvicorn has finished the requests by now."""
        if self._sampling is not None:
            self._sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampling
        await self.writer.__aexit__(None, None, None)
        if self.upkeep is not None:
            await self.upkeep.stop()
        self.metrics.hand_on()

    async def _sample(self) -> None:
        while True:
            self.metrics.sample(self.writer.waiting)
            logs.flush_lines()
            await asyncio.sleep(_SAMPLE_S)
