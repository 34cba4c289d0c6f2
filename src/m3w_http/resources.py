"""The routes. What a session is, and where it goes, is m3w_core's business; here is only what HTTP adds."""

from __future__ import annotations

from hmac import compare_digest
from operator import itemgetter

import orjson
from attrs import define, field
from falcon.asgi import Request, Response

from m3w_core import (
    ApiKeys,
    GroupCommitWriter,
    InvalidSessionError,
    SessionRefusedError,
    StorageUnavailableError,
    parse_array,
    parse_lines,
    parse_session,
)
from m3w_core.auth import digest
from m3w_core.rejected import RejectedQueue
from m3w_http.body import check_content_type, read_body
from m3w_http.errors import INVALID_API_KEY, INVALID_METRICS_TOKEN, RequestError, answer_for
from m3w_http.metrics import Metrics
from m3w_http.rate_limits import RequestLimit, WrongKeyLimit
from m3w_http.readiness import Readiness
from m3w_http.rejections import keep_body, keep_items

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
        request_limit: For senders with a right key; None is no limit.
        wrong_key_limit: For all others.
    """

    api_keys: ApiKeys
    request_limit: RequestLimit | None
    wrong_key_limit: WrongKeyLimit = field(factory=WrongKeyLimit)

    def use_keys(self, api_keys: ApiKeys) -> None:
        """Go by other keys from now on."""
        self.api_keys = api_keys

    def admit(self, req: Request, route: str) -> str:
        """
        Let a request in; its body has not been looked at yet.

        Args:
            req: The request.
            route: What it wants, one of `m3w_core.auth.ROUTES`.

        Returns:
            The name of its API key.

        Raises:
            RequestError: 401, if the key is missing, wrong or not for this route; 429, if there were too many of
                those.
            StorageUnavailableError: If the key may be one that has not been read from the database yet.
        """
        address = req.remote_addr
        self.wrong_key_limit.check(address)
        given = req.get_header("X-API-Key")
        name = self.api_keys.identify(given, route)
        if name is None:
            if given is not None and not self.api_keys.is_complete:
                # A 401 would have the SDK delete the session of a key that is right.
                raise StorageUnavailableError("the stored API keys have not been read yet")
            self.wrong_key_limit.count(address)
            raise RequestError(INVALID_API_KEY)
        return name


@define(eq=False)
class SessionsResource:
    """``POST /v1/sessions``: one session summary."""

    gate: Gate
    writer: GroupCommitWriter
    rejected: RejectedQueue
    metrics: Metrics
    max_body_bytes: int

    async def on_post(self, req: Request, resp: Response) -> None:
        """Store the summary in the body; the answer comes after the commit."""
        key_name = self.gate.admit(req, "sessions")
        if (limit := self.gate.request_limit) is not None:
            await limit.check(key_name, req.remote_addr)
        check_content_type(req, _JSON_ONLY)
        body = b""
        try:
            body = await read_body(req, self.max_body_bytes)
            session = parse_session(body)
            await self.writer.write(session, size=len(body), received_via=key_name)
        except (InvalidSessionError, SessionRefusedError) as error:
            keep_body(self.rejected, error, body, key_name=key_name, route=req.path)
            raise
        except StorageUnavailableError:
            self.metrics.failed.inc()
            raise
        self.metrics.stored(key_name)
        resp.data = b'{"status":"success","sessionId":%b}' % orjson.dumps(session.session_id)


@define(eq=False)
class BatchResource:
    """``POST /v1/sessions/batch``: many summaries, as a JSON array or one a line."""

    gate: Gate
    writer: GroupCommitWriter
    rejected: RejectedQueue
    metrics: Metrics

    async def on_post(self, req: Request, resp: Response) -> None:
        """Store all that are valid; the answer comes after the commit and names the others."""
        key_name = self.gate.admit(req, "batch")
        if (limit := self.gate.request_limit) is not None:
            await limit.check(key_name, req.remote_addr)
        media_type = check_content_type(req, _JSON_OR_LINES)
        body = b""
        try:
            body = await read_body(req, MAX_BATCH_BYTES)
            batch = parse_lines(body) if media_type == _LINES else parse_array(body)
        except InvalidSessionError as error:
            keep_body(self.rejected, error, body, key_name=key_name, route=req.path, media_type=media_type)
            raise
        if limit is not None:
            # One of them was counted when the request came.
            await limit.count(key_name, req.remote_addr, len(batch.sessions) + len(batch.rejected) - 1)
        try:
            refused = await self.writer.write_all(batch.sessions, size=len(body), received_via=key_name)
        except StorageUnavailableError:
            self.metrics.failed.inc(len(batch.sessions))
            raise
        rejected = [(bad.index, bad.session_id, answer_for(bad.error)) for bad in batch.rejected]
        rejected += [
            (batch.indexes[place], batch.sessions[place].session_id, answer_for(error))
            for place, error in refused.items()
        ]
        accepted = len(batch.sessions) - len(refused)
        self.metrics.stored(key_name, accepted)
        if rejected:
            keep_items(self.rejected, batch, refused, key_name=key_name, route=req.path)
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
    """``GET /metrics``: Prometheus' text format, for whoever has the token where there is one."""

    metrics: Metrics
    token: str | None
    _wrong_token_limit: WrongKeyLimit = field(factory=WrongKeyLimit, init=False)

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the sum over all workers, or 401."""
        if self.token is not None:
            self._check(req, self.token)
        resp.content_type = "text/plain; version=0.0.4; charset=utf-8"
        resp.data = self.metrics.render()

    def _check(self, req: Request, token: str) -> None:
        # Not the limit of the API's keys: a scraper with an old token must not lock out the apps of its network.
        self._wrong_token_limit.check(req.remote_addr)
        scheme, _, given = (req.get_header("Authorization") or "").partition(" ")
        # Digests, whose comparison does not tell how long the token is either.
        if scheme.lower() != "bearer" or not compare_digest(digest(given.strip()), digest(token)):
            self._wrong_token_limit.count(req.remote_addr)
            raise RequestError(INVALID_METRICS_TOKEN)
