"""
The insert rate into a table of ten million sessions against an empty one.

The index of a table that grew by random IDs is filled to about 70 %; so is the one that is built here, because a
freshly built index would have to split every page first.
"""

from __future__ import annotations

import shutil
from statistics import median

from attrs import field, frozen

from bench.load import Load
from bench.measure import Bench
from bench.processes import BenchError
from bench.rounds import Say
from bench.systems import System, serving

SESSIONS = 10_000_000

_CHUNK = 500_000
_CONNECTIONS = 256

# Twice what the rows, their index and the write-ahead log were seen to take.
_BYTES_PER_SESSION = 1500


@frozen(kw_only=True)
class LargeTable:
    """
    What came out.

    Args:
        system: Name of the contestant.
        sessions: How many the large table held.
        table_bytes: Its size, with indexes.
        empty_rates: Sessions a second into an empty table, before and after.
        large_rates: Into the large one.
        problems: What is wrong with it.
    """

    system: str
    sessions: int
    table_bytes: int
    empty_rates: list[float]
    large_rates: list[float]
    problems: list[str] = field(factory=list)

    @property
    def ratio(self) -> float:
        """The median rate into the large table against that into the empty one."""
        return median(self.large_rates) / median(self.empty_rates)


def run(bench: Bench, system: System, *, sessions: int, seconds: int, rounds: int, say: Say) -> LargeTable:
    """
    Measure into an empty table, a large one, and an empty one again.

    Args:
        bench: Where.
        system: Who writes.
        sessions: How many the large table holds.
        seconds: How long each measurement is.
        rounds: How many measurements each table gets.
        say: Is told of each measurement.

    Raises:
        BenchError: If there is no room for it, or it cannot be measured.
    """
    needed_bytes = sessions * _BYTES_PER_SESSION
    if shutil.disk_usage(bench.run_dir).free < needed_bytes:
        raise BenchError(
            f"{sessions:,} sessions need {needed_bytes / 2**30:.0f} GiB in {bench.run_dir.parent}: free some space,"
            " or name another directory with --work-dir."
        )
    problems: list[str] = []

    def rates(what: str, *, times: int, empty: bool) -> list[float]:
        found = []
        for _ in range(times):
            if empty:
                bench.database.empty()
            else:
                bench.database.run("CHECKPOINT")
            rate, wrong = _measure(bench, system, seconds)
            found.append(rate)
            problems.extend(wrong)
            say(f"{what:<10} {system.name}  {rate:,.0f}/s")
        return found

    empty_rates = rates("empty", times=rounds, empty=True)
    _fill(bench, sessions, say)
    table_bytes = bench.database.counters().sessions_bytes
    large_rates = rates("large", times=rounds, empty=False)
    bench.database.run("ALTER INDEX sessions_pkey RESET (fillfactor)")
    empty_rates += rates("empty", times=rounds, empty=True)
    return LargeTable(
        system=system.name,
        sessions=sessions,
        table_bytes=table_bytes,
        empty_rates=empty_rates,
        large_rates=large_rates,
        problems=problems,
    )


def _measure(bench: Bench, system: System, seconds: int) -> tuple[float, list[str]]:
    rows = bench.database.value("SELECT count(*) FROM sessions")
    with serving(system, bench.database, bench.run_dir) as server:
        loads: list[Load] = [
            bench.load(server, "insert", connections=_CONNECTIONS, seconds=length) for length in (1, seconds)
        ]
        added = bench.database.value("SELECT count(*) FROM sessions") - rows
    acknowledged, sent = sum(load.acknowledged for load in loads), sum(load.sent for load in loads)
    fits = acknowledged <= added <= sent
    return loads[-1].rate, [] if fits else [f"{acknowledged} sessions acknowledged, {added} rows added"]


def _fill(bench: Bench, sessions: int, say: Say) -> None:
    bench.database.empty()
    bench.database.run("ALTER TABLE sessions DROP CONSTRAINT sessions_pkey")
    for done in range(0, sessions, _CHUNK):
        bench.database.add_random(min(_CHUNK, sessions - done), bench.clock.now_ms)
        say(f"filling    {min(done + _CHUNK, sessions):>10,} of {sessions:,} sessions")
    bench.database.run(
        "ALTER TABLE sessions ADD CONSTRAINT sessions_pkey PRIMARY KEY (session_id) WITH (fillfactor = 70)"
    )
    bench.database.run("VACUUM (ANALYZE) sessions")
