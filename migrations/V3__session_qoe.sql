-- What quality of experience (QoE) is, a row a session: docs/metrics.md has the words, this file the formulas.
--
-- Every expression is safe for every row that the backend accepts, 2^63 - 1 ms and a ratio of 1e-38 included.

-- Bounds are one list, so that histograms made at different times can be added up. They lie close together
-- where startups are, and on round numbers where people look.
CREATE FUNCTION qoe_startup_bounds_ms() RETURNS double precision[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[
        25, 50, 75, 100, 108, 118, 128, 138, 150, 161, 173, 186, 200, 215, 232, 250, 274, 300, 322,
        346, 372, 400, 431, 464, 500, 548, 600, 646, 696, 750, 806, 866, 931, 1000, 1080, 1180,
        1280, 1380, 1500, 1610, 1730, 1860, 2000, 2150, 2320, 2500, 2740, 3000, 3220, 3460, 3720,
        4000, 4310, 4640, 5000, 5480, 6000, 6460, 6960, 7500, 8060, 8660, 9310, 10000, 10840, 11760,
        12750, 13830, 15000, 16120, 17320, 18610, 20000, 21540, 23210, 25000, 27390, 30000, 32240,
        34640, 37220, 40000, 43090, 46420, 50000, 54770, 60000
    ]::double precision[];

COMMENT ON FUNCTION qoe_startup_bounds_ms IS
    'Lower bounds of buckets 1 to 87 of the startup histogram, ms; bucket 0 begins at 0, the last has no end.';

CREATE FUNCTION qoe_startup_bucket_value_ms(bucket integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN bucket = 0 THEN 12.5
        WHEN bucket = 87 THEN 60000
        ELSE sqrt((qoe_startup_bounds_ms())[bucket] * (qoe_startup_bounds_ms())[bucket + 1])
    END;

COMMENT ON FUNCTION qoe_startup_bucket_value_ms IS
    'What startups in the bucket are taken for, ms: 4.7 % off at most from 100 ms to 60 s; 60000 is that or more.';

-- A function, so that a query on the view does not carry the look-up once for each column that depends on it.
CREATE FUNCTION m3w_has_ended(id text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT coalesce(
        (
            SELECT entry.playback_state = 'ENDED'
            FROM session_timeline AS entry
            WHERE entry.session_id = id
            ORDER BY entry.timestamp_ms DESC, entry.elapsed_ms DESC, entry.playback_state = 'ENDED' DESC
            LIMIT 1
        ),
        false
    )
$$;

COMMENT ON FUNCTION m3w_has_ended IS 'Whether the last entry of the session''s timeline is ENDED.';

CREATE VIEW session_qoe AS
SELECT
    s.session_id,
    s.event_at,
    -- It can be any text, words like 'now' too, which PostgreSQL would take for a time.
    CASE
        WHEN s.session_start_date_iso
            ~ '^(19[7-9]|[2-8]\d\d|9[0-8]\d)\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
            AND pg_input_is_valid(s.session_start_date_iso, 'timestamptz')
        THEN s.session_start_date_iso::timestamptz
    END AS started_at,
    s.created_at,
    s.received_at,
    s.timestamp,
    s.device_model,
    s.os_version,
    s.sdk_version,
    s.connection_type,
    s.received_via,
    s.extra,
    s.session_duration_ms,
    s.startup_time_ms,
    s.rebuffer_time_ms,
    s.rebuffer_count,
    s.play_time_ms,
    s.rebuffer_ratio,
    s.total_dropped_frames,
    s.total_seek_count,
    s.total_seek_time_ms,
    s.mean_video_format_bitrate,
    s.error_count,
    CASE
        WHEN q.in_progress THEN 'in_progress'
        WHEN s.error_count > 0 AND NOT q.played THEN 'failed_before_start'
        WHEN s.error_count > 0 THEN 'failed'
        WHEN NOT q.played THEN 'exited_before_start'
        ELSE 'played'
    END AS outcome,
    s.play_time_ms > 0 AND s.startup_time_ms IS NULL AS startup_unmeasured,
    q.implausible,
    q.watch_time_ms,
    s.timestamp > date_part('epoch', s.received_at) * 1000 + 300000 AS client_clock_ahead,
    s.timestamp < date_part('epoch', s.received_at) * 1000 - 2592000000 AS client_clock_behind,
    s.received_at - s.event_at > interval '5 minutes' AS late_arrival,
    CASE WHEN q.counted THEN s.startup_time_ms END AS startup_part_ms,
    CASE
        WHEN q.counted THEN width_bucket(s.startup_time_ms::double precision, qoe_startup_bounds_ms())
    END AS startup_bucket,
    CASE WHEN q.watched THEN q.watch_time_ms::bigint END AS watch_part_ms,
    CASE WHEN q.watched THEN s.rebuffer_time_ms END AS rebuffer_part_ms,
    CASE
        WHEN q.watched AND s.rebuffer_time_ms IS NOT NULL THEN q.watch_time_ms::bigint
    END AS rebuffer_watch_part_ms,
    CASE WHEN q.watched THEN s.rebuffer_count END AS rebuffer_count_part,
    CASE
        WHEN q.watched AND s.rebuffer_count IS NOT NULL THEN q.watch_time_ms::bigint
    END AS rebuffer_count_watch_part_ms,
    CASE WHEN q.counted AND s.play_time_ms > 0 THEN s.play_time_ms END AS play_part_ms,
    CASE
        WHEN q.counted AND s.play_time_ms > 0 THEN s.mean_video_format_bitrate * s.play_time_ms
    END AS bitrate_part,
    CASE
        WHEN q.counted AND s.play_time_ms > 0 AND s.mean_video_format_bitrate IS NOT NULL THEN s.play_time_ms
    END AS bitrate_play_part_ms,
    CASE WHEN q.counted AND s.play_time_ms > 0 THEN s.total_dropped_frames END AS dropped_frames_part,
    CASE
        WHEN q.counted AND s.play_time_ms > 0 AND s.total_dropped_frames IS NOT NULL THEN s.play_time_ms
    END AS dropped_frames_play_part_ms
FROM sessions AS s
-- OFFSET 0 has each of these computed once a row, not once for every column that rests on it.
CROSS JOIN LATERAL (
    SELECT
        a.*,
        -- greatest() passes over nulls.
        greatest(
            s.session_duration_ms, s.startup_time_ms, s.rebuffer_time_ms, s.play_time_ms, s.total_seek_time_ms,
            s.total_dropped_frames, s.rebuffer_count
        ) > 604800000
        OR a.watch_time_ms > 604800000
        OR coalesce(s.mean_video_format_bitrate, 0) > 10000000000 AS implausible
    FROM (
        SELECT
            -- In this order: only of the few that pass the first test is the timeline looked at. A session that
            -- was delivered late is nobody's who watches now.
            CASE
                WHEN s.received_at <= now() - interval '45 seconds' THEN false
                WHEN s.error_count > 0 OR s.received_at - s.event_at > interval '5 minutes' THEN false
                ELSE NOT m3w_has_ended(s.session_id)
            END AS in_progress,
            -- The largest quotient is 2^63 / 2^-149, which fits.
            CASE
                WHEN s.rebuffer_time_ms > 0 AND s.rebuffer_ratio > 0
                THEN round(s.rebuffer_time_ms::double precision / s.rebuffer_ratio::double precision)::numeric
                ELSE coalesce(s.play_time_ms, 0)::numeric + coalesce(s.startup_time_ms, 0)
                    + coalesce(s.rebuffer_time_ms, 0) + coalesce(s.total_seek_time_ms, 0)
            END AS watch_time_ms,
            (s.startup_time_ms IS NOT NULL OR s.play_time_ms > 0) IS TRUE AS played
        OFFSET 0
    ) AS a
    OFFSET 0
) AS b
CROSS JOIN LATERAL (
    SELECT
        b.*,
        NOT b.in_progress AND NOT b.implausible AS counted,
        NOT b.in_progress AND NOT b.implausible AND b.watch_time_ms > 0 AS watched
) AS q;

COMMENT ON VIEW session_qoe IS
    'A row a session: what became of it, and its parts of every sum, null where it is left out of that sum.';
COMMENT ON COLUMN session_qoe.started_at IS 'session_start_date_iso where it is a date with a zone, else null.';
COMMENT ON COLUMN session_qoe.outcome IS
    'in_progress (heard of < 45 s ago, no end known; in no ratio), failed_before_start, failed, exited_before_start, played.';
COMMENT ON COLUMN session_qoe.startup_unmeasured IS 'Play time but no startup time; never taken for an exit.';
COMMENT ON COLUMN session_qoe.implausible IS
    'A duration over 7 days, over 604,800,000 dropped frames or stalls, or over 10 Gbit/s: left out of sums.';
COMMENT ON COLUMN session_qoe.watch_time_ms IS
    'Rebuffer time / rebuffer ratio where both are over 0 (Media3), else play + startup + rebuffer + seek time.';
COMMENT ON COLUMN session_qoe.client_clock_ahead IS 'The client''s time was over 5 minutes after the arrival.';
COMMENT ON COLUMN session_qoe.client_clock_behind IS 'The client''s time was over 30 days before the arrival.';
COMMENT ON COLUMN session_qoe.late_arrival IS 'The newest summary came over 5 minutes after event_at.';
COMMENT ON COLUMN session_qoe.startup_bucket IS 'Of qoe_startup_bounds_ms(), from 0.';
COMMENT ON COLUMN session_qoe.bitrate_part IS 'Bitrate times play time, bit/s x ms.';
