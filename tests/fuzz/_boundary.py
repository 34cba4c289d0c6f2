"""
The application at its ASGI boundary, as a server calls it: scope, receive and send, with nothing in between.

Whatever is sent, the answer has to be one that the OpenAPI document promises, none of ours may be a 5xx, and what was
accepted has to be there to be read.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from attrs import define, field, frozen
from pg8000.native import Connection

from m3w_core import PostgresSessionRepository, Settings, parse_array, parse_lines, rollup
from m3w_core.database_url import DatabaseSettings
from m3w_http.app import app_for
from tests._client import Client
from tests._databases import connect
from tests._openapi import Contract

#: Small, so that bodies over the limit are cheap; what is larger is read from the wire in the same way.
MAX_BODY_BYTES = 64 * 1024

#: The status of every answer is held against the document, headers and body of every tenth: that takes its time.
_JUDGE_WHOLE = 10

#: Of the sessions stored between two checks, so many are read back one by one.
_READ_BACK = 20

_RELATIONS = """
SELECT relname FROM pg_class
WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'v')
ORDER BY relname
"""

Headers = list[tuple[bytes, bytes]]


@frozen
class Request:
    """
    What a client sends, as a server passes it on.

    Args:
        method: In upper case.
        path: Decoded.
        headers: Names in lower case.
        body: In the pieces in which it arrives.
        query: What stands behind the question mark.
        address: The client's.
        cut: Whether the client goes away after the last piece.
    """

    method: str
    path: str
    headers: Headers
    body: Sequence[bytes]
    query: bytes = b""
    address: str = "192.0.2.1"
    cut: bool = False

    def scope(self) -> dict[str, Any]:
        """Give the scope of ASGI."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode("utf-8", "surrogatepass"),
            "query_string": self.query,
            "root_path": "",
            "headers": self.headers,
            "client": (self.address, 50_000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }

    def events(self) -> Iterator[dict[str, Any]]:
        """Give what the server tells, one after the other."""
        last = len(self.body) - 1
        for place, piece in enumerate(self.body):
            yield {"type": "http.request", "body": piece, "more_body": self.cut or place < last}
        while True:
            yield {"type": "http.disconnect"}


@frozen
class Answer:
    """What came back; a client that has gone away may get none, whose status is 0."""

    status: int
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Boundary:
    """
    Sends requests to the application and judges the answers.

    Args:
        client: Runs the application.
        contract: What its OpenAPI document promises.
        repository: Reads what it has stored.
        sql: The same by statements.
        accepted: Ids of the sessions that it has acknowledged since the last `check_stored`.
        statuses: How often each came back.
    """

    client: Client
    contract: Contract
    repository: PostgresSessionRepository
    sql: Connection
    accepted: set[str] = field(factory=set)
    statuses: dict[int, int] = field(factory=dict)

    async def send(self, request: Request) -> Answer:
        """Send one request; its answer is not judged."""
        sent: list[dict[str, Any]] = []
        events = request.events()

        async def receive() -> dict[str, Any]:
            return next(events)

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        await self.client.app(request.scope(), receive, send)
        if not sent:
            return Answer(0, {}, b"")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(event.get("body", b"") for event in sent[1:]))

    async def post(self, request: Request) -> Answer:
        """Send one request and judge its answer."""
        answer = await self.send(request)
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 0:
            assert request.cut, request
            return answer
        # Whether the database answers in time is not a question of what was asked.
        assert answer.status < 500 or (answer.status, request.path) == (503, "/ready"), request
        # Falcon sees no difference between one slash at the beginning and several.
        path = "/" + request.path.lstrip("/")
        if sum(self.statuses.values()) % _JUDGE_WHOLE == 0:
            self.contract.check(request.method, path, answer.status, answer.headers, answer.body)
        self.contract.response(request.method, path, answer.status)
        if answer.status == 200 and request.method == "POST":
            self._remember(path, request, answer)
        return answer

    def _remember(self, path: str, request: Request, answer: Answer) -> None:
        if path == "/v1/sessions":
            self.accepted.add(json.loads(answer.body)["sessionId"])
            return
        headers = dict(request.headers)
        body = b"".join(request.body)
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        batch = (parse_lines if b"ndjson" in headers[b"content-type"].lower() else parse_array)(body)
        assert len(batch.sessions) == json.loads(answer.body)["accepted"], request
        self.accepted.update(session.session_id for session in batch.sessions)

    def post_one(self, request: Request) -> Answer:
        """Send one request, and judge the whole of its answer."""
        answer = self.client.run(self.post(request))
        path = "/" + request.path.lstrip("/")
        self.contract.check(request.method, path, answer.status, answer.headers, answer.body)
        return answer

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests at the same time, so that they share transactions, and judge their answers."""

        async def all_of_them() -> list[Answer]:
            return await asyncio.gather(*map(self.post, requests))

        return self.client.run(all_of_them())

    def check_stored(self) -> int:
        """
        Make sure that what was accepted is there, and nothing else, and that all of it can be read; then forget it.

        Returns:
            How many sessions it was.
        """
        stored = {row[0] for row in self.sql.run("SELECT session_id FROM sessions")}
        assert stored == self.accepted
        rollup.rebuild(self.sql)
        self.sql.run("SELECT * FROM qoe_totals('-infinity', 'infinity')")
        for (name,) in self.sql.run(_RELATIONS):
            # Every column of every row, as a dashboard might ask for it.
            self.sql.run(f"SELECT max(md5(CAST(r AS text))) FROM {name} AS r")
        for session_id in sorted(stored)[:_READ_BACK]:
            found = self.repository.get(session_id)
            assert found is not None
            assert found.session.session_id == session_id
        self.sql.run("DELETE FROM sessions; DELETE FROM session_timeline; DELETE FROM rejected_payloads")
        self.accepted.clear()
        return len(stored)


@contextmanager
def open_boundary(database: DatabaseSettings) -> Iterator[Boundary]:
    """Run the application on a migrated, empty database."""
    settings = Settings(max_body_bytes=MAX_BODY_BYTES)
    repository = PostgresSessionRepository(database)
    with (
        closing(repository),
        closing(connect(database)) as sql,
        Client(app_for(settings, database)) as client,
    ):
        contract = Contract(client.get("/openapi.json").json)
        yield Boundary(client, contract, repository, sql)
