"""
``m3w prune`` as people type it.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from m3w_core import PostgresSessionRepository
from tests._databases import connect
from tests._serve import m3w, on
from tests.factories import a_session, an_entry


@pytest.fixture
def old_database(migrated_database):
    with (
        closing(PostgresSessionRepository(migrated_database)) as repository,
        closing(connect(migrated_database)) as connection,
    ):
        repository.upsert([a_session("old", timeline_events=(an_entry(1), an_entry(2))), a_session("new")])
        connection.run(
            "UPDATE sessions SET event_at = timestamptz '2020-02-29 12:00:00+00' WHERE session_id = 'old'"
        )
    return migrated_database


def test_it_says_what_would_go_deletes_it_and_then_finds_nothing(old_database):
    """
    By table, as numbers for people.
    """
    dry, real, again = (m3w("prune", *option, **on(old_database)) for option in (["--dry-run"], [], []))
    with closing(connect(old_database)) as connection:
        left = connection.run("SELECT session_id FROM sessions")

    assert [done.returncode for done in (dry, real, again)] == [0, 0, 0]
    assert dry.stdout.startswith("Would delete what is from before ")
    assert dry.stdout.splitlines()[0].endswith("0 UTC (RETENTION_DAYS=90), rows:")
    assert dry.stdout.splitlines()[1:] == [
        "  sessions                       1",
        "  session_timeline               2",
        "  rejected_payloads              0",
        "  qoe_hourly                     0",
    ]
    assert real.stdout == dry.stdout.replace("Would delete", "Deleted")
    assert [line.split()[1] for line in again.stdout.splitlines()[1:]] == ["0", "0", "0", "0"]
    assert left == [["new"]]


def test_zero_keeps_everything(old_database):
    """
    Nothing is asked or deleted.
    """
    done = m3w("prune", RETENTION_DAYS="0", **on(old_database))
    with closing(connect(old_database)) as connection:
        left = connection.run("SELECT count(*) FROM sessions")

    assert (done.returncode, done.stdout) == (0, "RETENTION_DAYS is 0: everything is kept.\n")
    assert left == [[2]]
