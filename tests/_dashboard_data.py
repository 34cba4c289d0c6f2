"""
Sessions that give every panel of the dashboards something to show.

Of every outcome, with names that try to break out of a query. The demo's are more life-like, but take longer to make.
"""

from __future__ import annotations

from pg8000.native import Connection

#: What a device may call itself: quotes, a macro and a variable of Grafana, a comment.
HOSTILE = (
    "O'Neill''s; DROP TABLE sessions--",
    "$__timeFrom(x)",
    "${device_model:sqlstring}",
    'a"b\\c',
    "Ünïcode 📱",
    "",
)

SESSION = "s-7"

_SESSIONS = """
INSERT INTO sessions (
    session_id, timestamp, event_at, received_at, created_at, session_start_date_iso, session_duration_ms,
    startup_time_ms, rebuffer_time_ms, play_time_ms, rebuffer_count, rebuffer_ratio, total_dropped_frames,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, received_via, extra
)
SELECT
    's-' || n,
    CASE WHEN n % 41 = 0 THEN 253402300799999 ELSE (date_part('epoch', event_at) * 1000)::bigint END,
    event_at,
    event_at + CASE WHEN n % 17 = 0 THEN interval '6 hours' ELSE interval '1 second' END,
    event_at,
    CASE WHEN n % 13 = 0 THEN 'null' ELSE '2026-02-15T10:00:00.000Z' END,
    CASE WHEN n % 97 = 0 THEN 9223372036854775807 ELSE 60000 + n END,
    CASE WHEN n % 10 <> 0 THEN 200 + (n * n) % 9000 END,
    CASE WHEN n % 10 <> 0 THEN (n % 7) * 500 END,
    CASE WHEN n % 10 <> 0 OR n % 30 = 0 THEN 50000 END,
    n % 7,
    CASE WHEN n % 97 = 0 THEN 1e-38 WHEN n % 10 <> 0 THEN 0.01 * (n % 7) END,
    n % 20,
    CASE WHEN n % 9 <> 0 THEN 2500000 END,
    CASE WHEN n % 20 = 0 OR n % 33 = 0 THEN 1 ELSE 0 END,
    CASE WHEN n % 3 = 0 THEN (CAST(:hostile AS text[]))[1 + n / 3 % 6] WHEN n % 3 = 1 THEN 'Pixel 8' END,
    CASE WHEN n % 5 > 0 THEN 30 + n % 5 END,
    CASE WHEN n % 4 > 0 THEN '1.' || n % 4 END,
    CASE WHEN n % 6 > 0 THEN 'Wi-Fi' END,
    CASE WHEN n % 2 = 0 THEN 'M3W_API_KEY' END,
    CASE n % 4
        WHEN 0 THEN NULL
        WHEN 1 THEN '{"contentId": "film-1", "it''s": {"a": [1]}}'::jsonb
        ELSE '{"contentId": "film-2", "appVersion": 7}'::jsonb
    END
FROM (
    SELECT n, now() - interval '1 hour' - n * interval '2 minutes' AS event_at FROM generate_series(1, 600) AS n
) AS moments
UNION ALL
SELECT
    'live-' || n, (date_part('epoch', now()) * 1000)::bigint, now(), now(), now(), '2026-02-15T10:00:00.000Z', 60000,
    400 + n, 100 * n, 50000, n, 0.01, 0, 3000000, 0, 'Pixel 8', 34, '1.1', 'Wi-Fi', NULL, NULL
FROM generate_series(1, 20) AS n
"""

_TIMELINE = """
INSERT INTO session_timeline (
    session_id, timestamp_ms, elapsed_ms, playback_state, current_bitrate, total_dropped_frames, buffered_duration_ms,
    rebuffer_count, rebuffer_time_ms, network_type
)
SELECT
    's-7', 1771150045000 + n * 1000, n / 2 * 2000,
    (ARRAY['IDLE', 'BUFFERING', 'PLAYING', 'PAUSED', 'ENDED'])[1 + n % 5],
    CASE WHEN n % 3 > 0 THEN n * 1000000 END, n, CASE WHEN n % 4 > 0 THEN n * 500 END, n / 5, n * 100, 'Wi-Fi'
FROM generate_series(0, 40) AS n
"""

_REJECTED = """
INSERT INTO rejected_payloads (
    received_at, payload_bytes, received_via, route, media_type, code, reason, message, payload
)
SELECT now() - n * interval '1 hour', 2, 'M3W_API_KEY', '/v1/sessions', 'application/json', 'INVALID_SCHEMA',
    CASE WHEN n % 2 = 0 THEN 'unreadable' ELSE 'rebufferRatio' END, 'no', '{}'
FROM generate_series(1, 9) AS n
"""


def fill(connection: Connection) -> None:
    """Write them: 600 sessions of the last day, 20 in progress, a timeline of `SESSION`, 9 rejected payloads."""
    connection.run(_SESSIONS, hostile=list(HOSTILE))
    connection.run(_TIMELINE)
    connection.run(_REJECTED)
