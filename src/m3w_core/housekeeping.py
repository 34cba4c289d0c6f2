"""
What has to be done every now and then by one process, however many there are: who does it, and when.

The leader is whoever holds an advisory lock. It is a transaction's lock, held by a transaction that is left open
between two looks at the clock: behind a pooler that shares connections between transactions a session's lock
would belong to nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from attrs import define, field, frozen
from pg8000.native import Connection

from m3w_core._connect import open_connection
from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import StorageConfigurationError, StorageError

_log = logging.getLogger(__name__)

#: Shared by all processes that would lead on one database: "m3w_lead" in ASCII.
LEADER_LOCK_KEY: Final = int.from_bytes(b"m3w_lead")

#: What getting and keeping the lead is called where tasks are named.
LEADERSHIP: Final = "leadership"

#: How often the leader shows that it lives, and the others try to take its place.
TICK_S = 5.0

#: A task that failed is tried again after this time, unless it is due before.
_RETRY_S = 300.0

_CONNECT_TIMEOUT_S = 5.0
_LOCK_TIMEOUT_S = 5.0

# Read committed: it keeps no snapshot, so the open transaction holds up no vacuum.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0"

_APPLICATION_NAME = "media3watch-housekeeper"


@frozen
class Task:
    """
    Something to be done again and again.

    Args:
        name: For logs and metrics.
        every_s: Seconds from one start to the next.
        run: Does it, on a new connection; gives False where there is more to do at once.
        statement_timeout_s: How long one of its statements may take.
    """

    name: str
    every_s: float
    run: Callable[[Connection], bool]
    statement_timeout_s: float = 60.0


class HousekeepingObserver(Protocol):
    """Is told how it goes; *task* is a task's name or `LEADERSHIP`."""

    def leads(self, leader: bool) -> None:
        """Take note of whether this process is the leader, which is told at each tick."""
        ...

    def succeeded(self, task: str) -> None:
        """Count a success."""
        ...

    def failed(self, task: str) -> None:
        """Count a failure; the log has its reason."""
        ...


def _open(database: DatabaseSettings, statement_timeout_s: float) -> Connection:
    return open_connection(
        database,
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        statement_timeout_s=statement_timeout_s,
        application_name=_APPLICATION_NAME,
    )


def _close(connection: Connection) -> None:
    with suppress(*DRIVER_ERRORS):  # it may be broken already
        connection.close()


@define(eq=False)
class Leadership:
    """
    At most one process has it, over all that work on one database.

    Args:
        database: Which one.
    """

    database: DatabaseSettings
    _connection: Connection | None = field(default=None, init=False)
    _held: bool = field(default=False, init=False)

    def hold(self) -> bool:
        """
        Take the lead where nobody has it, or show that it is still ours.

        Returns:
            Whether this process leads, until the next call.

        Raises:
            StorageUnavailableError: If the database does not answer; then nobody knows who leads.
        """
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = _open(self.database, _LOCK_TIMEOUT_S)
            if self._held:
                # A new transaction each time: one that is open for days alarms administrators.
                self._held = False
                connection.run("COMMIT")
            connection.run(_BEGIN)
            self._held = connection.run(f"SELECT pg_try_advisory_xact_lock({LEADER_LOCK_KEY})")[0][0]
            if not self._held:
                connection.run("ROLLBACK")
        except DRIVER_ERRORS as error:
            self.close()
            raise translate(error) from error
        return self._held

    def close(self) -> None:
        """Let another lead."""
        self._held = False
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)


@define(eq=False)
class Housekeeping:
    """
    Does the tasks as long as this process leads.

    No failure ends it: a task is tried again, and a database that is away is waited for. What fails is logged
    when it begins to fail, when the reason changes, and when it works again.

    Args:
        database: Migrated.
        tasks: In the order in which they are done where several are due.
        observer: Is told how it goes.
    """

    database: DatabaseSettings
    tasks: Sequence[Task]
    observer: HousekeepingObserver
    _leadership: Leadership = field(init=False)
    _leads: bool = field(default=False, init=False)
    _due_at: dict[str, float] = field(factory=dict, init=False)
    _failing: dict[str, str] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._leadership = Leadership(self.database)

    def run(self) -> None:
        """Go on until the process is told to stop, which has to raise an exception here."""
        try:
            while True:
                started = time.monotonic()
                self.tick()
                time.sleep(max(0.0, started + TICK_S - time.monotonic()))
        finally:
            self.close()

    def tick(self) -> None:
        """Look who leads, and if it is this process, do what is due."""
        if not self._lead():
            return
        for task in self.tasks:
            if time.monotonic() >= self._due_at.get(task.name, 0.0):
                self._do(task)

    def close(self) -> None:
        """Give up the lead."""
        self._leadership.close()

    def _lead(self) -> bool:
        leads = False
        try:
            leads = self._leadership.hold()
        except StorageError as error:
            self._failed(LEADERSHIP, error)
        else:
            self._recovered(LEADERSHIP)
        if leads and not self._leads:
            # Another one led, so when what was done last is not known.
            self._due_at.clear()
            _log.info("This process does the housekeeping: %s", ", ".join(task.name for task in self.tasks))
        self._leads = leads
        self.observer.leads(leads)
        if leads:
            self.observer.succeeded(LEADERSHIP)
        return leads

    def _do(self, task: Task) -> None:
        started = time.monotonic()
        try:
            done = self._run_task(task)
        except DRIVER_ERRORS as error:
            failure: Exception = translate(error)
        except Exception as error:  # noqa: BLE001 - one task that has a bug must not end the others
            failure = error
        else:
            # What is not done goes on at the next tick, after the other tasks have had their turn.
            self._due_at[task.name] = started + (task.every_s if done else 0.0)
            self._recovered(task.name)
            if done:
                self.observer.succeeded(task.name)
            return
        self._due_at[task.name] = started + min(task.every_s, _RETRY_S)
        self._failed(task.name, failure)

    def _run_task(self, task: Task) -> bool:
        # A connection for each time: it is seldom, and whatever state one is left in does not matter.
        connection = _open(self.database, task.statement_timeout_s)
        try:
            return task.run(connection)
        finally:
            _close(connection)

    def _recovered(self, name: str) -> None:
        if self._failing.pop(name, None) is not None:
            _log.info("Housekeeping, %s: it works again", name)

    def _failed(self, name: str, error: Exception) -> None:
        self.observer.failed(name)
        reason = str(error) or type(error).__name__
        if self._failing.get(name) == reason:
            return
        self._failing[name] = reason
        if isinstance(error, StorageConfigurationError):
            advice = "Check DATABASE_URL, and what its role may do (docs/operations.md)"
        elif isinstance(error, StorageError):
            advice = "It is tried again until the database takes it; see whether that runs"
        else:
            _log.error("Housekeeping, %s: a bug; please report it", name, exc_info=error)
            return
        _log.error("Housekeeping, %s: %s. %s", name, reason, advice)
