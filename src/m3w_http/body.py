"""
The bytes of a request's body, within bounds.

Both sizes are bounded, that on the wire and that after decompression: a few kilobytes of gzip can hold gigabytes.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import falcon
from falcon.asgi import Request

from m3w_core import InvalidSessionError
from m3w_http.errors import BODY_CUT_SHORT, RequestError, payload_too_large, unsupported_media_type

_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 4096


class NotUnpackedError(InvalidSessionError):
    """
    A body is no complete gzip stream though it claims to be.

    Args:
        message: What is wrong with it.
        packed: The body as it came.
    """

    def __init__(self, message: str, packed: bytes) -> None:
        super().__init__(f"Invalid request body: {message}")
        self.packed = packed


def check_content_type(req: Request, accepted: frozenset[str]) -> str:
    """
    Give the media type of the body.

    Args:
        req: The request; a charset, if it names one, must be UTF-8.
        accepted: Media types, in lower case.

    Raises:
        RequestError: 415, if it is another one or none.
    """
    media_type = _utf8_media_type(req.content_type or "")
    if media_type not in accepted:
        raise unsupported_media_type(f"Content-Type must be {' or '.join(sorted(accepted))} in UTF-8")
    return media_type


@lru_cache(maxsize=64)  # a fleet sends one and the same header
def _utf8_media_type(header: str) -> str:
    """Give the media type in lower case; nothing where the charset is another than UTF-8."""
    media_type, parameters = falcon.parse_header(header)
    return media_type.lower() if parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8") else ""


async def read_body(req: Request, limit_bytes: int) -> bytes:
    """
    Read and decompress the body.

    Raises:
        RequestError: 413, if it is larger than *limit_bytes* before or after decompression; 415, if it is
            compressed with anything but gzip; 400, if the client went away in the middle, which then sees nothing.
        NotUnpackedError: If it is no complete gzip stream though it claims to be.
    """
    encoding = (req.get_header("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise unsupported_media_type("Content-Encoding must be gzip or identity")
    announced = req.content_length or 0
    if announced > limit_bytes:
        raise payload_too_large(limit_bytes)
    # One byte more than allowed tells "too large" from "exactly at the limit".
    body = await req.stream.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    if len(body) < announced:
        raise RequestError(BODY_CUT_SHORT)
    return body if encoding == "identity" else _gunzip(body, limit_bytes)


def _gunzip(packed: bytes, limit_bytes: int) -> bytes:
    body = bytearray()
    stream = None
    # In pieces: zlib copies what it has left over after each member, and a body can be made of nothing but members.
    for start in range(0, len(packed), _PIECE_BYTES):
        piece = packed[start : start + _PIECE_BYTES]
        while piece:
            stream = stream or zlib.decompressobj(_GZIP)
            try:
                # One byte more than allowed tells "too large" from "exactly at the limit".
                body += stream.decompress(piece, limit_bytes + 1 - len(body))
            except zlib.error:
                raise NotUnpackedError("not a gzip stream", packed) from None
            if len(body) > limit_bytes:
                raise payload_too_large(limit_bytes)
            piece = stream.unused_data
            if stream.eof:
                stream = None
    if stream is not None:
        raise NotUnpackedError("the gzip stream is cut short", packed)
    return bytes(body)
