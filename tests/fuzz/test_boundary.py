"""
Fuzzing in small, with every run of the tests: headers, queries and gzip streams by Hypothesis, and rounds from a seed.

The long form, ``tox run -e fuzz -- --bodies 1000000``, does the same for longer; what it found is at the end.
"""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests._databases import new_database
from tests.factories import a_payload
from tests.fuzz._boundary import MAX_BODY_BYTES, Request, open_boundary
from tests.fuzz._rounds import fuzz

KEY = (b"x-api-key", b"dev-key")
JSON = (b"content-type", b"application/json")
GZIP = (b"content-encoding", b"gzip")
BODY = json.dumps(a_payload()).encode()
PACKED = gzip.compress(BODY, mtime=0)

property_test = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PATHS = st.sampled_from(
    ["/v1/sessions", "/v1/sessions/batch", "/health", "/ready", "/metrics", "/openapi.json"]
)
NAMES = st.sampled_from(
    [
        *(b"accept", b"authorization", b"content-encoding", b"content-type", b"cookie", b"date", b"expect"),
        *(
            b"forwarded",
            b"host",
            b"if-match",
            b"range",
            b"transfer-encoding",
            b"x-forwarded-for",
            b"x-real-ip",
        ),
    ]
) | st.from_regex(rb"[a-z0-9-]{1,20}", fullmatch=True).filter(
    lambda name: name not in (b"content-length", b"x-api-key")
)


@pytest.fixture(scope="module")
def boundary(server, _migrated_template):
    """The application at its ASGI boundary, for the whole module."""
    with (
        new_database(server, template=_migrated_template.database) as database,
        open_boundary(database) as opened,
    ):
        yield opened


def test_rounds_from_a_seed(boundary):
    """
    Every answer is one that the document promises, none is a 5xx, and what was accepted can be read.
    """
    *_, tally = fuzz(boundary, seed=1, bodies=1920)

    assert tally.bodies == 1920
    assert tally.stored > 500
    assert boundary.statuses.keys() >= {200, 400, 401, 404, 405, 413, 415}


@property_test
@given(path=PATHS, headers=st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=4))
@example(path="/v1/sessions", headers=[JSON, JSON, GZIP, GZIP])
@example(path="/v1/sessions", headers=[(b"content-type", b'application/json; charset="')])
@example(path="/v1/sessions", headers=[(b"content-length", b"x")])
@example(path="/v1/sessions", headers=[(b"content-length", b"9" * 30)])
def test_any_headers(boundary, path, headers):
    """
    Those that are read, those that are not, and those that nobody has heard of.
    """
    method = "POST" if path.startswith("/v1") else "GET"
    answer = boundary.post_one(Request(method, path, [KEY, *headers], [BODY]))

    assert answer.status in {200, 400, 413, 415}


@property_test
@given(path=PATHS, query=st.binary(max_size=200))
@example(path="/health", query=b"\xff")
@example(path="/v1/sessions", query=b"%ff=%zz&&=&%00")
def test_any_query_is_ignored(boundary, path, query):
    """
    No route has one; that of a tracking link or of an attack changes nothing.
    """
    method = "POST" if path == "/v1/sessions" else "GET"
    answer = boundary.post_one(Request(method, path, [KEY, JSON], [BODY], query=query))

    assert answer.status == (405 if path.endswith("/batch") else 200)


@property_test
@given(
    at=st.integers(0, len(PACKED)),
    put=st.binary(max_size=8),
    left_out=st.integers(0, 8),
    pieces=st.lists(st.integers(0, len(PACKED)), max_size=4),
)
@example(at=0, put=b"", left_out=0, pieces=[])
@example(at=3, put=b"\xff", left_out=1, pieces=[]).via("all flags of the header")
@example(at=0, put=gzip.compress(b"", mtime=0), left_out=0, pieces=[1, 1])
def test_any_damage_to_a_gzip_stream(boundary, at, put, left_out, pieces):
    """
    It is noticed, or it does not change the body.
    """
    packed = PACKED[:at] + put + PACKED[at + left_out :]
    cuts = sorted(min(cut, len(packed)) for cut in pieces)
    body = [packed[start:end] for start, end in zip([0, *cuts], [*cuts, len(packed)], strict=True)]
    answer = boundary.post_one(Request("POST", "/v1/sessions", [KEY, JSON, GZIP], body))

    assert answer.status in {200, 400}
    if answer.status == 200:
        assert json.loads(answer.body)["sessionId"] == a_payload()["sessionId"]


@pytest.mark.parametrize("size_bytes", [MAX_BODY_BYTES, MAX_BODY_BYTES + 1])
@pytest.mark.parametrize("packings", [1, 2, 3])
def test_a_stream_that_unpacks_to_much_costs_little(boundary, size_bytes, packings):
    """
    Only the outermost packing is taken off, and never more than the limit.
    """
    body = b" " * (size_bytes - len(BODY)) + BODY
    for _ in range(packings):
        body = gzip.compress(body, mtime=0)
    answer = boundary.post_one(Request("POST", "/v1/sessions", [KEY, JSON, GZIP], [body]))

    if packings > 1:
        assert answer.status == 400
    else:
        assert answer.status == (200 if size_bytes == MAX_BODY_BYTES else 413)


@pytest.mark.parametrize("path", ["/v1/sessions", "/nowhere"])
@pytest.mark.parametrize("method", ["PURGE", "WEBSOCKET", "", "\xff", "post", "X" * 10_000])
def test_a_method_that_nobody_knows_is_refused_like_any_other(boundary, method, path):
    """
    Falcon answers 400 to some, and before any of our code runs to WEBSOCKET.
    """
    answer = boundary.post_one(Request(method, path, [KEY, JSON], [BODY]))

    assert answer.status == (404 if path == "/nowhere" else 405)


@pytest.mark.parametrize("query", [b"\xff", b"a=\xec", b"\xed\xa0\x80"])
def test_a_query_that_is_not_utf_8_is_no_500(boundary, query):
    """
    Falcon decodes it before it can answer anything.
    """
    answer = boundary.post_one(Request("POST", "/v1/sessions", [KEY, JSON], [BODY], query=query))

    assert answer.status == 200


def test_a_client_that_goes_away_stores_nothing_that_it_did_not_send(boundary):
    """
    Half a body is no summary, whatever its first half is.
    """
    answer = boundary.post_one(Request("POST", "/v1/sessions", [KEY, JSON], [BODY[:-1]], cut=True))

    assert answer.status == 400
