-- The bare database: one upsert of one new session, prepared, as every contestant's but without HTTP, JSON and checks.
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    gen_random_uuid()::text, :timestamp_ms, '2026-02-15T10:00:00.000Z', 45000, 450, 1200, 2, 42000, 0.028, 12, 1, 300,
    2500000, 0, 'Pixel 8', 34, '1.0.1', 'WIFI', m3w_event_at(:timestamp_ms, now())
)
ON CONFLICT (session_id) DO UPDATE SET
    timestamp = EXCLUDED.timestamp,
    session_start_date_iso = EXCLUDED.session_start_date_iso,
    session_duration_ms = EXCLUDED.session_duration_ms,
    startup_time_ms = EXCLUDED.startup_time_ms,
    rebuffer_time_ms = EXCLUDED.rebuffer_time_ms,
    rebuffer_count = EXCLUDED.rebuffer_count,
    play_time_ms = EXCLUDED.play_time_ms,
    rebuffer_ratio = EXCLUDED.rebuffer_ratio,
    total_dropped_frames = EXCLUDED.total_dropped_frames,
    total_seek_count = EXCLUDED.total_seek_count,
    total_seek_time_ms = EXCLUDED.total_seek_time_ms,
    mean_video_format_bitrate = EXCLUDED.mean_video_format_bitrate,
    error_count = EXCLUDED.error_count,
    device_model = EXCLUDED.device_model,
    os_version = EXCLUDED.os_version,
    sdk_version = EXCLUDED.sdk_version,
    connection_type = EXCLUDED.connection_type,
    received_at = EXCLUDED.received_at,
    event_at = EXCLUDED.event_at
WHERE sessions.timestamp <= EXCLUDED.timestamp;
