"""
What qoe_totals makes of several sessions: sums over sums, never a mean of ratios, and nothing left out unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from pg8000.native import Connection

from m3w_core.database_url import DatabaseSettings
from tests import _qoe
from tests._databases import connect
from tests._qoe import DAY, add_played, add_session, metrics


@pytest.fixture
def connection(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as open_connection:
        _qoe.empty(open_connection)
        yield open_connection


def test_rebuffering_is_of_all_watch_time(connection: Connection) -> None:
    """
    10 s of 20 s and 0 s of 180 s are 5 %, not the 25 % that the mean of 50 % and 0 % would be; 3 stalls in
    200 s are 0.9 a minute.
    """
    add_session(
        connection, play_time_ms=10_000, rebuffer_time_ms=10_000, rebuffer_count=3, rebuffer_ratio=0.5
    )
    add_session(connection, play_time_ms=180_000, rebuffer_time_ms=0, rebuffer_count=0, rebuffer_ratio=0.0)
    add_session(connection, play_time_ms=5000)
    add_session(connection)
    found = metrics(connection)

    assert 5 == found["rebuffer_percentage"]["value"]
    assert (2, 2) == (found["rebuffer_percentage"]["sessions"], found["rebuffer_percentage"]["left_out"])
    reasons = found["rebuffer_percentage"]["left_out_because"]
    assert {"no_watch_time": 1, "no_rebuffer_time": 1} == reasons
    assert pytest.approx(0.9) == found["rebuffer_frequency"]["value"]
    assert 205_000 == found["watch_time"]["value"]


def test_failures_and_exits_are_of_all_sessions(connection: Connection) -> None:
    """
    Ten sessions: two failed while playing, one before the start, three gave up before it.
    """
    for _ in range(4):
        add_played(connection)
    for _ in range(2):
        add_played(connection, error_count=1)
    add_session(connection, error_count=3)
    for _ in range(3):
        add_session(connection)
    found = metrics(connection)

    assert 30 == found["playback_failure_percentage"]["value"]
    assert 10 == found["video_start_failure_percentage"]["value"]
    assert 30 == found["exit_before_video_start_percentage"]["value"]
    assert (3, 10) == tuple(
        found["exit_before_video_start_percentage"][name] for name in ("numerator", "denominator")
    )
    assert 6 == found["plays"]["value"]


def test_an_unmeasured_startup_is_no_exit(connection: Connection) -> None:
    """
    Play time without a startup time is left out of startups and told, and never counts as given up.
    """
    add_played(connection)
    add_session(connection, play_time_ms=1000)
    add_session(connection)
    found = metrics(connection)

    assert pytest.approx(100 / 3) == found["exit_before_video_start_percentage"]["value"]
    assert 50 == found["startup_unmeasured_percentage"]["value"]
    assert {"startup_unmeasured": 1, "not_started": 1} == found["startup_time_p95"]["left_out_because"]


def test_bitrate_is_weighted_by_play_time(connection: Connection) -> None:
    """
    1 Mbit/s for 30 s and 5 Mbit/s for 10 s are 2 Mbit/s; who has no bitrate has no weight.
    """
    add_session(connection, play_time_ms=30_000, mean_video_format_bitrate=1_000_000)
    add_session(connection, play_time_ms=10_000, mean_video_format_bitrate=5_000_000)
    add_session(connection, play_time_ms=99_000)
    add_session(connection, mean_video_format_bitrate=9_000_000)
    found = metrics(connection)

    assert 2_000_000 == found["average_bitrate"]["value"]
    assert {"bitrate_unset": 1, "no_play_time": 1} == found["average_bitrate"]["left_out_because"]
    assert pytest.approx(100 / 3) == found["bitrate_unset_percentage"]["value"]


def test_dropped_frames_are_by_second_of_play_time(connection: Connection) -> None:
    """
    30 frames in 60 s are half a frame a second.
    """
    add_session(connection, play_time_ms=50_000, total_dropped_frames=30)
    add_session(connection, play_time_ms=10_000, total_dropped_frames=0)
    found = metrics(connection)

    assert 0.5 == found["dropped_frame_rate"]["value"]


def test_startup_percentiles_are_those_of_the_sessions_within_a_bucket(connection: Connection) -> None:
    """
    Of 20 startups of 200, 400 … 4000 ms the median is 2000 and the 95th percentile 3800 ms; a startup of 0 ms
    counts, and one that was not measured does not.
    """
    for startup_time_ms in range(200, 4001, 200):
        add_played(connection, startup_time_ms=startup_time_ms)
    add_session(connection, play_time_ms=1)
    found = metrics(connection)

    assert 2000 == pytest.approx(found["startup_time_p50"]["value"], rel=0.047)
    assert 3800 == pytest.approx(found["startup_time_p95"]["value"], rel=0.047)
    assert 20 == found["startup_time_p95"]["sessions"]


def test_a_bucket_tells_a_startup_time_to_five_percent(connection: Connection) -> None:
    """
    The worst error is 4.7 % from 100 ms to 60 s, and 14 ms below; more than 60 s is told as 60 s.
    """
    rows = connection.run("""
        SELECT
            max(abs(v / ms - 1)) FILTER (WHERE ms >= 100 AND ms < 60000),
            max(abs(v - ms)) FILTER (WHERE ms < 100),
            min(v) FILTER (WHERE ms >= 60000), max(v)
        FROM generate_series(0, 70000) AS ms,
            qoe_startup_bucket_value_ms(width_bucket(CAST(ms AS float8), qoe_startup_bounds_ms())) AS v
        """)

    ((relative, absolute_ms, above, highest),) = rows
    assert 0.046 < relative < 0.047
    assert 13 < absolute_ms <= 14
    assert (60_000, 60_000) == (above, highest)


def test_doubtful_clocks_and_late_arrivals_are_counted(connection: Connection) -> None:
    """
    A clock is ahead from 5 minutes after the arrival on, behind from 30 days before; late is after 5 minutes.
    """
    at = DAY + timedelta(hours=10)
    at_ms = round(at.timestamp() * 1000)
    for timestamp in (at_ms, at_ms + 300_001, 253_402_300_799_999, 1):
        add_played(connection, event_at=at, received_at=at, timestamp=timestamp)
    add_played(connection, event_at=at, received_at=at + timedelta(minutes=6))
    found = metrics(connection)

    assert 40 == found["client_clock_ahead_percentage"]["value"]
    assert 20 == found["client_clock_behind_percentage"]["value"]
    assert 20 == found["late_arrival_percentage"]["value"]


def test_an_empty_table_has_every_metric(connection: Connection) -> None:
    """
    Counts are 0 and all else has no value, so that a panel finds its row.
    """
    found = metrics(connection)

    assert 19 == len(found)
    assert 0 == found["sessions"]["value"]
    assert found["rebuffer_percentage"]["value"] is None
    assert {0} == {metric["sessions"] for metric in found.values()}
