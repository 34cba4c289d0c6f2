"""
The tables for people, in Markdown, and the file for machines.

The file holds every single measurement; the tables hold medians over the rounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from attrs import asdict, frozen

from bench.measure import HEALTH, PGBENCH
from bench.parts.alone import Alone
from bench.parts.batch import Batch
from bench.parts.large_table import LargeTable
from bench.parts.memory import Memory
from bench.parts.open_loop import OpenLoop
from bench.parts.soak import Soak
from bench.results import OURS, Results, Summary
from bench.targets import Target, broken_floors, targets

_COLUMNS = (
    "contestant",
    "sessions/s",
    "range",
    f"{OURS} ÷ it",
    "p50 ms",
    "p99 ms",
    "server CPU s/1,000",
    "database CPU s/1,000",
    "load CPU s/1,000",
    "CPU elsewhere",
    "WAL B",
    "table B",
    "HOT",
    "RSS MiB",
)


@frozen(kw_only=True)
class Run:
    """
    A run and its circumstances.

    Args:
        started_at: When it began.
        machine: What it ran on.
        database: PostgreSQL's settings.
        left_out: Contestants that could not run, and why.
        results: What it found out.
    """

    started_at: datetime
    machine: Mapping[str, str]
    database: Mapping[str, str]
    left_out: Mapping[str, str]
    results: Results


def text(run: Run) -> str:
    """Write the report."""
    results = run.results
    parts = [
        f"Run of {run.started_at:%Y-%m-%d %H:%M} UTC.",
        _list("Machine", run.machine),
        _list("PostgreSQL", run.database),
    ]
    if run.left_out:
        parts.append(_list("Left out", run.left_out))
    parts += _rate_tables(results)
    parts += _parts(results)
    found = targets(results)
    if found:
        rows = [_target(each) for each in found]
        parts.append("### Targets\n\n" + _table(("measure", "target", "measured", ""), rows))
    broken = broken_floors(results)
    if broken:
        parts.append("Floors are BROKEN:\n\n" + "\n".join(f"- {each}" for each in broken))
    else:
        parts.append("All floors hold.")
    return "\n\n".join(parts) + "\n"


def write(run: Run, directory: Path) -> Path:
    """
    Write the report and the numbers.

    Returns:
        The JSON file; the report lies beside it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{run.started_at:%Y%m%dT%H%M%SZ}.json"
    content = {
        "started_at": run.started_at.astimezone(UTC).isoformat(),
        "machine": dict(run.machine),
        "database": dict(run.database),
        "left_out": dict(run.left_out),
        "results": asdict(run.results),
        "targets": [{**asdict(each), "met": each.met} for each in targets(run.results)],
        "broken_floors": broken_floors(run.results),
    }
    file.write_text(json.dumps(content, indent=1) + "\n")
    file.with_suffix(".md").write_text(text(run))
    return file


def _list(title: str, values: Mapping[str, str]) -> str:
    return f"{title}: " + ", ".join(f"{name} {value}" for name, value in values.items()) + "."


def _rate_tables(results: Results) -> list[str]:
    tables = []
    groups: dict[tuple[str, int], list[Summary]] = {}
    for each in results.summaries():
        connections = each.connections
        if each.system == PGBENCH:
            # It has its own best number, and is compared with all.
            connections = results.headline_connections()
        groups.setdefault((each.workload, connections), []).append(each)
    for (workload, connections), summaries in groups.items():
        ours = results.summary(OURS, workload, connections)
        rounds = max(len(each.rounds) for each in summaries)
        title = f"### {workload}, {connections} connections, median of {rounds} rounds"
        if workload == HEALTH:
            floor = [(each.system, f"{each.rate:,.0f}", _range(each)) for each in summaries]
            tables.append(f"{title}\n\n" + _table(("contestant", "requests/s", "range"), floor))
        else:
            rows = [_row(each, ours) for each in sorted(summaries, key=lambda each: -each.rate)]
            tables.append(f"{title}\n\n" + _table(_COLUMNS, rows))
    return tables


def _row(summary: Summary, ours: Summary | None) -> tuple[str, ...]:
    name = f"pgbench, {summary.connections} clients" if summary.system == PGBENCH else summary.system
    last = summary.rounds[-1]
    return (
        name,
        f"{summary.rate:,.0f}",
        _range(summary),
        _number(ours.rate / summary.rate if ours and summary.rate else None, 2),
        _number(summary.latency_ms("p50"), 1),
        _number(summary.latency_ms("p99"), 1),
        _number(summary.cost(lambda costs: costs.server_cpu_s), 3),
        _number(summary.cost(lambda costs: costs.database_cpu_s), 3),
        _number(summary.cost(lambda costs: costs.load_cpu_s), 3),
        _share(summary.cost(lambda costs: costs.elsewhere)),
        _number(summary.cost(lambda costs: costs.wal_bytes), 0),
        _number(summary.cost(lambda costs: costs.table_bytes), 0),
        _share(summary.cost(lambda costs: costs.hot_share)),
        " + ".join(f"{each.rss_bytes / 2**20:.0f}" for each in last.memory),
    )


def _range(summary: Summary) -> str:
    return f"{min(summary.rates):,.0f} to {max(summary.rates):,.0f}"


def _parts(results: Results) -> list[str]:
    """Write the tables of what was measured beside the rounds."""
    parts = []
    if results.open_loop:
        parts.append(_open_loop_table(results.open_loop))
    if results.batch:
        parts.append(_batch_table(results.batch))
    if results.alone:
        parts.append(_alone_table(results.alone))
    if results.memory:
        parts.append(_memory_table(results.memory))
    if results.large_table:
        parts.append(_large_table_table(results.large_table))
    if results.soak:
        parts.append(_soak_table(results.soak))
    if results.micro:
        rows = [(each.name, f"{each.median_us:,.1f}") for each in results.micro]
        parts.append("### Steps of the hot path\n\n" + _table(("step", "median us"), rows))
    return parts


def _open_loop_table(found: Sequence[OpenLoop]) -> str:
    names = ("p50", "p95", "p99", "p999", "max")
    columns = ("workload", "due/s", "answered/s", *(f"{name} ms" for name in names), "late p99 ms")
    rows = [
        (
            each.workload,
            f"{each.rate:,.0f}",
            f"{each.answered:,.0f}",
            *(f"{each.latency_ms[name]:.1f}" for name in names),
            f"{each.lateness_ms['p99']:.1f}",
        )
        for each in found
    ]
    return "### Latency at half the peak rate, open loop\n\n" + _table(columns, rows)


def _batch_table(found: Batch) -> str:
    measured = (("batches of 500", found.rates), ("COPY", found.copy_rates))
    rows = [
        (what, f"{median(rates):,.0f}", ", ".join(f"{rate:,.0f}" for rate in rates))
        for what, rates in measured
    ]
    return "### Many at once\n\n" + _table(("way", "sessions/s", "rounds"), rows)


def _alone_table(found: Alone) -> str:
    names = ("p50", "p95", "p99")
    measured = (("request", found.request_ms), ("bare upsert", found.upsert_ms))
    rows = [(what, *(f"{values[name]:.2f}" for name in names)) for what, values in measured]
    return "### One alone\n\n" + _table(("what", *(f"{name} ms" for name in names)), rows)


def _memory_table(found: Memory) -> str:
    rows = [
        (f"{each.sessions:,}", f"{each.rss_bytes / 1e6:.1f}", f"{each.uss_bytes / 1e6:.1f}")
        for each in found.samples
    ]
    return "### Memory of a worker\n\n" + _table(("sessions", "RSS MB", "USS MB"), rows)


def _large_table_table(found: LargeTable) -> str:
    measured = (("empty", found.empty_rates), (f"{found.sessions:,} sessions", found.large_rates))
    rows = [(what, ", ".join(f"{rate:,.0f}" for rate in rates)) for what, rates in measured]
    return "### Insert into a large table\n\n" + _table(("table", "sessions/s"), rows)


def _soak_table(found: Soak) -> str:
    columns = ("minute", "updates/s", "p99 ms", "sessions MiB", "timeline MiB", "dead rows", "autovacuums")
    rows = [
        (
            str(number),
            f"{each.rate:,.0f}",
            f"{each.p99_ms:.1f}",
            f"{each.sessions_bytes / 2**20:,.0f}",
            f"{each.timeline_bytes / 2**20:,.0f}",
            f"{each.dead_rows:,}",
            str(each.vacuums),
        )
        for number, each in enumerate(found.minutes, 1)
    ]
    return f"### Soak: {found.updates:,} updates, {found.hot_share:.1%} HOT\n\n" + _table(columns, rows)


def _target(target: Target) -> tuple[str, ...]:
    sign = "≤" if target.at_most else "≥"
    return (
        target.measure,
        f"{sign} {target.limit:g}{target.unit}",
        f"{target.value:.2f}{target.unit}",
        "met" if target.met else "MISSED",
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(columns), line(rule), *(line(row) for row in rows)])
