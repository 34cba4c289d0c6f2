"""
The rounds: every contestant in turn, A B C, then A B C again.

So whatever disturbs the machine for a while disturbs all of them; measured one after the other, one would bear it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from attrs import frozen

from bench.load import Workload
from bench.measure import Bench, Measurement
from bench.pgbench import client_counts
from bench.systems import System

#: Whose `/health` is the floor of the framework.
FLOOR_SYSTEM = "m3w-2"

WORKLOADS: tuple[Workload, ...] = get_args(Workload)

Say = Callable[[str], None]


@frozen(kw_only=True)
class Plan:
    """
    What the rounds consist of.

    Args:
        systems: Contestants that can run here.
        workloads: What is sent to them.
        connections: How many, one measurement for each.
        rounds: How often everything is measured.
        seconds: How long each measurement is.
        pgbench: Whether the bare database takes part.
    """

    systems: Sequence[System]
    workloads: Sequence[Workload]
    connections: Sequence[int]
    rounds: int
    seconds: int
    pgbench: bool


def run_rounds(bench: Bench, plan: Plan, say: Say) -> list[Measurement]:
    """
    Measure everything in the plan.

    Args:
        bench: Where to.
        plan: What.
        say: Is given a line for each measurement.

    Returns:
        All measurements, in the order in which they were made.
    """
    results: list[Measurement] = []
    steps = list(_steps(bench, plan))
    started_s = time.monotonic()
    for number in range(plan.rounds):
        for step in steps:
            result = step()
            results.append(result)
            done = len(results)
            left_s = (time.monotonic() - started_s) / done * (plan.rounds * len(steps) - done)
            say(f"round {number + 1}/{plan.rounds}  {line(result)}  ({left_s / 60:.0f} min left)")
    return results


def line(result: Measurement) -> str:
    """Say in one line what came out."""
    words = f"{result.workload:<9} {result.connections:>4} connections  {result.system:<16} {result.rate:>8,.0f}/s"
    if result.unanswered:
        words += f"  {result.unanswered} unanswered"
    return words + "".join(f"  PROBLEM: {problem}" for problem in result.problems)


def _steps(bench: Bench, plan: Plan) -> Iterator[Callable[[], Measurement]]:
    for workload in plan.workloads:
        for connections in plan.connections:
            for system in plan.systems:
                yield _load_step(bench, plan, system, workload, connections)
        if workload == "insert" and plan.pgbench:
            for clients in client_counts(bench.database):
                yield _pgbench_step(bench, plan, clients)
    for system in plan.systems:
        if system.name == FLOOR_SYSTEM:
            for connections in plan.connections:
                yield _health_step(bench, plan, system, connections)


def _load_step(
    bench: Bench, plan: Plan, system: System, workload: Workload, connections: int
) -> Callable[[], Measurement]:
    return lambda: bench.measure(system, workload, connections=connections, seconds=plan.seconds)


def _pgbench_step(bench: Bench, plan: Plan, clients: int) -> Callable[[], Measurement]:
    return lambda: bench.measure_pgbench(clients=clients, seconds=plan.seconds)


def _health_step(bench: Bench, plan: Plan, system: System, connections: int) -> Callable[[], Measurement]:
    return lambda: bench.measure_health(system, connections=connections, seconds=plan.seconds)
