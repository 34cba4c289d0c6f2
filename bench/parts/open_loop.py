"""
Latency at half the peak rate, timed from when each request was due.

The generator shares the CPUs with what it measures, and says how late it was itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from attrs import asdict, field, frozen

from bench.generator import Options
from bench.load import API_KEY, Load, Workload
from bench.measure import Bench, find_problems
from bench.processes import BenchError
from bench.rounds import Say
from bench.systems import System, serving

_CONNECTIONS = 256
_WARM_UP_S = 2
_MARGIN_S = 60


@frozen(kw_only=True)
class OpenLoop:
    """
    What came out.

    Args:
        system: Name of the contestant.
        workload: What was sent.
        rate: Requests a second that were due.
        answered: Requests a second that were answered.
        latency_ms: From when a request was due to its answer, by percentile.
        lateness_ms: From when a request was due to its sending, which is part of the latency: large where the
            generator did not get its share of the machine, or all connections were busy.
        generator_cpu_s: CPU time of the generator for 1,000 requests.
        problems: What is wrong with it.
    """

    system: str
    workload: str
    rate: float
    answered: float
    latency_ms: dict[str, float]
    lateness_ms: dict[str, float]
    generator_cpu_s: float
    problems: list[str] = field(factory=list)


def run(bench: Bench, system: System, workload: Workload, *, rate: float, seconds: int, say: Say) -> OpenLoop:
    """
    Hold a rate.

    Args:
        bench: Where.
        system: Whose latency is measured.
        workload: ``insert`` or ``heartbeat``.
        rate: Requests a second.
        seconds: How long.
        say: Is told what comes out.

    Raises:
        BenchError: If the generator fails.
    """
    bench.start_over(workload)
    with serving(system, bench.database, bench.run_dir) as server:
        warm_up = bench.load(server, workload, connections=_CONNECTIONS, seconds=_WARM_UP_S)
        options = Options(
            port=server.port,
            api_key=API_KEY,
            workload=workload,
            rate=rate,
            seconds=seconds,
            connections=_CONNECTIONS,
            timestamp_ms=bench.clock.now_ms,
            session_ids_file=str(bench.database.session_ids_file),
        )
        result = generate(options)
        load = Load(bad=0, **{name: result[name] for name in _LOAD_FIELDS})
        bench.clock.take(load.sent)
        problems = find_problems(bench.database, workload, [warm_up, load])
    outcome = OpenLoop(
        system=system.name,
        workload=workload,
        rate=rate,
        answered=load.answers / load.seconds,
        latency_ms=load.latency_ms,
        lateness_ms=result["lateness_ms"],
        generator_cpu_s=1000 * load.cpu_s / max(load.sent, 1),
        problems=problems,
    )
    latency = ", ".join(f"{name} {value:.1f}" for name, value in outcome.latency_ms.items())
    say(
        f"open loop  {workload}  {system.name}  {rate:,.0f}/s due, {outcome.answered:,.0f}/s answered, ms: {latency}"
    )
    say(
        f"           the generator was late by {outcome.lateness_ms['p99']:.1f} ms at p99, which is contained in that"
    )
    return outcome


_LOAD_FIELDS = (
    "seconds",
    "answers",
    "refused",
    "broken",
    "created",
    "updated",
    "entries",
    "latency_ms",
    "cpu_s",
)


def generate(options: Options) -> dict[str, Any]:
    """
    Run the generator in a process of its own.

    Raises:
        BenchError: If it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.generator", json.dumps(asdict(options))],
        check=False,
        capture_output=True,
        text=True,
        timeout=options.seconds + _MARGIN_S,
    )
    if done.returncode != 0:
        raise BenchError(f"The generator failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
