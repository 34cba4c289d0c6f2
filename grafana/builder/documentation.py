"""Writes ``docs/metrics.md``: every definition, under the heading of what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Final

from grafana.builder.breakdown import BREAKDOWNS
from grafana.builder.definition import UNIT_WORDS, Definition
from grafana.builder.definitions import NOW, QUALITY
from grafana.builder.service import SERVICE
from grafana.builder.session_rows import SINGLE_SESSIONS
from grafana.builder.trust import TRUST

_HEAD: Final = """\
# What the numbers mean

Made by `tox run -e dashboards` from `grafana/builder`, as the dashboards are: change the definitions there. Definitions
follow CTA-2066 (Streaming QoE events, properties and metrics) and Media3's `PlaybackStats`. Each is computed in one
place, the SQL of `migrations/` or the metrics of the backend.

Every `qoe_` function takes a time range `[since, until)` and, last, four filters: arrays of device models, Android
versions, SDK versions and connection types. Null, or an array with a null in it, is no filter; `unknown` is what has
no value. Each row has a `metric` (the name below), its `value`, and what that rests on: `numerator`, `denominator`,
`sessions`, `left_out` and `left_out_because`.

```sql
SELECT metric, value, numerator, denominator, sessions
FROM qoe_totals(now() - interval '1 day', now(), ARRAY['Pixel 8'])
```

A session counts at its event time: the client's time if that is plausible, else the time of its arrival. Sessions in
progress are counted as viewers and are in no ratio. Sums are over sessions, so that a ratio of a group is Σ ÷ Σ and
never a mean of ratios.

Percentiles of the startup time come from histograms, which can be added up over hours: they are at most 4.7 % off from
100 ms to 60 s and at most 14 ms below; 60 s stands for that or more.

Colours are the same everywhere: green is good, yellow a warning, red bad; blue has no better or worse.
"""

_SECTIONS: Final = (
    ("Quality of experience", QUALITY),
    ("At this moment", NOW),
    ("Trust in the data", TRUST),
    ("Groups of sessions", BREAKDOWNS),
    ("Single sessions", SINGLE_SESSIONS),
    ("The service", SERVICE),
)


def metrics_page() -> str:
    """Write the page."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield _HEAD
    for heading, definitions in _SECTIONS:
        yield f"## {heading}\n"
        for definition in definitions:
            yield _entry(definition)


def _entry(definition: Definition) -> str:
    is_metric = definition.name and definition.query in ("qoe_totals", "qoe_live")
    name = f", metric `{definition.name}`" if is_metric else ""
    lines = [
        f"- Unit: {UNIT_WORDS[definition.unit]}",
        f"- From: `{definition.query}`{name}",
        f"- Source: {definition.source}",
    ]
    if definition.colours:
        lines.append(f"- {definition.colours}")
    formula = fill(definition.formula, 120, break_on_hyphens=False)
    return "\n".join((f"### {definition.title}\n", f"{formula}\n", *lines, ""))
