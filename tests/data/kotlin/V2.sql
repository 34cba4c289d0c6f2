DROP TABLE sessions;
CREATE TABLE sessions (
    id bigserial PRIMARY KEY,
    session_id varchar(128) NOT NULL UNIQUE,
    timestamp bigint NOT NULL,
    session_start_date_iso varchar(64) NOT NULL,
    session_duration_ms bigint NOT NULL,
    startup_time_ms bigint,
    rebuffer_time_ms bigint,
    rebuffer_count integer,
    play_time_ms bigint,
    rebuffer_ratio real,
    total_dropped_frames bigint,
    total_seek_count integer,
    total_seek_time_ms bigint,
    mean_video_format_bitrate integer,
    error_count integer,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_sessions_timestamp ON sessions (timestamp DESC);
CREATE INDEX idx_sessions_startup ON sessions (startup_time_ms) WHERE startup_time_ms IS NOT NULL;
CREATE INDEX idx_sessions_errors ON sessions (error_count, timestamp DESC) WHERE error_count > 0;
CREATE INDEX idx_sessions_rebuffer ON sessions (rebuffer_ratio) WHERE rebuffer_ratio IS NOT NULL;
