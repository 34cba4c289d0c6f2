"""
What ``m3w export`` and ``m3w import`` say, and which exit status they give.
"""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from click.testing import CliRunner

from m3w_core import PostgresSessionRepository, Settings
from m3w_http.cli_export import export_command
from m3w_http.cli_import import import_command
from tests._databases import connect
from tests.factories import a_payload, a_session


@pytest.fixture
def run(emptied_database):
    def run(command, *arguments, **settings):
        result = CliRunner().invoke(
            command, list(map(str, arguments)), obj=Settings(database=emptied_database, **settings)
        )
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sessions.ndjson"


def test_a_broken_line_makes_the_exit_status_1(run, file):
    """
    After all others have been imported; what a terminal would obey is not printed.
    """
    lines = [json.dumps(a_payload(sessionId="a")), json.dumps(a_payload(**{"\x1b[2J": "\ud800"})), "[]"]
    file.write_text("\n".join(lines))

    done = run(import_command, file)

    assert done.exit_code == 1
    assert "Line 2 is left out: " in done.output
    assert "\x1b" not in done.output
    assert "Line 3 is left out: it must be a JSON object\n" in done.output
    assert "1 sessions read, 1 of them new or newer than what was there\n" in done.output
    assert done.output.endswith("Error: 2 of 3 lines are no sessions and were left out\n")


def test_of_very_many_broken_lines_the_first_hundred_are_named(run, file):
    """
    A file of another kind does not fill the terminal.
    """
    file.write_text("no JSON\n" * 150)

    done = run(import_command, file)

    assert done.output.count(" is left out: ") == 100
    assert done.output.endswith("Error: 150 of 150 lines are no sessions and were left out\n")


def test_sessions_that_retention_would_delete_are_mentioned(run, file):
    """
    Or they would be gone an hour later without a word.
    """
    old = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(a_payload(sessionId="a", event_at=old, received_at=old)))
    kept = run(import_command, file, retention_days=0)
    file.write_text(json.dumps(a_payload(sessionId="b", event_at=old, received_at=old)))
    deleted = run(import_command, file)

    assert "RETENTION_DAYS" not in kept.output
    assert "Some are older than 90 days: a backend with that RETENTION_DAYS deletes them" in deleted.output


def test_a_bad_time_is_told(run):
    """
    With an example of a good one.
    """
    done = run(export_command, "--until", "yesterday")

    assert done.exit_code == 2
    assert "Invalid value for '--until': 'yesterday' is no date or time like 2026-02-15" in done.output


@pytest.mark.parametrize(
    ("period", "sessions"),
    [
        (("--since", "2026-02-15", "--until", "2026-02-15T00:00:01"), 1),
        (("--until", "2026-02-15"), 0),
        (("--since", "2026-02-15T01:00:00+01:00"), 1),
        (("--since", "2026-02-15T01:00:00Z"), 0),
    ],
)
def test_a_time_without_a_zone_is_utc(run, emptied_database, period, sessions):
    """
    A date is its first moment.
    """
    with closing(PostgresSessionRepository(emptied_database)) as repository:
        repository.upsert([a_session()])
    with closing(connect(emptied_database)) as connection:
        connection.run("UPDATE sessions SET event_at = '2026-02-15T00:00:00Z'")

    done = run(export_command, *period)

    assert done.exit_code == 0
    assert done.output.endswith(f"{sessions} sessions exported\n")
