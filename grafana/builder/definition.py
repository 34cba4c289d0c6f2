"""
How one number is described: what it is, where that comes from, how it is shown and when it is bad.

Values are in the unit that the query gives: percentages of sessions from 0 to 100, those of requests from 0 to 1.
"""

from __future__ import annotations

from attrs import frozen

_SUFFIXES = {
    "bps": " bit/s",
    "percent": "%",
    "ms": " ms",
    "s": " s",
    "short": "",
    "none": "",
    "bytes": " bytes",
    "suffix:/min": " a minute",
}
#: What people call the units of Grafana.
UNIT_WORDS = {
    "bps": "bit/s",
    "percent": "percent",
    "percentunit": "percent",
    "ms": "milliseconds",
    "s": "seconds",
    "short": "a count",
    "none": "a number",
    "bytes": "bytes",
    "reqps": "requests a second",
    "cps": "sessions a second",
    "fps": "frames a second",
    "suffix:/min": "a minute",
    "string": "text",
    "dateTimeAsIso": "date and time",
}


@frozen
class Thresholds:
    """
    Where a number stops being good; one language of colours for all dashboards: green, yellow, red.

    Args:
        warning: From here on yellow, in the unit of the number.
        bad: From here on red.
    """

    warning: float
    bad: float


@frozen
class Definition:
    """
    One number.

    Args:
        name: What SQL calls it, or a name of its own; empty where it is many numbers.
        title: What people call it.
        formula: What it is, in whole sentences.
        source: Who defines it so.
        query: The SQL function, view or Prometheus metric to read it from.
        unit: Grafana's name of the unit.
        thresholds: When it is bad; None where no value is better than another.
        decimals: How many to show; None lets Grafana choose.
    """

    name: str
    title: str
    formula: str
    source: str
    query: str
    unit: str
    thresholds: Thresholds | None = None
    decimals: int | None = None

    @property
    def colours(self) -> str:
        """Say which values are good, or nothing."""
        if self.thresholds is None:
            return ""
        warning, bad = (self.in_words(value) for value in (self.thresholds.warning, self.thresholds.bad))
        if warning == bad:
            return f"Good below {bad}, bad from {bad}."
        return f"Good below {warning}, warning from {warning}, bad from {bad}."

    @property
    def description(self) -> str:
        """What a panel says of it: the definition, and what its colours mean."""
        return " ".join(filter(None, (self.formula, self.colours)))

    def in_words(self, value: float) -> str:
        """Write a value with its unit, as people do."""
        if self.unit == "percentunit":
            return f"{value * 100:g}%"
        if self.unit == "ms" and value >= 1000:
            return f"{value / 1000:g} s"
        return f"{value:,g}{_SUFFIXES.get(self.unit, ' ' + UNIT_WORDS[self.unit])}"
