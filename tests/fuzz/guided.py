"""
Bodies that a fuzzer finds by the code they reach: atheris, which is libFuzzer, run by ``python -m tests.fuzz``.

The first byte of an input chooses route, media type and packing, the rest is the body. libFuzzer ends its process by
itself, so that what has to be cleaned up belongs to the one that starts this.
"""

from __future__ import annotations

import gzip
import logging
import os
import sys

import atheris

# Before anything else of the project is imported: only what is imported here is instrumented.
with atheris.instrument_imports(include=["m3w_core", "m3w_http", "cattrs", "falcon"]):
    from m3w_core import Settings
    from tests.fuzz._boundary import Request, open_boundary

_ROUTES = [
    ("/v1/sessions", b"application/json"),
    ("/v1/sessions/batch", b"application/json"),
    ("/v1/sessions/batch", b"application/x-ndjson"),
]
#: As it is; packed here; and as the claim to be packed.
_PACKINGS = 3
_CHECK_EVERY = 2000


def request_of(data: bytes) -> Request:
    """Read a request from an input of the fuzzer."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    path, media_type = _ROUTES[choice % len(_ROUTES)]
    packing = choice // len(_ROUTES) % _PACKINGS
    headers = [(b"x-api-key", b"dev-key"), (b"content-type", media_type)]
    if packing:
        headers.append((b"content-encoding", b"gzip"))
    return Request("POST", path, headers, [gzip.compress(body, 1, mtime=0) if packing == 1 else body])


def main() -> None:
    """Fuzz the database of ``DATABASE_URL`` until an option of libFuzzer on the command line ends it."""
    logging.disable(logging.CRITICAL)
    database = Settings.from_env(os.environ).database
    assert database is not None
    with open_boundary(database) as boundary:

        def fuzz_one(data: bytes) -> None:
            boundary.together([request_of(data)])
            if sum(boundary.statuses.values()) % _CHECK_EVERY == 0:
                boundary.check_stored()

        atheris.Setup(sys.argv, fuzz_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
