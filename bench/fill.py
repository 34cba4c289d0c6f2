"""
Many life-like sessions straight into the table, for measuring queries.

A week of the demo's sessions is made once and then repeated by PostgreSQL, each copy with an ID and a time of its
own: ten million take minutes, through the API they would take an hour. They have no timelines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

from pg8000.native import Connection

from m3w_core import session_from_dict
from m3w_core._rows import SESSION_COLUMNS, encode_sessions
from m3w_http.demo.generator import Plan, generate

_POOL_SESSIONS = 20_000
_POOL_DAYS = 7
_ENCODED_AT_ONCE = 2_000

_TYPED_COLUMNS = ", ".join(f"{name} {kind}" for name, kind in SESSION_COLUMNS.items())
_OTHER_COLUMNS = [
    name for name in SESSION_COLUMNS if name not in ("session_id", "timestamp", "session_start_date_iso")
]

# A clock that is off by years says nothing of when it was: in the demo that is the last hour.
_MAKE_POOL = f"""
CREATE TEMPORARY TABLE pool AS
SELECT
    off.years_off, age / 86400000 AS weekday, age % 86400000 AS age_ms,
    CASE WHEN off.years_off THEN off.ms ELSE 0 END AS clock_ms,
    row_number() OVER (PARTITION BY age / 86400000 ORDER BY r.session_id) - 1 AS place,
    {", ".join(f"r.{name}" for name in _OTHER_COLUMNS)}
FROM raw_pool AS r,
    LATERAL (SELECT r.timestamp - CAST(:end_ms AS bigint) AS ms) AS apart,
    LATERAL (SELECT apart.ms, abs(apart.ms) > 30 * 86400000::bigint AS years_off) AS off,
    LATERAL (
        SELECT CASE WHEN off.years_off THEN 1800000 ELSE least(greatest(-off.ms, 0), 604799999) END AS age
    ) AS aged
"""

_ADD_TO_POOL = f"""
INSERT INTO raw_pool
SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r({_TYPED_COLUMNS})
"""

# Three in a hundred arrive hours late. In the order of arrival, as that is how a table fills.
_FILL_DAY = f"""
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, event_at, received_at, created_at, {", ".join(_OTHER_COLUMNS)}
)
SELECT
    md5(:seed || ' ' || :day || ' ' || number)::uuid::text,
    floor(extract(epoch FROM ended_at) * 1000)::bigint + clock_ms,
    to_char((ended_at - session_duration_ms * interval '1 ms') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    CASE WHEN years_off THEN arrived_at ELSE ended_at END,
    arrived_at,
    least(arrived_at, ended_at - session_duration_ms * interval '1 ms'),
    {", ".join(_OTHER_COLUMNS)}
FROM (
    SELECT *, least(
        CAST(:end AS timestamptz),
        ended_at + CASE WHEN late < 0.03 THEN late / 0.03 * interval '20 hours' ELSE interval '300 ms' END
    ) AS arrived_at
    FROM (
        SELECT pool.*, number, random() AS late, date_trunc(
            'milliseconds',
            CAST(:end AS timestamptz) - CAST(:day AS int) * interval '24 hours'
                - least(86400000, greatest(400, age_ms + (random() - 0.5) * 3600000)) * interval '1 ms'
        ) AS ended_at
        FROM generate_series(0, CAST(:count AS int) - 1) AS number
        JOIN pool ON weekday = CAST(:weekday AS int) AND place = number % CAST(:places AS int)
    ) AS drawn
) AS timed
ORDER BY arrived_at
"""


def write_directly(
    connection: Connection,
    *,
    sessions: int,
    days: int,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """
    Fill the table of sessions; the rollup is the caller's business.

    Args:
        connection: To a database whose migrations are current, with no limit to how long a statement takes. Nobody
            else writes to it meanwhile: the key is dropped, and built again at the end.
        sessions: How many to add.
        days: Over how many days, until now.
        seed: Of everything random.
        say: Is told how far it is.
    """
    end = datetime.now(UTC)
    places = _make_pool(connection, min(sessions, _POOL_SESSIONS), int(end.timestamp() * 1000), seed)
    whole = sum(places[day % _POOL_DAYS] for day in range(days))
    connection.run("ALTER TABLE sessions DROP CONSTRAINT sessions_pkey")
    connection.run("SELECT setseed(:seed)", seed=1 / (1 + seed))
    begun, done, passed = time.monotonic(), 0, 0
    for day in reversed(range(days)):
        passed += places[day % _POOL_DAYS]
        count = sessions * passed // whole - done
        connection.run(
            _FILL_DAY,
            seed=str(seed),
            day=str(day),
            end=end,
            weekday=day % _POOL_DAYS,
            count=count,
            places=max(1, places[day % _POOL_DAYS]),
        )
        done += count
        say(f"filling    {done:>12,} of {sessions:,} sessions, {time.monotonic() - begun:.0f} s")
    connection.run("ALTER TABLE sessions ADD CONSTRAINT sessions_pkey PRIMARY KEY (session_id)")
    connection.run("DROP TABLE pool")
    connection.run("VACUUM (ANALYZE) sessions")
    say(f"filled     {sessions:>12,} sessions in {time.monotonic() - begun:.0f} s")


def _make_pool(connection: Connection, sessions: int, end_ms: int, seed: int) -> dict[int, int]:
    """Make a week of sessions to draw from; gives how many each day of it has, counted back from the end."""
    plan = Plan(sessions=sessions, days=_POOL_DAYS, end_ms=end_ms, seed=seed)
    # The late reports at the end repeat sessions.
    summaries = islice(generate(plan), sessions)
    connection.run(f"CREATE TEMPORARY TABLE raw_pool ({_TYPED_COLUMNS})")
    while chunk := [session_from_dict(each) for each in islice(summaries, _ENCODED_AT_ONCE)]:
        connection.run(_ADD_TO_POOL, rows=encode_sessions(chunk))
    connection.run(_MAKE_POOL, end_ms=end_ms)
    connection.run("DROP TABLE raw_pool")
    found = dict(connection.run("SELECT weekday::int, count(*)::int FROM pool GROUP BY weekday"))
    return {day: found.get(day, 0) for day in range(_POOL_DAYS)}
