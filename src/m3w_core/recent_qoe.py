"""
The QoE numbers of the last hour, for alerts.

What they mean is defined in SQL (``qoe_totals``, docs/metrics.md); here they only get the units of Prometheus:
fractions and seconds.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from pg8000.native import Connection

_LAST_HOUR = "SELECT metric, value, denominator FROM qoe_totals(now() - interval '1 hour', now())"


@frozen(kw_only=True)
class RecentQoe:
    """
    Numbers of the last hour by ``event_at``; None where no session says anything.

    Args:
        sessions: How many the ratios of sessions rest on; those in progress are left out.
        rebuffer_ratio: Rebuffer time / watch time, 0 to 1.
        playback_failure_ratio: Sessions with a fatal error / sessions.
        exit_before_video_start_ratio: Sessions left before the first frame / sessions.
        startup_p95_s: 95 of 100 startups took at most so long.
    """

    sessions: int
    rebuffer_ratio: float | None
    playback_failure_ratio: float | None
    exit_before_video_start_ratio: float | None
    startup_p95_s: float | None


def recent_qoe(connection: Connection) -> RecentQoe:
    """
    Read the numbers of the last hour.

    Args:
        connection: To a migrated database.
    """
    rows = {metric: (value, denominator) for metric, value, denominator in connection.run(_LAST_HOUR)}
    return RecentQoe(
        sessions=int(rows["playback_failure_percentage"][1] or 0),
        rebuffer_ratio=_divided(rows["rebuffer_percentage"][0], 100),
        playback_failure_ratio=_divided(rows["playback_failure_percentage"][0], 100),
        exit_before_video_start_ratio=_divided(rows["exit_before_video_start_percentage"][0], 100),
        startup_p95_s=_divided(rows["startup_time_p95"][0], 1000),
    )


def _divided(value: Any, by: int) -> float | None:
    return None if value is None else float(value) / by
