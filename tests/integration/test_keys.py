"""
Stored API keys: the commands, the requests they are used for, and the sessions they are found by.
"""

from __future__ import annotations

import hashlib

import pytest
from click.testing import CliRunner

from m3w_core import Settings, rollup
from m3w_core.exceptions import KeyNameError
from m3w_core.key_sessions import delete_sessions
from m3w_core.keys import add_key, revoke_key, stored_keys
from m3w_http.app import app_for
from m3w_http.cli_keys import keys
from tests._client import JSON, KEY, Client, error_of
from tests.factories import a_payload, a_session, an_entry

SESSIONS_IN_CHARTS = """
SELECT value FROM qoe_totals(now() - interval '1 day', now()) WHERE metric = 'sessions'
"""

ENVIRONMENT = Settings(api_keys={"default": "dev-key"})


@pytest.fixture
def run(emptied_database):
    """Run a command of ``m3w keys``."""

    def run(*arguments, **options):
        settings = Settings(database=emptied_database, api_keys={"default": "dev-key"})
        return CliRunner().invoke(keys, arguments, obj=settings, **options)

    return run


def test_a_key_is_shown_once_and_stored_as_its_digest(table):
    """
    The table holds nothing to log in with.
    """
    key = add_key(table, "phone")
    [[row]] = table.run("SELECT row_to_json(api_keys)::text FROM api_keys")
    [stored] = stored_keys(table)

    assert key.startswith("m3w_")
    assert len(key) == 47  # the prefix, and 256 bits in letters of 6
    assert key not in row
    assert stored.sha256 == hashlib.sha256(key.encode()).digest()
    assert stored.prefix == key[:10]
    assert add_key(table, "tv") != key


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "ü", "m3w_looks-like-a-key"])
def test_a_name_that_is_none_is_refused(table, name):
    """
    It becomes a label and a column; and a key that is taken for a name must not become either.
    """
    with pytest.raises(KeyNameError) as caught:
        add_key(table, name)

    assert not name or name not in str(caught.value)
    assert stored_keys(table) == []


def test_a_name_is_given_once(table):
    """
    Also when its key is revoked: its sessions are found by it.
    """
    add_key(table, "phone")
    revoke_key(table, "phone")
    [[revoked_at]] = table.run("SELECT revoked_at FROM api_keys")
    revoke_key(table, "phone")

    with pytest.raises(KeyNameError, match="there was one"):
        add_key(table, "phone")
    assert [key.revoked_at for key in stored_keys(table)] == [revoked_at]


def test_a_session_bears_the_name_of_its_key(emptied_database, table, repository):
    """
    That of its newest summary; metrics count by it.
    """
    key = add_key(table, "phone")
    with Client(app_for(ENVIRONMENT, emptied_database)) as client:
        client.post(a_payload(sessionId="s-1", timestamp=1), headers={**JSON, **KEY})
        client.post(a_payload(sessionId="s-1", timestamp=3), headers={**JSON, "X-API-Key": key})
        client.post(a_payload(sessionId="s-1", timestamp=2), headers={**JSON, **KEY})
        client.request(
            "POST",
            "/v1/sessions/batch",
            json=[a_payload(sessionId="s-2"), a_payload(sessionId="s-3")],
            headers={"X-API-Key": key},
        )
        metrics = client.get("/metrics").text

    stored = [repository.get(session_id) for session_id in ("s-1", "s-2", "s-3")]
    assert [session.received_via for session in stored] == ["phone", "phone", "phone"]
    assert 'm3w_key_sessions_total{key="default"} 2.0' in metrics
    assert 'm3w_key_sessions_total{key="phone"} 3.0' in metrics
    assert key not in metrics


def test_a_key_for_batches_is_a_wrong_key_elsewhere(emptied_database, table):
    """
    401, the same as for any wrong key: who has found one is not told what it is good for.
    """
    key = {"X-API-Key": add_key(table, "backfill", ["batch"])}
    with Client(app_for(ENVIRONMENT, emptied_database)) as client:
        single = client.post(a_payload(), headers={**JSON, **key})
        batch = client.request("POST", "/v1/sessions/batch", json=[a_payload()], headers=key)

    assert error_of(single, 401) == {"code": "INVALID_API_KEY", "message": "Invalid or missing API Key"}
    assert batch.json["accepted"] == 1


def test_the_sessions_of_a_leaked_key_can_be_deleted(table, repository):
    """
    With their timelines, and the rollup is right afterwards; those of other keys stay.
    """
    sessions = [a_session(f"s-{number}", timeline_events=(an_entry(),)) for number in range(6)]
    repository.upsert(sessions, ["leaked", "phone", "leaked", None, "leaked", "leaked"])
    repository.upsert([a_session("s-5", timestamp=sessions[0].timestamp + 1)], ["phone"])
    # As if they had come two hours ago: the rollup counts what came more than five minutes ago.
    table.run(
        "UPDATE sessions SET received_at = received_at - interval '2 hours',"
        " event_at = event_at - interval '2 hours'"
    )
    rollup.rebuild(table)
    rollup.refresh(table)
    before = table.run(SESSIONS_IN_CHARTS)

    deleted = delete_sessions(table, "leaked")
    left = table.run("SELECT session_id FROM sessions ORDER BY session_id")
    entries = table.run("SELECT session_id FROM session_timeline ORDER BY session_id")
    after = table.run(SESSIONS_IN_CHARTS)

    assert deleted == 3
    assert left == entries == [["s-1"], ["s-3"], ["s-5"]]
    assert (before, after) == ([[6]], [[3]])


def test_the_commands_tell_what_to_do_next(run, table, repository):
    """
    From the first key to the end of one that has leaked.
    """
    added = run("add", "phone", "--routes", "sessions")
    listed = run("list")
    key = added.stdout.strip()
    repository.upsert([a_session("s-1"), a_session("s-2")], ["phone", "default"])
    too_early = run("delete-sessions", "phone")
    revoked = run("revoke", "phone")
    not_asked = run("delete-sessions", "phone", input="n\n")
    deleted = run("delete-sessions", "phone", "--yes")
    none = run("delete-sessions", "phone")
    listed_again = run("list")

    assert added.stderr == (
        "Keep it now: it is not stored and cannot be shown again. It is valid within 2 seconds for sessions.\n"
    )
    assert [stored.sha256 for stored in stored_keys(table)] == [hashlib.sha256(key.encode()).digest()]
    assert f"phone                    {key[:10]}…  sessions " in listed.stdout
    assert "default                  -            sessions, batch" in listed.stdout
    assert isinstance(too_early.exception, KeyNameError)
    assert "still valid" in str(too_early.exception)
    assert revoked.stdout == (
        "phone is not valid any more within 2 seconds. 1 sessions came by it.\n"
        "If it has leaked: m3w keys delete-sessions phone\n"
    )
    assert not_asked.exit_code == 1
    assert deleted.stdout.startswith("1 sessions are deleted.")
    assert none.stdout == "No session came by the key phone.\n"
    assert repository.get("s-1") is None
    assert repository.get("s-2") is not None
    assert "revoked 2" in listed_again.stdout
    assert all(key not in result.output for result in (listed, revoked, deleted, listed_again))


def test_without_any_key_the_list_says_what_is_valid(emptied_database):
    """
    And how to change that.
    """
    result = CliRunner().invoke(keys, ["list"], obj=Settings(database=emptied_database))

    assert "dev-key is valid" in result.output
    assert "m3w keys add NAME" in result.output


def test_keys_of_the_environment_are_left_to_it(run):
    """
    Their names are not given again, and they are revoked where they are.
    """
    add, dev, revoke, delete = (
        run("add", "default"),
        run("add", "dev"),
        run("revoke", "default"),
        run("delete-sessions", "default"),
    )

    assert "Choose another name" in add.stderr
    assert "Choose another name" in dev.stderr
    assert "take it out of M3W_API_KEY" in revoke.stderr
    assert "still valid" in str(delete.exception)
    assert [result.exit_code for result in (add, dev, revoke, delete)] == [1, 1, 1, 1]


def test_a_key_that_is_not_there_cannot_be_revoked(run):
    """
    And says where to look; a key that is given for a name is not repeated.
    """
    assert "There is no stored key nobody" in str(run("revoke", "nobody").exception)
    assert "secret" not in str(run("revoke", "m3w_secret").exception)
