"""
A server of one application behind m3w_http.protocol, over real sockets, and clients that send bytes.

It looks at the clock when it is told to, at the time that it is told: nothing waits for seconds to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import uvicorn
from uvicorn.server import ServerState

from m3w_http.protocol import end_overdue, protocol

HEAD = b"POST /here?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
WHOLE = HEAD + b"\r\nhello"


class Server:
    """
    A server of one application, which answers with the path and the body that it was sent.
    """

    def __init__(self, max_connections: int = 100) -> None:
        self.refused: list[int] = []
        self.bodies: list[bytes] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.state = ServerState()
        config = uvicorn.Config(
            self._application, log_config=None, lifespan="off", ws="none", interface="asgi3"
        )
        config.load()
        make = protocol(max_connections, self.refused.append)
        self._clients: list[asyncio.StreamWriter] = []
        self._make = lambda: make(config, self.state, {})

    async def _application(self, scope, receive, send):
        body, more = b"", scope["path"] != "/early"
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.bodies.append(b"cut short: " + body)
                return
            body += event["body"]
            more = event["more_body"]
        self.bodies.append(body)
        await self.hold.wait()
        if scope["path"] == "/raise":
            raise RuntimeError("a bug")
        content = b"%b %b" % (scope["raw_path"], body)
        headers = [(b"content-length", b"%d" % len(content))]
        if scope["path"] == "/pieces":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": content, "more_body": True})
            await send({"type": "http.response.body", "body": b"!"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def __aenter__(self):
        self._server = await asyncio.get_running_loop().create_server(self._make, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._clients:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await until(lambda: not self.state.connections)

    async def connect(self):
        """
        Connect, and wait until the server knows of it.
        """
        known = len(self.state.connections)
        streams = await asyncio.open_connection("127.0.0.1", self.port)
        self._clients.append(streams[1])
        await until(lambda: len(self.state.connections) > known)
        return streams

    def after(self, seconds: float) -> None:
        """
        Let the server look at the clock as if so much time had passed.
        """
        end_overdue(self.state.connections, asyncio.get_running_loop().time() + seconds)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def answer_of(reader):
    """
    One answer: status, headers, body.
    """
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 20)
    return int(status.split()[1]), headers, body


async def end_of(reader):
    """
    Everything until the server closes.
    """
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 60))


def code_of(body):
    return json.loads(body)["error"]["code"]
