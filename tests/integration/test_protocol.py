"""
What a connection answers, over real sockets: requests one after the other, and what is none.
"""

from __future__ import annotations

import pytest

from tests._protocol import WHOLE, Server, answer_of, code_of, end_of, run, until


def test_requests_follow_one_another_on_a_connection():
    """
    In one piece, in many, and several at once: each is answered, in order.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE)
            first = await answer_of(reader)
            for byte in WHOLE:
                writer.write(bytes([byte]))
                await writer.drain()
            second = await answer_of(reader)
            writer.write(WHOLE.replace(b"/here", b"/%2Fa") + WHOLE.replace(b"/here", b"/b"))
            third, fourth = await answer_of(reader), await answer_of(reader)

            assert [first[2], second[2], third[2], fourth[2]] == [
                b"/here hello",
                b"/here hello",
                b"/%2Fa hello",
                b"/b hello",
            ]
            assert first[1].keys() == {"content-length"}

    run(scenario)


def test_an_upgrade_that_is_offered_is_passed_over():
    """
    Java's client offers HTTP/2 with its first request, and goes on with HTTP/1.1.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            offering = WHOLE.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")
            in_chunks = offering.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
            in_chunks = in_chunks.replace(b"hello", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
            answers = []
            for request in (offering, in_chunks, WHOLE):
                writer.write(request)
                answers.append(await answer_of(reader))

            assert [(status, body) for status, _, body in answers] == [(200, b"/here hello")] * 3
            assert server.bodies == [b"hello"] * 3

    run(scenario)


def test_an_answer_may_come_in_pieces():
    """
    An application that does not know the length yet, as ASGI allows.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE.replace(b"/here", b"/pieces").replace(b"Host", b"Connection: close\r\nHost"))
            answer = await end_of(reader)

            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\nd\r\n/pieces hello\r\n1\r\n!\r\n0\r\n\r\n")

    run(scenario)


def test_an_application_that_fails_is_answered_for():
    """
    In our own error body, and the connection ends.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE.replace(b"/here", b"/raise"))
            status, headers, body = await answer_of(reader)
            rest = await end_of(reader)

            assert (status, code_of(body), rest) == (500, "INTERNAL_ERROR", b"")
            assert headers["connection"] == "close"

    run(scenario)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_refused_in_our_error_body(bytes_):
    """
    A TLS client on the plain port, for one; nothing of it reaches the application.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(bytes_)
            status, headers, body = await answer_of(reader)
            rest = await end_of(reader)

            assert (status, code_of(body), rest) == (400, "INVALID_SCHEMA", b"")
            assert headers["content-type"] == "application/json"
            assert headers["connection"] == "close"
            assert server.refused == [400]
            assert server.bodies == []

    run(scenario)


def test_a_bug_of_ours_is_no_fault_of_the_clients(monkeypatch):
    """
    The SDK deletes a session that is answered 400, and sends it again after a 500.
    """
    monkeypatch.delattr("m3w_http.protocol.Cycle")

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE)
            status, _, body = await answer_of(reader)

            assert (status, code_of(body)) == (500, "INTERNAL_ERROR")

    run(scenario)


def test_a_path_that_is_none_is_refused():
    """
    httptools lets it through, and cannot take it apart.
    """

    async def scenario():
        async with Server() as server:
            reader, writer = await server.connect()
            writer.write(WHOLE.replace(b"/here?a=b", b"/\xff"))
            status, _, body = await answer_of(reader)

            assert (status, code_of(body)) == (400, "INVALID_SCHEMA")

    run(scenario)


def test_nothing_is_answered_after_a_refusal(caplog):
    """
    A request before it may still be under way; its answer has nowhere to go.
    """

    async def scenario():
        async with Server() as server:
            server.hold.clear()
            reader, writer = await server.connect()
            writer.write(WHOLE + b"nonsense\r\n\r\n")
            status, _, _ = await answer_of(reader)
            server.hold.set()
            rest = await end_of(reader)
            await until(lambda: not server.state.tasks)

            assert (status, rest) == (400, b"")
            assert caplog.records == []

    run(scenario)
