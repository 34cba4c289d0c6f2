-- Run after V1 where the database is the Kotlin backend's, in the transaction of V1: copies the rows that
-- adopt_kotlin_prepare.sql put aside, and drops the old tables.
--
-- What comes out is what the backend would have accepted. Media3's values for "not measured" (-2^63 + 1 and
-- -1) and every other number below zero become null. A time that no calendar holds becomes the time of
-- arrival, or such a row would be the newest of its session for ever and no later summary could replace it.

INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type,
    created_at, received_at, event_at
)
SELECT
    old.session_id,
    clock.timestamp_ms,
    old.session_start_date_iso,
    greatest(old.session_duration_ms, 1),
    CASE WHEN old.startup_time_ms >= 0 THEN old.startup_time_ms END,
    CASE WHEN old.rebuffer_time_ms >= 0 THEN old.rebuffer_time_ms END,
    CASE WHEN old.rebuffer_count >= 0 THEN old.rebuffer_count END,
    CASE WHEN old.play_time_ms >= 0 THEN old.play_time_ms END,
    -- NaN is greater than every number to PostgreSQL, so it is left out here.
    CASE WHEN old.rebuffer_ratio BETWEEN 0 AND 1 THEN old.rebuffer_ratio END,
    CASE WHEN old.total_dropped_frames >= 0 THEN old.total_dropped_frames END,
    CASE WHEN old.total_seek_count >= 0 THEN old.total_seek_count END,
    CASE WHEN old.total_seek_time_ms >= 0 THEN old.total_seek_time_ms END,
    CASE WHEN old.mean_video_format_bitrate >= 0 THEN old.mean_video_format_bitrate END,
    CASE WHEN old.error_count >= 0 THEN old.error_count END,
    old.device_model,
    CASE WHEN old.os_version >= 0 THEN old.os_version END,
    old.sdk_version,
    old.connection_type,
    old.created_at,
    -- Of the arrivals only the first was written down.
    old.created_at,
    m3w_event_at(clock.timestamp_ms, old.created_at)
FROM kotlin_sessions AS old
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN old.timestamp BETWEEN 1 AND 253402300799999 THEN old.timestamp
        ELSE floor(extract(epoch FROM old.created_at) * 1000)::bigint
    END AS timestamp_ms
) AS clock;

INSERT INTO session_timeline (
    session_id, timestamp_ms, elapsed_ms, playback_state, current_bitrate, network_type, total_dropped_frames,
    buffered_duration_ms, rebuffer_count, rebuffer_time_ms, created_at
)
SELECT DISTINCT ON (entry.session_id, entry.timestamp_ms, entry.playback_state)
    entry.session_id,
    entry.timestamp_ms,
    -- greatest() passes over nulls.
    greatest(old.elapsed_ms, 0),
    entry.playback_state,
    CASE WHEN old.current_bitrate >= 0 THEN old.current_bitrate END,
    old.network_type,
    greatest(old.total_dropped_frames, 0),
    CASE WHEN old.buffered_duration_ms >= 0 THEN old.buffered_duration_ms END,
    greatest(old.rebuffer_count, 0),
    greatest(old.rebuffer_time_ms, 0),
    old.created_at
FROM kotlin_session_timeline AS old
CROSS JOIN LATERAL (
    SELECT
        -- Sorted as the new key is, and without the cost of a language's rules.
        old.session_id COLLATE "C" AS session_id,
        CASE
            WHEN old.timestamp_ms BETWEEN 1 AND 253402300799999 THEN old.timestamp_ms
            ELSE floor(extract(epoch FROM old.created_at) * 1000)::bigint
        END AS timestamp_ms,
        -- The old column takes null and any text. IDLE is the state that claims least.
        CASE
            WHEN old.playback_state IN ('IDLE', 'BUFFERING', 'PLAYING', 'PAUSED', 'ENDED')
            THEN old.playback_state
            ELSE 'IDLE'
        END AS playback_state
) AS entry
-- The Kotlin backend wrote an entry again with each repetition of a request; the first is the one that
-- counted.
ORDER BY entry.session_id, entry.timestamp_ms, entry.playback_state, old.id;

-- Whoever could read the tables still can, and they stay with their owner, whatever role migrates.
DO $$
DECLARE
    old_owner regrole := (SELECT relowner FROM pg_class WHERE oid = 'kotlin_sessions'::regclass);
    privilege record;
BEGIN
    FOR privilege IN
        SELECT
            pair.new_table,
            acl.privilege_type,
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
        FROM (VALUES
            ('kotlin_sessions'::regclass, 'sessions'::regclass),
            ('kotlin_session_timeline'::regclass, 'session_timeline'::regclass)
        ) AS pair (old_table, new_table)
        JOIN pg_class ON pg_class.oid = pair.old_table
        CROSS JOIN aclexplode(pg_class.relacl) AS acl
        WHERE acl.grantee <> pg_class.relowner
    LOOP
        EXECUTE format(
            'GRANT %s ON %s TO %s', privilege.privilege_type, privilege.new_table, privilege.grantee
        );
    END LOOP;

    IF old_owner <> current_user::regrole THEN
        EXECUTE format('ALTER TABLE sessions OWNER TO %s', old_owner);
        EXECUTE format('ALTER TABLE session_timeline OWNER TO %s', old_owner);
        EXECUTE format('ALTER TABLE m3w_migrations OWNER TO %s', old_owner);
    END IF;
END
$$;

-- Flyway's history too: without it a Kotlin backend that is started by mistake refuses these tables, instead
-- of taking them for its own.
DROP TABLE kotlin_sessions, kotlin_session_timeline, flyway_schema_history;
