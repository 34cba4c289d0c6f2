"""
The benchmark's way to many sessions.
"""

from __future__ import annotations

from contextlib import closing

from bench.fill import write_directly
from tests._databases import connect

# It takes seconds until they are counted, and by then the newest have moved on a little.
BY_DAY = """
SELECT (age_s - 60) / 86400, count(*)
FROM sessions, LATERAL (SELECT floor(extract(epoch FROM now() - event_at))::int AS age_s) AS aged
WHERE age_s >= 60 GROUP BY 1 ORDER BY 1
"""

COUNTS = """
SELECT count(*), count(*) FILTER (WHERE extra @> '{"m3wDemo": true}'),
    count(*) FILTER (WHERE received_at - event_at > interval '1 hour'),
    count(*) FILTER (WHERE event_at = m3w_event_at(timestamp, received_at) AND created_at <= received_at)
FROM sessions
"""


def test_sessions_are_repeated_over_the_days(migrated_database):
    """
    So many as asked for, none outside, each weekday as busy as its like, and a few late arrivals.
    """
    said = []
    with closing(connect(migrated_database)) as connection:
        write_directly(connection, sessions=2_000, days=15, seed=3, say=said.append)
        days = connection.run(BY_DAY)
        ((sessions, known, late, consistent),) = connection.run(COUNTS)
        again = connection.run(
            "INSERT INTO sessions TABLE sessions ON CONFLICT (session_id) DO NOTHING RETURNING 1"
        )

    counts = [count for _, count in days]
    assert (sessions, known, again) == (2_000, 2_000, [])
    assert ([day for day, _ in days], min(counts) > 70, max(counts) < 300) == (list(range(15)), True, True)
    assert abs(counts[1] - counts[8]) < 30
    assert 30 < late < 90
    assert consistent > 1_990
    assert said[-1].startswith("filled            2,000 sessions in ")
