"""
What a worker holds after a million sessions, and whether it still grows.

Resident memory counts what workers share, so that the sum over them is more than the machine has given.
"""

from __future__ import annotations

from attrs import field, frozen

from bench import processes
from bench.load import Load
from bench.measure import Bench, find_problems
from bench.rounds import Say
from bench.systems import System, serving

_CONNECTIONS = 256
_SLICE_S = 10

# A contestant that is far slower than ours is not waited for.
_MAX_SLICES = 120


@frozen(kw_only=True)
class Sample:
    """Memory of the largest process, in bytes, after so many sessions."""

    sessions: int
    rss_bytes: int
    uss_bytes: int


@frozen(kw_only=True)
class Memory:
    """
    What came out.

    Args:
        system: Name of the contestant.
        samples: As the sessions went by.
        problems: What is wrong with it.
    """

    system: str
    samples: list[Sample]
    problems: list[str] = field(factory=list)

    @property
    def growth(self) -> float:
        """The last sample's resident memory against that of the one half-way."""
        return self.samples[-1].rss_bytes / self.samples[len(self.samples) // 2].rss_bytes


def run(bench: Bench, system: System, *, sessions: int, say: Say) -> Memory:
    """
    Send new sessions to one contestant, and watch it.

    Args:
        bench: Where.
        system: With one worker, which then takes all of them.
        sessions: How many.
        say: Is told what each sample is.

    Raises:
        BenchError: If it cannot be measured.
    """
    bench.start_over("insert")
    loads: list[Load] = []
    samples: list[Sample] = []
    with serving(system, bench.database, bench.run_dir) as server:
        while (done := sum(load.acknowledged for load in loads)) < sessions and len(loads) < _MAX_SLICES:
            loads.append(bench.load(server, "insert", connections=_CONNECTIONS, seconds=_SLICE_S))
            largest = max(processes.memory(server.pid), key=lambda each: each.rss_bytes)
            done += loads[-1].acknowledged
            samples.append(Sample(sessions=done, rss_bytes=largest.rss_bytes, uss_bytes=largest.uss_bytes))
            say(f"memory     {system.name}  {done:>9,} sessions  {largest.rss_bytes / 2**20:.1f} MiB")
        problems = find_problems(bench.database, "insert", loads)
    return Memory(system=system.name, samples=samples, problems=problems)
