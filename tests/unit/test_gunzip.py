"""
Unpacking a body: several members, the limit, and what is made to be slow.
"""

from __future__ import annotations

import gzip
import time

import pytest

from m3w_http.body import NotUnpackedError, _gunzip
from m3w_http.errors import RequestError


def test_members_are_put_together_wherever_they_end():
    """
    As RFC 1952 has it; they are longer and shorter than the pieces that they are read in.
    """
    parts = [bytes([number]) * 37 * number for number in range(250)]
    packed = b"".join(gzip.compress(part, compresslevel=0) for part in parts)

    assert _gunzip(packed, 10**7) == b"".join(parts)
    with pytest.raises(NotUnpackedError) as caught:
        _gunzip(packed[:-1], 10**7)
    assert caught.value.packed == packed[:-1]


def test_the_limit_is_that_of_all_members_together():
    """
    To the byte.
    """
    packed = gzip.compress(b"x" * 600) + gzip.compress(b"x" * 400)

    assert len(_gunzip(packed, 1000)) == 1000
    with pytest.raises(RequestError):
        _gunzip(packed, 999)


def test_a_body_of_nothing_but_members_is_unpacked_in_no_time():
    """
    zlib copies all that follows a member: 100,000 of them, as a whole, would hold a worker up for half a minute.
    """
    packed = gzip.compress(b"") * 100_000
    began_s = time.process_time()

    assert _gunzip(packed, 10**7) == b""
    assert time.process_time() - began_s < 4
