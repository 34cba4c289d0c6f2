-- Run before V1 where the database is the Kotlin backend's, in the transaction of V1: brings its tables from
-- Flyway's version 2 or 3 to the shape of version 4, then renames them so that V1 finds its names free.

ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS device_model text,
    ADD COLUMN IF NOT EXISTS os_version integer,
    ADD COLUMN IF NOT EXISTS sdk_version text,
    ADD COLUMN IF NOT EXISTS connection_type text;

CREATE TABLE IF NOT EXISTS session_timeline (
    id bigint,
    session_id text,
    timestamp_ms bigint,
    elapsed_ms bigint,
    playback_state text,
    current_bitrate integer,
    network_type text,
    total_dropped_frames bigint,
    buffered_duration_ms bigint,
    rebuffer_count integer,
    rebuffer_time_ms bigint,
    created_at timestamptz
);

ALTER TABLE sessions RENAME TO kotlin_sessions;
ALTER TABLE session_timeline RENAME TO kotlin_session_timeline;

-- The names of indexes are shared by all tables of a schema, so the old ones must make room too. By number,
-- because the owner may have added some. Constraints follow their index.
DO $$
DECLARE
    old regclass;
BEGIN
    FOR old IN
        SELECT indexrelid
        FROM pg_index
        WHERE indrelid IN ('kotlin_sessions'::regclass, 'kotlin_session_timeline'::regclass)
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', old, 'kotlin_index_' || old::oid);
    END LOOP;
END
$$;
