"""Every kind of fault, with how long it lasts and what the clients do meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from tests.faults import database, processes
from tests.faults.fault import Injected
from tests.faults.world import World


@frozen
class Kind:
    """
    One kind of fault.

    Args:
        name: For people.
        inject: Injects it, holds it for so many seconds, and ends it.
        short_s: Bounds of how long most of them last.
        full_s: How long some last in the long form.
        rate: Requests a second meanwhile.
        connections: How many clients there may be at once.
        needs_disk: Whether it wants PostgreSQL to have a disk of its own.
    """

    name: str
    inject: Callable[[World, float], Awaitable[Injected]]
    short_s: tuple[float, float] = (1.0, 3.0)
    full_s: float = 12.0
    rate: float = 250.0
    connections: int = 60
    needs_disk: bool = False


KINDS = (
    Kind("database killed", database.killed),
    Kind("database stopped at once", database.stopped_at_once),
    Kind("database stopped", database.stopped),
    Kind("restart at 500 a second", database.stopped, (4.0, 4.4), 4.4, 500.0, 5000),
    Kind("connections terminated", database.connections_terminated),
    Kind("black hole", database.black_hole),
    Kind("cut mid-message", database.cut),
    Kind("delay", database.delayed),
    Kind("table locked", database.locked, full_s=30.0),
    Kind("queue flooded", database.flooded, (3.0, 4.0)),
    Kind("disk full", database.disk_full, needs_disk=True),
    Kind("read-only", database.read_only),
    Kind("wrong password", database.password_wrong),
    Kind("database frozen", database.database_frozen, (9.0, 10.0), 20.0),
    Kind("worker frozen", processes.worker_frozen, full_s=20.0),
    Kind("worker killed", processes.worker_killed),
    Kind("worker terminated", processes.worker_terminated),
    Kind("parent killed", processes.parent_killed),
    Kind("parent terminated", processes.parent_terminated),
    Kind("clients' clocks jump", processes.clocks_jump),
)
