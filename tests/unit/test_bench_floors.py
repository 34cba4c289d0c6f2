"""
When a run of the benchmark fails.

The benchmark itself is no part of these tests: it takes minutes, and a machine for itself.
"""

from __future__ import annotations

from attrs import evolve

from bench.measure import Costs, Measurement
from bench.results import Results
from bench.targets import broken_floors, targets

COSTS = Costs(
    server_cpu_s=0.1,
    database_cpu_s=0.1,
    load_cpu_s=0.1,
    elsewhere=0.0,
    wal_bytes=400,
    table_bytes=400,
    hot_share=None,
)
OURS = Measurement(system="m3w-2", workload="insert", connections=256, rate=3000.0, costs=COSTS)
FASTAPI = evolve(OURS, system="fastapi-asyncpg", rate=1000.0)
HEARTBEAT = evolve(OURS, workload="heartbeat", costs=evolve(COSTS, hot_share=0.95))


def test_no_floor_is_broken_where_every_number_lies_on_it() -> None:
    """
    A floor is the lowest number that is allowed.
    """
    results = Results(measurements=[OURS, FASTAPI, HEARTBEAT])

    assert broken_floors(results) == []


def test_a_row_that_any_contestant_loses_breaks_a_floor() -> None:
    """
    A rate counts only where every acknowledged row is there, whoever's it is.
    """
    results = Results(
        measurements=[OURS, evolve(FASTAPI, problems=["3 new sessions sent, 2 rows found: 1 lost"])]
    )

    assert broken_floors(results) == [
        "fastapi-asyncpg, insert, 256 connections: 3 new sessions sent, 2 rows found: 1 lost"
    ]


def test_updates_that_touch_an_index_break_a_floor() -> None:
    """
    At least 95 % of the updates are HOT, in every round.
    """
    results = Results(measurements=[HEARTBEAT, evolve(HEARTBEAT, costs=evolve(COSTS, hot_share=0.949))])

    assert broken_floors(results) == ["heartbeat: 94.9% of our updates were HOT, the floor is 95%"]


def test_less_than_three_times_fastapi_breaks_a_floor() -> None:
    """
    What counts is the median over the rounds.
    """
    rounds = [evolve(OURS, rate=rate) for rate in (2900.0, 2980.0, 9000.0)]
    results = Results(measurements=[*rounds, FASTAPI])

    assert broken_floors(results) == ["insert: 2.98 times FastAPI with asyncpg, the floor is 3"]


def test_pgbench_is_compared_at_its_own_best_number_of_clients() -> None:
    """
    The target against the bare database is taken where that is fastest.
    """
    pgbench = [
        evolve(OURS, system="pgbench", connections=clients, rate=rate)
        for clients, rate in ((8, 1000.0), (32, 2000.0), (64, 1500.0))
    ]
    results = Results(measurements=[OURS, *pgbench])

    assert [(each.measure, each.value, each.met) for each in targets(results)] == [
        ("insert against pgbench with 32 clients, its best", 1.5, True)
    ]
