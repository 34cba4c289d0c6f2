"""
Who does the housekeeping, and that no trouble ends it.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing

import pytest
from attrs import define, evolve, field
from pg8000.exceptions import DatabaseError

from m3w_core import StorageUnavailableError, housekeeping
from m3w_core.housekeeping import LEADER_LOCK_KEY, LEADERSHIP, Housekeeping, Leadership, Task
from tests._databases import connect, new_database
from tests._serve import until

LEADERS = f"""
SELECT pid, a.state, a.backend_xmin FROM pg_locks JOIN pg_stat_activity a USING (pid)
WHERE locktype = 'advisory' AND (classid::bigint << 32) + objid::bigint = {LEADER_LOCK_KEY}
    AND a.datname = current_database()
"""

CHECK = "Check DATABASE_URL, and what its role may do (docs/operations.md)"
WAIT = "It is tried again until the database takes it; see whether that runs"


@define(eq=False)
class Notes:
    """An observer that remembers."""

    leader: list[bool] = field(factory=list)
    successes: Counter[str] = field(factory=Counter)
    failures: Counter[str] = field(factory=Counter)

    def leads(self, leader):
        self.leader.append(leader)

    def succeeded(self, task):
        self.successes[task] += 1

    def failed(self, task):
        self.failures[task] += 1


@pytest.fixture
def admin(free_database):
    with closing(connect(free_database)) as connection:
        yield connection


@pytest.fixture
def observer():
    return Notes()


@pytest.fixture
def free_database(emptied_database):
    """One that the tests before have let go."""
    until_nobody_leads(emptied_database)
    return emptied_database


def keeping(database, observer, *tasks):
    return closing(Housekeeping(database, tasks, observer))


def until_nobody_leads(database):
    """Wait until the server has noticed the end of the last leader's connection."""
    with closing(connect(database)) as connection:
        until(lambda: not connection.run(LEADERS), "the lock to be free")


def select(connection):
    connection.run("SELECT 1")
    return True


class Clock:
    """The time as a test sets it."""

    now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(housekeeping, "time", clock)
    return clock


def test_one_leads_and_another_follows_when_it_is_gone(free_database):
    """
    It stays the same one as long as it shows that it lives.
    """
    with (
        closing(Leadership(free_database)) as one,
        closing(Leadership(free_database)) as other,
    ):
        both = [(one.hold(), other.hold()) for _ in range(3)]
        one.close()
        until_nobody_leads(free_database)
        after = [other.hold(), one.hold()]

    assert both == [(True, False)] * 3
    assert after == [True, False]


def test_whoever_leads_one_database_leaves_the_others_alone(free_database, database):
    """
    Each database of a server has its own leader.
    """
    with closing(Leadership(free_database)) as one, closing(Leadership(database)) as other:
        assert (one.hold(), other.hold()) == (True, True)


def test_the_lead_is_held_by_a_transaction_that_hinders_nobody(free_database, admin):
    """
    Behind a pooler a session belongs to nobody. It has no snapshot, which would hold up every vacuum.
    """
    with closing(Leadership(free_database)) as leadership:
        leadership.hold()
        leadership.hold()
        until(lambda: admin.run(LEADERS)[0][1] != "active", "the statement to end")
        ((_, state, snapshot),) = admin.run(LEADERS)
        leadership._connection.run("ROLLBACK")
        without_transaction = admin.run(LEADERS)

    assert (state, snapshot) == ("idle in transaction", None)
    assert without_transaction == []


def test_a_leader_whose_connection_is_ended_says_so_and_gets_it_again(free_database, admin):
    """
    Meanwhile anybody may have become it.
    """
    with closing(Leadership(free_database)) as leadership:
        leadership.hold()
        admin.run(f"SELECT pg_terminate_backend(pid) FROM ({LEADERS}) leaders")
        with pytest.raises(StorageUnavailableError):
            leadership.hold()
        until_nobody_leads(free_database)

        assert leadership.hold()


def test_tasks_are_done_at_once_and_then_when_they_are_due(free_database, observer, clock):
    """
    Each after its own time, in their order; a follower does none of them.
    """
    done = []

    def task(name, every_s):
        return Task(name, every_s, lambda _: done.append(f"{name} {clock.now_s:g}") or True)

    tasks = [task("often", 60), task("seldom", 3600)]
    with (
        keeping(free_database, observer, *tasks) as leader,
        keeping(free_database, observer, *tasks) as follower,
    ):
        for clock.now_s in (1000.0, 1059.0, 1060.0, 4600.0):
            leader.tick()
            follower.tick()
        leader.close()
        until_nobody_leads(free_database)
        follower.tick()

    assert done == [
        "often 1000",
        "seldom 1000",
        "often 1060",
        "often 4600",
        "seldom 4600",
        "often 4600",
        "seldom 4600",
    ]
    assert observer.leader == [True, False] * 4 + [True]
    assert observer.successes == {LEADERSHIP: 5, "often": 4, "seldom": 3}


def test_a_task_with_more_to_do_lets_the_others_have_their_turn(free_database, observer, clock):
    """
    It goes on at the next tick, and counts as done when it is.
    """
    done = []
    results = iter([False, False, True])
    long = Task("long", 3600, lambda _: done.append("long") or next(results))
    other = Task("other", 5, lambda _: done.append("other") or True)
    with keeping(free_database, observer, long, other) as keeper:
        for clock.now_s in (0.0, 5.0, 10.0, 15.0):
            keeper.tick()

    assert done == ["long", "other"] * 3 + ["other"]
    assert observer.successes["long"] == 1


def test_a_task_that_fails_is_logged_once_and_stops_no_other(free_database, observer, clock, caplog):
    """
    A refusal of the database and a bug alike; it says what to do, and when it works again.
    """
    caplog.set_level(logging.INFO)
    statements = iter(["SELECT 1 / 0", "SELECT 1 / 0", "SELECT nothing", "SELECT 1"])

    def refused(connection):
        connection.run("BEGIN")
        connection.run(next(statements))
        return True

    def faulty(connection):
        raise KeyError("hours")

    tasks = [Task("refused", 60, refused), Task("faulty", 3600, faulty), Task("well", 60, select)]
    with keeping(free_database, observer, *tasks) as keeper:
        for clock.now_s in (0.0, 60.0, 120.0, 180.0):
            keeper.tick()
    lines = [record.getMessage() for record in caplog.records if record.name == housekeeping.__name__]

    assert lines == [
        "This process does the housekeeping: refused, faulty, well",
        f"Housekeeping, refused: division by zero (SQLSTATE 22012). {WAIT}",
        "Housekeeping, faulty: a bug; please report it",
        f'Housekeeping, refused: column "nothing" does not exist (SQLSTATE 42703). {CHECK}',
        "Housekeeping, refused: it works again",
    ]
    assert "KeyError: 'hours'" in caplog.text
    assert observer.failures == {"refused": 3, "faulty": 1}
    assert observer.successes == {LEADERSHIP: 4, "refused": 1, "well": 4}


def test_what_failed_is_tried_again_after_minutes_not_hours(free_database, observer, clock):
    """
    A full disk at the wrong moment does not cost an hour.
    """
    tries = []

    def fail(connection):
        tries.append(clock.now_s)
        raise DatabaseError({"C": "53100", "M": "no space"})

    with keeping(free_database, observer, Task("hourly", 3600, fail)) as keeper:
        for clock.now_s in (0.0, 299.0, 300.0, 600.0):
            keeper.tick()

    assert tries == [0.0, 300.0, 600.0]


def test_a_database_that_is_away_is_waited_for(server, observer, clock, caplog):
    """
    Nobody leads meanwhile; it is logged when it goes and when it is back, with what to look at.
    """
    caplog.set_level(logging.INFO)
    with new_database(server) as there:
        missing = evolve(there, database=f"{there.database}_not_yet")
        with keeping(missing, observer, Task("task", 60, select)) as keeper:
            for clock.now_s in (0.0, 5.0):
                keeper.tick()
            with closing(connect(server)) as connection:
                connection.run(f"CREATE DATABASE {missing.database}")
                try:
                    keeper.tick()
                    connection.run(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name",
                        name=missing.database,
                    )
                    keeper.tick()
                    until_nobody_leads(missing)
                    clock.now_s = 65.0
                    keeper.tick()
                finally:
                    keeper.close()
                    connection.run(f"DROP DATABASE {missing.database} WITH (FORCE)")
    lines = [record.getMessage() for record in caplog.records if record.name == housekeeping.__name__]

    assert observer.leader == [False, False, True, False, True]
    assert observer.failures[LEADERSHIP] == 3
    assert observer.successes == {LEADERSHIP: 2, "task": 2}
    assert "does not exist" in lines[0]
    assert lines[0].endswith(CHECK)
    assert lines[1:3] == [
        "Housekeeping, leadership: it works again",
        "This process does the housekeeping: task",
    ]
    assert lines[3].endswith(WAIT)
    assert lines[4:] == lines[1:3]
