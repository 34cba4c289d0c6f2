"""
Everything that takes part: PostgreSQL, the proxy in front of it, the backend with two workers, and its clients.

The backend stays the same from round to round, except where a fault ends it: what a fault leaves behind is found in
the rounds after it.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
from attrs import define, field

from tests._databases import open_temporary_directory
from tests._serve import Backend
from tests.faults.clients import Clients
from tests.faults.ledger import PADDING, Entry, Playback, Row, differences
from tests.faults.postgres import DATABASE, PASSWORD, ROLE, Postgres, small_disk
from tests.faults.proxy import Proxy

_WORKERS = 2
_SAMPLE_S = 0.2

_ROWS = f"SELECT session_id, timestamp, session_duration_ms, play_time_ms, extra - '{PADDING}' FROM sessions"
_ENTRIES = "SELECT session_id, timestamp_ms, playback_state, elapsed_ms FROM session_timeline"
#: A row whose place on the charts a client's clock has shifted.
_SHIFTED = """
SELECT session_id FROM sessions
WHERE event_at NOT BETWEEN received_at - interval '30 days' AND received_at + interval '5 minutes' LIMIT 5
"""


@define(eq=False)
class World:
    """
    What faults are injected into.

    Args:
        postgres: Runs.
        proxy: The backend's way to it.
        random: Of this run.
        full_disk_possible: Whether PostgreSQL has a disk of its own.
    """

    postgres: Postgres
    proxy: Proxy
    random: random.Random
    full_disk_possible: bool
    backend: Backend = field(init=False)
    clients: Clients = field(init=False)
    #: The most that a worker has had resident since this was set to 0, in bytes.
    worst_memory_bytes: int = field(default=0, init=False)

    async def start_backend(self, port: int = 0) -> None:
        """Start a backend and wait until it serves; on *port* where one has been there before."""
        variables = {
            "DATABASE_URL": f"postgresql://{ROLE}@127.0.0.1:{self.proxy.port}/{DATABASE}?sslmode=disable",
            "DATABASE_PASSWORD": PASSWORD,
            "LOG_LEVEL": "WARN",
        }
        self.backend = Backend(("--workers", _WORKERS, "--port", port), variables)
        with _usual_limit_of_files():
            self.backend.__enter__()
        await asyncio.to_thread(self.backend.until_ready)
        # Any other child looks like a worker until it has its own name.
        while len(self.workers()) != _WORKERS:
            await asyncio.sleep(0.02)

    async def stop_backend(self) -> None:
        """Wait for the end of a backend that was told to stop, and of all that belongs to it."""
        await asyncio.to_thread(self.backend.process.wait, 40)
        left = await asyncio.to_thread(self.backend.left_over, 40)
        assert left == [], f"these did not end with their parent: {left}"
        self.backend.__exit__(None, None, None)

    async def watch_memory(self) -> None:
        """Look at the workers' memory until cancelled."""
        while True:
            for worker in self.workers():
                with suppress(psutil.NoSuchProcess):
                    self.worst_memory_bytes = max(self.worst_memory_bytes, worker.memory_info().rss)
            await asyncio.sleep(_SAMPLE_S)

    def workers(self) -> list[psutil.Process]:
        """Give the backend's workers, none where it does not run."""
        with suppress(psutil.NoSuchProcess):
            self.backend.children()
            return self.backend.workers
        return []

    async def audit(self, *, everything: bool = False) -> list[str]:
        """
        Compare the database with what the clients know.

        Args:
            everything: All that was ever sent, not only what was since the last time.

        Returns:
            What is wrong.
        """
        playbacks = self.clients.playbacks if everything else self.clients.touched
        return await asyncio.to_thread(self._audit, dict(playbacks), everything)

    def _audit(self, playbacks: dict[str, Playback], everything: bool) -> list[str]:
        connection = self.postgres.connect()
        try:
            # One look at all of it: what nobody waits for any more may still be committed meanwhile.
            connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if everything:
                rows, entries = connection.run(_ROWS), connection.run(_ENTRIES)
            else:
                ids = list(playbacks)
                rows = connection.run(f"{_ROWS} WHERE session_id = ANY(CAST(:ids AS text[]))", ids=ids)
                entries = connection.run(f"{_ENTRIES} WHERE session_id = ANY(CAST(:ids AS text[]))", ids=ids)
            (stored,) = connection.run("SELECT count(*) FROM sessions")[0]
            shifted = connection.run(_SHIFTED)
        finally:
            connection.close()
        found = differences(playbacks, [Row(*row) for row in rows], [Entry(*entry) for entry in entries])
        # Of those that are not looked at one by one: there cannot be more than were sent.
        if stored > len(self.clients.playbacks):
            found.append(f"{stored} sessions are stored, {len(self.clients.playbacks)} were sent")
        found += [f"{session_id}: event_at is where the client's clock was" for (session_id,) in shifted]
        return found


@contextmanager
def _usual_limit_of_files() -> Iterator[None]:
    """Start a program as from a shell or by systemd, whatever these tests were started by."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@asynccontextmanager
async def a_world(seed: int) -> AsyncIterator[World]:
    """
    Start all of it, and leave nothing behind in the end.

    Args:
        seed: Of everything that is left to chance.
    """
    with _a_directory() as disk, small_disk(disk) as possible:
        postgres = Postgres(disk)
        try:
            await postgres.make()
            async with Proxy(str(postgres.socket_file)) as proxy:
                world = World(postgres, proxy, random.Random(seed), possible)
                await world.start_backend()
                try:
                    world.clients = Clients(world.backend.connect().port, world.random)
                    yield world
                finally:
                    world.backend.__exit__(None, None, None)
        finally:
            await postgres.close()


@contextmanager
def _a_directory() -> Iterator[Path]:
    with open_temporary_directory() as directory:
        disk = directory / "disk"
        disk.mkdir()
        yield disk
