"""
What fuzzed requests are made of: payloads of the SDK, and values that are known to break something somewhere.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests._client import DATA
from tests.factories import a_payload, an_entry_payload

SUMMARIES = [path.read_bytes() for path in sorted((DATA / "sdk-payloads").glob("*.json"))]
SUMMARIES += [orjson.dumps(a_payload(timelineEvents=[an_entry_payload(), an_entry_payload(timestampMs=1)]))]
NAMES = [
    *a_payload(),
    *an_entry_payload(),
    "own",
    "extra",
    "session_id",
    "__proto__",
    "",
    "\0",
    "é",
    "event_at",
]

LIMITS = (0, 1, 128, 256, 2**31, 2**32, 2**53, 2**63, 2**64, 253402300799999, 10**30, 10**400)
SCALARS: list[Any] = [
    *(sign * limit + step for limit in LIMITS for sign in (1, -1) for step in (-1, 0, 1)),
    *(None, True, False, 0.5, -0.0, 1.0, 45000.5, 1e-45, 5e-324, 1e308, 1e16, float("nan"), float("inf")),
    *(
        "",
        " ",
        "null",
        "PLAYING",
        "playing",
        "45000",
        "\0",
        "\ud800",
        "\U0010ffff",
        "\u2028",
        "\x1c",
        "'; --",
        "%s",
    ),
    *("x" * 128, "x" * 129, "é" * 256, "x" * 257, "{}", "$1", ":rows", "\\", '"', "\r\nX-API-Key: dev-key"),
]
#: What breaks readers of JSON, put into its bytes anywhere.
TOKENS = [
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"0x1", b"01", b"1.", b".5", b"+1", b"1e", b"9" * 400, b"-"),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\\udc00\\ud800",
        b"\\x00",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\x0b",
        b" ",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"//",
        b"/*",
        b"null",
    ),
    *(b'"sessionId":"s"', b'"timestamp":1', b"[" * 200, b'{"a":' * 200, b"]" * 70, b"}" * 70),
]
MEDIA_TYPES = [
    *(b"application/json", b"application/json; charset=utf-8", b"application/x-ndjson", b"text/plain", b""),
    *(
        b"application/json; charset=utf-16",
        b'application/json; charset="',
        b"application/json;;;=",
        b"*/*",
        b"\xff",
    ),
    b"application/json; charset*=utf-8''\"%ff",
]
ENCODINGS = [
    b"gzip",
    b"x-gzip",
    b"GZIP ",
    b"identity",
    b"br",
    b"deflate",
    b"gzip, gzip",
    b"",
    b"\xff",
    b"\0",
]
KEYS = [b"dev-key", b"wrong", b"", b"\xff\xfe", b"dev-key\0", b"x" * 5000]
PATHS = [
    "/",
    "/v1/sessions/",
    "/v1/sessions/batch/",
    "/v1",
    "//v1/sessions",
    "/v1/sessions/../sessions",
    "/\0",
    "/é",
]
METHODS = [
    "GET",
    "HEAD",
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PURGE",
    "PROPFIND",
    "",
    "\xff",
    "X" * 300,
]
OTHER_HEADERS = [
    *(b"accept", b"expect", b"cookie", b"host", b"range", b"date", b"if-none-match", b"transfer-encoding"),
    *(
        b"x-forwarded-for",
        b"forwarded",
        b"x-real-ip",
        b"x-http-method-override",
        b"connection",
        b"te",
        b"content-md5",
    ),
]
