"""
The process that does the housekeeping: it keeps the rollup current, computes the gauges, and deletes what is old.

It serves no HTTP. Every `m3w serve` has one, and of all that work on one database a single one is at work.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from pg8000.native import Connection

from m3w_core import DatabaseSettings, rollup
from m3w_core.housekeeping import Housekeeping, Task
from m3w_core.recent_qoe import recent_qoe
from m3w_core.retention import Retention
from m3w_http.housekeeping_metrics import HousekeepingMetrics

#: In lists of processes; 15 characters is all that Linux keeps.
PROCESS_NAME = "m3w-housekeeper"

_MINUTE_S, _HOUR_S = 60.0, 3600.0

#: Of a database with years of sessions.
_ROLLUP_TIMEOUT_S = 600.0

#: Retention goes on at the next tick, so that the other tasks are not late.
_RETENTION_BUDGET_S = 20.0


def run_housekeeper(database: DatabaseSettings, *, retention_days: int, lifeline: int) -> None:
    """
    Do the housekeeping until SIGTERM comes or the parent dies.

    Args:
        database: Whose.
        retention_days: How long sessions are kept; 0 is for ever.
        lifeline: File descriptor that reaches its end when the parent is gone.
    """
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    with suppress(OSError):  # of a system without /proc
        Path("/proc/self/comm").write_text(PROCESS_NAME)
    Housekeeping(database, *_tasks(retention_days)).run()


def _stop(*_: object) -> None:
    # At once, whatever it is waiting for; the server rolls back what is under way.
    raise SystemExit(0)


def _end_with_parent(lifeline: int) -> None:
    # Nobody ever writes to the pipe: it becomes readable when its last writer, the parent, has died. Not read(),
    # as the workers' event loops have made the pipe, which all share, one that does not block.
    wait([lifeline])
    os.kill(os.getpid(), signal.SIGTERM)


def _tasks(retention_days: int) -> tuple[list[Task], HousekeepingMetrics]:
    def refresh(connection: Connection) -> bool:
        rollup.refresh(connection)
        return True

    def gauges(connection: Connection) -> bool:
        try:
            metrics.qoe(recent_qoe(connection))
        except BaseException:
            metrics.qoe_unknown()
            raise
        return True

    # The gauges first: alerts need them, and they do not need the rollup, whose first time takes long.
    tasks = [
        Task("gauges", _MINUTE_S, gauges),
        Task("rollup", _MINUTE_S, refresh, statement_timeout_s=_ROLLUP_TIMEOUT_S),
    ]
    names = [task.name for task in tasks]
    if retention_days:
        names.append("retention")
    metrics = HousekeepingMetrics(names)
    if retention_days:
        retention = Retention(retention_days, metrics.deleted)

        def prune(connection: Connection) -> bool:
            return retention.prune(connection, budget_s=_RETENTION_BUDGET_S)

        tasks.append(Task("retention", _HOUR_S, prune))
    return tasks, metrics
