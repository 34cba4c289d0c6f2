"""
How the QoE functions cut what they sum up: filters, steps, dimensions, and the extremes that validation lets through.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from pg8000.native import Connection

from m3w_core import rollup
from m3w_core.database_url import DatabaseSettings
from tests import _qoe
from tests._databases import connect
from tests._qoe import DAY, NEXT_DAY, add_played, add_session, from_sessions_alone, metrics

_RANGE = {"since": DAY, "until": NEXT_DAY}
_BETWEEN = "CAST(:since AS timestamptz), CAST(:until AS timestamptz)"

_SERIES = f"SELECT at, value FROM qoe_series({_BETWEEN}, CAST(:step AS interval)) WHERE metric = 'sessions'"

EVERYTHING = [
    "SELECT * FROM session_qoe ORDER BY session_id",
    f"SELECT * FROM qoe_totals({_BETWEEN}) ORDER BY metric",
    f"SELECT * FROM qoe_series({_BETWEEN}, interval '7 minutes') ORDER BY at, metric",
    f"SELECT * FROM qoe_series({_BETWEEN}, interval '1 month', ARRAY['a']) ORDER BY at, metric",
    f"SELECT * FROM qoe_breakdown({_BETWEEN}, 'os_version') ORDER BY 1, 3",
    f"SELECT * FROM qoe_breakdown_extra({_BETWEEN}, 'cdn') ORDER BY 1, 3",
    f"SELECT * FROM qoe_startup_histogram({_BETWEEN}, interval '1 hour')",
    "SELECT * FROM qoe_live() WHERE CAST(:since AS timestamptz) < CAST(:until AS timestamptz)",
    "SELECT * FROM qoe_day_medians(CAST(:since AS timestamptz)) WHERE CAST(:until AS text) IS NOT NULL",
]


@pytest.fixture
def connection(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as open_connection:
        _qoe.empty(open_connection)
        yield open_connection


@pytest.mark.parametrize("rolled_up", [False, True], ids=["sessions", "rollup"])
def test_filters_let_through_what_they_name(connection: Connection, *, rolled_up: bool) -> None:
    """
    A null array, or one with a null in it, is no filter; 'unknown' is what was not sent; any text may be a name.
    """
    quoted = 'Bob\'s "TV"; --'
    for device_model, os_version in (("Pixel 8", 34), (quoted, 34), (None, None), ("Pixel 8", 33)):
        add_played(connection, device_model=device_model, os_version=os_version)
    if rolled_up:
        rollup.refresh(connection)

    def sessions(**filters: Any) -> Any:
        return metrics(connection, **filters)["sessions"]["value"]

    assert 4 == sessions(device_models=None)
    assert 4 == sessions(device_models=["Pixel 8", None])
    assert 2 == sessions(device_models=["Pixel 8"])
    assert 1 == sessions(device_models=[quoted])
    assert 1 == sessions(device_models=["unknown"], os_versions=["unknown"])
    assert 1 == sessions(device_models=["Pixel 8"], os_versions=["34"])
    assert 0 == sessions(sdk_versions=["1.0.0"])


def test_steps_begin_at_whole_times_in_utc(connection: Connection) -> None:
    """
    Steps below 5 minutes are as given; longer ones are rounded up to 5 minutes or hours. Only steps with sessions.
    """
    for minute in (0, 4, 5, 59, 60):
        add_played(connection, event_at=DAY + timedelta(hours=5, minutes=minute))
    connection.run("SET TIME ZONE 'Asia/Kolkata'")

    def minutes(step: str) -> list[tuple[int, float]]:
        rows = connection.run(_SERIES, step=step, **_RANGE)
        return [(round((at - DAY).total_seconds() / 60) - 300, value) for at, value in rows]

    try:
        assert [(0, 1), (4, 1), (5, 1), (59, 1), (60, 1)] == minutes("1 minute")
        assert [(0, 2), (5, 1), (55, 1), (60, 1)] == minutes("5 minutes")
        assert [(0, 3), (50, 1), (60, 1)] == minutes("6 minutes")
        assert [(0, 4), (60, 1)] == minutes("60 minutes")
        assert [(-60, 4), (60, 1)] == minutes("61 minutes")
        assert [(-300, 5)] == minutes("1 day")
    finally:
        connection.run("SET TIME ZONE 'UTC'")


def test_a_range_has_its_start_and_not_its_end(connection: Connection) -> None:
    """
    Neighbouring ranges share no session; one that ends before it begins holds none.
    """
    add_played(connection, event_at=DAY)
    add_played(connection, event_at=NEXT_DAY)

    assert 1 == metrics(connection)["sessions"]["value"]
    assert 0 == metrics(connection, NEXT_DAY, DAY)["sessions"]["value"]


def test_breakdown_tells_what_each_group_rests_on(connection: Connection) -> None:
    """
    By a column or by a field of the app's own, whatever type it has; what lacks it is 'unknown'.
    """
    add_played(connection, sdk_version="1.0.1", extra={"cdn": "a"})
    add_played(connection, sdk_version="1.0.1", extra={"cdn": {"b": 1}}, error_count=1)
    add_played(connection, extra={"other": 1})

    def groups(function: str, name: str) -> dict[str, tuple[int, float]]:
        rows = connection.run(
            f"SELECT dimension_value, total_sessions, value FROM {function}({_BETWEEN}, :name)"
            " WHERE metric = 'playback_failure_percentage'",
            name=name,
            **_RANGE,
        )
        return {value: (sessions, percentage) for value, sessions, percentage in rows}

    assert {"1.0.1": (2, 50), "unknown": (1, 0)} == groups("qoe_breakdown", "sdk_version")
    expected = {"a": (1, 0), '{"b": 1}': (1, 100), "unknown": (1, 0)}
    assert expected == groups("qoe_breakdown_extra", "cdn")


def test_histogram_has_every_bucket_of_a_step(connection: Connection) -> None:
    """
    A startup belongs to the bucket whose bound it lies below; 100 ms to the second, over a minute to the last.
    """
    for startup_time_ms in (0, 99, 100, 60_000):
        add_played(connection, startup_time_ms=startup_time_ms)
    rows = connection.run(
        f"SELECT upper_bound_ms, sessions FROM qoe_startup_histogram({_BETWEEN}, interval '1 day')", **_RANGE
    )

    assert 17 == len(rows)
    assert {100: 2, 250: 1, float("inf"): 1} == {bound: count for bound, count in rows if count}


def test_live_is_of_the_sessions_in_progress(connection: Connection) -> None:
    """
    Those that ended are not in it; one of three viewers stalled; 10 s of 100 s were waiting, without the third.
    """
    (now,) = connection.run("SELECT now()")[0]
    for rebuffer_time_ms, play_time_ms, age_s in (
        (10_000, 40_000, 1),
        (0, 50_000, 1),
        (0, 2**62, 1),
        (9000, 1, 60),
    ):
        at = now - timedelta(seconds=age_s)
        add_session(
            connection,
            play_time_ms=play_time_ms,
            rebuffer_time_ms=rebuffer_time_ms,
            rebuffer_count=rebuffer_time_ms // 5000,
            event_at=at,
            received_at=at,
        )
    rows = connection.run("SELECT metric, value, sessions, left_out_because FROM qoe_live()")
    live = {metric: tuple(others) for metric, *others in rows}

    assert (3, 3, {}) == live["sessions_in_progress"]
    assert (pytest.approx(100 / 3), 3, {}) == live["stalled_percentage"]
    assert (10, 2, {"implausible": 1}) == live["rebuffer_percentage"]
    assert (None, 0, {"implausible": 1, "no_startup_time": 2}) == live["startup_time_p95"]


def test_no_accepted_row_breaks_a_query(connection: Connection) -> None:
    """
    The year 9999, 2^63 - 1 of everything, the smallest ratios, texts of 256 characters of 4 bytes: no query fails,
    the rollup takes them, and says the same as the sessions themselves.
    """
    largest, long_text = 2**63 - 1, "\N{GRINNING FACE}" * 256
    integers, counts = (None, 0, 1, largest), (None, 0, 2**31 - 1)
    columns: dict[str, tuple[Any, ...]] = {
        "timestamp": (1, 253_402_300_799_999),
        "session_duration_ms": (1, largest),
        "startup_time_ms": integers,
        "rebuffer_time_ms": integers,
        "play_time_ms": integers,
        "total_seek_time_ms": integers,
        "total_dropped_frames": integers,
        "mean_video_format_bitrate": integers,
        "rebuffer_count": counts,
        "error_count": counts,
        "os_version": counts,
        "rebuffer_ratio": (None, 0.0, 1.4e-45, 1e-38, 1.0),
        "session_start_date_iso": ("null", "9999-99-99T99:99:99Z", "9999-12-31T23:59:59-15:59", "now"),
        "device_model": (None, "", long_text),
        "sdk_version": (None, long_text),
        "connection_type": (None, long_text),
        "extra": ({}, {"cdn": None}, {"cdn": [1]}),
    }
    chosen = random.Random(2**63)
    pairs = itertools.combinations(columns, 2)
    for first, second in pairs:
        row = {name: chosen.choice(values) for name, values in columns.items()}
        row[first], row[second] = columns[first][-1], columns[second][-1]
        add_session(connection, **row)
    expected = [from_sessions_alone(connection, query, **_RANGE) for query in EVERYTHING]
    rollup.refresh(connection)

    assert 136 == len(expected[0])
    assert expected == [connection.run(query, **_RANGE) for query in EVERYTHING]
    assert 136 == connection.run("SELECT sum(sessions) FROM qoe_hourly WHERE all_sessions")[0][0]
