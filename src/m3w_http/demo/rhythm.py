"""
When sessions begin: little by night, much in the evening, more at the weekend.

Viewers live in several time zones, so that seen in UTC no hour is empty.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

HOUR_MS = 3_600_000

#: Sessions by the hour of the viewer's day, from midnight on.
_BY_HOUR = (7, 4, 2.5, 1.5, 1.2, 1.5, 3, 5, 6, 5.5, 5.5, 6.5, 8.5, 8, 7, 7, 8, 10, 13, 17, 22, 24, 20, 13)

#: From Monday on.
_BY_WEEKDAY = (0.9, 0.88, 0.92, 0.95, 1.1, 1.3, 1.25)

#: Offsets from UTC in hours, and the share of the viewers there.
_ZONES = ((1, 0.7), (-5, 0.2), (8, 0.1))


def start_times(source: random.Random, count: int, *, since_ms: int, until_ms: int) -> list[int]:
    """
    Choose when *count* sessions begin.

    Args:
        source: Of randomness.
        count: How many.
        since_ms: Not before, epoch ms.
        until_ms: Before that, epoch ms.

    Returns:
        Epoch ms, in order.
    """
    hours = range(since_ms, until_ms, HOUR_MS)
    # Where the last one is not a whole hour, it gets as much less.
    weights = [liveliness(hour) * min(HOUR_MS, until_ms - hour) for hour in hours]
    return sorted(
        hour + source.randrange(min(HOUR_MS, until_ms - hour))
        for hour in source.choices(hours, weights, k=count)
    )


def liveliness(at_ms: int) -> float:
    """Tell how many sessions begin about this time, in proportion to other times."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    total = 0.0
    for offset_hours, share in _ZONES:
        local = moment + timedelta(hours=offset_hours)
        total += share * _BY_HOUR[local.hour] * _BY_WEEKDAY[local.weekday()]
    return total
