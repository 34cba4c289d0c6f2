"""
What viewers' numbers mean, each once; panels and ``docs/metrics.md`` both take it from here.

The formulas are those of the SQL functions, whose ``metric`` is the name. Thresholds are of our choosing, no standard;
where there is an alert, it fires at what is bad here. Whoever has a better measure changes both.
"""

from __future__ import annotations

from typing import Final

from grafana.builder.definition import Definition, Thresholds

CTA_2066: Final = "CTA-2066"
MEDIA3: Final = "Media3 `PlaybackStats`"
OURS: Final = "this backend"

SESSIONS: Final = Definition(
    name="sessions",
    title="Sessions",
    formula="Sessions whose event time lies in the range, those in progress among them; no ratio counts these.",
    source=OURS,
    query="qoe_totals",
    unit="short",
    decimals=0,
)
STARTUP_P50: Final = Definition(
    name="startup_time_p50",
    title="Startup time, median",
    formula="From play requested to the first frame rendered; half of the sessions were faster. Sessions without a"
    " value are left out, never counted as 0.",
    source=f"{CTA_2066}, video startup time; {MEDIA3}, joining time",
    query="qoe_totals",
    unit="ms",
    thresholds=Thresholds(2_000, 4_000),
)
STARTUP_P95: Final = Definition(
    name="startup_time_p95",
    title="Startup time, p95",
    formula="From play requested to the first frame rendered; one session in twenty was slower. Sessions without a"
    " value are left out, never counted as 0.",
    source=f"{CTA_2066}, video startup time; {MEDIA3}, joining time",
    query="qoe_totals",
    unit="ms",
    thresholds=Thresholds(4_000, 8_000),
)
STARTUP_DISTRIBUTION: Final = Definition(
    name="startup_time_distribution",
    title="Startup time, distribution",
    formula="Sessions by startup time: each row is named by its upper bound, and the darker it is, the more sessions it"
    " has.",
    source=f"{CTA_2066}, video startup time",
    query="qoe_startup_histogram",
    unit="ms",
)
REBUFFER_PERCENTAGE: Final = Definition(
    name="rebuffer_percentage",
    title="Rebuffer percentage",
    formula="Σ rebuffer time ÷ Σ watch time; never the mean of the sessions' ratios. Watch time is the wall time in"
    " which the viewer wanted playback: stalls count, pauses do not.",
    source=f"{CTA_2066}, rebuffering percentage; {MEDIA3}, rebuffer time ratio",
    query="qoe_totals",
    unit="percent",
    thresholds=Thresholds(1, 2),
    decimals=2,
)
REBUFFER_FREQUENCY: Final = Definition(
    name="rebuffer_frequency",
    title="Rebuffer frequency",
    formula="Σ rebuffer count ÷ Σ watch time: stalls in a minute of watching.",
    source=f"{CTA_2066}, rebuffering frequency; {MEDIA3}, rebuffer rate",
    query="qoe_totals",
    unit="suffix:/min",
    thresholds=Thresholds(0.2, 0.5),
    decimals=2,
)
FAILURE_PERCENTAGE: Final = Definition(
    name="playback_failure_percentage",
    title="Playback failure percentage",
    formula="Sessions with a fatal error ÷ sessions that are over, whether they failed before the start or after it.",
    source=f"{CTA_2066}, playback failure; {MEDIA3}, fatal error ratio",
    query="qoe_totals",
    unit="percent",
    thresholds=Thresholds(2, 5),
    decimals=2,
)
START_FAILURE_PERCENTAGE: Final = Definition(
    name="video_start_failure_percentage",
    title="Video start failure percentage",
    formula="Sessions with a fatal error, no startup time and no play time ÷ sessions that are over: the viewer saw"
    " nothing but an error.",
    source=f"{CTA_2066}, video start failure",
    query="qoe_totals",
    unit="percent",
    thresholds=Thresholds(0.5, 2),
    decimals=2,
)
EBVS_PERCENTAGE: Final = Definition(
    name="exit_before_video_start_percentage",
    title="Exits before video start",
    formula="Sessions with no startup time, no play time and no error ÷ sessions that are over: the viewer left"
    " before the first frame.",
    source=f"{CTA_2066}, exit before video start (EBVS); {MEDIA3}, abandoned before ready",
    query="qoe_totals",
    unit="percent",
    thresholds=Thresholds(10, 20),
    decimals=2,
)
AVERAGE_BITRATE: Final = Definition(
    name="average_bitrate",
    title="Average bitrate",
    formula="Mean of the sessions' mean video bitrates, weighted by play time. Which value is good depends on the"
    " content.",
    source=f"{CTA_2066}, average bitrate; {MEDIA3}, mean video format bitrate",
    query="qoe_totals",
    unit="bps",
)
DROPPED_FRAME_RATE: Final = Definition(
    name="dropped_frame_rate",
    title="Dropped frames",
    formula="Σ dropped frames ÷ Σ play time: frames dropped in a second of playing.",
    source=f"{MEDIA3}, dropped frames rate",
    query="qoe_totals",
    unit="fps",
    thresholds=Thresholds(0.3, 1),
    decimals=2,
)

PLAYS: Final = Definition(
    name="plays",
    title="Plays",
    formula="Sessions that are over and rendered a first frame or have play time.",
    source=OURS,
    query="qoe_totals",
    unit="short",
    decimals=0,
)
WATCH_TIME: Final = Definition(
    name="watch_time",
    title="Watch time",
    formula="Σ wall time in which viewers wanted playback: rebuffer time ÷ rebuffer ratio where both are positive, else"
    " play, startup, rebuffer and seek time together. 60 s of video with a stall of 10 s and a pause of 30 s are 70 s.",
    source=f"{MEDIA3}, the denominator of its rebuffer time ratio",
    query="qoe_totals",
    unit="ms",
)
OUTCOMES: Final = Definition(
    name="outcome",
    title="Outcome",
    formula="How a session ended: `played`; `failed`, with a fatal error after the start; `failed_before_start`, with"
    " one before it; `exited_before_start`, without an error; or `in_progress`, not at all yet.",
    source=OURS,
    query="session_qoe",
    unit="short",
)
#: The numbers of a group of sessions, in the order in which a viewer meets them.
QUALITY: Final = (
    SESSIONS,
    PLAYS,
    WATCH_TIME,
    OUTCOMES,
    STARTUP_P50,
    STARTUP_P95,
    STARTUP_DISTRIBUTION,
    REBUFFER_PERCENTAGE,
    REBUFFER_FREQUENCY,
    FAILURE_PERCENTAGE,
    START_FAILURE_PERCENTAGE,
    EBVS_PERCENTAGE,
    AVERAGE_BITRATE,
    DROPPED_FRAME_RATE,
)

VIEWERS: Final = Definition(
    name="sessions_in_progress",
    title="Viewers now",
    formula="Sessions in progress: the last summary came less than 45 s ago, and nothing tells of an end. SDK 1.x sends"
    " one every 15 s; the first SDK only at the end, so its viewers are not seen here.",
    source=OURS,
    query="qoe_live",
    unit="short",
    decimals=0,
)
STALLED_NOW: Final = Definition(
    name="stalled_percentage",
    title="Viewers who had a stall",
    formula="Sessions in progress with at least one stall so far ÷ sessions in progress.",
    source=OURS,
    query="qoe_live",
    unit="percent",
    thresholds=Thresholds(20, 40),
    decimals=1,
)
REBUFFERING_NOW: Final = Definition(
    name="rebuffer_percentage",
    title="Rebuffer percentage now",
    formula="Σ rebuffer time ÷ Σ watch time of the sessions in progress, from their start until now.",
    source=f"{CTA_2066}, rebuffering percentage",
    query="qoe_live",
    unit="percent",
    thresholds=Thresholds(1, 2),
    decimals=2,
)
STARTUP_NOW: Final = Definition(
    name="startup_time_p95",
    title="Startup time now, p95",
    formula="From play requested to the first frame rendered, of the sessions in progress; one in twenty was slower.",
    source=f"{CTA_2066}, video startup time",
    query="qoe_live",
    unit="ms",
    thresholds=Thresholds(4_000, 8_000),
)
BITRATE_NOW: Final = Definition(
    name="average_bitrate",
    title="Average bitrate now",
    formula="Mean of the mean video bitrates of the sessions in progress, weighted by play time.",
    source=f"{CTA_2066}, average bitrate",
    query="qoe_live",
    unit="bps",
)
NOW: Final = (VIEWERS, STALLED_NOW, REBUFFERING_NOW, STARTUP_NOW, BITRATE_NOW)
