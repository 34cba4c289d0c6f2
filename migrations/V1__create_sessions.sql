-- Sessions and their timelines.
--
-- So that the tables can be distributed by session_id later, every key begins with it, nothing is numbered by
-- a sequence, and there are no triggers.

-- Which time charts, rollups and retention go by. One function, so that every writer decides alike.
--
-- Everything in the body is immutable, or PostgreSQL would not inline it (timestamptz + interval is not,
-- since it depends on the time zone; the difference of two instants is). The value is brought into range
-- before the conversion, because the planner may convert a constant whatever the CASE around it says.
CREATE FUNCTION m3w_event_at(timestamp_ms bigint, received_at timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN to_timestamp(least(greatest(timestamp_ms, 0), 253402300799999) / 1000::float8) - received_at
            BETWEEN interval '-30 days' AND interval '5 minutes'
        THEN to_timestamp(least(greatest(timestamp_ms, 0), 253402300799999) / 1000::float8)
        ELSE received_at
    END;

COMMENT ON FUNCTION m3w_event_at(bigint, timestamptz) IS
    'The client''s time if it lies between 30 days before and 5 minutes after received_at, else received_at.';

-- A playing session is rewritten every 15 s. An update is cheap (HOT: no index is touched, the old row's
-- space is used again) as long as no indexed column changes and its page has room for a second copy. So every
-- index here but the key is BRIN, the one kind that does not forbid HOT, and pages are filled to 60 % only.
-- Do not add another B-tree on a column that an update changes, which is every column but session_id and
-- created_at.
--
-- Columns go from wide to narrow, so that none is preceded by padding. The key is compared byte by byte:
-- faster, and an upgrade of the operating system's collations cannot corrupt its index.
CREATE TABLE sessions (
    timestamp bigint NOT NULL,
    session_duration_ms bigint NOT NULL,
    event_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    startup_time_ms bigint,
    rebuffer_time_ms bigint,
    play_time_ms bigint,
    total_dropped_frames bigint,
    total_seek_time_ms bigint,
    mean_video_format_bitrate bigint,
    rebuffer_count integer,
    total_seek_count integer,
    error_count integer,
    os_version integer,
    rebuffer_ratio real,
    session_id text COLLATE "C" PRIMARY KEY,
    session_start_date_iso text NOT NULL,
    device_model text,
    sdk_version text,
    connection_type text,
    extra jsonb
) WITH (fillfactor = 60);

CREATE INDEX sessions_event_at_idx ON sessions USING brin (event_at) WITH (autosummarize = on);
CREATE INDEX sessions_received_at_idx ON sessions USING brin (received_at) WITH (autosummarize = on);

COMMENT ON TABLE sessions IS 'One row for each playback session: its newest summary.';
COMMENT ON COLUMN sessions.timestamp IS
    'When the summary was made, by the client''s clock as sent, epoch ms. Decides which of two is the newer.';
COMMENT ON COLUMN sessions.event_at IS
    'The time that charts use: the client''s if it is plausible, else received_at. See m3w_event_at().';
COMMENT ON COLUMN sessions.received_at IS 'When the stored summary came, by the clock of the database.';
COMMENT ON COLUMN sessions.created_at IS 'When the session was first seen, by the clock of the database.';
COMMENT ON COLUMN sessions.session_duration_ms IS 'From attach of the player to the summary.';
COMMENT ON COLUMN sessions.startup_time_ms IS 'Play requested to first frame; null where not measured.';
COMMENT ON COLUMN sessions.mean_video_format_bitrate IS 'Mean over play time, bit/s.';
COMMENT ON COLUMN sessions.error_count IS 'Fatal errors.';
COMMENT ON COLUMN sessions.os_version IS 'Android API level.';
COMMENT ON COLUMN sessions.rebuffer_ratio IS 'Rebuffer time / (play + wait) time, a fraction from 0 to 1.';
COMMENT ON COLUMN sessions.session_start_date_iso IS
    'As the SDK wrote it. Never cast it without a guard: it can be any text, the word null too.';
COMMENT ON COLUMN sessions.extra IS 'What the app sent beside the SDK''s fields: JSON values by their names.';

-- No foreign key to sessions: it would cost a look-up and a row lock for each entry. Both are written in one
-- transaction, and retention deletes an entry with its session.
CREATE TABLE session_timeline (
    timestamp_ms bigint NOT NULL,
    elapsed_ms bigint NOT NULL,
    total_dropped_frames bigint NOT NULL,
    rebuffer_time_ms bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    current_bitrate bigint,
    buffered_duration_ms bigint,
    rebuffer_count integer NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    playback_state text COLLATE "C" NOT NULL,
    network_type text,
    PRIMARY KEY (session_id, timestamp_ms, playback_state)
);

COMMENT ON TABLE session_timeline IS
    'The player''s state at moments of a session, from all its summaries. Rows are added, never changed.';
COMMENT ON COLUMN session_timeline.timestamp_ms IS 'By the client''s clock as sent, epoch ms.';
COMMENT ON COLUMN session_timeline.elapsed_ms IS 'Since the start of the session.';
COMMENT ON COLUMN session_timeline.total_dropped_frames IS 'Of the session up to this moment.';
COMMENT ON COLUMN session_timeline.rebuffer_time_ms IS 'Of the session up to this moment.';
COMMENT ON COLUMN session_timeline.rebuffer_count IS 'Of the session up to this moment.';
COMMENT ON COLUMN session_timeline.created_at IS 'When the entry came, by the clock of the database.';
COMMENT ON COLUMN session_timeline.current_bitrate IS 'Of the video format on screen, bit/s.';
COMMENT ON COLUMN session_timeline.buffered_duration_ms IS 'Media buffered ahead of the position.';
COMMENT ON COLUMN session_timeline.playback_state IS 'IDLE, BUFFERING, PLAYING, PAUSED or ENDED.';
