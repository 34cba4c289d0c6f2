"""
One measurement: a contestant, a workload, a number of connections; and the proof that no row is missing.

Every measurement begins with the same tables and a fresh checkpoint. Some load comes before the one that is
measured; its rows are counted too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from bench import processes
from bench.database import PLAYING_SESSIONS, Counters, Database, Updates
from bench.load import Clock, Load, Workload, run_wrk, run_wrk_get
from bench.pgbench import run_pgbench
from bench.processes import ProcessMemory
from bench.systems import Serving, System, serving

#: What answers `/health`, and pgbench, are called in results.
HEALTH, PGBENCH = "health", "pgbench"

_WARM_UP_S = 1


@frozen(kw_only=True)
class Costs:
    """
    What a thousand sessions, or one, cost.

    Args:
        server_cpu_s: CPU time of the contestant's processes for 1,000 sessions.
        database_cpu_s: Of the database's processes.
        load_cpu_s: Of the load generator.
        elsewhere: Share of the machine's CPU time that went elsewhere: to the kernel's own work, other programs, and
            a host that gives its CPUs to others. Only runs with a low one can be compared.
        wal_bytes: Write-ahead log a session.
        table_bytes: Growth of both tables and their indexes a session.
        hot_share: Of the updates of ``sessions``; None where there were none.
    """

    server_cpu_s: float
    database_cpu_s: float
    load_cpu_s: float
    elsewhere: float
    wal_bytes: float
    table_bytes: float
    hot_share: float | None


@frozen(kw_only=True)
class Measurement:
    """
    A result.

    Args:
        system: Name of the contestant.
        workload: What was sent.
        connections: How many.
        rate: Acknowledged sessions a second.
        latency_ms: From request to answer, by percentile.
        acknowledged: Sessions whose sender was told that they are stored, warm-up included.
        refused: Answers above 399.
        unanswered: Requests that got no answer within the second after the sending; where there are none, the
            comparison of answers and rows is exact.
        problems: What is wrong with the result: rows that are missing above all. Empty if it counts.
        costs: Of one session; None where nothing is stored.
        memory: Of each process of the contestant, at the end.
    """

    system: str
    workload: str
    connections: int
    rate: float
    latency_ms: dict[str, float] = field(factory=dict)
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    problems: list[str] = field(factory=list)
    costs: Costs | None = None
    memory: list[ProcessMemory] = field(factory=list)


@frozen(kw_only=True)
class _Snapshot:
    """The counters of everybody at one moment; *server_cpu_s* is the contestant's."""

    at_s: float
    machine_cpu_s: float
    server_cpu_s: float
    database: Counters


@define
class Bench:
    """
    What measurements share.

    Args:
        database: Where everybody writes to.
        run_dir: For logs.
        clock: Where the client's timestamps come from.
    """

    database: Database
    run_dir: Path
    clock: Clock = field(factory=Clock)

    def measure(self, system: System, workload: Workload, *, connections: int, seconds: int) -> Measurement:
        """
        Measure one contestant, from its start to its end.

        Raises:
            BenchError: If it cannot be measured at all.
        """
        self.start_over(workload)
        updates = self.database.updates()
        with serving(system, self.database, self.run_dir) as server:
            warm_up = self.load(server, workload, connections=connections, seconds=system.warm_up_s)
            before = self._snapshot(server)
            load = self.load(server, workload, connections=connections, seconds=seconds)
            after = self._snapshot(server)
            # Now, while it still runs: what it has acknowledged must be there already.
            problems = find_problems(self.database, workload, [warm_up, load])
            memory = processes.memory(server.pid)
        return Measurement(
            system=system.name,
            workload=workload,
            connections=connections,
            rate=load.rate,
            latency_ms=load.latency_ms,
            acknowledged=warm_up.acknowledged + load.acknowledged,
            refused=load.refused,
            unanswered=load.sent - load.answers,
            problems=problems,
            costs=_costs(
                load.acknowledged, before, after, load.cpu_s, _since(updates, self.database.updates())
            ),
            memory=memory,
        )

    def measure_pgbench(self, *, clients: int, seconds: int) -> Measurement:
        """
        Measure the bare database.

        Raises:
            BenchError: If it cannot be measured.
        """
        self.start_over("insert")
        warm_up = run_pgbench(self.database, self.clock, clients=clients, seconds=_WARM_UP_S)
        before = self._snapshot()
        upserts = run_pgbench(self.database, self.clock, clients=clients, seconds=seconds)
        after = self._snapshot()
        committed = warm_up.committed + upserts.committed
        rows = self.database.value("SELECT count(*) FROM sessions")
        return Measurement(
            system=PGBENCH,
            workload="insert",
            connections=clients,
            rate=upserts.rate,
            acknowledged=committed,
            problems=[] if rows == committed else [f"{committed} commits, {rows} rows"],
            costs=_costs(upserts.committed, before, after, upserts.cpu_s, Updates(all=0, hot=0)),
        )

    def measure_health(self, system: System, *, connections: int, seconds: int) -> Measurement:
        """
        Measure what a contestant does where there is nothing to do.

        Raises:
            BenchError: If it cannot be measured.
        """
        with serving(system, self.database, self.run_dir) as server:
            run_wrk_get(server.port, "/health", connections=connections, seconds=_WARM_UP_S)
            rate = run_wrk_get(server.port, "/health", connections=connections, seconds=seconds)
        return Measurement(system=system.name, workload=HEALTH, connections=connections, rate=rate)

    def start_over(self, workload: Workload) -> None:
        """Bring the tables to the state that a workload begins with."""
        if workload == "insert":
            self.database.empty()
        else:
            self.database.fill(self.clock.now_ms)

    def load(self, server: Serving, workload: Workload, *, connections: int, seconds: int) -> Load:
        """Send sessions to a contestant as fast as it answers."""
        return run_wrk(
            self.database,
            self.clock,
            server.port,
            workload=workload,
            connections=connections,
            seconds=seconds,
        )

    def _snapshot(self, server: Serving | None = None) -> _Snapshot:
        return _Snapshot(
            at_s=time.monotonic(),
            machine_cpu_s=processes.machine_cpu_s(),
            server_cpu_s=processes.cpu_s(server.pid) if server else 0.0,
            database=self.database.counters(),
        )


def find_problems(database: Database, workload: Workload, loads: Sequence[Load]) -> list[str]:
    """
    Compare what was acknowledged with what is in the tables, which held what the workload begins with.

    Returns:
        What is wrong, in words; nothing where every answer was true.
    """
    problems = []
    bad, refused = sum(load.bad for load in loads), sum(load.refused for load in loads)
    unanswered = sum(load.sent - load.answers for load in loads)
    broken = sum(load.broken for load in loads)
    if broken:
        problems.append(f"{broken} connections broke")
    if refused != bad:
        problems.append(f"{bad} bad payloads sent, {refused} answers with an error")
    # What got no answer may be stored or not.
    created = sum(load.created for load in loads)
    sessions = database.value("SELECT count(*) FROM sessions")
    if workload != "insert":
        sessions -= PLAYING_SESSIONS
    if not created - unanswered <= sessions <= created:
        problems.append(_difference("new sessions", created, sessions))
    entries_sent = sum(load.entries for load in loads)
    entries = database.value("SELECT count(*) FROM session_timeline")
    if not entries_sent - 2 * unanswered <= entries <= entries_sent:
        problems.append(
            f"{entries_sent} timeline entries sent, {entries} rows: {entries_sent - entries} lost"
        )
    # A summary and its newest entry have one timestamp.
    stale = database.value("""
        SELECT count(*) FROM sessions
        JOIN (SELECT session_id, max(timestamp_ms) AS newest_ms FROM session_timeline GROUP BY session_id) AS entry
            USING (session_id)
        WHERE sessions.timestamp <> entry.newest_ms
        """)
    if stale:
        problems.append(f"{stale} sessions hold a summary older than the newest that was acknowledged")
    return problems


def _difference(what: str, sent: int, found: int) -> str:
    outcome = f"{sent - found} lost" if found < sent else f"{found - sent} too many"
    return f"{sent} {what} sent, {found} rows found: {outcome}"


def _since(before: Updates, now: Updates) -> Updates:
    return Updates(all=now.all - before.all, hot=now.hot - before.hot)


def _costs(sessions: int, before: _Snapshot, after: _Snapshot, load_cpu_s: float, updates: Updates) -> Costs:
    per_thousand = 1000 / max(sessions, 1)
    server_cpu_s = after.server_cpu_s - before.server_cpu_s
    database_cpu_s = after.database.cpu_s - before.database.cpu_s
    elsewhere_s = after.machine_cpu_s - before.machine_cpu_s - server_cpu_s - database_cpu_s - load_cpu_s
    available_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    wal_bytes = after.database.wal_bytes - before.database.wal_bytes
    table_bytes = after.database.table_bytes - before.database.table_bytes
    return Costs(
        server_cpu_s=server_cpu_s * per_thousand,
        database_cpu_s=database_cpu_s * per_thousand,
        load_cpu_s=load_cpu_s * per_thousand,
        elsewhere=elsewhere_s / available_s,
        wal_bytes=wal_bytes * per_thousand / 1000,
        table_bytes=table_bytes * per_thousand / 1000,
        hot_share=updates.hot / updates.all if updates.all else None,
    )
