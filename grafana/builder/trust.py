"""
How far the data can be trusted: what was left out of the numbers, and why.

A number that is left out is bad only where there are many: every share here has a harmless level above zero.
"""

from __future__ import annotations

from typing import Final

from grafana.builder.definition import Definition, Thresholds


def _share(name: str, title: str, formula: str, warning: float, bad: float) -> Definition:
    return Definition(
        name=f"{name}_percentage",
        title=title,
        formula=formula,
        source="this backend",
        query="qoe_totals",
        unit="percent",
        thresholds=Thresholds(warning, bad),
        decimals=2,
    )


STARTUP_UNMEASURED: Final = _share(
    "startup_unmeasured",
    "Unmeasured startups",
    "Plays without a startup time ÷ plays: the app did not call `playRequested()`. They are no exits before video"
    " start.",
    5,
    20,
)
BITRATE_UNSET: Final = _share(
    "bitrate_unset",
    "Unset bitrates",
    "Sessions with play time but no mean bitrate ÷ sessions with play time: Media3 knew none. They weigh nothing in the"
    " average.",
    10,
    30,
)
IMPLAUSIBLE: Final = _share(
    "implausible",
    "Implausible values",
    "Sessions with a duration over 7 days or another impossible number ÷ sessions that are over; left out of sums.",
    0.1,
    1,
)
CLOCK_AHEAD: Final = _share(
    "client_clock_ahead",
    "Clocks in the future",
    "Sessions whose client's clock was more than 5 minutes ahead of ours ÷ sessions that are over; they count at the"
    " time of their arrival.",
    1,
    5,
)
CLOCK_BEHIND: Final = _share(
    "client_clock_behind",
    "Clocks in the past",
    "Sessions whose client's time was more than 30 days before their arrival ÷ sessions that are over; they count at"
    " the time of their arrival.",
    1,
    5,
)
LATE_ARRIVAL: Final = _share(
    "late_arrival",
    "Late arrivals",
    "Sessions whose last summary came more than 5 minutes after it was made ÷ sessions that are over. The last hours"
    " change while they come in.",
    10,
    30,
)
REJECTED: Final = Definition(
    name="rejected_payloads",
    title="Rejected payloads",
    formula="Payloads that came with a right key and were turned away, as far as they are kept. The filters of the"
    " dashboard do not touch them, as nothing in them is believed.",
    source="this backend",
    query="rejections",
    unit="short",
    thresholds=Thresholds(1, 100),
    decimals=0,
)
EVIDENCE: Final = Definition(
    name="",
    title="What the numbers rest on",
    formula="For each number its numerator and denominator, the sessions that it rests on, and how many were left out"
    " and why: a session may be left out for several reasons.",
    source="this backend",
    query="qoe_totals",
    unit="short",
)

TRUST: Final = (
    STARTUP_UNMEASURED,
    BITRATE_UNSET,
    IMPLAUSIBLE,
    CLOCK_AHEAD,
    CLOCK_BEHIND,
    LATE_ARRIVAL,
    REJECTED,
    EVIDENCE,
)
