"""
What every session costs before it reaches the database: decode, structure and validate, encode.

``pytest bench/micro`` runs them; each checks its result, so that a fast path that does nothing is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from m3w_core import Session, parse_session, session_from_dict
from m3w_core._rows import encode_sessions, encode_timeline

PAYLOADS = Path(__file__).parents[2] / "tests" / "data" / "sdk-payloads"
BATCH = 200

#: A session of the first SDK; one of SDK 1.x with two timeline entries.
NAMES = ["sdk-0.x-complete", "sdk-1.x-first-report"]

Benchmark = Callable[..., Any]


def body(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


@pytest.fixture
def batch() -> list[Session]:
    """Sessions as one commit takes them."""
    payload = json.loads(body("sdk-1.x-first-report"))
    return [session_from_dict({**payload, "sessionId": f"session-{number:04}"}) for number in range(BATCH)]


@pytest.mark.parametrize("name", NAMES)
def test_decode(benchmark: Benchmark, name: str) -> None:
    payload = benchmark(orjson.loads, body(name))

    assert payload["startupTimeMs"] == 450


@pytest.mark.parametrize("name", NAMES)
def test_structure_and_validate(benchmark: Benchmark, name: str) -> None:
    session = benchmark(session_from_dict, json.loads(body(name)))

    assert session.startup_time_ms == 450


@pytest.mark.parametrize("name", NAMES)
def test_parse(benchmark: Benchmark, name: str) -> None:
    session = benchmark(parse_session, body(name))

    assert session.startup_time_ms == 450


def test_encode_200_sessions(benchmark: Benchmark, batch: list[Session]) -> None:
    rows = benchmark(encode_sessions, batch)

    assert len(json.loads(rows)) == BATCH


def test_encode_400_timeline_entries(benchmark: Benchmark, batch: list[Session]) -> None:
    rows = benchmark(encode_timeline, batch)

    assert len(json.loads(rows)) == 2 * BATCH
