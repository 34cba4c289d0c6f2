"""
The definitions of design.md's table, each with sessions whose numbers were worked out by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pg8000.native import Connection

from m3w_core.database_url import DatabaseSettings
from tests import _qoe
from tests._databases import connect
from tests._qoe import add_played, add_session, metrics, view


@pytest.fixture
def connection(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as open_connection:
        _qoe.empty(open_connection)
        yield open_connection


def test_watch_time_is_medias_own_denominator_where_it_can_be_had(connection: Connection) -> None:
    """
    60 s of video, a stall of 10 s and a pause of 30 s: 70 s of watch time, since nobody waits in a pause.
    """
    add_session(
        connection,
        session_duration_ms=100_000,
        play_time_ms=60_000,
        rebuffer_time_ms=10_000,
        rebuffer_count=1,
        rebuffer_ratio=10 / 70,
    )

    assert Decimal(70_000) == view(connection, "watch_time_ms")
    rebuffering = metrics(connection)["rebuffer_percentage"]
    assert (10_000, 70_000) == (rebuffering["numerator"], rebuffering["denominator"])
    assert pytest.approx(100 / 7) == rebuffering["value"]


def test_watch_time_is_else_play_startup_rebuffer_and_seek_time(connection: Connection) -> None:
    """
    Without a ratio it is put together: 60 s + 2 s + 10 s + 3 s.
    """
    add_session(
        connection,
        play_time_ms=60_000,
        startup_time_ms=2000,
        rebuffer_time_ms=10_000,
        total_seek_time_ms=3000,
    )

    assert Decimal(75_000) == view(connection, "watch_time_ms")


@pytest.mark.parametrize(
    ("columns", "outcome"),
    [
        ({"startup_time_ms": 0}, "played"),
        ({"play_time_ms": 1}, "played"),
        ({"startup_time_ms": 5, "error_count": 0}, "played"),
        ({"play_time_ms": 1, "error_count": 1}, "failed"),
        ({"startup_time_ms": 5, "play_time_ms": 0, "error_count": 2}, "failed"),
        ({"play_time_ms": 0, "error_count": 1}, "failed_before_start"),
        ({"error_count": 1}, "failed_before_start"),
        ({"play_time_ms": 0, "error_count": 0}, "exited_before_start"),
        ({}, "exited_before_start"),
    ],
)
def test_outcome_says_how_a_session_ended(
    connection: Connection, columns: dict[str, Any], outcome: str
) -> None:
    """
    A play has a first frame or play time; a failure has a fatal error, before the start if it was no play.
    """
    add_session(connection, **columns)

    assert outcome == view(connection, "outcome")


@pytest.mark.parametrize(
    ("age_s", "late_s", "errors", "states", "outcome"),
    [
        (5, 1, 0, [], "in_progress"),
        (5, 1, None, ["PLAYING"], "in_progress"),
        (5, 1, 0, ["ENDED", "PLAYING"], "in_progress"),
        (5, 299, 0, [], "in_progress"),
        (46, 1, 0, [], "played"),
        (5, 301, 0, [], "played"),
        (5, 1, 1, [], "failed"),
        (5, 1, 0, ["PLAYING", "ENDED"], "played"),
    ],
)
def test_a_session_is_in_progress_while_it_is_heard_of(
    connection: Connection, age_s: int, late_s: int, errors: int | None, states: list[str], outcome: str
) -> None:
    """
    Less than 45 s ago, not delivered late, no fatal error, and the player's last state is not the end.
    """
    (now,) = connection.run("SELECT now()")[0]
    received_at = now - timedelta(seconds=age_s)
    session_id = add_session(
        connection,
        play_time_ms=1,
        error_count=errors,
        received_at=received_at,
        event_at=received_at - timedelta(seconds=late_s),
    )
    for timestamp_ms, state in enumerate(states):
        connection.run(
            "INSERT INTO session_timeline (session_id, timestamp_ms, elapsed_ms, playback_state,"
            " total_dropped_frames, rebuffer_count, rebuffer_time_ms) VALUES (:id, :ms, :ms, :state, 0, 0, 0)",
            id=session_id,
            ms=timestamp_ms,
            state=state,
        )

    assert outcome == view(connection, "outcome")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-15T10:00:00.500Z", datetime(2026, 2, 15, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-02-15T12:00:00+02:00", datetime(2026, 2, 15, 10, tzinfo=UTC)),
        ("2026-02-15T10:00:00", None),
        ("2026-02-30T10:00:00Z", None),
        ("null", None),
        ("now", None),
        ("infinity", None),
    ],
)
def test_started_at_is_an_instant_or_null(
    connection: Connection, text: str, expected: datetime | None
) -> None:
    """
    Only a date with a zone counts; words that PostgreSQL takes for a time do not, and nothing fails.
    """
    add_session(connection, session_start_date_iso=text)

    assert expected == view(connection, "started_at")


@pytest.mark.parametrize(
    ("columns", "implausible"),
    [
        ({"play_time_ms": 604_800_000}, False),
        ({"play_time_ms": 604_800_001}, True),
        ({"session_duration_ms": 604_800_001}, True),
        ({"play_time_ms": 604_800_000, "startup_time_ms": 1}, True),
        ({"rebuffer_time_ms": 1000, "rebuffer_ratio": 1e-38}, True),
        ({"mean_video_format_bitrate": 10_000_000_000}, False),
        ({"mean_video_format_bitrate": 10_000_000_001}, True),
        ({"total_dropped_frames": 604_800_001}, True),
    ],
)
def test_a_week_is_the_longest_plausible_duration(
    connection: Connection, columns: dict[str, Any], *, implausible: bool
) -> None:
    """
    Of watch time too; and no device has 10 Gbit/s or drops a frame in each millisecond of a week.
    """
    add_session(connection, **columns)

    assert implausible is view(connection, "implausible")


def test_implausible_and_running_sessions_are_left_out_of_sums_and_counted(connection: Connection) -> None:
    """
    One good session, one of a hundred years, one still running: the numbers are those of the first.
    """
    (now,) = connection.run("SELECT now()")[0]
    for play_time_ms, age_s in ((69_500, 60), (2**62, 60), (1_000_000, 1)):
        received_at = now - timedelta(seconds=age_s)
        add_played(
            connection,
            play_time_ms=play_time_ms,
            event_at=received_at - timedelta(seconds=1),
            received_at=received_at,
        )
    found = metrics(connection, now - timedelta(hours=1), now)

    assert 3 == found["sessions"]["value"]
    assert 1 == found["sessions_in_progress"]["value"]
    assert 2 == found["playback_failure_percentage"]["denominator"]
    assert 70_000 == found["watch_time"]["value"]
    assert (1, 2) == (found["watch_time"]["sessions"], found["watch_time"]["left_out"])
    assert {"implausible": 1, "in_progress": 1} == found["watch_time"]["left_out_because"]
    assert 50 == found["implausible_percentage"]["value"]
