CREATE TABLE sessions (
    id bigserial PRIMARY KEY,
    session_id varchar(128) NOT NULL UNIQUE,
    timestamp timestamptz NOT NULL,
    content_id varchar(256),
    stream_type varchar(16),
    player_startup_ms integer,
    rebuffer_time_ms integer,
    rebuffer_count integer,
    error_count integer,
    payload jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_sessions_timestamp ON sessions (timestamp DESC);
CREATE INDEX idx_sessions_payload ON sessions USING gin (payload);
