"""
The files are what grafana/builder makes: users may read either. Whoever changes one runs ``tox run -e dashboards``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests._grafana import DASHBOARDS, ROOT

pytest.importorskip(
    "grafana_foundation_sdk", reason="the foundation SDK is not installed, as it is not in nixpkgs"
)

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.dashboards import files
from grafana.builder.documentation import metrics_page

FILES = dict(files())


def test_the_files_are_what_the_builder_makes() -> None:
    """
    None is missing, none is left over, none was edited by hand.
    """
    assert sorted(path.name for path in DASHBOARDS.iterdir()) == sorted(FILES)
    assert {name: (DASHBOARDS / name).read_text(encoding="utf-8") for name in FILES} == FILES


def test_the_page_of_definitions_is_what_the_builder_makes() -> None:
    """
    Like the dashboards.
    """
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics_page()


@pytest.mark.parametrize("name", sorted(FILES))
def test_grafanas_own_model_loses_nothing_of_a_file(name: str) -> None:
    """
    What the SDK's model of Grafana 11.4 does not know it would drop.
    """
    register_default_plugins()
    read: dict[str, Any] = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
    loaded = Dashboard.from_json(json.loads(json.dumps(read)))

    assert json.loads(JSONEncoder().encode(loaded)) == read
