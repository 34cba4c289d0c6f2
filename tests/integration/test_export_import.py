"""
Out of one database and into another: nothing is lost, nothing is changed, and twice is as good as once.
"""

from __future__ import annotations

import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from m3w_core import rollup, session_from_dict
from m3w_core.importing import import_sessions
from tests._databases import connect
from tests.factories import a_payload, a_session, an_entry, an_entry_payload

ROWS = """
SELECT sessions::text, (
    SELECT array_agg((entry.*)::text ORDER BY entry.timestamp_ms, entry.playback_state)
    FROM (SELECT timestamp_ms, elapsed_ms, playback_state, network_type, total_dropped_frames, current_bitrate,
        buffered_duration_ms, rebuffer_count, rebuffer_time_ms
        FROM session_timeline WHERE session_timeline.session_id = sessions.session_id) AS entry
) FROM sessions ORDER BY session_id
"""
HOURLY = """
SELECT extract(hour FROM at AT TIME ZONE 'UTC')::int, value::int
FROM qoe_series('2026-02-15T00:00:00Z', '2026-02-16T00:00:00Z', interval '1 hour') WHERE metric = 'sessions'
"""
EMPTY = "DELETE FROM sessions; DELETE FROM session_timeline"

LONG_AGO = datetime(2026, 2, 15, 10, 7, 25, 123456, UTC)


@pytest.fixture
def load(emptied_database):
    """Import lines; gives the report, and what was said of broken ones."""

    def run(data):
        broken = []
        report = import_sessions(
            emptied_database, io.BytesIO(data), broken=lambda number, reason: broken.append((number, reason))
        )
        return report, broken

    return run


def test_a_line_is_the_session_as_the_api_takes_it_and_what_the_backend_knows(store, sql, export):
    """
    Other programs can read it, and post it.
    """
    payload = a_payload(timelineEvents=[an_entry_payload()], contentId="film-7", tags=["a", {"b": None}])
    store([session_from_dict(payload)], ["mobile"])
    sql("UPDATE sessions SET created_at = :at, received_at = :at, event_at = :at", at=LONG_AGO)

    (line,) = export().splitlines()

    time = "2026-02-15T10:07:25.123456+00:00"
    assert json.loads(line) == {
        **payload,
        "created_at": time,
        "received_at": time,
        "event_at": time,
        "received_via": "mobile",
    }


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NAMES = TEXTS | st.sampled_from(["received_at", "_received_at", "__event_at", "created_at", "received_via"])
OWN_FIELDS = st.dictionaries(NAMES.filter(lambda name: name not in a_payload()), VALUES, max_size=3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own_fields=OWN_FIELDS,
    ratio=st.none() | st.floats(0, 1),
    model=st.none() | TEXTS,
    timestamp=st.integers(1, 253402300799999),
    via=st.none() | TEXTS,
    entries=st.integers(0, 3),
)
@example({"a": 4e16, "b": 1e19, "c": 1e300, "d": 9.3e18}, 5e-324, "", 1, None, 0).via("jsonb's digits")
@example({"a": [{"b": [-1e300, 2**63 - 1]}]}, 1.0, 'x",\\"\n', 1, "", 1)
@example({"received_at": "never", "_received_at": 1, "event_at": {}}, None, "\x7f\u2028", 1, "a", 2)
@example({"_": 1, "x": "\x01\x02\x1c\r\n\\."}, None, "\x01\x02", 1, "\x02", 1).via("what separates columns")
@example({}, None, None, 253402300799999, None, 1001).via("more entries than one summary may have")
def test_every_accepted_row_comes_back_as_it_was(
    store, sql, export, load, own_fields, ratio, model, timestamp, via, entries
):
    """
    To the last digit of a float and the last microsecond; and importing it again touches nothing.
    """
    sql(EMPTY)
    session = session_from_dict(
        a_payload(timestamp=timestamp, rebufferRatio=ratio, deviceModel=model, **own_fields)
    )
    timeline = tuple(an_entry(timestamp_ms=1 + number, network_type=model) for number in range(entries))
    store([evolve(session, timeline_events=timeline)], [via])
    sql("UPDATE sessions SET created_at = :at, received_at = now() - interval '1 h'", at=LONG_AGO)
    before = sql(ROWS)
    exported = export()
    sql(EMPTY)
    report, broken = load(exported)
    versions = sql("SELECT xmin::text FROM sessions")
    again, _ = load(exported)

    assert broken == []
    assert sql(ROWS) == before
    assert (report.read, report.changed, again.changed) == (1, 1, 0)
    assert sql("SELECT xmin::text FROM sessions") == versions


def test_the_newer_of_two_summaries_stays(store, sql, export, load):
    """
    By the client's time, then by that of arrival; a session that is there keeps the time it was first seen.
    """
    store(
        [a_session("older here", 1, sdk_version="exported"), a_session("newer here", 1), a_session("tie", 1)]
    )
    exported = export()
    sql("UPDATE sessions SET timestamp = 0, created_at = :at WHERE session_id = 'older here'", at=LONG_AGO)
    store([a_session("newer here", 2, sdk_version="here")])
    sql("UPDATE sessions SET sdk_version = 'here', received_at = now() WHERE session_id = 'tie'")

    report, _ = load(exported)

    assert sql("SELECT session_id, timestamp, sdk_version FROM sessions ORDER BY session_id") == [
        ["newer here", 2, "here"],
        ["older here", 1, "exported"],
        ["tie", 1, "here"],
    ]
    assert sql("SELECT created_at FROM sessions WHERE session_id = 'older here'") == [[LONG_AGO]]
    assert report.changed == 1


def test_entries_are_added_to_a_timeline_that_is_there(store, sql, export, load):
    """
    Also where the summary that carries them is the older.
    """
    store([a_session("s", 1, timeline_events=(an_entry(1), an_entry(2, network_type="exported")))])
    exported = export()
    sql(EMPTY)
    store([a_session("s", 5, timeline_events=(an_entry(2, network_type="here"), an_entry(3)))])

    load(exported)

    assert sql("SELECT timestamp_ms, network_type FROM session_timeline ORDER BY timestamp_ms") == [
        [1, None],
        [2, "here"],
        [3, None],
    ]


def test_summaries_of_the_api_are_imported_as_if_they_came_now(sql, load):
    """
    A gateway's log of payloads can be imported too; blank lines are passed over.
    """
    report, broken = load(b"\n" + orjson.dumps(a_payload(sessionId="from a log")) + b"\r\n\n")

    assert (report.read, report.changed, broken) == (1, 1, [])
    assert sql(
        "SELECT session_id, created_at = received_at, received_at > now() - interval '1 min', received_via,"
        " event_at = m3w_event_at(timestamp, received_at) FROM sessions"
    ) == [["from a log", True, True, None, True]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Invalid request body: not valid JSON"),
        (b"[]", "it must be a JSON object"),
        (b"{}", "Missing or empty required field: sessionId"),
        (orjson.dumps(a_payload(sessionId=7)), "Invalid value for sessionId: must be a string"),
        (orjson.dumps(a_payload(received_at="yesterday")), "Invalid value for received_at: must be a time"),
        (orjson.dumps(a_payload(created_at="2026-01-01T00:00:00")), "Invalid value for created_at"),
        (orjson.dumps(a_payload(event_at="9999-01-01T00:00:00Z")), "and not in the future"),
        (orjson.dumps(a_payload(received_via=1)), "Invalid value for received_via: must be a string"),
        (b'{"a":12345678901234567890123,' + orjson.dumps(a_payload())[1:], "a: must fit in 64 bits"),
    ],
)
def test_a_broken_line_is_named_and_its_neighbours_are_stored(sql, load, line, reason):
    """
    Whatever is wrong with it.
    """
    lines = [orjson.dumps(a_payload(sessionId="one")), line, orjson.dumps(a_payload(sessionId="two"))]

    report, ((number, said),) = load(b"\n".join(lines))

    assert (number, report.read, report.changed, report.broken) == (2, 3, 2, 1)
    assert reason in said
    assert sql("SELECT session_id FROM sessions ORDER BY 1") == [["one"], ["two"]]


def test_a_line_that_the_database_refuses_is_named_too(sql, load):
    """
    Its transaction is tried again without it.
    """
    sql("ALTER TABLE sessions ADD CONSTRAINT refused CHECK (session_id <> '7')")
    try:
        report, broken = load(b"\n".join(orjson.dumps(a_payload(sessionId=str(n))) for n in range(20)))
    finally:
        sql("ALTER TABLE sessions DROP CONSTRAINT refused")

    assert [number for number, _ in broken] == [8]
    assert "violates check constraint" in broken[0][1]
    assert (report.read, report.changed, report.broken) == (20, 19, 1)
    assert sql("SELECT count(*) FROM sessions") == [[19]]


def test_the_rollup_counts_what_is_imported(store, sql, export, load, emptied_database):
    """
    Also in hours that it was done with; a session that an import moves to another hour is not counted twice.
    """
    store([a_session("s", 1), a_session("t", 1)])
    sql("UPDATE sessions SET event_at = :at, received_at = :at", at=LONG_AGO)
    old = export()
    sql(
        "UPDATE sessions SET event_at = :at, received_at = :at, timestamp = 2",
        at=LONG_AGO + timedelta(hours=5),
    )
    new = export()
    sql(EMPTY)
    with closing(connect(emptied_database)) as connection:
        rollup.refresh(connection)
    load(old)
    after_old = sql(HOURLY)
    load(new.splitlines()[0])

    assert after_old == [[10, 2]]
    assert sql(HOURLY) == [[10, 1], [15, 1]]
