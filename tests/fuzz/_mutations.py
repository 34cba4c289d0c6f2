"""
Requests made from a seed: real ones of the SDK, changed a little or beyond recognition.

The same seed gives the same requests, on every machine.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import orjson

from tests.fuzz._boundary import MAX_BODY_BYTES, Headers, Request
from tests.fuzz._corpus import (
    ENCODINGS,
    KEYS,
    MEDIA_TYPES,
    METHODS,
    NAMES,
    OTHER_HEADERS,
    PATHS,
    SCALARS,
    SUMMARIES,
    TOKENS,
)


class Requests:
    """
    Makes requests.

    Args:
        seed: Decides on all of them.
    """

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self._made = 0

    def make(self) -> Request:
        """Make the next one."""
        dice = self._random
        self._made += 1
        media_type = b"application/json; charset=utf-8"
        path = "/v1/sessions"
        if dice.random() < 0.6:
            body = self._encode(self._summary())
        else:
            path = "/v1/sessions/batch"
            items = [self._summary() for _ in range(dice.choice((0, 1, 2, 3, 8)))]
            if dice.random() < 0.5:
                media_type = b"application/x-ndjson"
                body = dice.choice((b"\n", b"\r\n", b"\n\n")).join(map(self._encode, items))
            else:
                body = self._encode(items)
        body = self._mutated(body)
        headers: Headers = [(b"x-api-key", b"dev-key"), (b"content-type", media_type)]
        if dice.random() < 0.2:
            body = self._packed(body)
            headers.append((b"content-encoding", b"gzip"))
        method = "POST"
        if dice.random() < 0.15:
            headers = self._strange(headers)
        if dice.random() < 0.02:
            path, method = dice.choice(PATHS), dice.choice(["POST", *METHODS])
        elif dice.random() < 0.02:
            method = dice.choice(METHODS)
            path = dice.choice((path, "/health", "/ready", "/metrics", "/openapi.json"))
        return Request(
            method=method,
            path=path,
            headers=self._with_length(headers, len(body)),
            body=self._pieces(body),
            query=dice.randbytes(dice.randrange(40)) if dice.random() < 0.1 else b"",
            # Wrong keys close the door to their address, which is to stay open.
            address=f"2001:db8::{self._made:x}"
            if dict(headers).get(b"x-api-key") != b"dev-key"
            else "192.0.2.1",
            cut=dice.random() < 0.02,
        )

    def _summary(self) -> Any:
        dice = self._random
        summary = orjson.loads(dice.choice(SUMMARIES))
        summary["sessionId"] = f"{dice.getrandbits(128):032x}"
        for _ in range(dice.choice((0, 0, 1, 1, 1, 2, 4))):
            self._change(summary)
        return summary

    def _change(self, summary: Any) -> None:
        """Change one place of a JSON object."""
        dice = self._random
        places = [summary]
        timeline = summary.get("timelineEvents")
        if isinstance(timeline, list) and dice.random() < 0.5:
            places = [entry for entry in timeline if isinstance(entry, dict)] or places
        place = dice.choice(places)
        name = dice.choice(NAMES)
        if dice.random() < 0.15:
            place.pop(name, None)
        else:
            place[name] = self._value()

    def _value(self, level: int = 0) -> Any:
        dice = self._random
        kind = dice.random()
        if kind < 0.8 or level > 3:
            return dice.choice(SCALARS)
        if kind < 0.85:
            return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(20)))
        if kind < 0.9:
            return [self._value(level + 1) for _ in range(dice.randrange(4))]
        if kind < 0.98:
            return {dice.choice(NAMES): self._value(level + 1) for _ in range(dice.randrange(4))}
        return self._nested(dice.choice((62, 63, 64, 65, 500)))

    def _nested(self, levels: int) -> Any:
        value: Any = None
        for _ in range(levels):
            value = [value] if self._random.random() < 0.5 else {"a": value}
        return value

    def _encode(self, value: Any) -> bytes:
        ascii_only = self._random.random() < 0.5
        return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    def _mutated(self, body: bytes) -> bytes:
        """Leave most bodies as they are, and damage the bytes of the others."""
        dice = self._random
        kind = dice.random()
        if kind < 0.55:
            return body
        if kind < 0.57:
            return dice.randbytes(dice.randrange(300))
        if kind < 0.571:
            return dice.choice((b"[", b'{"a":', b"0,", b" ", b"\n", b'"', b"\\u0000")) * dice.choice(
                (1001, 20_000)
            )
        if kind < 0.572:
            return body + b" " * (MAX_BODY_BYTES + dice.choice((-1, 0, 1)) - len(body))
        damaged = bytearray(body)
        for _ in range(dice.choice((1, 1, 2, 5))):
            self._damage(damaged)
        return bytes(damaged)

    def _damage(self, body: bytearray) -> None:
        dice = self._random
        at = dice.randrange(len(body) + 1)
        end = min(len(body), at + dice.choice((1, 1, 2, 4, 30)))
        ways: list[Callable[[], Any]] = [
            lambda: body.__setitem__(slice(at, end), b""),
            lambda: body.__setitem__(slice(at, at), dice.choice(TOKENS)),
            lambda: body.__setitem__(slice(at, end), dice.choice(TOKENS)),
            lambda: body.__setitem__(slice(at, end), dice.randbytes(end - at)),
            lambda: body.__setitem__(slice(at, at), body[at:end] * dice.choice((1, 50))),
            lambda: body.__setitem__(slice(at, len(body)), b""),
        ]
        dice.choice(ways)()

    def _packed(self, body: bytes) -> bytes:
        dice = self._random
        kind = dice.random()
        if kind < 0.05:
            return body
        if kind < 0.06:
            return zlib.compress(body)
        if kind < 0.07:
            return gzip.compress(b"0" * dice.choice((MAX_BODY_BYTES, 9_000_000)), 1, mtime=0)
        at = dice.randrange(len(body) + 1)
        packed = bytearray(gzip.compress(body[:at], 1, mtime=0) + gzip.compress(body[at:], 1, mtime=0))
        if kind < 0.4:
            self._damage(packed)
        return bytes(packed)

    def _strange(self, headers: Headers) -> Headers:
        """Change a header, or add one."""
        dice = self._random
        name, values = dice.choice(
            (
                (b"content-type", MEDIA_TYPES),
                (b"content-encoding", ENCODINGS),
                (b"x-api-key", KEYS),
                (
                    dice.choice(OTHER_HEADERS),
                    [dice.randbytes(dice.randrange(60)), b"gzip", b"a, b;q=0.1", b"="],
                ),
            )
        )
        kept = [header for header in headers if header[0] != name]
        return kept if dice.random() < 0.1 else [*kept, (name, dice.choice(values))]

    def _with_length(self, headers: Headers, length: int) -> Headers:
        kind = self._random.random()
        if kind < 0.7:
            return [*headers, (b"content-length", str(length).encode())]
        if kind < 0.97:
            return headers
        # Never less than there is: a server passes on no more than was announced.
        lies = (
            b"%d" % (length + 7),
            b"9" * 30,
            b"-1",
            b"x",
            b"",
            b"1, 1",
            b"\xb2",
            b"0x10",
            b"+%d" % (length + 7),
        )
        return [*headers, (b"content-length", self._random.choice(lies))]

    def _pieces(self, body: bytes) -> list[bytes]:
        dice = self._random
        if dice.random() < 0.8:
            return [body]
        cuts = sorted(dice.randrange(len(body) + 1) for _ in range(dice.randrange(4)))
        return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
