"""The routes. What a session is, and where it goes, is m3w_core's business; here is only what HTTP adds."""

from __future__ import annotations

from operator import itemgetter

import orjson
from attrs import define, field
from falcon.asgi import Request, Response

from m3w_core import (
    ApiKeys,
    GroupCommitWriter,
    StorageUnavailableError,
    parse_array,
    parse_lines,
    parse_session,
)
from m3w_http.body import check_content_type, read_body
from m3w_http.errors import INVALID_API_KEY, RequestError, answer_for
from m3w_http.metrics import Metrics
from m3w_http.rate_limits import RequestLimit, WrongKeyLimit
from m3w_http.readiness import Readiness

_JSON, _LINES = "application/json", "application/x-ndjson"
_JSON_ONLY = frozenset({_JSON})
_JSON_OR_LINES = frozenset({_JSON, _LINES})

#: Of the body of a batch, after decompression too.
MAX_BATCH_BYTES = 8 * 1024 * 1024


@define(eq=False)
class Gate:
    """
    Who may send sessions, and how often.

    Args:
        api_keys: The keys that are known.
        request_limit: For senders with a right key.
        wrong_key_limit: For all others.
    """

    api_keys: ApiKeys
    request_limit: RequestLimit
    wrong_key_limit: WrongKeyLimit = field(factory=WrongKeyLimit)

    def admit(self, req: Request) -> str:
        """
        Let a request in; its body has not been looked at yet.

        Returns:
            The name of its API key.

        Raises:
            RequestError: 401, if the key is missing or wrong; 429, if there were too many.
        """
        address = req.remote_addr
        self.wrong_key_limit.check(address)
        name = self.api_keys.identify(req.get_header("X-API-Key"))
        if name is None:
            self.wrong_key_limit.count(address)
            raise RequestError(INVALID_API_KEY)
        self.request_limit.check(name, address)
        return name


@define(eq=False)
class SessionsResource:
    """``POST /v1/sessions``: one session summary."""

    gate: Gate
    writer: GroupCommitWriter
    metrics: Metrics
    max_body_bytes: int

    async def on_post(self, req: Request, resp: Response) -> None:
        """Store the summary in the body; the answer comes after the commit."""
        self.gate.admit(req)
        check_content_type(req, _JSON_ONLY)
        body = await read_body(req, self.max_body_bytes)
        session = parse_session(body)
        try:
            await self.writer.write(session, size=len(body))
        except StorageUnavailableError:
            self.metrics.failed.inc()
            raise
        self.metrics.ingested.inc()
        resp.data = b'{"status":"success","sessionId":%b}' % orjson.dumps(session.session_id)


@define(eq=False)
class BatchResource:
    """``POST /v1/sessions/batch``: many summaries, as a JSON array or one a line."""

    gate: Gate
    writer: GroupCommitWriter
    metrics: Metrics

    async def on_post(self, req: Request, resp: Response) -> None:
        """Store all that are valid; the answer comes after the commit and names the others."""
        self.gate.admit(req)
        media_type = check_content_type(req, _JSON_OR_LINES)
        body = await read_body(req, MAX_BATCH_BYTES)
        batch = parse_lines(body) if media_type == _LINES else parse_array(body)
        try:
            refused = await self.writer.write_all(batch.sessions, size=len(body))
        except StorageUnavailableError:
            self.metrics.failed.inc(len(batch.sessions))
            raise
        rejected = [(bad.index, bad.session_id, answer_for(bad.error)) for bad in batch.rejected]
        rejected += [
            (batch.indexes[place], batch.sessions[place].session_id, answer_for(error))
            for place, error in refused.items()
        ]
        accepted = len(batch.sessions) - len(refused)
        self.metrics.ingested.inc(accepted)
        for _, _, answer in rejected:
            self.metrics.payload_rejected(answer.code, answer.details)
        resp.data = orjson.dumps(
            {
                "status": "success",
                "accepted": accepted,
                "rejected": [
                    {"index": index, "sessionId": session_id, "code": answer.code, "message": answer.message}
                    for index, session_id, answer in sorted(rejected, key=itemgetter(0))
                ],
            }
        )


class HealthResource:
    """``GET /health``: the process lives. Touches no database, so that its outage restarts nothing."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        resp.data = b'{"status":"healthy"}'

    on_head = on_get


@define(eq=False)
class ReadyResource:
    """``GET /ready``: sessions can be stored now."""

    readiness: Readiness

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer, or 503."""
        await self.readiness.check()
        resp.data = b'{"status":"ready"}'

    on_head = on_get


@define(eq=False)
class MetricsResource:
    """``GET /metrics``: Prometheus' text format."""

    metrics: Metrics

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the sum over all workers."""
        resp.content_type = "text/plain; version=0.0.4; charset=utf-8"
        resp.data = self.metrics.render()
