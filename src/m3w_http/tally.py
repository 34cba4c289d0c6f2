"""
Counting that costs a request next to nothing.

With several processes, prometheus-client writes each change to a file that they share, some 5 µs a time. Here
changes are added up in memory, and handed on about once a second; what a killed process had not handed on is lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from attrs import define, field
from prometheus_client import Counter, Histogram


@define(eq=False)
class CounterTally:
    """
    What a counter is going to be told.

    Args:
        counter: Its labels are given with each change.
    """

    counter: Counter
    _changes: defaultdict[tuple[str, ...], int] = field(factory=lambda: defaultdict(int), init=False)

    def inc(self, *labels: str, by: int = 1) -> None:
        """Count."""
        self._changes[labels] += by

    def hand_on(self) -> None:
        """Tell the counter."""
        changes, self._changes = self._changes, defaultdict(int)
        for labels, by in changes.items():
            (self.counter.labels(*labels) if labels else self.counter).inc(by)


@define(eq=False)
class HistogramTally:
    """
    What a histogram is going to be told.

    Args:
        histogram: Its labels are given with each observation.
        bounds: The upper bounds of its buckets, without the last one, infinity.
    """

    histogram: Histogram
    bounds: Sequence[float]
    _observed: dict[tuple[object, ...], _Observed] = field(factory=dict, init=False)

    def observe(self, value: float, *labels: object) -> None:
        """Take one observation."""
        observed = self._observed.get(labels)
        if observed is None:
            observed = self._observed[labels] = _Observed([0] * (len(self.bounds) + 1))
        observed.counts[bisect_left(self.bounds, value)] += 1
        observed.total += value

    def hand_on(self) -> None:
        """Tell the histogram."""
        everything, self._observed = self._observed, {}
        for labels, observed in everything.items():
            child = self.histogram.labels(*labels)
            # What observe() does, as often as it takes; it takes but one value at a time.
            child._sum.inc(observed.total)  # noqa: SLF001
            for bucket, count in zip(child._buckets, observed.counts, strict=True):  # noqa: SLF001
                if count:
                    bucket.inc(count)


@define(eq=False)
class _Observed:
    counts: list[int]
    total: float = 0.0
