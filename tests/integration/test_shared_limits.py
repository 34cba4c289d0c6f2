"""
Rate limits whose counts are in a Redis: what replicas share, and what happens while it is away.
"""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import pytest
from attrs import define, field

from m3w_core import Settings
from m3w_http import rate_limits
from m3w_http.app import app_for
from m3w_http.rate_limits import SharedCounts, SharedCountsError
from tests._client import Client, error_of
from tests._serve import PATIENCE_S, until
from tests.factories import a_payload

pytest.importorskip("redis", reason="the extra redis is not installed")
pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")

PASSWORD = "s3cret"


@define(eq=False)
class Redis:
    """A server that can be stopped and started again; a context manager."""

    port: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), *options], stdout=subprocess.DEVNULL
        )
        until(self._answers, "Redis")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"-NOAUTH")
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


def limited(redis: Redis, requests: int = 2) -> Settings:
    return Settings(rate_limit_requests=requests, rate_limit_window_s=3600, rate_limit_storage_uri=redis.uri)


def test_replicas_share_their_counts(redis, emptied_database):
    """
    What one has counted, the other knows; ``Retry-After`` names the seconds to the window's end.
    """
    settings = limited(redis)
    with (
        Client(app_for(settings, emptied_database)) as one,
        Client(app_for(settings, emptied_database)) as other,
    ):
        allowed = [one.post(a_payload()).status_code, other.post(a_payload()).status_code]
        refused = [one.post(a_payload()), other.post(a_payload())]
        elsewhere = other.post(a_payload(), remote_addr="192.0.2.1")

    assert allowed == [200, 200]
    for answer in refused:
        assert error_of(answer, 429) == {"code": "RATE_LIMIT_EXCEEDED", "message": "Too many requests"}
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert elsewhere.status_code == 200


def test_while_redis_is_down_each_process_counts_for_itself(redis, emptied_database, monkeypatch, caplog):
    """
    No session is turned away for it; it is said once, and once more when Redis is back.
    """
    monkeypatch.setattr(rate_limits, "_SHARED_PAUSE_S", 0.05)
    with Client(app_for(limited(redis), emptied_database)) as client:
        redis.stop()
        down = [client.post(a_payload()).status_code for _ in range(3)]
        redis.start()
        until(lambda: client.post(a_payload(), remote_addr="::1") and "answers again" in caplog.text, "Redis")
        until(lambda: client.post(a_payload(), remote_addr="::2").status_code == 429, "its counts")
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    assert down == [200, 200, 429]
    assert ["does not answer" in line or "answers again" in line for line in warnings] == [True, True]
    assert PASSWORD not in caplog.text


def test_a_redis_that_hangs_delays_one_request(redis, emptied_database, caplog):
    """
    By half a second; the next ones do not wait for it.
    """
    with Client(app_for(limited(redis, requests=100), emptied_database)) as client:
        client.post(a_payload())
        redis.signal(signal.SIGSTOP)
        started = time.monotonic()
        first = client.post(a_payload()).status_code
        first_s = time.monotonic() - started
        others = [client.post(a_payload()).status_code for _ in range(20)]
        all_s = time.monotonic() - started
        redis.signal(signal.SIGCONT)

    assert [first, *others] == [200] * 21
    assert 0.4 < first_s
    assert all_s < 4  # 21 of them would take ten seconds
    assert "does not answer (TimeoutError)" in caplog.text


def test_without_the_client_of_redis_the_message_says_what_to_install(monkeypatch):
    """
    ``m3w serve`` tries it before it starts anything.
    """
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    with pytest.raises(SharedCountsError, match=r"pip install 'media3watch-backend\[redis\]'"):
        SharedCounts("redis://127.0.0.1")
