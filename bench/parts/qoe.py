"""
How long the dashboards' questions take on ten million sessions over 90 days: ``python -m bench.parts.qoe``.

A program of its own, as it needs neither contestants nor load. It is about PostgreSQL as it comes, with 128 MB of
shared memory, which is less than the table; what a panel costs is its query here, whatever Grafana adds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from pg8000.native import Connection

from bench import machine
from bench.fill import write_directly
from m3w_core import connected, migrate, rollup
from m3w_http.embedded import EmbeddedPostgres

SESSIONS = 10_000_000
DAYS = 90

# Rows, their index and the write-ahead log, twice what they were seen to take.
_BYTES_PER_SESSION = 1500

_ROUNDS = 3

_RANGE = "now() - interval '{span}', now()"
_FILTER = ", ARRAY['{model}']"

#: What the overview asks; the others are of the breakdown and of a session's page, and have no limit.
_OVERVIEW = {
    "totals (stats, trust)": "qoe_totals({range}{filter})",
    "series (startup, rebuffering, failures, frames)": "qoe_series({range}, interval '{step}'{filter})",
    "startup heatmap": "qoe_startup_histogram({range}, interval '{step}'{filter})",
}
_OTHERS = {
    "breakdown by device model": "qoe_breakdown({range}, 'device_model'{filter})",
    "breakdown by os_version": "qoe_breakdown({range}, 'os_version'{filter})",
}
# Reads every session of the range, so months of it are no question for a dashboard.
_OF_A_DAY = {"breakdown by a field of extra": "qoe_breakdown_extra({range}, 'cdn'{filter})"}
_NOW = {
    "viewers at this moment": "qoe_live()",
    "medians of yesterday": "qoe_day_medians(now() - interval '24 hours')",
}


@frozen(kw_only=True)
class Span:
    """A range of time, the step of its charts, and how long a panel of the overview may take, in seconds."""

    name: str
    span: str
    step: str
    limit_s: float


SPANS = (
    Span(name="24 h", span="24 hours", step="5 minutes", limit_s=1.0),
    Span(name="90 d", span="90 days", step="6 hours", limit_s=5.0),
)


@frozen(kw_only=True)
class Timing:
    """One query: what it answers, its text, its fastest run, and how long it may take, if there is a limit."""

    name: str
    sql: str
    seconds: float
    rows: int
    limit_s: float | None

    @property
    def too_slow(self) -> bool:
        """Whether the limit is broken."""
        return self.limit_s is not None and self.seconds > self.limit_s


def main() -> int:
    """Fill a database, sum it up, ask; the status is 1 where a limit is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.qoe", description="Measure the QoE queries.")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="(%(default)s)")
    parser.add_argument("--days", type=int, default=DAYS, help="(%(default)s)")
    parser.add_argument("--work-dir", type=Path, default=Path("/var/tmp"), help="(%(default)s)")  # noqa: S108
    options = parser.parse_args()
    needed_bytes = options.sessions * _BYTES_PER_SESSION
    if shutil.disk_usage(options.work_dir).free < needed_bytes:
        print(
            f"It needs {needed_bytes / 2**30:.0f} GiB: name another directory with --work-dir.",
            file=sys.stderr,
        )
        return 1
    run_dir = Path(tempfile.mkdtemp(prefix="m3w-qoe-", dir=options.work_dir))
    try:
        if os.geteuid() == 0:
            # The database runs as another user then, who must get through.
            run_dir.chmod(0o711)
        for name, value in machine.describe(run_dir).items():
            print(f"{name}: {value}")
        with EmbeddedPostgres(run_dir / "database") as database:
            migrate(database, log=print)
            with connected(database) as connection:
                write_directly(connection, sessions=options.sessions, days=options.days)
                return report(connection)
    finally:
        shutil.rmtree(run_dir)


def report(connection: Connection) -> int:
    """Sum up what is in the database, ask everything, and print it as Markdown; 1 where a limit is broken."""
    began = time.perf_counter()
    rollup.refresh(connection)
    seconds = time.perf_counter() - began
    connection.run("VACUUM (ANALYZE) qoe_hourly")
    # After ten million rows in one go half of the page ranges were once seen to match whatever was asked.
    connection.run("REINDEX INDEX sessions_event_at_idx; REINDEX INDEX sessions_received_at_idx")
    sessions, session_bytes, groups, rollup_bytes = connection.run("""
        SELECT
            (SELECT sum(sessions)::bigint FROM qoe_hourly WHERE all_sessions),
            pg_total_relation_size('sessions'),
            (SELECT count(*) FROM qoe_hourly),
            pg_total_relation_size('qoe_hourly')
        """)[0]
    print(f"\nFirst refresh: {seconds:.0f} s for {sessions:,} sessions ({session_bytes / 2**20:,.0f} MiB).")
    print(
        f"The rollup has {groups:,} rows ({rollup_bytes / 2**20:,.0f} MiB):"
        f" {groups / sessions:.3f} rows and {rollup_bytes / sessions:.0f} bytes a session.\n"
    )
    timings = list(measure(connection))
    print("| query | best of 3, ms | rows | limit, ms |\n| --- | ---: | ---: | ---: |")
    for timing in timings:
        limit = "" if timing.limit_s is None else f"{1000 * timing.limit_s:,.0f}"
        print(f"| {timing.name} | {1000 * timing.seconds:,.0f} | {timing.rows:,} | {limit} |")
    for timing in timings:
        print(f"\n### {timing.name}\n\n```text\n{timing.sql}")
        for (line,) in connection.run(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {timing.sql}"):
            print(line[:160])
        print("```")
    return 1 if any(timing.too_slow for timing in timings) else 0


def measure(connection: Connection) -> Iterator[Timing]:
    """Ask everything three times, and keep the fastest."""
    ((model,),) = connection.run(
        "SELECT device_model FROM qoe_hourly WHERE NOT all_sessions AND device_model <> 'unknown'"
        " GROUP BY 1 ORDER BY sum(sessions) DESC LIMIT 1"
    )
    for span in SPANS:
        others = _OTHERS | (_OF_A_DAY if span.span == "24 hours" else {})
        for kind, questions in (("overview", _OVERVIEW), ("other", others)):
            for filtered in (False, True):
                for name, call in questions.items():
                    arguments = {
                        "range": _RANGE.format(span=span.span),
                        "step": span.step,
                        "filter": _named_filter(call).format(model=model) if filtered else "",
                    }
                    words = f"{span.name}, {name}{_filter_words(call) if filtered else ''}"
                    limit_s = span.limit_s if kind == "overview" else None
                    yield _time(connection, words, f"SELECT * FROM {call.format(**arguments)}", limit_s)
    for name, call in _NOW.items():
        yield _time(connection, name, f"SELECT * FROM {call}", None)


def _filter_words(call: str) -> str:
    return ", one connection type" if "device_model" in call else ", one device model"


def _named_filter(call: str) -> str:
    # A breakdown by model of one model says nothing; of one connection type it does.
    return ", connection_types => ARRAY['Cellular']" if "device_model" in call else _FILTER


def _time(connection: Connection, name: str, sql: str, limit_s: float | None) -> Timing:
    times_s, rows = [], 0
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        rows = len(connection.run(sql))
        times_s.append(time.perf_counter() - began)
    return Timing(name=name, sql=sql, seconds=min(times_s), rows=rows, limit_s=limit_s)


if __name__ == "__main__":
    sys.exit(main())
