"""
``python -m bench headline`` and ``python -m bench full``; README.md says how to read what comes out.

Whatever way it ends, the processes that it started are ended first, and the database is removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from bench import database, machine, report
from bench.measure import Bench
from bench.parts import alone, batch, large_table, memory, micro, open_loop, soak
from bench.pgbench import find_pgbench
from bench.processes import BenchError
from bench.results import OURS, Results
from bench.rounds import WORKLOADS, Plan, run_rounds
from bench.systems import SYSTEMS, System
from bench.targets import broken_floors
from m3w_core import M3WError

RESULTS = Path(__file__).parent / "results"

#: Not /tmp, which is in memory on many machines.
WORK_DIR = Path("/var/tmp")  # noqa: S108 - only the parent of a private directory

#: Whose memory and whose latency alone is measured: what ``m3w serve`` is without options.
DEFAULT_SYSTEM = "m3w-1"

PARTS = ("rounds", "batch", "alone", "open-loop", "memory", "large", "soak", "micro")

_OPEN_LOOP_S = 20
_MEMORY_SESSIONS = 1_000_000

_TEMPORARY = {"tmpfs", "ramfs"}


@frozen(kw_only=True)
class Scope:
    """What a kind of run covers where the command line does not say otherwise."""

    parts: Sequence[str]
    workloads: Sequence[str]
    connections: Sequence[int]


SCOPES = {
    "headline": Scope(parts=("rounds", "batch"), workloads=("insert", "heartbeat"), connections=(256,)),
    "full": Scope(parts=PARTS, workloads=WORKLOADS, connections=(16, 64, 256)),
}


def say(words: str) -> None:
    """Show progress."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {words}", flush=True)


def main() -> int:
    """Run the benchmark; the status is 1 where a floor is broken."""
    options = _options()
    # Leave by the way of Ctrl-C, so that everything that was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(options)
    except (BenchError, M3WError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure this backend and its peers."
    )
    parser.add_argument(
        "scope", choices=SCOPES, help="headline: the rates that matter most; full: everything"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often everything is measured (%(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement (%(default)s)")
    parser.add_argument("--parts", type=_list_of(PARTS), help=f"of {', '.join(PARTS)}; separated by commas")
    names = [system.name for system in SYSTEMS] + ["pgbench"]
    parser.add_argument("--systems", type=_list_of(names), help=f"of {', '.join(names)}")
    parser.add_argument("--workloads", type=_list_of(WORKLOADS), help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument(
        "--connections", type=lambda text: [int(each) for each in text.split(",")], help="16,64,256"
    )
    parser.add_argument(
        "--sessions", type=int, default=large_table.SESSIONS, help="of the large table (%(default)s)"
    )
    parser.add_argument("--updates", type=int, default=soak.UPDATES, help="of the soak (%(default)s)")
    parser.add_argument("--minute", type=int, default=60, help="seconds of the soak's minute (%(default)s)")
    parser.add_argument(
        "--work-dir", type=Path, default=WORK_DIR, help="where the database goes meanwhile (%(default)s)"
    )
    options = parser.parse_args()
    scope = SCOPES[options.scope]
    options.parts = options.parts or scope.parts
    options.workloads = options.workloads or scope.workloads
    options.connections = options.connections or scope.connections
    options.systems = options.systems or names
    return options


def _list_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return names

    return read


def _run(options: argparse.Namespace) -> int:
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not there, and it makes the load. On Debian and Ubuntu: apt install wrk")
    kind = machine.file_system(options.work_dir)
    if kind in _TEMPORARY:
        raise BenchError(
            f"{options.work_dir} is on {kind}, where a commit reaches no disk: name another directory with --work-dir."
        )
    run_dir = Path(tempfile.mkdtemp(prefix="m3w-bench-", dir=options.work_dir))
    try:
        if os.geteuid() == 0:
            # The database runs as another user then, who must get through.
            run_dir.chmod(0o711)
        return _run_in(run_dir, options)
    finally:
        shutil.rmtree(run_dir)


def _run_in(run_dir: Path, options: argparse.Namespace) -> int:
    started_at = datetime.now(UTC)
    description = machine.describe(run_dir)
    for name, value in description.items():
        say(f"{name}: {value}")
    say(f"load average before the run: {machine.load_average():.2f}")
    systems, left_out = _prepared(run_dir, options.systems)
    results = Results()
    with database.started(run_dir) as server:
        settings = server.shown_settings()
        for name, value in settings.items():
            say(f"PostgreSQL: {name} = {value}")
        _measure(Bench(server, run_dir), systems, options, results)
    run = report.Run(
        started_at=started_at, machine=description, database=settings, left_out=left_out, results=results
    )
    file = report.write(run, RESULTS)
    print(f"\n{report.text(run)}\nWritten to {file} after {_minutes_since(started_at):.1f} minutes.")
    return 1 if broken_floors(results) else 0


def _prepared(run_dir: Path, names: Sequence[str]) -> tuple[dict[str, System], dict[str, str]]:
    """Install and build what the contestants need; tell who can take part, and why the others cannot."""
    ready: dict[str, System] = {}
    left_out: dict[str, str] = {}
    for system in SYSTEMS:
        if system.name not in names:
            continue
        missing = system.prepare(run_dir)
        if missing is None:
            ready[system.name] = system
        else:
            left_out[system.name] = missing
    if "pgbench" in names and find_pgbench() is None:
        left_out["pgbench"] = "not there; on Debian: apt install postgresql-client"
    for name, reason in left_out.items():
        say(f"left out: {name} ({reason})")
    return ready, left_out


def _measure(bench: Bench, systems: dict[str, System], options: argparse.Namespace, results: Results) -> None:
    parts = options.parts
    if "rounds" in parts:
        plan = Plan(
            systems=list(systems.values()),
            workloads=options.workloads,
            connections=options.connections,
            rounds=options.rounds,
            seconds=options.seconds,
            pgbench="pgbench" in options.systems and find_pgbench() is not None,
        )
        results.measurements = run_rounds(bench, plan, say)
    ours = {system.name: system for system in SYSTEMS}
    if "alone" in parts:
        results.alone = alone.run(bench, ours[DEFAULT_SYSTEM], say)
    if "batch" in parts:
        results.batch = batch.run(bench, ours[OURS], say)
    if "open-loop" in parts:
        for workload in ("insert", "heartbeat"):
            peak = results.summary(OURS, workload, max(options.connections)) or bench.measure(
                ours[OURS], workload, connections=max(options.connections), seconds=options.seconds
            )
            results.open_loop.append(
                open_loop.run(bench, ours[OURS], workload, rate=peak.rate / 2, seconds=_OPEN_LOOP_S, say=say)
            )
    if "memory" in parts:
        results.memory = memory.run(bench, ours[DEFAULT_SYSTEM], sessions=_MEMORY_SESSIONS, say=say)
    if "large" in parts:
        results.large_table = large_table.run(
            bench, ours[OURS], sessions=options.sessions, seconds=2 * options.seconds, rounds=3, say=say
        )
    if "soak" in parts:
        results.soak = soak.run(bench, ours[OURS], updates=options.updates, minute_s=options.minute, say=say)
    if "micro" in parts:
        results.micro = micro.run(bench.run_dir, say)


def _minutes_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds() / 60


if __name__ == "__main__":
    sys.exit(main())
