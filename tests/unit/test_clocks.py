"""
Whoever sets the machine's clock does not make sessions wait: nothing on their way looks at it.

The clock of one process alone cannot be set, so the fault suite can let only the clients' clocks jump.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import m3w_core
import m3w_http

#: Calls that tell the time of day, which can jump; `time.monotonic` and `time.perf_counter` cannot.
WALL_CLOCK = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}

CORE, HTTP = Path(m3w_core.__file__).parent, Path(m3w_http.__file__).parent
ON_THE_WAY = ("body", "middleware", "readiness", "resources", "server", "supervisor", "worker")
MODULES = [*sorted(CORE.glob("*.py")), *(HTTP / f"{name}.py" for name in ON_THE_WAY)]


def wall_clock_calls(source):
    return {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } & WALL_CLOCK


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_nothing_waits_by_the_wall_clock(module):
    """
    Time-outs, retries and pauses go by a clock that cannot be set; the time of day is the database's business.
    """
    assert wall_clock_calls(module.read_text()) == set()


def test_a_look_at_the_wall_clock_is_found():
    """
    That the check above sees what it looks for.
    """
    source = (HTTP / "errors.py").read_text()

    assert wall_clock_calls(source) == {("time", "time_ns")}
