-- The rollup: what sessions sum up to an hour, and the functions that make numbers for a range of time of it.
--
-- qoe_hourly holds exactly the sessions with received_at before qoe_rollup_state.rolled_until, at the hour of
-- their event_at; for questions without a filter, the most frequent ones, it also has rows of all sessions of
-- five minutes. All other sessions are read from sessions itself. So an answer is current however far the rollup
-- has got, and right for any range: what lies in it as a whole comes from the rollup, the rest from sessions.

-- An update moves a session to a later hour, and the rollup has to know which hours it may have been counted
-- in before. A summary that was replaced within 45 s never was: rolled_until stays minutes behind the clock.
ALTER TABLE sessions
    ADD COLUMN earlier_event_at_min timestamptz,
    ADD COLUMN earlier_event_at_max timestamptz;

COMMENT ON COLUMN sessions.earlier_event_at_min IS
    'Least event_at of the summaries that were the newest for 45 s or longer and then replaced; null: none was.';
COMMENT ON COLUMN sessions.earlier_event_at_max IS 'The greatest such event_at.';

-- No key over the four texts: together they can be longer than an index entry may be.
CREATE TABLE qoe_hourly (
    starts_at timestamptz NOT NULL,
    watch_time_ms bigint NOT NULL,
    rebuffer_time_ms bigint NOT NULL,
    rebuffer_watch_time_ms bigint NOT NULL,
    rebuffer_count bigint NOT NULL,
    rebuffer_count_watch_time_ms bigint NOT NULL,
    bitrate_play numeric NOT NULL,
    bitrate_play_time_ms bigint NOT NULL,
    dropped_frames bigint NOT NULL,
    dropped_frames_play_time_ms bigint NOT NULL,
    sessions integer NOT NULL,
    failed integer NOT NULL,
    failed_before_start integer NOT NULL,
    exited_before_start integer NOT NULL,
    implausible integer NOT NULL,
    client_clock_ahead integer NOT NULL,
    client_clock_behind integer NOT NULL,
    late_arrivals integer NOT NULL,
    startups integer NOT NULL,
    startups_unmeasured integer NOT NULL,
    watched_sessions integer NOT NULL,
    rebuffer_time_sessions integer NOT NULL,
    rebuffer_count_sessions integer NOT NULL,
    played_sessions integer NOT NULL,
    bitrate_sessions integer NOT NULL,
    dropped_frames_sessions integer NOT NULL,
    all_sessions boolean NOT NULL,
    device_model text COLLATE "C",
    os_version text COLLATE "C",
    sdk_version text COLLATE "C",
    connection_type text COLLATE "C",
    -- Null where it would be 0: most of a row's are, and a null takes no room.
    startup_00 integer, startup_01 integer, startup_02 integer, startup_03 integer,
    startup_04 integer, startup_05 integer, startup_06 integer, startup_07 integer,
    startup_08 integer, startup_09 integer, startup_10 integer, startup_11 integer,
    startup_12 integer, startup_13 integer, startup_14 integer, startup_15 integer,
    startup_16 integer, startup_17 integer, startup_18 integer, startup_19 integer,
    startup_20 integer, startup_21 integer, startup_22 integer, startup_23 integer,
    startup_24 integer, startup_25 integer, startup_26 integer, startup_27 integer,
    startup_28 integer, startup_29 integer, startup_30 integer, startup_31 integer,
    startup_32 integer, startup_33 integer, startup_34 integer, startup_35 integer,
    startup_36 integer, startup_37 integer, startup_38 integer, startup_39 integer,
    startup_40 integer, startup_41 integer, startup_42 integer, startup_43 integer,
    startup_44 integer, startup_45 integer, startup_46 integer, startup_47 integer,
    startup_48 integer, startup_49 integer, startup_50 integer, startup_51 integer,
    startup_52 integer, startup_53 integer, startup_54 integer, startup_55 integer,
    startup_56 integer, startup_57 integer, startup_58 integer, startup_59 integer,
    startup_60 integer, startup_61 integer, startup_62 integer, startup_63 integer,
    startup_64 integer, startup_65 integer, startup_66 integer, startup_67 integer,
    startup_68 integer, startup_69 integer, startup_70 integer, startup_71 integer,
    startup_72 integer, startup_73 integer, startup_74 integer, startup_75 integer,
    startup_76 integer, startup_77 integer, startup_78 integer, startup_79 integer,
    startup_80 integer, startup_81 integer, startup_82 integer, startup_83 integer,
    startup_84 integer, startup_85 integer, startup_86 integer, startup_87 integer
);

CREATE INDEX qoe_hourly_starts_at_idx ON qoe_hourly (starts_at ASC);
CREATE INDEX qoe_hourly_all_sessions_idx ON qoe_hourly (starts_at ASC) WHERE all_sessions;

COMMENT ON TABLE qoe_hourly IS
    'Sums of session_qoe''s parts by hour (UTC) of event_at and by what viewers are grouped by. Null is ''unknown''.';
COMMENT ON COLUMN qoe_hourly.all_sessions IS
    'True: the row sums up all sessions of five minutes. False: one group''s sessions of an hour.';
COMMENT ON COLUMN qoe_hourly.starts_at IS 'Start of the five minutes or the hour, in UTC.';
COMMENT ON COLUMN qoe_hourly.bitrate_play IS 'Sum of bitrate times play time, bit/s x ms.';
COMMENT ON COLUMN qoe_hourly.startups IS
    'Sessions with a startup time; the columns startup_00 to startup_87 are its histogram.';

CREATE TABLE qoe_rollup_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    rolled_until timestamptz NOT NULL
);

COMMENT ON TABLE qoe_rollup_state IS 'How far qoe_hourly has got.';
COMMENT ON COLUMN qoe_rollup_state.rolled_until IS
    'qoe_hourly holds the sessions with an earlier received_at, no others.';

INSERT INTO qoe_rollup_state (rolled_until) VALUES ('-infinity');

CREATE FUNCTION m3w_slot(slot interval, moment timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_bin(slot, moment, timestamptz '1970-01-01 00:00:00+00');

COMMENT ON FUNCTION m3w_slot IS
    'Start of the slot of time that a moment lies in, counted from 1970 in UTC, whatever the session''s time zone.';

CREATE FUNCTION m3w_next_slot(slot interval, moment timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN m3w_slot(slot, moment + slot - interval '1 microsecond');

COMMENT ON FUNCTION m3w_next_slot IS
    'Start of the first slot that begins at that moment or later.';

CREATE FUNCTION m3w_whole_step(step interval) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN make_interval(secs => CASE
        WHEN step >= interval '1 hour' THEN 3600 * ceil(date_part('epoch', step) / 3600)
        WHEN step >= interval '5 minutes' THEN 300 * ceil(date_part('epoch', step) / 300)
        ELSE greatest(date_part('epoch', step), 1)
    END);

COMMENT ON FUNCTION m3w_whole_step IS
    'The step that is used: rounded up to whole hours, or five minutes where it is shorter, so that it fits the rollup.';

CREATE FUNCTION m3w_no_filter(wanted text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN wanted IS NULL OR array_position(wanted, NULL) IS NOT NULL;

COMMENT ON FUNCTION m3w_no_filter IS 'Whether it is no array, or one with a null in it.';

CREATE FUNCTION m3w_passes(value text, wanted text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN m3w_no_filter(wanted) OR coalesce(value, 'unknown') = ANY (wanted);

COMMENT ON FUNCTION m3w_passes IS
    'Whether a filter lets a value through, where null is ''unknown''.';

CREATE FUNCTION m3w_rollup_slot(
    dimension text, device_models text[], os_versions text[], sdk_versions text[], connection_types text[]
) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN dimension IS NULL
            AND m3w_no_filter(device_models) AND m3w_no_filter(os_versions)
            AND m3w_no_filter(sdk_versions) AND m3w_no_filter(connection_types)
        THEN interval '5 minutes'
        ELSE interval '1 hour'
    END;

COMMENT ON FUNCTION m3w_rollup_slot IS
    'How much time a row of the rollup covers for a question: five minutes without filter and dimension, else an hour.';

CREATE FUNCTION qoe_hourly_rows(since timestamptz, until timestamptz, received_before timestamptz)
    RETURNS SETOF qoe_hourly
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        coalesce(q.hour, q.five_minutes),
        coalesce(sum(q.watch_part_ms), 0)::bigint,
        coalesce(sum(q.rebuffer_part_ms), 0)::bigint,
        coalesce(sum(q.rebuffer_watch_part_ms), 0)::bigint,
        coalesce(sum(q.rebuffer_count_part), 0)::bigint,
        coalesce(sum(q.rebuffer_count_watch_part_ms), 0)::bigint,
        coalesce(sum(q.bitrate_part), 0)::numeric,
        coalesce(sum(q.bitrate_play_part_ms), 0)::bigint,
        coalesce(sum(q.dropped_frames_part), 0)::bigint,
        coalesce(sum(q.dropped_frames_play_part_ms), 0)::bigint,
        count(*)::integer,
        (count(*) FILTER (WHERE q.outcome IN ('failed', 'failed_before_start')))::integer,
        (count(*) FILTER (WHERE q.outcome = 'failed_before_start'))::integer,
        (count(*) FILTER (WHERE q.outcome = 'exited_before_start'))::integer,
        (count(*) FILTER (WHERE q.implausible AND q.outcome <> 'in_progress'))::integer,
        (count(*) FILTER (WHERE q.client_clock_ahead AND q.outcome <> 'in_progress'))::integer,
        (count(*) FILTER (WHERE q.client_clock_behind AND q.outcome <> 'in_progress'))::integer,
        (count(*) FILTER (WHERE q.late_arrival))::integer,
        count(q.startup_part_ms)::integer,
        (count(q.play_part_ms) FILTER (WHERE q.startup_part_ms IS NULL))::integer,
        count(q.watch_part_ms)::integer,
        count(q.rebuffer_part_ms)::integer,
        count(q.rebuffer_count_part)::integer,
        count(q.play_part_ms)::integer,
        count(q.bitrate_part)::integer,
        count(q.dropped_frames_part)::integer,
        grouping(q.hour) = 1,
        q.model,
        q.os,
        q.sdk,
        q.connection,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 0), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 1), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 2), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 3), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 4), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 5), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 6), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 7), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 8), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 9), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 10), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 11), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 12), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 13), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 14), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 15), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 16), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 17), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 18), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 19), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 20), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 21), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 22), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 23), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 24), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 25), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 26), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 27), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 28), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 29), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 30), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 31), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 32), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 33), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 34), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 35), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 36), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 37), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 38), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 39), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 40), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 41), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 42), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 43), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 44), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 45), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 46), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 47), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 48), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 49), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 50), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 51), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 52), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 53), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 54), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 55), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 56), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 57), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 58), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 59), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 60), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 61), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 62), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 63), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 64), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 65), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 66), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 67), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 68), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 69), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 70), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 71), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 72), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 73), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 74), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 75), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 76), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 77), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 78), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 79), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 80), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 81), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 82), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 83), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 84), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 85), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 86), 0)::integer,
        nullif(count(*) FILTER (WHERE q.startup_bucket = 87), 0)::integer
    FROM (
        SELECT
            s.*,
            m3w_slot(interval '5 minutes', s.event_at) AS five_minutes,
            m3w_slot(interval '1 hour', s.event_at) AS hour,
            coalesce(s.device_model, 'unknown') AS model,
            coalesce(s.os_version::text, 'unknown') AS os,
            coalesce(s.sdk_version, 'unknown') AS sdk,
            coalesce(s.connection_type, 'unknown') AS connection
        FROM session_qoe AS s
        WHERE s.event_at >= since AND s.event_at < until AND s.received_at < received_before
        -- Or a session's bucket would be computed once for each of the columns of the histogram.
        OFFSET 0
    ) AS q
    GROUP BY GROUPING SETS ((q.five_minutes), (q.hour, q.model, q.os, q.sdk, q.connection))
$$;

COMMENT ON FUNCTION qoe_hourly_rows IS
    'What qoe_hourly has to hold for whole hours: the sessions of event_at in [since, until) received before that time.';

-- The one place that reads rollup and sessions. Rows are sums that are still to be added up by at and
-- dimension_value; those of a startup_bucket carry its count in startups.
CREATE FUNCTION qoe_parts(
    since timestamptz, until timestamptz, step interval, slot interval, dimension text, field text,
    device_models text[], os_versions text[], sdk_versions text[], connection_types text[]
) RETURNS TABLE (
    at timestamptz,
    dimension_value text,
    startup_bucket integer,
    in_progress bigint,
    sessions bigint,
    failed bigint,
    failed_before_start bigint,
    exited_before_start bigint,
    implausible bigint,
    client_clock_ahead bigint,
    client_clock_behind bigint,
    late_arrivals bigint,
    startups bigint,
    startups_unmeasured bigint,
    watched_sessions bigint,
    watch_time_ms numeric,
    rebuffer_time_sessions bigint,
    rebuffer_time_ms numeric,
    rebuffer_watch_time_ms numeric,
    rebuffer_count_sessions bigint,
    rebuffer_count numeric,
    rebuffer_count_watch_time_ms numeric,
    played_sessions bigint,
    bitrate_sessions bigint,
    bitrate_play numeric,
    bitrate_play_time_ms numeric,
    dropped_frames_sessions bigint,
    dropped_frames numeric,
    dropped_frames_play_time_ms numeric
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH rolled AS (
        SELECT
            CASE WHEN step IS NULL THEN since ELSE m3w_slot(m3w_whole_step(step), h.starts_at) END AS at,
            CASE dimension
                WHEN 'device_model' THEN h.device_model
                WHEN 'os_version' THEN h.os_version
                WHEN 'sdk_version' THEN h.sdk_version
                WHEN 'connection_type' THEN h.connection_type
                ELSE ''
            END AS dimension_value,
            sum(h.sessions) AS sessions,
            sum(h.failed) AS failed,
            sum(h.failed_before_start) AS failed_before_start,
            sum(h.exited_before_start) AS exited_before_start,
            sum(h.implausible) AS implausible,
            sum(h.client_clock_ahead) AS client_clock_ahead,
            sum(h.client_clock_behind) AS client_clock_behind,
            sum(h.late_arrivals) AS late_arrivals,
            sum(h.startups) AS startups,
            sum(h.startups_unmeasured) AS startups_unmeasured,
            sum(h.watched_sessions) AS watched_sessions,
            sum(h.watch_time_ms) AS watch_time_ms,
            sum(h.rebuffer_time_sessions) AS rebuffer_time_sessions,
            sum(h.rebuffer_time_ms) AS rebuffer_time_ms,
            sum(h.rebuffer_watch_time_ms) AS rebuffer_watch_time_ms,
            sum(h.rebuffer_count_sessions) AS rebuffer_count_sessions,
            sum(h.rebuffer_count) AS rebuffer_count,
            sum(h.rebuffer_count_watch_time_ms) AS rebuffer_count_watch_time_ms,
            sum(h.played_sessions) AS played_sessions,
            sum(h.bitrate_sessions) AS bitrate_sessions,
            sum(h.bitrate_play) AS bitrate_play,
            sum(h.bitrate_play_time_ms) AS bitrate_play_time_ms,
            sum(h.dropped_frames_sessions) AS dropped_frames_sessions,
            sum(h.dropped_frames) AS dropped_frames,
            sum(h.dropped_frames_play_time_ms) AS dropped_frames_play_time_ms,
            ARRAY[
                sum(h.startup_00), sum(h.startup_01), sum(h.startup_02), sum(h.startup_03),
                sum(h.startup_04), sum(h.startup_05), sum(h.startup_06), sum(h.startup_07),
                sum(h.startup_08), sum(h.startup_09), sum(h.startup_10), sum(h.startup_11),
                sum(h.startup_12), sum(h.startup_13), sum(h.startup_14), sum(h.startup_15),
                sum(h.startup_16), sum(h.startup_17), sum(h.startup_18), sum(h.startup_19),
                sum(h.startup_20), sum(h.startup_21), sum(h.startup_22), sum(h.startup_23),
                sum(h.startup_24), sum(h.startup_25), sum(h.startup_26), sum(h.startup_27),
                sum(h.startup_28), sum(h.startup_29), sum(h.startup_30), sum(h.startup_31),
                sum(h.startup_32), sum(h.startup_33), sum(h.startup_34), sum(h.startup_35),
                sum(h.startup_36), sum(h.startup_37), sum(h.startup_38), sum(h.startup_39),
                sum(h.startup_40), sum(h.startup_41), sum(h.startup_42), sum(h.startup_43),
                sum(h.startup_44), sum(h.startup_45), sum(h.startup_46), sum(h.startup_47),
                sum(h.startup_48), sum(h.startup_49), sum(h.startup_50), sum(h.startup_51),
                sum(h.startup_52), sum(h.startup_53), sum(h.startup_54), sum(h.startup_55),
                sum(h.startup_56), sum(h.startup_57), sum(h.startup_58), sum(h.startup_59),
                sum(h.startup_60), sum(h.startup_61), sum(h.startup_62), sum(h.startup_63),
                sum(h.startup_64), sum(h.startup_65), sum(h.startup_66), sum(h.startup_67),
                sum(h.startup_68), sum(h.startup_69), sum(h.startup_70), sum(h.startup_71),
                sum(h.startup_72), sum(h.startup_73), sum(h.startup_74), sum(h.startup_75),
                sum(h.startup_76), sum(h.startup_77), sum(h.startup_78), sum(h.startup_79),
                sum(h.startup_80), sum(h.startup_81), sum(h.startup_82), sum(h.startup_83),
                sum(h.startup_84), sum(h.startup_85), sum(h.startup_86), sum(h.startup_87)
            ] AS histogram
        FROM qoe_hourly AS h
        WHERE h.all_sessions = (slot < interval '1 hour')
            AND h.starts_at >= m3w_next_slot(slot, since)
            AND h.starts_at < m3w_slot(slot, until)
            AND field IS NULL
            AND (step IS NULL OR step >= slot)
            AND m3w_passes(h.device_model, device_models)
            AND m3w_passes(h.os_version, os_versions)
            AND m3w_passes(h.sdk_version, sdk_versions)
            AND m3w_passes(h.connection_type, connection_types)
        GROUP BY 1, 2
    )
    SELECT
        r.at, r.dimension_value, NULL::integer, 0::bigint,
        r.sessions, r.failed, r.failed_before_start, r.exited_before_start, r.implausible,
        r.client_clock_ahead, r.client_clock_behind, r.late_arrivals, 0, r.startups_unmeasured,
        r.watched_sessions, r.watch_time_ms, r.rebuffer_time_sessions, r.rebuffer_time_ms,
        r.rebuffer_watch_time_ms, r.rebuffer_count_sessions, r.rebuffer_count,
        r.rebuffer_count_watch_time_ms, r.played_sessions, r.bitrate_sessions, r.bitrate_play,
        r.bitrate_play_time_ms, r.dropped_frames_sessions, r.dropped_frames,
        r.dropped_frames_play_time_ms
    FROM rolled AS r
    UNION ALL
    SELECT
        r.at, r.dimension_value, (b.place - 1)::integer, 0,
        0, 0, 0, 0, 0, 0, 0, 0, b.startups, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM rolled AS r
    CROSS JOIN LATERAL unnest(r.histogram) WITH ORDINALITY AS b (startups, place)
    WHERE b.startups > 0
    UNION ALL
    SELECT
        CASE WHEN step IS NULL THEN since ELSE m3w_slot(m3w_whole_step(step), q.event_at) END,
        CASE
            WHEN field IS NOT NULL THEN coalesce(q.extra ->> field, 'unknown')
            WHEN dimension = 'device_model' THEN coalesce(q.device_model, 'unknown')
            WHEN dimension = 'os_version' THEN coalesce(q.os_version::text, 'unknown')
            WHEN dimension = 'sdk_version' THEN coalesce(q.sdk_version, 'unknown')
            WHEN dimension = 'connection_type' THEN coalesce(q.connection_type, 'unknown')
            ELSE ''
        END,
        q.startup_bucket,
        count(*) FILTER (WHERE q.outcome = 'in_progress'),
        count(*),
        count(*) FILTER (WHERE q.outcome IN ('failed', 'failed_before_start')),
        count(*) FILTER (WHERE q.outcome = 'failed_before_start'),
        count(*) FILTER (WHERE q.outcome = 'exited_before_start'),
        count(*) FILTER (WHERE q.implausible AND q.outcome <> 'in_progress'),
        count(*) FILTER (WHERE q.client_clock_ahead AND q.outcome <> 'in_progress'),
        count(*) FILTER (WHERE q.client_clock_behind AND q.outcome <> 'in_progress'),
        count(*) FILTER (WHERE q.late_arrival),
        count(q.startup_part_ms),
        count(q.play_part_ms) FILTER (WHERE q.startup_part_ms IS NULL),
        count(q.watch_part_ms),
        coalesce(sum(q.watch_part_ms), 0),
        count(q.rebuffer_part_ms),
        coalesce(sum(q.rebuffer_part_ms), 0),
        coalesce(sum(q.rebuffer_watch_part_ms), 0),
        count(q.rebuffer_count_part),
        coalesce(sum(q.rebuffer_count_part), 0),
        coalesce(sum(q.rebuffer_count_watch_part_ms), 0),
        count(q.play_part_ms),
        count(q.bitrate_part),
        coalesce(sum(q.bitrate_part), 0),
        coalesce(sum(q.bitrate_play_part_ms), 0),
        count(q.dropped_frames_part),
        coalesce(sum(q.dropped_frames_part), 0),
        coalesce(sum(q.dropped_frames_play_part_ms), 0)
    FROM session_qoe AS q
    WHERE q.event_at >= since
        AND q.event_at < until
        AND (
            field IS NOT NULL
            OR step < slot
            OR q.event_at < m3w_next_slot(slot, since)
            OR q.event_at >= m3w_slot(slot, until)
            -- The second condition is always true, and tells the planner that these are few.
            OR (
                q.received_at >= (SELECT s.rolled_until FROM qoe_rollup_state AS s)
                AND q.received_at < timestamptz 'infinity'
            )
        )
        AND m3w_passes(q.device_model, device_models)
        AND m3w_passes(q.os_version::text, os_versions)
        AND m3w_passes(q.sdk_version, sdk_versions)
        AND m3w_passes(q.connection_type, connection_types)
    GROUP BY 1, 2, 3
$$;

COMMENT ON FUNCTION qoe_parts IS
    'What the other qoe_ functions are made of; not for use by itself.';

CREATE FUNCTION qoe_metrics(
    since timestamptz, until timestamptz, step interval, dimension text, field text,
    device_models text[], os_versions text[], sdk_versions text[], connection_types text[]
) RETURNS TABLE (
    at timestamptz,
    dimension_value text,
    total_sessions bigint,
    metric text,
    value double precision,
    numerator numeric,
    denominator numeric,
    sessions bigint,
    left_out bigint,
    left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH parts AS MATERIALIZED (
        SELECT p.*
        FROM qoe_parts(
            since, until, step,
            m3w_rollup_slot(dimension, device_models, os_versions, sdk_versions, connection_types),
            dimension, field, device_models, os_versions, sdk_versions, connection_types
        ) AS p
    ),
    sums AS (
        SELECT
            p.at,
            p.dimension_value,
            sum(p.in_progress) AS in_progress,
            sum(p.sessions) AS sessions,
            sum(p.failed) AS failed,
            sum(p.failed_before_start) AS failed_before_start,
            sum(p.exited_before_start) AS exited_before_start,
            sum(p.implausible) AS implausible,
            sum(p.client_clock_ahead) AS client_clock_ahead,
            sum(p.client_clock_behind) AS client_clock_behind,
            sum(p.late_arrivals) AS late_arrivals,
            sum(p.startups) AS startups,
            sum(p.startups_unmeasured) AS startups_unmeasured,
            sum(p.watched_sessions) AS watched_sessions,
            sum(p.watch_time_ms) AS watch_time_ms,
            sum(p.rebuffer_time_sessions) AS rebuffer_time_sessions,
            sum(p.rebuffer_time_ms) AS rebuffer_time_ms,
            sum(p.rebuffer_watch_time_ms) AS rebuffer_watch_time_ms,
            sum(p.rebuffer_count_sessions) AS rebuffer_count_sessions,
            sum(p.rebuffer_count) AS rebuffer_count,
            sum(p.rebuffer_count_watch_time_ms) AS rebuffer_count_watch_time_ms,
            sum(p.played_sessions) AS played_sessions,
            sum(p.bitrate_sessions) AS bitrate_sessions,
            sum(p.bitrate_play) AS bitrate_play,
            sum(p.bitrate_play_time_ms) AS bitrate_play_time_ms,
            sum(p.dropped_frames_sessions) AS dropped_frames_sessions,
            sum(p.dropped_frames) AS dropped_frames,
            sum(p.dropped_frames_play_time_ms) AS dropped_frames_play_time_ms
        FROM (
            SELECT * FROM parts
            UNION ALL
            -- Totals have a row for every metric even where there is no session.
            SELECT
                since, '', NULL, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
            WHERE step IS NULL AND dimension IS NULL AND field IS NULL
        ) AS p
        GROUP BY p.at, p.dimension_value
    ),
    buckets AS (
        SELECT
            p.at,
            p.dimension_value,
            qoe_startup_bucket_value_ms(p.startup_bucket) AS value_ms,
            sum(sum(p.startups)) OVER (PARTITION BY p.at, p.dimension_value ORDER BY p.startup_bucket) AS upto,
            sum(sum(p.startups)) OVER (PARTITION BY p.at, p.dimension_value) AS startups
        FROM parts AS p
        WHERE p.startup_bucket IS NOT NULL
        GROUP BY p.at, p.dimension_value, p.startup_bucket
    ),
    percentiles AS (
        SELECT
            b.at,
            b.dimension_value,
            min(b.value_ms) FILTER (WHERE b.upto >= 0.5 * b.startups) AS p50_ms,
            min(b.value_ms) FILTER (WHERE b.upto >= 0.95 * b.startups) AS p95_ms
        FROM buckets AS b
        GROUP BY b.at, b.dimension_value
    ),
    counted AS (
        SELECT
            s.*,
            p.p50_ms,
            p.p95_ms,
            s.sessions - s.in_progress AS ended,
            s.sessions - s.in_progress - s.implausible AS plausible
        FROM sums AS s
        LEFT JOIN percentiles AS p ON p.at = s.at AND p.dimension_value = s.dimension_value
    )
    SELECT
        c.at,
        c.dimension_value,
        c.sessions::bigint,
        m.metric,
        coalesce(m.quantile, m.factor * m.numerator / nullif(coalesce(m.denominator, 1), 0))::double precision,
        m.numerator,
        m.denominator,
        m.sessions::bigint,
        (c.sessions - m.sessions)::bigint,
        jsonb_strip_nulls(
            m.reasons || jsonb_build_object(
                'in_progress', CASE WHEN m.scope <> 'all' THEN nullif(c.in_progress, 0) END,
                'implausible', CASE WHEN m.scope = 'plausible' THEN nullif(c.implausible, 0) END
            )
        )
    FROM counted AS c
    CROSS JOIN LATERAL (
        VALUES
            ('sessions', 'all', NULL, 1, c.sessions, NULL, c.sessions, '{}'),
            ('sessions_in_progress', 'all', NULL, 1, c.in_progress, NULL, c.sessions, '{}'),
            (
                'plays', 'ended', NULL, 1, c.ended - c.failed_before_start - c.exited_before_start,
                NULL, c.ended, '{}'
            ),
            (
                'watch_time', 'plausible', NULL, 1, c.watch_time_ms, NULL, c.watched_sessions,
                jsonb_build_object(
                    'no_watch_time', nullif(c.plausible - c.watched_sessions, 0)
                )
            ),
            (
                'startup_time_p50', 'plausible', c.p50_ms, 1, NULL, NULL, c.startups,
                jsonb_build_object(
                    'startup_unmeasured', nullif(c.startups_unmeasured, 0),
                    'not_started', nullif(c.plausible - c.startups - c.startups_unmeasured, 0)
                )
            ),
            (
                'startup_time_p95', 'plausible', c.p95_ms, 1, NULL, NULL, c.startups,
                jsonb_build_object(
                    'startup_unmeasured', nullif(c.startups_unmeasured, 0),
                    'not_started', nullif(c.plausible - c.startups - c.startups_unmeasured, 0)
                )
            ),
            (
                'rebuffer_percentage', 'plausible', NULL, 100, c.rebuffer_time_ms, c.rebuffer_watch_time_ms,
                c.rebuffer_time_sessions,
                jsonb_build_object(
                    'no_watch_time', nullif(c.plausible - c.watched_sessions, 0),
                    'no_rebuffer_time', nullif(c.watched_sessions - c.rebuffer_time_sessions, 0)
                )
            ),
            (
                'rebuffer_frequency', 'plausible', NULL, 60000, c.rebuffer_count,
                c.rebuffer_count_watch_time_ms, c.rebuffer_count_sessions,
                jsonb_build_object(
                    'no_watch_time', nullif(c.plausible - c.watched_sessions, 0),
                    'no_rebuffer_count', nullif(c.watched_sessions - c.rebuffer_count_sessions, 0)
                )
            ),
            ('playback_failure_percentage', 'ended', NULL, 100, c.failed, c.ended, c.ended, '{}'),
            (
                'video_start_failure_percentage', 'ended', NULL, 100, c.failed_before_start,
                c.ended, c.ended, '{}'
            ),
            (
                'exit_before_video_start_percentage', 'ended', NULL, 100, c.exited_before_start,
                c.ended, c.ended, '{}'
            ),
            (
                'average_bitrate', 'plausible', NULL, 1, c.bitrate_play, c.bitrate_play_time_ms,
                c.bitrate_sessions,
                jsonb_build_object(
                    'no_play_time', nullif(c.plausible - c.played_sessions, 0),
                    'bitrate_unset', nullif(c.played_sessions - c.bitrate_sessions, 0)
                )
            ),
            (
                'dropped_frame_rate', 'plausible', NULL, 1000, c.dropped_frames,
                c.dropped_frames_play_time_ms, c.dropped_frames_sessions,
                jsonb_build_object(
                    'no_play_time', nullif(c.plausible - c.played_sessions, 0),
                    'no_dropped_frames', nullif(c.played_sessions - c.dropped_frames_sessions, 0)
                )
            ),
            (
                'startup_unmeasured_percentage', 'plausible', NULL, 100, c.startups_unmeasured,
                c.startups + c.startups_unmeasured, c.startups + c.startups_unmeasured,
                jsonb_build_object(
                    'not_started', nullif(c.plausible - c.startups - c.startups_unmeasured, 0)
                )
            ),
            (
                'bitrate_unset_percentage', 'plausible', NULL, 100, c.played_sessions - c.bitrate_sessions,
                c.played_sessions, c.played_sessions,
                jsonb_build_object(
                    'no_play_time', nullif(c.plausible - c.played_sessions, 0)
                )
            ),
            ('implausible_percentage', 'ended', NULL, 100, c.implausible, c.ended, c.ended, '{}'),
            (
                'client_clock_ahead_percentage', 'ended', NULL, 100, c.client_clock_ahead, c.ended,
                c.ended, '{}'
            ),
            (
                'client_clock_behind_percentage', 'ended', NULL, 100, c.client_clock_behind,
                c.ended, c.ended, '{}'
            ),
            ('late_arrival_percentage', 'ended', NULL, 100, c.late_arrivals, c.ended, c.ended, '{}')
    ) AS m (metric, scope, quantile, factor, numerator, denominator, sessions, reasons)
$$;

CREATE FUNCTION qoe_totals(
    since timestamptz,
    until timestamptz,
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (
    metric text, value double precision, numerator numeric, denominator numeric, sessions bigint,
    left_out bigint, left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT m.metric, m.value, m.numerator, m.denominator, m.sessions, m.left_out, m.left_out_because
    FROM qoe_metrics(
        since, until, NULL, NULL, NULL, device_models, os_versions, sdk_versions, connection_types
    ) AS m
$$;

CREATE FUNCTION qoe_series(
    since timestamptz,
    until timestamptz,
    step interval,
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (
    at timestamptz, metric text, value double precision, numerator numeric, denominator numeric, sessions bigint,
    left_out bigint, left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT m.at, m.metric, m.value, m.numerator, m.denominator, m.sessions, m.left_out, m.left_out_because
    FROM qoe_metrics(
        since, until, step, NULL, NULL, device_models, os_versions, sdk_versions, connection_types
    ) AS m
    ORDER BY m.at
$$;

CREATE FUNCTION qoe_breakdown(
    since timestamptz,
    until timestamptz,
    dimension text,
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (
    dimension_value text, total_sessions bigint, metric text, value double precision, numerator numeric,
    denominator numeric, sessions bigint, left_out bigint, left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        m.dimension_value, m.total_sessions, m.metric, m.value, m.numerator, m.denominator, m.sessions,
        m.left_out, m.left_out_because
    FROM qoe_metrics(
        since, until, NULL, dimension, NULL, device_models, os_versions, sdk_versions, connection_types
    ) AS m
$$;

CREATE FUNCTION qoe_breakdown_extra(
    since timestamptz,
    until timestamptz,
    field text,
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (
    dimension_value text, total_sessions bigint, metric text, value double precision, numerator numeric,
    denominator numeric, sessions bigint, left_out bigint, left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        m.dimension_value, m.total_sessions, m.metric, m.value, m.numerator, m.denominator, m.sessions,
        m.left_out, m.left_out_because
    FROM qoe_metrics(
        since, until, NULL, NULL, field, device_models, os_versions, sdk_versions, connection_types
    ) AS m
$$;

-- Every bound is one of qoe_startup_bounds_ms() too, so that no bucket lies across it.
CREATE FUNCTION qoe_histogram_bounds_ms() RETURNS double precision[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[
        100, 250, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10000, 15000, 20000, 30000, 60000,
        'Infinity'
    ]::double precision[];

COMMENT ON FUNCTION qoe_histogram_bounds_ms IS 'Upper bounds of the buckets that charts show, ms.';

CREATE FUNCTION qoe_startup_histogram(
    since timestamptz,
    until timestamptz,
    step interval,
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (at timestamptz, upper_bound_ms double precision, sessions bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH startups AS MATERIALIZED (
        SELECT
            p.at,
            width_bucket(qoe_startup_bucket_value_ms(p.startup_bucket), qoe_histogram_bounds_ms()) + 1 AS place,
            sum(p.startups) AS startups
        FROM qoe_parts(
            since, until, step,
            m3w_rollup_slot(NULL, device_models, os_versions, sdk_versions, connection_types),
            NULL, NULL, device_models, os_versions, sdk_versions, connection_types
        ) AS p
        WHERE p.startup_bucket IS NOT NULL
        GROUP BY 1, 2
    )
    SELECT a.at, b.upper_bound_ms, coalesce(s.startups, 0)::bigint
    FROM (SELECT DISTINCT at FROM startups) AS a
    CROSS JOIN unnest(qoe_histogram_bounds_ms()) WITH ORDINALITY AS b (upper_bound_ms, place)
    LEFT JOIN startups AS s ON s.at = a.at AND s.place = b.place
    ORDER BY a.at, b.place
$$;

CREATE FUNCTION qoe_live(
    device_models text[] DEFAULT NULL,
    os_versions text[] DEFAULT NULL,
    sdk_versions text[] DEFAULT NULL,
    connection_types text[] DEFAULT NULL
) RETURNS TABLE (
    metric text, value double precision, numerator numeric, denominator numeric, sessions bigint,
    left_out bigint, left_out_because jsonb
)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH live AS (
        SELECT
            count(*) AS sessions,
            count(*) FILTER (WHERE q.implausible) AS implausible,
            count(*) FILTER (WHERE q.rebuffer_count > 0) AS stalled,
            count(*) FILTER (WHERE NOT q.implausible AND q.watch_time_ms > 0) AS watched,
            sum(q.rebuffer_time_ms) FILTER (
                WHERE NOT q.implausible AND q.watch_time_ms > 0
            ) AS rebuffer_time_ms,
            sum(q.watch_time_ms) FILTER (
                WHERE NOT q.implausible AND q.watch_time_ms > 0 AND q.rebuffer_time_ms IS NOT NULL
            ) AS watch_time_ms,
            count(q.rebuffer_time_ms) FILTER (
                WHERE NOT q.implausible AND q.watch_time_ms > 0
            ) AS rebuffer_sessions,
            count(q.startup_time_ms) FILTER (WHERE NOT q.implausible) AS startups,
            percentile_disc(0.95) WITHIN GROUP (ORDER BY q.startup_time_ms) FILTER (
                WHERE NOT q.implausible
            ) AS p95_ms,
            sum(q.mean_video_format_bitrate::numeric * q.play_time_ms) FILTER (
                WHERE NOT q.implausible AND q.play_time_ms > 0
            ) AS bitrate_play,
            sum(q.play_time_ms) FILTER (
                WHERE NOT q.implausible AND q.mean_video_format_bitrate IS NOT NULL
            ) AS play_time_ms,
            count(q.mean_video_format_bitrate) FILTER (
                WHERE NOT q.implausible AND q.play_time_ms > 0
            ) AS bitrates
        FROM session_qoe AS q
        -- As in the definition of in_progress: by it the index finds them.
        WHERE q.received_at > now() - interval '45 seconds'
            AND q.outcome = 'in_progress'
            AND m3w_passes(q.device_model, device_models)
            AND m3w_passes(q.os_version::text, os_versions)
            AND m3w_passes(q.sdk_version, sdk_versions)
            AND m3w_passes(q.connection_type, connection_types)
    )
    SELECT
        m.metric,
        coalesce(m.quantile, m.factor * m.numerator / nullif(coalesce(m.denominator, 1), 0))::double precision,
        m.numerator,
        m.denominator,
        m.sessions,
        l.sessions - m.sessions,
        CASE
            WHEN m.specific IS NULL THEN '{}'
            ELSE jsonb_strip_nulls(jsonb_build_object(
                'implausible', nullif(l.implausible, 0),
                m.specific, nullif(l.sessions - m.sessions - l.implausible, 0)
            ))
        END
    FROM live AS l
    CROSS JOIN LATERAL (
        VALUES
            ('sessions_in_progress', NULL, 1, l.sessions, NULL, l.sessions, NULL),
            ('stalled_percentage', NULL, 100, l.stalled, l.sessions, l.sessions, NULL),
            (
                'rebuffer_percentage', NULL, 100, l.rebuffer_time_ms, l.watch_time_ms, l.rebuffer_sessions,
                'no_rebuffer_time'
            ),
            ('startup_time_p95', l.p95_ms, 1, NULL, NULL, l.startups, 'no_startup_time'),
            ('average_bitrate', NULL, 1, l.bitrate_play, l.play_time_ms, l.bitrates, 'bitrate_unset')
    ) AS m (metric, quantile, factor, numerator, denominator, sessions, specific)
$$;

CREATE FUNCTION qoe_day_medians(day_of timestamptz) RETURNS TABLE (metric text, median double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH medians AS (
        SELECT
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.startup_time_ms) AS startup_time_ms,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.watch_time_ms::double precision) AS watch_time_ms,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.play_time_ms) AS play_time_ms,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.rebuffer_time_ms) AS rebuffer_time_ms,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.rebuffer_count) AS rebuffer_count,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.rebuffer_ratio) AS rebuffer_ratio,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.total_dropped_frames) AS total_dropped_frames,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.total_seek_count) AS total_seek_count,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.total_seek_time_ms) AS total_seek_time_ms,
            percentile_cont(0.5) WITHIN GROUP (
                ORDER BY q.mean_video_format_bitrate
            ) AS mean_video_format_bitrate,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY q.session_duration_ms) AS session_duration_ms
        FROM session_qoe AS q
        WHERE q.event_at >= m3w_slot(interval '24 hours', day_of)
            AND q.event_at < m3w_slot(interval '24 hours', day_of) + interval '24 hours'
            AND q.outcome <> 'in_progress'
            AND NOT q.implausible
    )
    SELECT v.metric, v.median
    FROM medians AS m
    CROSS JOIN LATERAL (
        VALUES
            ('startup_time_ms', m.startup_time_ms),
            ('watch_time_ms', m.watch_time_ms),
            ('play_time_ms', m.play_time_ms),
            ('rebuffer_time_ms', m.rebuffer_time_ms),
            ('rebuffer_count', m.rebuffer_count),
            ('rebuffer_ratio', m.rebuffer_ratio),
            ('total_dropped_frames', m.total_dropped_frames),
            ('total_seek_count', m.total_seek_count),
            ('total_seek_time_ms', m.total_seek_time_ms),
            ('mean_video_format_bitrate', m.mean_video_format_bitrate),
            ('session_duration_ms', m.session_duration_ms)
    ) AS v (metric, median)
$$;

COMMENT ON FUNCTION qoe_metrics IS
    'Every metric of every step and group, with how many sessions were left out and why. The functions below ask it.';
COMMENT ON FUNCTION qoe_totals IS
    'The metrics of docs/metrics.md for sessions of event_at in [since, until): one row each, always all of them.';
COMMENT ON FUNCTION qoe_series IS
    'The same for each step that holds sessions; steps are rounded up to fit the rollup, see m3w_whole_step().';
COMMENT ON FUNCTION qoe_breakdown IS
    'The same for each device_model, os_version, sdk_version or connection_type.';
COMMENT ON FUNCTION qoe_breakdown_extra IS
    'The same for each value of a field of the app''s own. Reads every session of the range.';
COMMENT ON FUNCTION qoe_startup_histogram IS
    'How many startup times of each step lie below a bound and not below the one before.';
COMMENT ON FUNCTION qoe_live IS 'How sessions fare that are in progress now.';
COMMENT ON FUNCTION qoe_day_medians IS 'Exact medians of the UTC day of a moment.';
