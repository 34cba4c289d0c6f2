"""
What a connection may cost, over real sockets.

The clock is looked at when a test says so, at the time that the test says: nothing here waits for seconds to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource

import pytest

from m3w_http.protocol import KEEP_ALIVE_S, MAX_HEAD_BYTES, REQUEST_S
from tests._protocol import HEAD, WHOLE, Server, answer_of, code_of, end_of, run, until


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES],
        [b"GET /" + b"x" * MAX_HEAD_BYTES],
        [b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 4_000 + b"\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"X: %b\r\n" % (b"x" * 1000)] * 20],
    ],
    ids=["one header", "the path", "many headers", "many pieces"],
)
def test_a_head_over_the_limit_is_refused(parts):
    """
    Before it ends, if it does not end; and the client can read why.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            for part in parts:
                writer.write(part)
                await writer.drain()
            status, _, body = await answer_of(reader)

            assert (status, code_of(body)) == (431, "HEADERS_TOO_LARGE")
            assert server.refused == [431]
            assert server.bodies == []

    run(scenario)


def test_a_head_at_the_limit_is_taken():
    """
    And so is the body that follows in the same packet, whatever its size.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\nX: "
            head += b"x" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\n"
            writer.write(head + b"y" * 100_000)
            status, _, body = await answer_of(reader)

            assert (len(head), status, len(body)) == (MAX_HEAD_BYTES, 200, 100_002)

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "last"),
    [(b"POST", b" "), (HEAD, b"X"), (HEAD + b"\r\nhel", b"l")],
    ids=["line", "headers", "body"],
)
def test_a_request_that_does_not_arrive_in_time_is_cut_off(sent, last):
    """
    However much of it is there. The SDK tries again after a 408.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(sent)
            (connection,) = server.state.connections
            await until(lambda: connection._head_bytes == len(sent))
            server.after(REQUEST_S - 1)
            writer.write(last)
            await until(lambda: connection._head_bytes == len(sent) + 1)
            server.after(REQUEST_S + 1)
            status, headers, body = await answer_of(reader)
            rest = await end_of(reader)
            server.after(2)
            await until(lambda: not server.state.connections)

            assert (status, code_of(body), rest) == (408, "REQUEST_TIMEOUT", b"")
            assert headers["retry-after"] == "5"
            assert server.bodies == ([b"cut short: hell"] if sent.endswith(b"hel") else [])

    run(scenario)


def test_a_client_that_does_not_go_is_cut_off():
    """
    It was answered, and goes on sending: one second more, and that is that.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(b"nonsense\r\n\r\n")
            await answer_of(reader)
            (connection,) = server.state.connections
            writer.write(WHOLE)
            server.after(0.5)
            await asyncio.sleep(0)
            known = connection in server.state.connections
            server.after(1.5)
            await until(lambda: not server.state.connections)

            assert known
            assert server.bodies == []

    run(scenario)


def test_the_time_of_the_application_is_not_the_clients():
    """
    A session may wait for the database longer than a request may take to arrive.
    """

    async def scenario():
        async with Server() as server:
            server.hold.clear()
            reader, writer = await server.connect()
            writer.write(WHOLE)
            await until(lambda: server.bodies)
            server.after(1000)
            server.hold.set()
            status, _, _ = await answer_of(reader)

            assert status == 200

    run(scenario)


def test_an_idle_connection_is_closed():
    """
    After an answer, and where nothing was ever sent.
    """

    async def scenario():
        async with Server() as server:
            answered, to_answered = await server.connect()
            to_answered.write(WHOLE)
            await answer_of(answered)
            silent, _ = await server.connect()
            server.after(KEEP_ALIVE_S - 1)
            left_at_first = len(server.state.connections)
            server.after(KEEP_ALIVE_S + 1)
            rest = await end_of(answered)
            await until(lambda: len(server.state.connections) == 1)
            server.after(REQUEST_S + 1)
            nothing = await end_of(silent)

            assert (left_at_first, rest, nothing) == (2, b"", b"")
            assert server.refused == []

    run(scenario)


def test_a_body_that_nobody_waits_for_gets_no_longer_than_an_idle_connection():
    """
    The answer went out before the body was there, as for one that is too large.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(HEAD.replace(b"/here", b"/early").replace(b": 5", b": 500000") + b"\r\nhel")
            status, _, _ = await answer_of(reader)
            server.after(KEEP_ALIVE_S + 1)
            await end_of(reader)

            assert status == 200

    run(scenario)


def test_connections_over_the_limit_are_told_to_come_again():
    """
    When they ask for something; the others are served, and a place that becomes free is taken again.
    """

    async def scenario():
        async with Server(max_connections=2) as server:
            first, to_first = await server.connect()
            _, to_second = await server.connect()
            third, to_third = await server.connect()
            to_third.write(WHOLE)
            refused = await answer_of(third)
            rest = await end_of(third)
            to_first.write(WHOLE)
            served = await answer_of(first)
            for writer in (to_second, to_third):
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await until(lambda: len(server.state.connections) == 1)
            fourth, to_fourth = await server.connect()
            to_fourth.write(WHOLE)
            served_again = await answer_of(fourth)

            assert (refused[0], code_of(refused[2]), rest) == (503, "SERVER_BUSY", b"")
            assert refused[1]["retry-after"] == "5"
            assert (served[0], served_again[0]) == (200, 200)
            assert server.bodies == [b"hello", b"hello"]
            assert server.refused == [503]

    run(scenario)


@pytest.fixture
def many_files():
    """
    Both ends of each connection are in this process.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(4096, before[1])), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_500_slow_clients_do_not_hurt_the_others(many_files):
    """
    All of them are in the middle of a request; another is answered at once, and when their time is over they go.
    """

    async def scenario():
        async with Server(max_connections=1000) as server:
            slow = [await server.connect() for _ in range(500)]
            for number, (_, writer) in enumerate(slow):
                writer.write(HEAD[:20] if number % 2 else HEAD + b"\r\nhel")
            reader, writer = await server.connect()
            writer.write(WHOLE)
            served = await answer_of(reader)
            await until(lambda: sum(bool(known._head_bytes) for known in server.state.connections) == 500)
            server.after(REQUEST_S + 1)
            answers = [await answer_of(reader) for reader, _ in slow]

            assert served[0] == 200
            assert {status for status, _, _ in answers} == {408}

    run(scenario)


def test_each_request_of_a_connection_has_its_own_time():
    """
    The second has as long to arrive as the first, not as long as the connection may be idle.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE)
            await answer_of(reader)
            (connection,) = server.state.connections
            writer.write(HEAD)
            await until(lambda: connection._head_bytes == len(HEAD))
            server.after(KEEP_ALIVE_S + 1)
            writer.write(b"\r\nhello")
            status, _, _ = await answer_of(reader)

            assert status == 200

    run(scenario)
