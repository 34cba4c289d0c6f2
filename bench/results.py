"""
Everything that a run has found out, and the medians over its rounds.

Ratios are those of medians, of one workload at one number of connections; pgbench has its own best number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from attrs import define, field, frozen

from bench.measure import PGBENCH, Costs, Measurement
from bench.parts.alone import Alone
from bench.parts.batch import Batch
from bench.parts.large_table import LargeTable
from bench.parts.memory import Memory
from bench.parts.micro import Micro
from bench.parts.open_loop import OpenLoop
from bench.parts.soak import Soak

#: Ours, where it is compared: with as many processes as the peers.
OURS = "m3w-2"


@frozen(kw_only=True)
class Summary:
    """
    The rounds of one contestant with one workload and one number of connections.

    Args:
        rates: Sessions a second, one for each round.
        rounds: The measurements themselves.
    """

    system: str
    workload: str
    connections: int
    rounds: Sequence[Measurement]

    @property
    def rates(self) -> list[float]:
        """Sessions a second in each round."""
        return [each.rate for each in self.rounds]

    @property
    def rate(self) -> float:
        """The median of them."""
        return median(self.rates)

    def cost(self, of: Callable[[Costs], float | None]) -> float | None:
        """Give the median over the rounds of one of the costs, None where nothing was stored or counted."""
        values = [value for each in self.rounds if each.costs and (value := of(each.costs)) is not None]
        return median(values) if values else None

    def latency_ms(self, percentile: str) -> float | None:
        """Give the median over the rounds of a percentile of the latency."""
        values = [each.latency_ms[percentile] for each in self.rounds if each.latency_ms]
        return median(values) if values else None


@define(kw_only=True)
class Results:
    """
    What was found out.

    Args:
        measurements: Of the rounds.
        open_loop: Latency at half the peak rate.
        alone: One request alone.
        batch: The batch route against ``COPY``.
        memory: After a million sessions.
        soak: After half an hour's worth of updates.
        large_table: With ten million sessions.
        micro: Steps of the hot path.
    """

    measurements: list[Measurement] = field(factory=list)
    open_loop: list[OpenLoop] = field(factory=list)
    alone: Alone | None = None
    batch: Batch | None = None
    memory: Memory | None = None
    soak: Soak | None = None
    large_table: LargeTable | None = None
    micro: list[Micro] = field(factory=list)

    def summaries(self) -> list[Summary]:
        """Put the rounds together, in the order in which they were measured first."""
        groups: dict[tuple[str, str, int], list[Measurement]] = {}
        for each in self.measurements:
            groups.setdefault((each.system, each.workload, each.connections), []).append(each)
        return [
            Summary(system=system, workload=workload, connections=connections, rounds=rounds)
            for (system, workload, connections), rounds in groups.items()
        ]

    def summary(self, system: str, workload: str, connections: int) -> Summary | None:
        """Give one of them, None if that was not measured."""
        for each in self.summaries():
            if (each.system, each.workload, each.connections) == (system, workload, connections):
                return each
        return None

    def best_pgbench(self) -> Summary | None:
        """Give pgbench at its own best number of clients."""
        found = [each for each in self.summaries() if each.system == PGBENCH]
        return max(found, key=lambda each: each.rate, default=None)

    def headline_connections(self) -> int:
        """Give the largest number of connections that was measured: the ratios are taken there."""
        found = [each.connections for each in self.measurements if each.system != PGBENCH]
        return max(found, default=0)

    def ratio(self, workload: str, peer: str) -> float | None:
        """Give our rate against a peer's, medians, None if either was not measured."""
        connections = self.headline_connections()
        ours, theirs = (self.summary(system, workload, connections) for system in (OURS, peer))
        return ours.rate / theirs.rate if ours and theirs and theirs.rate else None

    def hot_shares(self) -> list[float]:
        """Give the HOT shares of every heartbeat of ours."""
        shares = [
            each.costs.hot_share
            for each in self.measurements
            if each.system.startswith("m3w-") and each.workload == "heartbeat" and each.costs
        ]
        shares.append(self.soak.hot_share if self.soak else None)
        return [share for share in shares if share is not None]

    def problems(self) -> list[str]:
        """List what is wrong with any of it: rows that are missing above all."""
        parts = [*self.open_loop, self.batch, self.memory, self.soak, self.large_table]
        found = [
            f"{each.system}, {each.workload}, {each.connections} connections: {problem}"
            for each in self.measurements
            for problem in each.problems
        ]
        return found + [
            f"{part.system}, {type(part).__name__}: {problem}"
            for part in parts
            if part
            for problem in part.problems
        ]
