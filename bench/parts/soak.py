"""
Half an hour's worth of heartbeats, as fast as they are taken: do the tables stay as fast as they were?

100,000 sessions are updated 120 times each, autovacuum on; the last minute is compared with the first.
"""

from __future__ import annotations

import time

from attrs import field, frozen

from bench.database import PLAYING_SESSIONS
from bench.load import Load
from bench.measure import Bench, find_problems
from bench.rounds import Say
from bench.systems import System, serving

#: Every session reports each 15 s for 30 minutes.
UPDATES = PLAYING_SESSIONS * 30 * 60 // 15

_CONNECTIONS = 256
_MINUTE_S = 60
_MAX_SECONDS = 3600


@frozen(kw_only=True)
class Minute:
    """
    One minute of it.

    Args:
        rate: Acknowledged updates a second.
        p99_ms: Latency.
        sessions_bytes: The table ``sessions`` with its indexes.
        timeline_bytes: The table ``session_timeline`` with its index, which grows by every entry.
        dead_rows: Old versions of rows in ``sessions``, as PostgreSQL estimates them.
        vacuums: How often autovacuum has been through ``sessions``.
    """

    rate: float
    p99_ms: float
    sessions_bytes: int
    timeline_bytes: int
    dead_rows: int
    vacuums: int


@frozen(kw_only=True)
class Soak:
    """
    What came out.

    Args:
        system: Name of the contestant.
        updates: How many were acknowledged.
        minutes: In their order; what each minute of load did.
        hot_share: Of all updates.
        problems: What is wrong with it.
    """

    system: str
    updates: int
    minutes: list[Minute]
    hot_share: float
    problems: list[str] = field(factory=list)

    @property
    def ratio(self) -> float:
        """The last minute's rate against the first one's."""
        return self.minutes[-1].rate / self.minutes[0].rate

    @property
    def bloat(self) -> float:
        """The size of ``sessions`` in the end against the end of the first minute."""
        return self.minutes[-1].sessions_bytes / self.minutes[0].sessions_bytes


def run(bench: Bench, system: System, *, updates: int, minute_s: int = _MINUTE_S, say: Say) -> Soak:
    """
    Send heartbeats until there were *updates* of them, or for an hour.

    Args:
        bench: Where.
        system: Who takes them.
        updates: How many.
        minute_s: How long a minute is.
        say: Is told of each minute.

    Raises:
        BenchError: If it cannot be measured.
    """
    bench.start_over("heartbeat")
    before = bench.database.updates()
    loads: list[Load] = []
    minutes: list[Minute] = []
    give_up_s = time.monotonic() + _MAX_SECONDS
    with serving(system, bench.database, bench.run_dir) as server:
        warm_up = bench.load(server, "heartbeat", connections=_CONNECTIONS, seconds=1)
        while (done := sum(load.acknowledged for load in loads)) < updates and time.monotonic() < give_up_s:
            load = bench.load(server, "heartbeat", connections=_CONNECTIONS, seconds=minute_s)
            loads.append(load)
            minutes.append(_minute(bench, load))
            say(
                f"soak       {system.name}  minute {len(minutes):>3}  {load.rate:>8,.0f}/s"
                f"  sessions {minutes[-1].sessions_bytes / 2**20:,.0f} MiB"
                f"  {minutes[-1].dead_rows:,} dead rows  {minutes[-1].vacuums} vacuums"
                f"  {done + load.acknowledged:,} of {updates:,} updates"
            )
        problems = find_problems(bench.database, "heartbeat", [warm_up, *loads])
    after = bench.database.updates()
    return Soak(
        system=system.name,
        updates=sum(load.acknowledged for load in loads),
        minutes=minutes,
        hot_share=(after.hot - before.hot) / max(after.all - before.all, 1),
        problems=problems,
    )


def _minute(bench: Bench, load: Load) -> Minute:
    counters = bench.database.counters()
    dead_rows, vacuums = bench.database.run("""
        SELECT n_dead_tup, autovacuum_count FROM pg_stat_user_tables WHERE relname = 'sessions'
        """)[0]
    return Minute(
        rate=load.rate,
        p99_ms=load.latency_ms["p99"],
        sessions_bytes=counters.sessions_bytes,
        timeline_bytes=counters.timeline_bytes,
        dead_rows=dead_rows,
        vacuums=vacuums,
    )
