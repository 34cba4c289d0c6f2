"""
Whether Grafana's panels can draw what a query gives.

A time series wants its time first and ascending, a heatmap its buckets in order, a trend a number to ascend by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from tests._grafana import Query

#: Types that Grafana draws; the others are text to it.
NUMBERS: Final = {"smallint", "integer", "bigint", "real", "double precision", "numeric"}


@frozen
class Answer:
    """
    What a query gives.

    Args:
        columns: Types by name, as PostgreSQL spells them.
        rows: The rows.
    """

    columns: dict[str, str]
    rows: list[list[Any]]

    @property
    def kinds(self) -> list[str]:
        """Give the types."""
        return list(self.columns.values())

    def column(self, name: str) -> list[Any]:
        """Give the values of a column."""
        place = list(self.columns).index(name)
        return [row[place] for row in self.rows]


def _stat(query: Query, answer: Answer) -> None:
    assert len(answer.rows) == len(answer.kinds) == 1
    assert query.format_ == "table"
    assert answer.rows[0][0] is not None
    assert answer.kinds[0] in NUMBERS or query.panel["fieldConfig"]["defaults"]["unit"] == "string"


def _time_series(query: Query, answer: Answer) -> None:
    times = answer.column("time")

    assert query.format_ == "time_series"
    assert next(iter(answer.columns)) == "time"
    assert answer.kinds[0] == "timestamp with time zone"
    assert set(answer.kinds[1:]) <= NUMBERS
    assert times == sorted(set(times))
    assert len(times) > 20
    assert all(any(value is not None for value in answer.column(name)) for name in answer.columns)


def _heatmap(query: Query, answer: Answer) -> None:
    bounds = [float(name.replace("+Inf", "inf")) for name in list(answer.columns)[1:]]

    _time_series(query, answer)
    assert bounds == sorted(bounds)
    assert bounds[-1] == float("inf")
    assert all(value is not None for row in answer.rows for value in row)


def _trend(query: Query, answer: Answer) -> None:
    elapsed = answer.column(query.panel["options"]["xField"])

    assert query.format_ == "table"
    assert next(iter(answer.columns)) == query.panel["options"]["xField"]
    assert set(answer.kinds) <= NUMBERS
    assert len(answer.kinds) == 2
    assert elapsed == sorted(set(elapsed))
    assert any(value is not None for [_, value] in answer.rows)


def _table(query: Query, answer: Answer) -> None:
    shown = {rule["matcher"]["options"] for rule in query.panel["fieldConfig"]["overrides"]}

    assert query.format_ == "table"
    assert shown <= answer.columns.keys()
    assert {kind for kind in answer.kinds if kind.startswith("json") or kind.endswith("[]")} == set()


def _variable(query: Query, answer: Answer) -> None:
    assert answer.kinds == ["text"]
    assert len(answer.rows) == len({value for [value] in answer.rows})
    assert all(value is not None for [value] in answer.rows)


#: By the type of the panel; raises AssertionError.
FITS: Final[dict[str, Callable[[Query, Answer], None]]] = {
    "stat": _stat,
    "timeseries": _time_series,
    "heatmap": _heatmap,
    "trend": _trend,
    "table": _table,
    "variable": _variable,
}
