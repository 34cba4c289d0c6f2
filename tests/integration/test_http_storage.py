"""
From the SDK's request to rows in PostgreSQL: what a client sent is what is stored, in whatever order it came.
"""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import closing
from datetime import timedelta

import pytest

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http.app import app_for, create_app
from m3w_http.metrics import Metrics
from m3w_http.readiness import Readiness
from tests._client import DATA, HEADERS, Client, sdk_payload
from tests._databases import connect
from tests.factories import TIMESTAMP_MS, a_payload, an_entry_payload

PAYLOADS = sorted(path.stem for path in (DATA / "sdk-payloads").glob("*.json"))

# What an app may store as a 32-bit float.
RATIO = struct.unpack("f", struct.pack("f", 0.028))[0]


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


def rows(database, statement):
    """Run a query; a row is a dictionary by the names of its columns."""
    with closing(connect(database)) as connection:
        result = connection.run(statement)
        names = [column["name"] for column in connection.columns]
    return [dict(zip(names, row, strict=True)) for row in result]


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_payload_of_the_sdk_is_stored(client, emptied_database, name):
    """
    Sent byte by byte as the SDK sends it.
    """
    result = client.post(sdk_payload(name))
    stored = rows(emptied_database, "SELECT session_id FROM sessions")

    assert result.status_code == 200
    assert stored == [{"session_id": result.json["sessionId"]}]


def test_a_complete_summary_fills_every_column(client, emptied_database):
    """
    Column by column: the client's values as sent, the server's own times beside them.
    """
    client.post(sdk_payload("sdk-0.x-complete"))
    (row,) = rows(emptied_database, "SELECT *, now() - received_at AS age FROM sessions")

    assert timedelta(0) <= row.pop("age") < timedelta(minutes=1)
    # The client's clock is off by months, so the server's time counts.
    assert row.pop("event_at") == row.pop("received_at") == row.pop("created_at")
    assert row.pop("rebuffer_ratio") == pytest.approx(RATIO, abs=1e-9)
    assert row == {
        "session_id": "550e8400-e29b-41d4-a716-446655440000",
        "timestamp": 1771150045000,
        "session_start_date_iso": "2026-02-15T10:00:00.000Z",
        "session_duration_ms": 45000,
        "startup_time_ms": 450,
        "rebuffer_time_ms": 1200,
        "rebuffer_count": 2,
        "play_time_ms": 42000,
        "total_dropped_frames": 12,
        "total_seek_count": 1,
        "total_seek_time_ms": 300,
        "mean_video_format_bitrate": 2500000,
        "error_count": 0,
        "device_model": None,
        "os_version": None,
        "sdk_version": None,
        "connection_type": None,
        "extra": None,
        "received_via": "dev",
        "earlier_event_at_min": None,
        "earlier_event_at_max": None,
    }


def test_what_the_player_did_not_measure_is_null(client, emptied_database):
    """
    Null, and Media3's -1 for an unknown bitrate; a measured zero stays zero.
    """
    client.post(sdk_payload("sdk-0.x-all-null"))
    client.post(sdk_payload("sdk-0.x-failed-before-first-frame"))
    unmeasured, failed = rows(
        emptied_database,
        "SELECT startup_time_ms, rebuffer_time_ms, rebuffer_count, play_time_ms, rebuffer_ratio,"
        " mean_video_format_bitrate, error_count FROM sessions ORDER BY session_id",
    )

    assert set(unmeasured.values()) == {None}
    assert failed == {
        "startup_time_ms": None,
        "rebuffer_time_ms": 0,
        "rebuffer_count": 0,
        "play_time_ms": 0,
        "rebuffer_ratio": 0,
        "mean_video_format_bitrate": None,
        "error_count": 1,
    }


def test_fields_of_the_app_are_kept(client, emptied_database):
    """
    What the SDK does not know is in ``extra``, as it was sent.
    """
    client.post(sdk_payload("app-with-fields-of-its-own"))
    client.post(sdk_payload("sdk-0.x-start-date-word-null"))
    own, word = rows(
        emptied_database, "SELECT extra, session_start_date_iso FROM sessions ORDER BY extra NULLS LAST"
    )

    assert own["extra"] == {
        "contentId": "video-456",
        "custom": {"experimentGroup": "variant-b", "tags": ["a", "b"]},
    }
    assert word == {"extra": None, "session_start_date_iso": "null"}


REPORTS = ("sdk-1.x-first-report", "sdk-1.x-later-report-same-session")


@pytest.mark.parametrize("names", [REPORTS, REPORTS[::-1]], ids=["in order", "out of order"])
def test_two_reports_of_a_session_are_one_row_and_one_timeline(client, emptied_database, names):
    """
    The later values in either order of arrival, and the entries of both.
    """
    statuses = [client.post(sdk_payload(name)).status_code for name in names]
    sessions = rows(
        emptied_database,
        "SELECT timestamp, session_duration_ms, play_time_ms, device_model, os_version, sdk_version,"
        " connection_type FROM sessions",
    )
    timeline = rows(
        emptied_database,
        "SELECT timestamp_ms, elapsed_ms, playback_state, current_bitrate, network_type, total_dropped_frames,"
        " buffered_duration_ms, rebuffer_count, rebuffer_time_ms FROM session_timeline ORDER BY timestamp_ms",
    )

    assert statuses == [200, 200]
    assert sessions == [
        {
            "timestamp": 1771150030000,
            "session_duration_ms": 30000,
            "play_time_ms": 28100,
            "device_model": "Pixel 8",
            "os_version": 34,
            "sdk_version": "1.0.1",
            "connection_type": "WIFI",
        }
    ]
    assert [tuple(entry.values()) for entry in timeline] == [
        (1771150000000, 0, "BUFFERING", None, "WIFI", 0, 0, 0, 0),
        (1771150015000, 15000, "PLAYING", 2500000, "WIFI", 4, 18000, 1, 600),
        (1771150030000, 30000, "PLAYING", 4300000, "WIFI", 8, 26500, 2, 1200),
    ]


def test_of_400_concurrent_updates_the_newest_stays(emptied_database):
    """
    In random order, in batches that are written at the same time by four writers of one session's row.
    """
    repositories = [PostgresSessionRepository(emptied_database) for _ in range(4)]
    writer = GroupCommitWriter(repositories, max_batch=7)
    app = create_app(Settings(), writer=writer, readiness=Readiness(emptied_database), metrics=Metrics())
    payloads = [a_payload(timestamp=TIMESTAMP_MS + n, playTimeMs=n) for n in range(400)]
    random.Random(7).shuffle(payloads)

    async def post_all():
        posts = (client.send("POST", "/v1/sessions", headers=HEADERS, json=payload) for payload in payloads)
        return await asyncio.gather(*posts)

    with Client(app) as client:
        results = client.run(post_all())
    stored = rows(emptied_database, "SELECT timestamp, play_time_ms FROM sessions")

    assert {result.status_code for result in results} == {200}
    assert stored == [{"timestamp": TIMESTAMP_MS + 399, "play_time_ms": 399}]


def test_a_full_timeline_posted_three_times_is_stored_once(client, emptied_database):
    """
    500 entries are 500 rows, as a payload that is sent again changes nothing; 501 are refused.
    """
    entries = [an_entry_payload(timestampMs=TIMESTAMP_MS + n) for n in range(501)]
    statuses = [client.post(a_payload(timelineEvents=entries[:500])).status_code for _ in range(3)]
    refused = client.post(a_payload(timelineEvents=entries))
    stored = rows(emptied_database, "SELECT count(*) AS entries FROM session_timeline")

    assert statuses == [200, 200, 200]
    assert refused.json["error"]["details"] == [
        {"field": "timelineEvents", "problem": "exceeds maximum of 500 entries"}
    ]
    assert stored == [{"entries": 500}]


def test_reports_in_one_batch_leave_the_same_rows_as_one_after_the_other(emptied_database):
    """
    Which of them share a transaction is chance, so it must not matter.
    """
    writer = GroupCommitWriter([PostgresSessionRepository(emptied_database)])
    metrics = Metrics()
    app = create_app(Settings(), writer=writer, readiness=Readiness(emptied_database), metrics=metrics)
    summaries = [
        a_payload(timestamp=TIMESTAMP_MS + n, timelineEvents=[an_entry_payload(timestampMs=TIMESTAMP_MS + n)])
        for n in (2, 0, 3, 1)
    ]

    async def post_at_once():
        posts = (client.send("POST", "/v1/sessions", headers=HEADERS, json=summary) for summary in summaries)
        await asyncio.gather(*posts)

    def stored():
        with closing(connect(emptied_database)) as connection:
            return connection.run(
                "SELECT s.timestamp, t.timestamp_ms FROM sessions AS s"
                " JOIN session_timeline AS t USING (session_id) ORDER BY t.timestamp_ms"
            )

    with Client(app) as client:
        client.run(post_at_once())
        at_once = stored()
        for summary in summaries:
            client.post(summary)
        again = stored()

    assert at_once == again == [[TIMESTAMP_MS + 3, TIMESTAMP_MS + n] for n in range(4)]
