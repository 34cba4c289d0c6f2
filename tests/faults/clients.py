"""
Many clients, who post summaries at a steady rate and remember every answer.

They do not wait for each other: a request is sent when it is due, over a new connection if all others are busy, up
to a limit. What was not acknowledged is often sent again, as SDK 1.x does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence

import orjson
from attrs import define, field, frozen

from tests.faults.ledger import PADDING, Playback, Summary

#: How long a client waits for an answer; longer than the SDK, so as to see by how much an answer is late.
PATIENCE_S = 15.0

#: A connection that was idle for longer may be closed by the server at any moment.
_IDLE_S = 3.0

_TICK_S = 0.005
_PLAYING = 1000
_BATCH_SESSIONS = (2, 20)
_HEARTBEATS, _BATCHES, _SENT_AGAIN = 0.6, 0.08, 0.7

_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: backend\r\nX-API-Key: dev-key\r\nContent-Length: {length}\r\n"
    "Content-Type: application/json; charset=utf-8\r\n\r\n"
)


@frozen(eq=False)
class Request:
    """
    One that a client makes.

    Args:
        summaries: What is sent.
        batch: Whether as a batch.
        again: Whether it is made again where it is not acknowledged.
        padding: Bytes of a field of the app's own, in each summary.
    """

    summaries: Sequence[Summary]
    batch: bool
    again: bool = True
    padding: int = 0

    def message(self) -> bytes:
        """Write it for the wire."""
        own = {PADDING: "x" * self.padding} if self.padding else {}
        payloads = [summary.payload() | own for summary in self.summaries]
        body = orjson.dumps(payloads if self.batch else payloads[0])
        path = "/v1/sessions/batch" if self.batch else "/v1/sessions"
        return _HEAD.format(path=path, length=len(body)).encode() + body


@frozen
class Answer:
    """
    What became of a request; times are of the monotonic clock.

    Args:
        sent_s: When all of it was sent: the SDK's read time-out counts from there.
        received_s: When the answer was complete, or the connection broke.
        status: Of the answer; 0 where there was none.
        retry_after: The header.
        problem: What is wrong with the answer in itself, or how the connection broke.
        port: The client's, by which the process that it was connected to can be told.
    """

    sent_s: float
    received_s: float
    status: int
    retry_after: str | None
    problem: str
    port: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.received_s - self.sent_s


@define(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int
    used_s: float = 0.0

    @property
    def usable(self) -> bool:
        return not self.reader.at_eof() and time.monotonic() - self.used_s < _IDLE_S


@define(eq=False)
class Clients:
    """
    All clients of a backend.

    Args:
        port: Of the backend, on 127.0.0.1.
        random: Decides what they send.
    """

    port: int
    random: random.Random
    #: Requests a second; may be changed at any time.
    rate: float = 0.0
    #: How many connections there may be; what is due while all are busy is not sent.
    max_connections: int = 50
    #: Every session that was ever sent.
    playbacks: dict[str, Playback] = field(factory=dict, init=False)
    #: Those that something was sent of since this was emptied.
    touched: dict[str, Playback] = field(factory=dict, init=False)
    #: Since this was emptied.
    answers: list[Answer] = field(factory=list, init=False)
    #: The longest that this program itself was held up.
    worst_lag_s: float = field(default=0.0, init=False)
    _playing: list[Playback] = field(factory=list, init=False)
    _again: deque[Request] = field(factory=lambda: deque(maxlen=2000), init=False)
    _free: list[_Connection] = field(factory=list, init=False)
    _under_way: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def keep_posting(self) -> None:
        """Post at `rate` until cancelled."""
        due, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            self.worst_lag_s = max(self.worst_lag_s, now - before - _TICK_S)
            # What a hold-up of our own has made late is left out: it would come as a burst that no fleet makes.
            due += self.rate * min(now - before, 0.1)
            before = now
            while due >= 1:
                due -= 1
                if len(self._under_way) < self.max_connections:
                    self.post(self._next_request())

    def post(self, request: Request) -> None:
        """Send a request now."""
        for summary in request.summaries:
            self.touched[summary.playback.session_id] = summary.playback
        task = asyncio.create_task(self._post(request))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drained(self) -> None:
        """Send no more, and wait for the answers to come."""
        self.rate = 0
        while self._under_way:
            await asyncio.sleep(_TICK_S)

    def jump(self, milliseconds: int) -> None:
        """Let the clocks of all who are playing jump."""
        for playback in self._playing:
            playback.clock_ms = max(playback.clock_ms + milliseconds, 1)

    def large_request(self, size: int) -> Request:
        """Make a request of one summary of about so many bytes, that is made once."""
        return Request([self._new_summary()], batch=False, again=False, padding=size)

    def _next_request(self) -> Request:
        if self._again and self.random.random() < 0.5:
            return self._again.popleft()
        if self.random.random() < _BATCHES:
            size = self.random.randint(*_BATCH_SESSIONS)
            return Request([self._next_summary() for _ in range(size)], batch=True)
        return Request([self._next_summary()], batch=False)

    def _next_summary(self) -> Summary:
        if len(self._playing) == _PLAYING and self.random.random() < _HEARTBEATS:
            return self.random.choice(self._playing).next_summary()
        return self._new_summary()

    def _new_summary(self) -> Summary:
        playback = Playback(f"f-{len(self.playbacks)}")
        self.playbacks[playback.session_id] = playback
        if len(self._playing) < _PLAYING:
            self._playing.append(playback)
        else:
            self._playing[self.random.randrange(_PLAYING)] = playback
        return playback.next_summary()

    async def _post(self, request: Request) -> None:
        sent_s, port = time.monotonic(), 0
        connection = None
        status, retry_after, problem = 0, None, ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await self._connection()
                port = connection.port
                connection.writer.write(request.message())
                await connection.writer.drain()
                sent_s = time.monotonic()
                status, headers, body = await _answer(connection.reader)
                retry_after = headers.get("retry-after")
                problem = _problem(request, status, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            status, problem = 0, f"{type(error).__name__}: {error}"
            if connection is not None:
                connection.writer.transport.abort()
        else:
            connection.used_s = time.monotonic()
            if headers.get("connection") == "close":
                connection.writer.transport.abort()
            else:
                self._free.append(connection)
        self.answers.append(Answer(sent_s, time.monotonic(), status, retry_after, problem, port))
        if status == 200:
            for summary in request.summaries:
                summary.acknowledge()
        elif request.again and self.random.random() < _SENT_AGAIN:
            self._again.append(request)

    async def _connection(self) -> _Connection:
        while self._free:
            # The one that was used last: the others, when there are too many, grow old and are closed.
            connection = self._free.pop()
            if connection.usable:
                return connection
            connection.writer.transport.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return _Connection(reader, writer, writer.get_extra_info("sockname")[1])


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split(" ")[1]), headers, body


def _problem(request: Request, status: int, body: bytes) -> str:
    """Say what is wrong with an answer, if anything is."""
    answer = orjson.loads(body)
    if status != 200:
        return "" if set(answer) == {"error"} and "code" in answer["error"] else f"{body!r} is not our error"
    if request.batch:
        expected = {"status": "success", "accepted": len(request.summaries), "rejected": []}
    else:
        expected = {"status": "success", "sessionId": request.summaries[0].playback.session_id}
    return "" if answer == expected else f"{body[:200]!r} is no acknowledgement of this request"
