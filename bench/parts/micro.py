"""
The microbenchmarks of the hot path, run by pytest-benchmark in a process of its own.

Each is the time of one call, and some calls take a whole batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from attrs import frozen

from bench.processes import BenchError
from bench.rounds import Say

_DIRECTORY = Path(__file__).parent.parent / "micro"
_TIMEOUT_S = 300


@frozen(kw_only=True)
class Micro:
    """The median time of one step, in microseconds."""

    name: str
    median_us: float


def run(run_dir: Path, say: Say) -> list[Micro]:
    """
    Run all of them.

    Raises:
        BenchError: If one fails.
    """
    result_file = run_dir / "micro.json"
    options = ["-q", "-p", "no:cacheprovider", f"--benchmark-json={result_file}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(_DIRECTORY), *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise BenchError(f"The microbenchmarks failed:\n{done.stdout}")
    found = [
        Micro(name=each["name"].removeprefix("test_"), median_us=1e6 * each["stats"]["median"])
        for each in json.loads(result_file.read_text())["benchmarks"]
    ]
    for each in found:
        say(f"micro      {each.name:<40} {each.median_us:>10,.1f} us")
    return found
