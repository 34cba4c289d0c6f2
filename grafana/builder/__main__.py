"""Writes ``grafana/dashboards`` and ``docs/metrics.md``: run ``python -m grafana.builder`` at the top level."""

from __future__ import annotations

from pathlib import Path

from grafana.builder.dashboards import files
from grafana.builder.documentation import metrics_page

if __name__ == "__main__":
    top = Path(__file__).parents[2]
    for name, text in files():
        (top / "grafana" / "dashboards" / name).write_text(text, encoding="utf-8")
    (top / "docs" / "metrics.md").write_text(metrics_page(), encoding="utf-8")
