"""
A TCP proxy on the way from the backend to PostgreSQL: it loses, holds back and cuts what goes through it.

While it is refusing, its port is bound and not listened on, so that connecting fails just as where a server is down.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Self

from attrs import define, field

_CHUNK_BYTES = 65_536

_Pipe = tuple[asyncio.StreamWriter, asyncio.StreamWriter]


@define(eq=False)
class Proxy:
    """
    Forwards from a port of its own on 127.0.0.1 to a Unix socket; an asynchronous context manager.

    Args:
        socket_file: Of the server.
    """

    socket_file: str
    port: int = field(default=0, init=False)
    #: Added to everything that is forwarded, in seconds.
    delay_s: float = field(default=0.0, init=False)
    #: Bytes that did not go through when they came.
    held_back: int = field(default=0, init=False)
    _flowing: asyncio.Event = field(factory=asyncio.Event, init=False)
    _server: asyncio.Server | None = field(default=None, init=False)
    _placeholder: socket.socket | None = field(default=None, init=False)
    _pipes: set[_Pipe] = field(factory=set, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    #: Connections that were cut in the middle.
    cuts: int = field(default=0, init=False)
    #: How many bytes the server (True) or the client may still send before its connection is cut.
    _until_cut: dict[bool, int] = field(factory=dict, init=False)

    async def __aenter__(self) -> Self:
        self._flowing.set()
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flowing.set()
        await self._close_listener()
        self.reset()
        if self._placeholder is not None:
            self._placeholder.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Take connections."""
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Let nobody connect, and keep the port."""
        await self._close_listener()
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", self.port))

    async def _close_listener(self) -> None:
        if self._server is not None:
            # Not waited for until its connections are closed, which live on.
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def hold(self) -> None:
        """Forward nothing any more, of new connections either."""
        self._flowing.clear()

    def release(self) -> None:
        """Forward again, beginning with what has come in the meantime."""
        self._flowing.set()

    def reset(self) -> None:
        """Break all connections."""
        for pipe in list(self._pipes):
            self._break(pipe)

    def cut_after(self, size: int, *, answers: bool) -> None:
        """
        Break a connection in the middle of what is sent.

        Args:
            size: So many bytes of it still arrive.
            answers: Count the server's, else the client's.
        """
        self._until_cut = {answers: size}

    @staticmethod
    def _break(pipe: _Pipe) -> None:
        for writer in pipe:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self.socket_file)
        except OSError:
            writer.transport.abort()
            return
        pipe = (writer, server_writer)
        self._pipes.add(pipe)
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, pipe, answers=False)),
            asyncio.create_task(self._pump(server_reader, writer, pipe, answers=True)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps)
        finally:
            self._tasks.difference_update(pumps)
            self._pipes.discard(pipe)
            self._break(pipe)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipe: _Pipe, *, answers: bool
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if not self._flowing.is_set():
                    self.held_back += len(chunk)
                    await self._flowing.wait()
                if self.delay_s:
                    self.held_back += len(chunk)
                    await asyncio.sleep(self.delay_s)
                left = self._until_cut.get(answers)
                if left is not None and left < len(chunk):
                    self._until_cut = {}
                    self.cuts += 1
                    # The part is to arrive, so the end is a close on this side and a break on the other.
                    pipe[1 if answers else 0].transport.abort()
                    writer.write(chunk[:left])
                    break
                if left is not None:
                    self._until_cut = {answers: left - len(chunk)}
                writer.write(chunk)
                await writer.drain()
            writer.close()
        except (OSError, RuntimeError):  # uvloop raises the latter for what is closed already
            self._break(pipe)
