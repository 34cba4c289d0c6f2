"""
``m3w export`` and ``m3w import`` as they are typed: files and pipes, messages, memory.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from m3w_core import PostgresSessionRepository, session_from_dict
from tests._databases import connect
from tests._serve import M3W, PATIENCE_S, environment, m3w, on
from tests.factories import a_payload, an_entry_payload

FILL = """
INSERT INTO sessions (session_id, timestamp, session_start_date_iso, session_duration_ms, event_at, extra)
SELECT 's' || number, 1, repeat('x', 40), 1, now(), jsonb_build_object('title', repeat('y', 200))
FROM generate_series(1, CAST(:sessions AS int)) AS number
"""

MEBIBYTE = 1024 * 1024


@pytest.fixture
def sql(migrated_database):
    with closing(connect(migrated_database)) as connection:
        yield connection.run


# The kernel counts what the parent had in memory when it forked, so the parent must be a small one.
MEASURE = """
import os, subprocess, sys
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_bytes(arguments, database, *, stdout):
    """Run a command to its end and give the most memory it ever took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, M3W, *arguments],
        check=False,
        env=environment(**on(database)),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024


def test_what_is_exported_is_imported_again(migrated_database, sql, tmp_path):
    """
    From a file, and from a pipe; the second time there is nothing to do.
    """
    with closing(PostgresSessionRepository(migrated_database)) as repository:
        repository.upsert([session_from_dict(a_payload(timelineEvents=[an_entry_payload()]))])
    file = tmp_path / "sessions.ndjson"

    exported = m3w("export", **on(migrated_database))
    file.write_text(exported.stdout)
    sql("DELETE FROM sessions; DELETE FROM session_timeline")
    first = m3w("import", file, **on(migrated_database))
    again = subprocess.run(
        [M3W, "import", "-"],
        check=False,
        env=environment(**on(migrated_database)),
        input=exported.stdout,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (exported.returncode, exported.stderr) == (0, "1 sessions exported\n")
    assert (first.returncode, first.stdout) == (0, "")
    assert "1 sessions read, 1 of them new or newer than what was there\n" in first.stderr
    assert "1 sessions read, 0 of them" in again.stderr
    assert sql("SELECT count(*) FROM session_timeline") == [[1]]


@pytest.mark.parametrize(
    ("arguments", "label"), [(("export",), "Exporting"), (("import", "{file}"), "Importing")]
)
def test_a_terminal_shows_how_far_it_is(migrated_database, sql, tmp_path, arguments, label):
    """
    On standard error, so that what is exported is not mixed with it.
    """
    sql(FILL, sessions=2000)
    file = tmp_path / "sessions.ndjson"
    file.write_text(json.dumps(a_payload()) + "\n")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as stderr:
            process = subprocess.Popen(
                [M3W, *(argument.format(file=file) for argument in arguments)],
                env=environment(**on(migrated_database), TERM="xterm"),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        shown = b""
        # On Linux a terminal ends with an error when its last writer is gone.
        with suppress(OSError):
            while chunk := terminal.read(4096):
                shown += chunk
    status = process.wait(PATIENCE_S)

    assert status == 0, shown
    assert label in shown.decode()
    assert "100%" in shown.decode()


def test_a_reader_that_has_enough_ends_it_quietly(migrated_database, sql):
    """
    ``m3w export | head -1``.
    """
    sql(FILL, sessions=5000)
    process = subprocess.Popen(
        [M3W, "export"],
        env=environment(**on(migrated_database)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        status = process.wait(PATIENCE_S)

    assert json.loads(first)["sessionId"].startswith("s")
    assert (status, said) == (1, b"")


def test_a_full_disk_is_not_taken_for_the_database(migrated_database, sql):
    """
    The message names what cannot be written.
    """
    sql(FILL, sessions=5000)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [M3W, "export"],
            check=False,
            env=environment(**on(migrated_database)),
            stdout=full,
            stderr=subprocess.PIPE,
        )

    assert done.returncode == 1
    assert b"Error: The output cannot be written: No space left on device\n" in done.stderr


def test_memory_does_not_grow_with_the_number_of_sessions(migrated_database, sql, tmp_path):
    """
    Sixty thousand take hardly more than none.
    """
    sql(FILL, sessions=60_000)
    file = tmp_path / "sessions.ndjson"
    none = peak_bytes(["export", "--until", "2000-01-01"], migrated_database, stdout=subprocess.DEVNULL)
    with file.open("wb") as output:
        all_of_them = peak_bytes(["export"], migrated_database, stdout=output)

    assert file.stat().st_size > 40 * MEBIBYTE
    assert all_of_them - none < 8 * MEBIBYTE
