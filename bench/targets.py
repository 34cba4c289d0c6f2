"""
What the numbers should be, and the floors below which a run fails.

All targets are ratios within one run, made for two CPUs that contestant, database and load generator share.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from bench.results import Results

FASTAPI = "fastapi-asyncpg"

HOT_FLOOR = 0.95
FASTAPI_FLOOR = 3.0

_PEER_TARGETS = ((FASTAPI, 5.0), ("go-pgx", 2.0), ("fastify-pg", 2.0), ("falcon-threads", 10.0))


@frozen(kw_only=True)
class Target:
    """
    A number and what it should be.

    Args:
        measure: What it is.
        value: As it was measured.
        limit: What it should be.
        at_most: Whether the limit is a maximum, not a minimum.
        unit: Of both.
    """

    measure: str
    value: float
    limit: float
    at_most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether it is what it should be."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def targets(results: Results) -> list[Target]:
    """List every target whose number was measured."""
    return [*_rate_targets(results), *_part_targets(results)]


def broken_floors(results: Results) -> list[str]:
    """List the reasons for which a run fails, in words."""
    broken = results.problems()
    for share in results.hot_shares():
        if share < HOT_FLOOR:
            broken.append(f"heartbeat: {share:.1%} of our updates were HOT, the floor is {HOT_FLOOR:.0%}")
    for workload in ("insert", "heartbeat"):
        ratio = results.ratio(workload, FASTAPI)
        if ratio is not None and ratio < FASTAPI_FLOOR:
            broken.append(
                f"{workload}: {ratio:.2f} times FastAPI with asyncpg, the floor is {FASTAPI_FLOOR:g}"
            )
    return broken


def _rate_targets(results: Results) -> Iterator[Target]:
    ours = results.summary("m3w-2", "insert", results.headline_connections())
    pgbench = results.best_pgbench()
    if ours and pgbench:
        yield Target(
            measure=f"insert against pgbench with {pgbench.connections} clients, its best",
            value=ours.rate / pgbench.rate,
            limit=1.0,
        )
    for peer, limit in _PEER_TARGETS:
        for workload in ("insert", "heartbeat"):
            ratio = results.ratio(workload, peer)
            if ratio is not None:
                yield Target(measure=f"{workload} against {peer}", value=ratio, limit=limit)
    shares = results.hot_shares()
    if shares:
        yield Target(
            measure="HOT share of heartbeat's updates, the lowest", value=min(shares), limit=HOT_FLOOR
        )


def _part_targets(results: Results) -> Iterator[Target]:
    if results.soak:
        yield Target(
            measure="heartbeat after 30 minutes' worth against its first minute",
            value=results.soak.ratio,
            limit=0.9,
        )
    for each in results.open_loop:
        yield Target(
            measure=f"p99 of {each.workload} at half the peak rate",
            value=each.latency_ms["p99"],
            limit=20,
            at_most=True,
            unit=" ms",
        )
    if results.batch:
        yield Target(
            measure="batches of 500, sessions a second", value=results.batch.rate, limit=40_000, unit="/s"
        )
        yield Target(measure="batches of 500 against COPY", value=results.batch.ratio, limit=0.4)
    if results.alone:
        yield Target(
            measure="one request alone against a bare upsert alone",
            value=results.alone.ratio,
            limit=3,
            at_most=True,
        )
    if results.memory:
        last = results.memory.samples[-1]
        yield Target(
            measure=f"resident memory of a worker after {last.sessions:,} sessions",
            value=last.rss_bytes / 1e6,
            limit=80,
            at_most=True,
            unit=" MB",
        )
        yield Target(
            measure="that memory against half-way (flat)",
            value=results.memory.growth,
            limit=1.05,
            at_most=True,
        )
    if results.large_table:
        yield Target(
            measure=f"insert into {results.large_table.sessions:,} sessions against an empty table",
            value=results.large_table.ratio,
            limit=0.8,
        )
