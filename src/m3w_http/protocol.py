"""
HTTP/1.1 on a connection: uvicorn's protocol on httptools, with bounds on what a client may cost.

uvicorn alone lets a request trickle in for ever, takes a head of any size, and answers in plain text what it
refuses. And it uses a timer and two writes for each request; here one look a second at all connections does for the
timers, and head and body of an answer are one write.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from m3w_http.errors import (
    INTERNAL_ERROR,
    INVALID_HTTP,
    JSON,
    REQUEST_HEAD_TOO_LARGE,
    REQUEST_TIMEOUT,
    TOO_MANY_CONNECTIONS,
    Answer,
)

#: For a request to arrive as a whole. The SDK gives up a call after 15 s.
REQUEST_S = 15.0

#: For the next request of a connection to begin.
KEEP_ALIVE_S = 5.0

#: Request line and headers together.
MAX_HEAD_BYTES = 16 * 1024

#: What comes from a client that is refused is still read for so long, or it might never see why.
_LINGER_S = 1.0

Refused = Callable[[HTTPStatus], None]


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    _start: dict[str, Any] | None = None

    async def send(self, message: Any) -> None:
        """Send one of ASGI's events; the head of an answer waits for the body, which follows at once."""
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
            return
        if self.response_started or message.get("more_body"):
            await self._send_in_pieces(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self._start is None:
            return
        head = [STATUS_LINE[self._start["status"]]]
        head += [_header_line(name, value) for name, value in self.default_headers]
        head += [_header_line(name, value) for name, value in self._start["headers"]]
        head.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self.transport.write(b"".join(head) + message.get("body", b""))
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    async def _send_in_pieces(self, message: Any) -> None:
        if not self.response_started and self._start is not None:
            await super().send(cast(Any, self._start))
        await super().send(message)

    async def send_500_response(self) -> None:
        """Answer where the application did not."""
        self._start = None
        self.keep_alive = False
        headers, body = _written(INTERNAL_ERROR)
        await self.send({"type": "http.response.start", "status": INTERNAL_ERROR.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=512)  # the same few, the length of each answer, and the date, which changes once a second
def _header_line(name: bytes, value: bytes) -> bytes:
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise ValueError("a header holds what no header may hold")
    return b"%b: %b\r\n" % (name, value)


class HttpProtocol(HttpToolsProtocol):
    """
    One connection.

    Args:
        config: uvicorn's.
        server_state: Shared by all connections.
        app_state: Of ASGI's lifespan.
        max_connections: How many this process serves; those beyond it are told to come again later.
        refused: Is told the status of what was answered here and never reached the application.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        max_connections: int,
        refused: Refused,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = max_connections
        self._refused = refused
        self._crowded = False
        self._deadline = math.inf
        self._in_head = self._in_body = self._lingering = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection that sends nothing at all is closed too."""
        super().connection_made(transport)
        self._crowded = len(self.connections) > self._max_connections
        self._deadline = self.loop.time() + (_LINGER_S if self._crowded else REQUEST_S)

    def data_received(self, data: bytes) -> None:
        """Take some bytes of a request."""
        if self._lingering:
            return
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, (httptools.HttpParserInvalidURLError, UnicodeDecodeError)):
                self._refuse(INVALID_HTTP)
            else:
                # A bug of ours, and a 400 would have the SDK delete its session.
                self.logger.exception("A request could not be taken")
                self._refuse(INTERNAL_ERROR)
            return
        except httptools.HttpParserError:
            self._refuse(INVALID_HTTP)
            return
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(REQUEST_HEAD_TOO_LARGE)

    def _decline_upgrade(self, rest: bytes) -> None:
        """
        Read a request without its offer of another protocol, which nothing here speaks.

        httptools takes all that follows such a head for the other protocol, the body of the request as well.
        Java's client offers HTTP/2 with the first request of each connection.
        """
        lines = [
            b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self._head_bytes = 0
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        if not self._crowded:
            self._deadline = self.loop.time() + REQUEST_S

    def on_headers_complete(self) -> None:
        """Hand a request to the application, which reads the body as it comes."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # _decline_upgrade follows
        self._in_head, self._in_body = False, True
        if self._head_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._refuse(REQUEST_HEAD_TOO_LARGE)
            return
        if self._crowded:
            self._refuse(TOO_MANY_CONNECTIONS)
            return
        scope = self.scope
        http_version = self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["http_version"] = http_version
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["raw_path"] = url.path
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        previous = self.cycle
        self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._handle(self.cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _handle(self, cycle: RequestResponseCycle) -> None:
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        # uvicorn waits for these when it stops.
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        if not self._lingering:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; from here on its time is the application's."""
        if self._lingering or self._in_head:
            return
        self._in_body = False
        self._head_bytes = 0
        self._deadline = math.inf
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait_for_request()

    def on_response_complete(self) -> None:
        """Go on with the next request, if the client has sent it already."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._handle(self.pipeline.pop()[0])
        else:
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        # A body that is still coming, though the answer did not wait for it, gets no longer than that either.
        self._deadline = min(self._deadline, self.loop.time() + KEEP_ALIVE_S)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what is no HTTP."""
        self._refuse(INVALID_HTTP)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, answer: Answer) -> None:
        """Answer, whatever the client is about, and close."""
        headers, body = _written(answer)
        headers += self.server_state.default_headers
        lines = [STATUS_LINE[answer.status], *(_header_line(name, value) for name, value in headers)]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        self._refused(answer.status)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closed at once, with bytes unread, the client might be told of a reset connection before the answer.
        self.transport.write_eof()
        self._lingering = True
        self._deadline = self.loop.time() + _LINGER_S

    def look_at_clock(self, now: float) -> None:
        """
        End the connection if its time is over.

        Args:
            now: By the clock of the event loop, seconds.
        """
        if now < self._deadline:
            return
        if self._lingering or self.transport.is_closing():
            # Not close(), which would wait until the client has taken all that it was sent.
            self.transport.abort()
        elif self._in_head or self._in_body:
            self._refuse(REQUEST_TIMEOUT)
        else:
            self.transport.close()
            self._deadline = now + _LINGER_S


def _written(answer: Answer) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = answer.body()
    headers = {"content-type": JSON, "content-length": str(len(body)), **answer.headers}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()], body


def end_overdue(connections: Iterable[Any], now: float) -> None:
    """
    End the connections whose time is over.

    Args:
        connections: uvicorn's set of this server.
        now: By the clock of the event loop, seconds.
    """
    for connection in list(connections):
        if isinstance(connection, HttpProtocol):
            connection.look_at_clock(now)


def protocol(max_connections: int, refused: Refused) -> type[asyncio.Protocol]:
    """Bind what uvicorn does not know of to the protocol."""
    return cast(
        type[asyncio.Protocol], partial(HttpProtocol, max_connections=max_connections, refused=refused)
    )
