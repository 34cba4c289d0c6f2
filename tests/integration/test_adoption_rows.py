"""
What becomes of the values of the Kotlin backend's rows.

That backend stored some that ours refuses: the adopted row is one that could have been sent to us.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pg8000.native import Connection

from m3w_core.model import TIME_UNSET
from tests._kotlin import (
    CREATED_AT,
    CREATED_AT_MS,
    DEVICE,
    ENTRY,
    SESSION,
    insert,
    make_kotlin_database,
    migrate,
    read,
)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_every_value_of_a_session_is_kept(connection: Connection, version: int) -> None:
    """
    Of each version; what it did not know yet is null.
    """
    make_kotlin_database(connection, version)
    row = SESSION | (DEVICE if version >= 3 else {})
    insert(connection, "sessions", row)
    migrate(connection)

    assert [
        dict.fromkeys(DEVICE)
        | row
        | {
            "received_at": CREATED_AT,
            "event_at": datetime(2026, 2, 15, 10, 0, 45, tzinfo=UTC),
            "extra": None,
            "received_via": None,
            "earlier_event_at_min": None,
            "earlier_event_at_max": None,
        }
    ] == read(connection, "sessions")


def test_every_value_of_a_timeline_is_kept(connection: Connection) -> None:
    """
    With the time at which it came.
    """
    make_kotlin_database(connection, 4)
    insert(connection, "session_timeline", ENTRY)
    migrate(connection)

    assert [ENTRY] == read(connection, "session_timeline")


def test_a_number_that_was_not_measured_becomes_null(connection: Connection) -> None:
    """
    Media3 says "not measured" with numbers below zero. The rest of the row is kept.
    """
    make_kotlin_database(connection, 4)
    times = [
        "startup_time_ms",
        "rebuffer_time_ms",
        "play_time_ms",
        "total_dropped_frames",
        "total_seek_time_ms",
    ]
    counts = ["rebuffer_count", "total_seek_count", "error_count", "mean_video_format_bitrate", "os_version"]
    unset = [(column, TIME_UNSET) for column in times] + [(column, -1) for column in times + counts]
    expected = {}
    for column, value in unset:
        row = SESSION | DEVICE | {"session_id": f"{column} {value}"}
        insert(connection, "sessions", row | {column: value})
        expected[row["session_id"]] = row | {column: None}
    migrate(connection)

    assert 15 == len(expected)
    assert expected == {
        row["session_id"]: {name: row[name] for name in SESSION | DEVICE}
        for row in read(connection, "sessions")
    }


def test_a_ratio_is_a_fraction_or_null(connection: Connection) -> None:
    """
    0 and 1 are fractions.
    """
    make_kotlin_database(connection, 2)
    for ratio in ("0", "1", "1.0000001", "-0.1", "NaN", "Infinity"):
        insert(connection, "sessions", SESSION | {"session_id": ratio, "rebuffer_ratio": ratio})
    migrate(connection)

    assert {"0": 0.0, "1": 1.0, "1.0000001": None, "-0.1": None, "NaN": None, "Infinity": None} == {
        row["session_id"]: row["rebuffer_ratio"] for row in read(connection, "sessions")
    }


def test_zero_is_a_value(connection: Connection) -> None:
    """
    Nothing but what is below zero becomes null.
    """
    make_kotlin_database(connection, 4)
    zeros = {
        name: 0
        for name, value in (SESSION | DEVICE).items()
        if isinstance(value, int) and name not in ("timestamp", "session_duration_ms")
    }
    insert(connection, "sessions", SESSION | DEVICE | zeros)
    migrate(connection)
    [row] = read(connection, "sessions")

    assert 10 == len(zeros)
    assert zeros == {name: row[name] for name in zeros}


def test_a_timestamp_of_no_calendar_becomes_the_time_of_arrival(connection: Connection) -> None:
    """
    1 ms to the end of the year 9999 is kept as it is.
    """
    make_kotlin_database(connection, 4)
    expected = {
        1: 1,
        253_402_300_799_999: 253_402_300_799_999,
        253_402_300_800_000: CREATED_AT_MS,
        2**63 - 1: CREATED_AT_MS,
        0: CREATED_AT_MS,
        -(2**63): CREATED_AT_MS,
    }
    for timestamp_ms in expected:
        insert(connection, "sessions", SESSION | {"session_id": str(timestamp_ms), "timestamp": timestamp_ms})
        insert(
            connection,
            "session_timeline",
            ENTRY | {"session_id": str(timestamp_ms), "timestamp_ms": timestamp_ms},
        )
    migrate(connection)

    assert expected == {int(row["session_id"]): row["timestamp"] for row in read(connection, "sessions")}
    assert expected == {
        int(row["session_id"]): row["timestamp_ms"] for row in read(connection, "session_timeline")
    }


def test_charts_use_the_clients_time_if_it_is_plausible(connection: Connection) -> None:
    """
    From 30 days before to 5 minutes after the arrival, which is the first one, as no other was written down.
    """
    make_kotlin_database(connection, 2)
    ahead = {
        timedelta(days=-30): timedelta(days=-30),
        timedelta(days=-30, milliseconds=-1): timedelta(0),
        timedelta(minutes=5): timedelta(minutes=5),
        timedelta(minutes=5, milliseconds=1): timedelta(0),
        timedelta(days=365_000): timedelta(0),
    }
    for client_ahead in ahead:
        timestamp_ms = CREATED_AT_MS + client_ahead // timedelta(milliseconds=1)
        insert(connection, "sessions", SESSION | {"session_id": str(timestamp_ms), "timestamp": timestamp_ms})
    migrate(connection)
    rows = read(connection, "sessions", "timestamp")

    assert sorted(ahead) == [timedelta(milliseconds=row["timestamp"] - CREATED_AT_MS) for row in rows]
    assert [CREATED_AT] * 5 == [row["received_at"] for row in rows]
    assert [CREATED_AT + ahead[client] for client in sorted(ahead)] == [row["event_at"] for row in rows]


def test_a_duration_is_at_least_a_millisecond(connection: Connection) -> None:
    """
    As for every summary that is sent.
    """
    make_kotlin_database(connection, 2)
    insert(connection, "sessions", SESSION | {"session_duration_ms": TIME_UNSET})
    migrate(connection)

    assert [1] == [row["session_duration_ms"] for row in read(connection, "sessions")]


def test_of_timeline_duplicates_the_first_stays(connection: Connection) -> None:
    """
    First is what was written first. Another time, state or session makes another entry.
    """
    make_kotlin_database(connection, 4)
    later_in_the_table_but_first_written = ENTRY | {"id": 7, "elapsed_ms": 1}
    insert(connection, "session_timeline", ENTRY | {"id": 8, "elapsed_ms": 2})
    insert(connection, "session_timeline", later_in_the_table_but_first_written)
    insert(connection, "session_timeline", ENTRY | {"id": 9, "playback_state": "PAUSED"})
    insert(connection, "session_timeline", ENTRY | {"id": 10, "timestamp_ms": ENTRY["timestamp_ms"] + 1})
    insert(connection, "session_timeline", ENTRY | {"id": 11, "session_id": "another"})
    migrate(connection)

    assert [
        ENTRY | {"playback_state": "PAUSED"},
        ENTRY | {"elapsed_ms": 1},
        ENTRY | {"timestamp_ms": ENTRY["timestamp_ms"] + 1},
        ENTRY | {"session_id": "another"},
    ] == read(connection, "session_timeline", "session_id, timestamp_ms, playback_state")


def test_entries_that_fall_together_by_their_repair_are_duplicates_too(connection: Connection) -> None:
    """
    Two times that no calendar holds, of one arrival, are one time.
    """
    make_kotlin_database(connection, 4)
    insert(connection, "session_timeline", ENTRY | {"timestamp_ms": 2**63 - 1, "elapsed_ms": 1})
    insert(connection, "session_timeline", ENTRY | {"timestamp_ms": -5, "elapsed_ms": 2})
    migrate(connection)

    assert [ENTRY | {"timestamp_ms": CREATED_AT_MS, "elapsed_ms": 1}] == read(connection, "session_timeline")


def test_an_entry_without_a_known_state_is_kept_as_idle(connection: Connection) -> None:
    """
    The state is part of the key, so it cannot be null, and of the contract, so it is one of five words.
    """
    make_kotlin_database(connection, 4)
    for state in (None, "", "READY", "playing", "IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED"):
        insert(connection, "session_timeline", ENTRY | {"session_id": str(state), "playback_state": state})
    migrate(connection)

    assert {
        "None": "IDLE",
        "": "IDLE",
        "READY": "IDLE",
        "playing": "IDLE",
        "IDLE": "IDLE",
        "BUFFERING": "BUFFERING",
        "PLAYING": "PLAYING",
        "PAUSED": "PAUSED",
        "ENDED": "ENDED",
    } == {row["session_id"]: row["playback_state"] for row in read(connection, "session_timeline")}


def test_numbers_of_an_entry_that_are_not_known(connection: Connection) -> None:
    """
    Null where the contract has null, else 0.
    """
    make_kotlin_database(connection, 4)
    required = ("total_dropped_frames", "rebuffer_count", "rebuffer_time_ms")
    optional = ("current_bitrate", "buffered_duration_ms")
    missing = ENTRY | dict.fromkeys(required + optional) | {"session_id": "1", "network_type": None}
    negative = ENTRY | dict.fromkeys(required + optional, -1) | {"session_id": "2", "elapsed_ms": -1}
    insert(connection, "session_timeline", missing)
    insert(connection, "session_timeline", negative)
    migrate(connection)

    assert [
        missing | dict.fromkeys(required, 0),
        negative | dict.fromkeys(required, 0) | dict.fromkeys(optional) | {"elapsed_ms": 0},
    ] == read(connection, "session_timeline")
