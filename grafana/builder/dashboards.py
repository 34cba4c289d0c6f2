"""
All dashboards, and how they become the files that Grafana reads.

The number of a panel is its place, so adding one renumbers those after it; links name dashboards, never panels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard as Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.builder.breakdown import breakdown
from grafana.builder.explorer import sessions
from grafana.builder.ingest import ingest
from grafana.builder.overview import overview
from grafana.builder.session import session

DASHBOARDS: Final = (overview, breakdown, sessions, session, ingest)


def encode(builder: Builder) -> str:
    """Write a dashboard as JSON; the number of a panel is its place."""
    dashboard = builder.build()
    for number, panel in enumerate(dashboard.panels or [], 1):
        panel.id_val = number
    # Decoded once, as the encoder sorts no keys of objects that it has yet to encode.
    return json.dumps(json.loads(JSONEncoder().encode(dashboard)), ensure_ascii=False, indent=2) + "\n"


def files() -> Iterator[tuple[str, str]]:
    """Give the name and the text of each file."""
    for make in DASHBOARDS:
        builder = make()
        yield f"{builder.build().uid}.json", encode(builder)
