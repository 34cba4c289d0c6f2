"""
What an export holds: which sessions, and how CSV and Parquet write them.
"""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from m3w_core.export import ExportError
from tests.factories import TIMESTAMP_MS, a_session

LONG_AGO = datetime(2026, 2, 15, 10, 7, 25, 123456, UTC)


def test_the_period_goes_by_event_at(store, sql, export):
    """
    From the first moment on, up to but without the second; no bound is no bound.
    """
    store([a_session(str(number)) for number in range(4)])
    sql(
        "UPDATE sessions SET event_at = CAST(:at AS timestamptz) + CAST(session_id AS int) * interval '1 day'",
        at=LONG_AGO,
    )
    day = timedelta(days=1)

    def found(**period):
        return [json.loads(line)["sessionId"] for line in export(**period).splitlines()]

    assert found() == ["0", "1", "2", "3"]
    assert found(since=LONG_AGO + day) == ["1", "2", "3"]
    assert found(until=LONG_AGO + day) == ["0"]
    assert found(since=LONG_AGO + day, until=LONG_AGO + 3 * day) == ["1", "2"]


def test_csv_has_the_columns_of_the_table(store, sql, export):
    """
    As PostgreSQL writes it: no value is nothing, an empty one is "".
    """
    store([a_session(device_model='Pixel "8", new', sdk_version="", rebuffer_ratio=0.25, extra={"a": 1})])
    sql("UPDATE sessions SET created_at = :at, received_at = :at, event_at = :at", at=LONG_AGO)

    time = "2026-02-15 10:07:25.123456+00"
    assert export(format_="csv").decode().splitlines() == [
        (
            "session_id,timestamp,session_start_date_iso,session_duration_ms,startup_time_ms,rebuffer_time_ms,"
            "rebuffer_count,play_time_ms,rebuffer_ratio,total_dropped_frames,total_seek_count,total_seek_time_ms,"
            "mean_video_format_bitrate,error_count,device_model,os_version,sdk_version,connection_type,extra,"
            "created_at,received_at,event_at,received_via"
        ),
        (
            f"s-1,{TIMESTAMP_MS},2026-02-15T10:00:00.000Z,45000,,,,,0.25,,,,,,"
            f'"Pixel ""8"", new",,"",,"{{""a"": 1}}",{time},{time},{time},'
        ),
    ]


def test_parquet_has_the_types_of_the_table(store, sql, export):
    """
    Nulls and empty strings are told apart, and no number loses a digit.
    """
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    store(
        [
            a_session("a", device_model="new\nline", sdk_version="", rebuffer_ratio=0.1, extra={"a": 1e19}),
            a_session("b", session_duration_ms=2**63 - 1),
        ]
    )
    sql("UPDATE sessions SET created_at = :at, received_at = :at, event_at = :at", at=LONG_AGO)

    rows = parquet.read_table(io.BytesIO(export(format_="parquet"))).to_pylist()

    assert [(row["device_model"], row["sdk_version"], row["extra"]) for row in rows] == [
        ("new\nline", "", '{"a": 10000000000000000000}'),
        (None, None, None),
    ]
    assert rows[0]["rebuffer_ratio"] == pytest.approx(0.1)
    assert rows[1]["session_duration_ms"] == 2**63 - 1
    assert {row[name] for row in rows for name in ("created_at", "received_at", "event_at")} == {LONG_AGO}
    assert list(rows[0]) == export(format_="csv").decode().partition("\n")[0].split(",")


def test_parquet_of_no_sessions_is_a_table_all_the_same(export):
    """
    A program that reads it finds the columns.
    """
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    table = parquet.read_table(io.BytesIO(export(format_="parquet")))

    assert (table.num_rows, table.num_columns) == (0, 23)


def test_without_pyarrow_the_message_says_what_to_install(export, monkeypatch):
    """
    Or which formats there are without it.
    """
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(
        ExportError, match=r"pip install 'media3watch-backend\[parquet\]', or take another --format"
    ):
        export(format_="parquet")
