"""
Rejected payloads that are taken after all, and the commands of ``m3w rejected``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from m3w_core import Settings, rollup
from m3w_core.rejected import MAX_PAYLOAD_BYTES
from m3w_core.rejected_store import find_rejected, store_rejected
from m3w_core.replay import replay
from m3w_http.cli_rejected import rejected
from tests.factories import a_payload, a_session, an_entry_payload
from tests.unit.test_rejected import a_rejected

LONG_AGO = timedelta(days=50)

SESSIONS_IN_CHARTS = """
SELECT value FROM qoe_totals(now() - interval '60 days', now()) WHERE metric = 'sessions'
"""


@pytest.fixture
def run(emptied_database):
    """Run a command of ``m3w rejected``."""
    return lambda *arguments: CliRunner().invoke(rejected, arguments, obj=Settings(database=emptied_database))


def keep(table, payload, **changes):
    """Put a payload into the table as an earlier release would have."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    store_rejected(table, [a_rejected(body, **changes)])


def milliseconds(moment):
    return round(moment.timestamp() * 1000)


def test_what_is_valid_now_is_stored_as_of_the_time_at_which_it_came(table, repository):
    """
    The client's clock is compared with that time, not with the time of the replay; and no session looks live.
    """
    [[now]] = table.run("SELECT now()")
    came = now - LONG_AGO
    payload = a_payload(
        timestamp=milliseconds(came - timedelta(minutes=1)), timelineEvents=[an_entry_payload()], own=1
    )
    keep(table, payload, received_via="phone")
    table.run("UPDATE rejected_payloads SET received_at = :came", came=came)

    report = replay(table, find_rejected(table))
    stored = repository.get(payload["sessionId"])

    assert (report.accepted, report.sessions, report.refused) == (1, 1, 0)
    assert stored.received_at == stored.created_at == came
    assert milliseconds(stored.event_at) == payload["timestamp"]
    assert stored.received_via == "phone"
    assert stored.session.extra == {"own": 1}
    assert len(stored.session.timeline_events) == 1
    assert find_rejected(table) == []


def test_the_newest_summary_wins(table, repository):
    """
    Over what was stored since, and among what is replayed.
    """
    repository.upsert([a_session("old", timestamp=100), a_session("new", timestamp=300)])
    for session_id in ("old", "new", "both"):
        for timestamp in (200, 150):
            keep(table, a_payload(sessionId=session_id, timestamp=timestamp))

    report = replay(table, find_rejected(table))

    assert (report.accepted, report.sessions) == (6, 6)
    assert [repository.get(session_id).session.timestamp for session_id in ("old", "new", "both")] == [
        200,
        300,
        200,
    ]


def test_what_is_still_bad_stays(table, repository):
    """
    Each is told with its reason: what does not validate, was cut, could not be unpacked, or the database refuses.
    """
    table.run("ALTER TABLE sessions ADD CONSTRAINT refuse CHECK (session_id <> 'refused')")
    keep(table, a_payload(sessionId="good"))
    keep(table, a_payload(sessionId="bad", rebufferRatio=2))
    keep(table, a_payload(sessionId="refused"))
    keep(table, b" " * MAX_PAYLOAD_BYTES + b"x")
    keep(table, b"\x1f\x8b", media_type="application/gzip")
    told = []
    try:
        report = replay(table, find_rejected(table), refused=lambda _, message: told.append(message))
    finally:
        table.run("ALTER TABLE sessions DROP CONSTRAINT refuse")

    assert (report.accepted, report.refused) == (1, 4)
    assert repository.get("good") is not None
    assert sorted(message.split(" ")[0] for message in told) == ["It", "Only", "new", "rebufferRatio"]
    assert len(find_rejected(table)) == 4


def test_batches_are_read_as_what_they_are(table, repository):
    """
    An item of a batch is one summary; a whole body is a list, which is accepted as a whole.
    """
    route = "/v1/sessions/batch"
    keep(table, a_payload(sessionId="item"), route=route, batch_index=3)
    keep(table, [a_payload(sessionId="a-1"), a_payload(sessionId="a-2")], route=route)
    lines = b"\n".join(json.dumps(a_payload(sessionId=name)).encode() for name in ("l-1", "l-2"))
    keep(table, lines, route=route, media_type="application/x-ndjson")
    keep(table, [a_payload(sessionId="half"), 5], route=route)

    report = replay(table, find_rejected(table))

    assert (report.accepted, report.sessions, report.refused) == (3, 5, 1)
    assert all(repository.get(name) for name in ("item", "a-1", "a-2", "l-1", "l-2"))
    assert repository.get("half") is None


def test_a_dry_run_changes_nothing(table, repository):
    """
    It says what a replay would come to, what the database refuses included.
    """
    keep(table, a_payload(sessionId="good"))
    keep(table, a_payload(sessionId="bad", rebufferRatio=2))

    report = replay(table, find_rejected(table), dry_run=True)

    assert (report.accepted, report.refused) == (1, 1)
    assert repository.get("good") is None
    assert len(find_rejected(table)) == 2


def test_the_rollup_counts_what_was_replayed(table):
    """
    Nothing that came long ago is looked for by itself.
    """
    keep(table, a_payload())
    table.run("UPDATE rejected_payloads SET received_at = received_at - interval '50 days'")
    rollup.refresh(table)
    before = table.run(SESSIONS_IN_CHARTS)

    replay(table, find_rejected(table))
    after = table.run(SESSIONS_IN_CHARTS)

    assert (before, after) == ([[0]], [[1]])


def test_the_commands_show_count_and_replay(run, table):
    """
    What an integrator looks at when an app's sessions do not arrive.
    """
    keep(table, a_payload(rebufferRatio=2), reason="rebufferRatio", message="rebufferRatio \x1b[31mmust be")
    keep(table, a_payload(sessionId="good"), reason="sessionId")
    [good] = find_rejected(table, reason="sessionId")
    [bad] = find_rejected(table, reason="rebufferRatio")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    listed = run("list", "--reason", "rebufferRatio").output
    later = run("list", "--since", tomorrow).output
    shown = run("show", good.id).output
    raw = run("show", good.id, "--payload").output
    unknown = run("show", "nothing")
    dry = run("replay", "--dry-run").output
    done = run("replay", good.id).output
    left = find_rejected(table)

    assert "      1  2" in listed
    assert bad.id in listed
    assert good.id not in listed
    assert "rebufferRatio \\x1b[31mmust be" in listed
    assert later == "There are none.\n"
    assert '"sessionId": "good"' in shown
    assert json.loads(raw) == a_payload(sessionId="good")
    assert "`m3w rejected list` shows" in unknown.output
    assert unknown.exit_code == 1
    assert "1 payloads with 1 summaries would be accepted\n1 would be still rejected\n" in dry
    assert done == "1 payloads with 1 summaries are accepted\n0 are still rejected\n"
    assert left == [bad]
