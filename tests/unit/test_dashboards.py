"""
The dashboards as files, which users may edit: what every panel has to have. Their queries run in tests/integration.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests._grafana import POSTGRES, PROMETHEUS, ROOT, dashboards, panels, queries, variables

DASHBOARDS = dashboards()
UIDS = {"m3w-overview", "m3w-breakdown", "m3w-sessions", "m3w-session", "m3w-ingest"}
FILTERS = {"device_model", "os_version", "sdk_version", "connection_type"}

EVERY_PANEL = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
]
every_dashboard = pytest.mark.parametrize("uid", sorted(DASHBOARDS))


def definitions() -> dict[str, set[str]]:
    """Give what docs/metrics.md says, by title: the formula, and after it what the colours mean."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"(?m)^### ", (ROOT / "docs" / "metrics.md").read_text())[1:]:
        title, formula, *rest = section.partition("\n## ")[0].strip().split("\n\n")
        colours = re.search(r"(?m)^- (Good .*)$", "\n".join(rest))
        text = " ".join([*formula.split(), *([colours[1]] if colours else [])])
        found.setdefault(title, set()).add(text)
    return found


def described(panel: dict[str, Any]) -> dict[str, str]:
    """Give the definitions that a panel has, by title."""
    paragraphs = panel["description"].split("\n\n")
    if len(paragraphs) == 1:
        return {"": paragraphs[0]}
    found = [re.fullmatch(r"\*\*(.+)\.\*\* (.+)", paragraph) for paragraph in paragraphs]
    return {match[1]: match[2] for match in found if match is not None}


def test_the_dashboards_are_these() -> None:
    """
    A link names a dashboard by its uid, so it never changes; the file has the same name.
    """
    assert set(DASHBOARDS) == UIDS
    assert {uid: dashboard["uid"] for uid, dashboard in DASHBOARDS.items()} == {uid: uid for uid in UIDS}


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(panel: dict[str, Any]) -> None:
    """
    Title, description, unit, and data sources by uid.
    """
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]

    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert {(source["type"], source["uid"]) for source in sources} in (
        {("grafana-postgresql-datasource", POSTGRES)},
        {("prometheus", PROMETHEUS)},
    )
    assert [target["refId"] for target in panel["targets"]] == list("ABC")[: len(panel["targets"])]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_description_is_the_definition_word_for_word(panel: dict[str, Any]) -> None:
    """
    What docs/metrics.md says under that title, thresholds included.
    """
    known = definitions()
    every = set().union(*known.values())
    said = described(panel)

    assert len(said) == len(panel["description"].split("\n\n"))
    assert {
        title: text for title, text in said.items() if text not in (known[title] if title else every)
    } == {}


def test_every_definition_is_on_a_dashboard() -> None:
    """
    Nothing is defined that is nowhere shown.
    """
    shown = {
        text
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
        for text in described(panel).values()
    }

    assert {text for texts in definitions().values() for text in texts if text not in shown} == set()


SUFFIXES = {
    "cps": " sessions a second",
    "fps": " frames a second",
    "ms": " ms",
    "percent": "%",
    "percentunit": "%",
    "s": " s",
    "suffix:/min": " a minute",
}


def in_words(value: float, unit: str) -> str:
    if unit == "ms" and value >= 1000:
        return f"{value / 1000:g} s"
    return f"{value * 100 if unit == 'percentunit' else value:,g}{SUFFIXES.get(unit, '')}"


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_colours_are_those_that_the_description_names(panel: dict[str, Any]) -> None:
    """
    Green, yellow, red at the thresholds of the text; blue where no value is better than another.
    """
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] in ("table", "heatmap"):
        return
    steps = [(step["color"], step["value"]) for step in defaults["thresholds"]["steps"]]
    said = list(described(panel).values())[-1]
    limits = {colour: in_words(value, defaults["unit"]) for colour, value in steps if value is not None}

    assert steps[0][1] is None
    if "Good below" not in said:
        assert [colour for colour, _ in steps] == ["blue"]
    elif "warning" not in said:
        assert [colour for colour, _ in steps] == ["green", "red"]
        assert said.endswith(f"Good below {limits['red']}, bad from {limits['red']}.")
    else:
        assert [colour for colour, _ in steps] == ["green", "yellow", "red"]
        assert said.endswith(
            f"Good below {limits['yellow']}, warning from {limits['yellow']}, bad from {limits['red']}."
        )


@every_dashboard
def test_panels_fill_their_rows_and_none_lies_on_another(uid: str) -> None:
    """
    The grid is 24 wide; each panel has a number of its own.
    """
    everything = DASHBOARDS[uid]["panels"]
    places = [each["gridPos"] for each in everything]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    height = max(y for _, y in cells) + 1

    assert len(cells) == len(set(cells))
    assert set(cells) == {(x, y) for x in range(24) for y in range(height)}
    assert len({each["id"] for each in everything}) == len(everything)


def urls(node: Any) -> list[str]:
    """Give all addresses in a dashboard."""
    if isinstance(node, dict):
        own = [node["url"]] if node.get("url") else []
        return own + [url for value in node.values() for url in urls(value)]
    return [url for value in node for url in urls(value)] if isinstance(node, list) else []


@every_dashboard
def test_links_keep_the_time_range_and_lead_to_dashboards_that_exist(uid: str) -> None:
    """
    Those at the top take the variables along too; values are encoded.
    """
    (at_top,) = DASHBOARDS[uid]["links"]
    links = urls(DASHBOARDS[uid])
    names = {
        name
        for url in links
        for target in re.findall(r"/d/([\w-]+)\?", url)
        for name in re.findall(r"var-(\w+)=", url)
        if name not in variables(DASHBOARDS[target])
    }

    assert (at_top["type"], at_top["tags"]) == ("dashboards", ["media3watch"])
    assert (at_top["keepTime"], at_top["includeVars"]) == (True, True)
    assert "media3watch" in DASHBOARDS[uid]["tags"]
    assert [url for url in links if not re.match(r"/d/m3w-\w+\?\$\{__url_time_range\}", url)] == []
    assert {url.partition("?")[0].removeprefix("/d/") for url in links} <= UIDS
    assert [url for url in links if re.search(r"__value\.(?!raw:percentencode)", url)] == []
    assert names == set()


def test_links_inside_panels_are_found() -> None:
    """
    The rule above holds for something.
    """
    assert {uid for uid in UIDS if urls(DASHBOARDS[uid])} == {"m3w-overview", "m3w-breakdown", "m3w-sessions"}


@pytest.mark.parametrize("uid", ["m3w-overview", "m3w-breakdown", "m3w-sessions"])
def test_filters_take_several_values_and_all_of_them_without_naming_them(uid: str) -> None:
    """
    "All" is a null: the names that devices give themselves may hold what Grafana takes for a macro.
    """
    known = variables(DASHBOARDS[uid])

    assert known.keys() >= FILTERS
    for name in FILTERS:
        assert (known[name]["multi"], known[name]["includeAll"], known[name]["allValue"]) == (
            True,
            True,
            "NULL::text",
        )
        assert known[name]["current"]["value"] == ["$__all"]


@pytest.mark.parametrize("query", [pytest.param(query, id=query.place) for query in queries(POSTGRES)])
def test_values_are_quoted_and_every_panel_obeys_the_filters(query: Any) -> None:
    """
    Each variable is put in as :sqlstring. Only rejected payloads have no device to filter by.
    """
    used = re.findall(r"\$\{(\w+)(:\w+)?\}", query.text)
    bare = set(re.findall(r"\$(\w+)", query.text))

    assert {form for _, form in used} <= {":sqlstring"}
    assert bare <= {"__timeFrom", "__timeTo", "__interval_ms"}
    if (
        query.kind != "variable"
        and not query.place.startswith("m3w-session:")
        and "rejections" not in query.text
    ):
        assert {name for name, _ in used} >= FILTERS
        assert "qoe_live" in query.text or bare >= {"__timeFrom", "__timeTo"}
