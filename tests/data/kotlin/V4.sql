CREATE TABLE session_timeline (
    id bigserial PRIMARY KEY,
    session_id varchar(128) NOT NULL,
    timestamp_ms bigint NOT NULL,
    elapsed_ms bigint NOT NULL,
    playback_state varchar(16),
    current_bitrate integer,
    network_type varchar(16),
    total_dropped_frames bigint,
    buffered_duration_ms bigint,
    rebuffer_count integer,
    rebuffer_time_ms bigint,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_timeline_session_timestamp ON session_timeline (session_id, timestamp_ms);
CREATE INDEX idx_timeline_session_id ON session_timeline (session_id);
