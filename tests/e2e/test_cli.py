"""
The commands beside ``m3w serve``, as an integrator of the SDK types them.
"""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import closing
from importlib.metadata import version

import pytest

from m3w_core import PostgresSessionRepository, parse_session, session_from_dict
from tests._client import sdk_payload
from tests._databases import connect
from tests._serve import PATIENCE_S, Running, m3w, on
from tests.factories import a_payload

SESSION_ID = "0b7f6a52-6a0e-4b0f-9b0f-3f0f6f7b8a04"


@pytest.fixture
def repository(migrated_database):
    with closing(PostgresSessionRepository(migrated_database)) as repository:
        yield repository


def without_times(lines):
    return re.sub(r"^\d\d:\d\d:\d\d ", "hh:mm:ss ", lines, flags=re.MULTILINE)


def test_the_version_is_the_distribution_s():
    """
    Where a bug report begins; it needs no settings.
    """
    done = m3w("--version", PORT="bad")

    assert (done.returncode, done.stdout) == (0, f"m3w, version {version('media3watch-backend')}\n")


def test_bad_settings_are_all_told_at_once():
    """
    Each by its variable, with what is expected; a secret is not shown.
    """
    done = m3w("migrate", PORT="http", M3W_API_KEY="s3cret with spaces", LOG_LEVEL="LOUD")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: M3W_API_KEY: expected printable ASCII characters without spaces, as the key travels in a header",
        "PORT: 'http' is not valid; expected a whole number from 0 to 65535",
        "LOG_LEVEL: 'LOUD' is not valid; expected one of debug, info, warn, warning, error, critical",
    ]


def test_migrate_brings_an_empty_database_up_to_date(database):
    """
    ``--status`` only looks; a second time there is nothing left to do.
    """
    before = m3w("migrate", "--status", **on(database))
    first = m3w("migrate", **on(database))
    second = m3w("migrate", **on(database))
    after = m3w("migrate", "--status", **on(database))

    assert [done.returncode for done in (before, first, second, after)] == [0, 0, 0, 0]
    assert re.search(r"^V1 +create_sessions +pending$", before.stdout, re.MULTILINE)
    assert "applied V1__create_sessions.sql\n" in first.stdout
    assert first.stdout.endswith("The schema is up to date.\n")
    assert second.stdout == "The schema is up to date.\n"
    assert re.search(
        r"^V1 +create_sessions +applied \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", after.stdout, re.MULTILINE
    )
    assert "pending" not in after.stdout


def test_the_status_shows_what_does_not_fit(migrated_database):
    """
    A file that was changed, and a migration of a newer release.
    """
    with closing(connect(migrated_database)) as connection:
        connection.run("UPDATE m3w_migrations SET checksum = '' WHERE version = 1")
        connection.run(
            "INSERT INTO m3w_migrations (version, name, checksum) VALUES (99, 'from_the_future', '')"
        )
    status = m3w("migrate", "--status", **on(migrated_database))
    migrated = m3w("migrate", **on(migrated_database))

    assert status.returncode == 0
    assert re.search(r"^V1 .*, but its file is not the one that was applied$", status.stdout, re.MULTILINE)
    assert re.search(r"^V99 +from_the_future .*, by a newer release$", status.stdout, re.MULTILINE)
    assert migrated.returncode == 1
    assert migrated.stderr.startswith("Error: ")
    assert "Traceback" not in migrated.stderr


def test_tail_follows_what_arrives(migrated_database, repository):
    """
    The last ones first, then a line for each summary within moments; of one session a line for each report.
    """
    repository.upsert([session_from_dict(a_payload(sessionId=f"old-{n}")) for n in range(3)])
    with Running(("sessions", "tail", "-n", 2), on(migrated_database)) as tail:
        tail.says("Waiting for sessions in ")
        shown = without_times(tail.out)
        arriving = [
            parse_session(sdk_payload("sdk-1.x-first-report")),
            parse_session(sdk_payload("sdk-1.x-later-report-same-session")),
            session_from_dict({**a_payload(sessionId="bare"), **dict.fromkeys(list(a_payload())[4:])}),
        ]
        for number, session in enumerate(arriving, start=1):
            repository.upsert([session])
            tail.says(["played 14.0 s", "played 28.1 s", "bare"][number - 1])
        os.killpg(tail.process.pid, signal.SIGINT)
        status = tail.process.wait(PATIENCE_S)
        followed = without_times(tail.out)[len(shown) :]
        err = tail.err

    device = "Pixel 8, API 34, WIFI"
    old = f"startup 450 ms  rebuffered 2x 1200 ms  played 42.0 s  errors 0  {device}"
    assert shown == f"hh:mm:ss  old-1  {old}\nhh:mm:ss  old-2  {old}\n"
    assert followed == (
        f"hh:mm:ss  {SESSION_ID}  startup 450 ms  rebuffered 2x 1200 ms  played 14.0 s  errors 0  {device}\n"
        f"hh:mm:ss  {SESSION_ID}  startup 450 ms  rebuffered 2x 1200 ms  played 28.1 s  errors 0  {device}\n"
        "hh:mm:ss  bare  startup -  rebuffered -x -  played -  errors -\n"
    )
    assert status == 0
    assert err == f"Waiting for sessions in {migrated_database} (Ctrl-C ends it)\n"


def test_tail_shows_each_session_once_however_close_to_its_start(migrated_database, repository):
    """
    Nothing is lost or doubled between what was there and what arrives.
    """
    stored = []
    with Running(("sessions", "tail", "-n", 1000), on(migrated_database)) as tail:
        while "Waiting for" not in tail.err or len(stored) < 20:
            stored.append(f"s-{len(stored)}")
            repository.upsert([session_from_dict(a_payload(sessionId=stored[-1]))])
            assert tail.process.poll() is None
        repository.upsert([session_from_dict(a_payload(sessionId="last"))])
        tail.says("  last  ")
        shown = [line.split()[1] for line in tail.out.splitlines()]

    assert sorted(shown) == sorted([*stored, "last"])


def test_tail_shows_what_a_client_sent_without_obeying_it(migrated_database, repository):
    """
    No escape sequence of a stranger reaches the terminal.
    """
    repository.upsert([session_from_dict(a_payload(sessionId="\x1b[2J\nforged", deviceModel="Pixel\r8"))])
    done = m3w("sessions", "tail", "--no-follow", **on(migrated_database))

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.strip().isprintable()
    assert r"\x1b[2J\nforged" in done.stdout
    assert r"Pixel\r8, API 34, WIFI" in done.stdout


def test_show_prints_a_session_in_full(migrated_database, repository):
    """
    Every field by its JSON name, the server's times, and the timeline of all its reports.
    """
    repository.upsert([parse_session(sdk_payload("sdk-1.x-later-report-same-session"))])
    repository.upsert([parse_session(sdk_payload("sdk-1.x-first-report"))])
    done = m3w("sessions", "show", SESSION_ID, **on(migrated_database))
    fields, _, timeline = done.stdout.partition("\nTimeline\n")
    values = dict(re.split(r" {2,}", line, maxsplit=1) for line in fields.splitlines() if line[24] == " ")

    assert done.returncode == 0
    assert values["sessionId"] == SESSION_ID
    assert values["playTimeMs"] == "28100"
    assert values["deviceModel"] == "Pixel 8"
    for name in ("created at", "received at", "event at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", values[name])
    assert [re.sub(" +", " ", line).strip() for line in timeline.splitlines()] == [
        "+0 ms BUFFERING - buffer 0 ms stalls 0 (0 ms) dropped 0 WIFI",
        "+15.0 s PLAYING 2.50 Mbit/s buffer 18.0 s stalls 1 (600 ms) dropped 4 WIFI",
        "+30.0 s PLAYING 4.30 Mbit/s buffer 26.5 s stalls 2 (1200 ms) dropped 8 WIFI",
    ]


def test_show_json_prints_what_may_be_posted_again(migrated_database, repository):
    """
    The API's own object, fields of the app included.
    """
    sent = json.loads(sdk_payload("app-with-fields-of-its-own"))
    repository.upsert([session_from_dict(sent)])
    done = m3w("sessions", "show", sent["sessionId"], "--json", **on(migrated_database))
    printed = json.loads(done.stdout)

    assert done.returncode == 0
    assert printed["custom"] == {"experimentGroup": "variant-b", "tags": ["a", "b"]}
    assert printed["osVersion"] is None
    assert printed["timelineEvents"] == []
    assert session_from_dict(printed) == session_from_dict(sent)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_unknown_session_is_told(migrated_database, options):
    """
    Status 1, and where to look instead.
    """
    done = m3w("sessions", "show", "no-such-session", *options, **on(migrated_database))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: There is no session no-such-session. `m3w sessions tail` shows what arrives.\n"
    )


@pytest.mark.parametrize("arguments", [["tail"], ["show", "s-1"]])
def test_a_database_without_our_tables_is_told(database, arguments):
    """
    With the command that makes them.
    """
    done = m3w("sessions", *arguments, **on(database))

    assert done.returncode == 1
    assert "lacks V1__create_sessions.sql" in done.stderr
    assert "`m3w migrate`" in done.stderr
    assert "Traceback" not in done.stderr
