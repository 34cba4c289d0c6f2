"""
The files that Grafana reads, held against the fields that its documentation names.

Grafana passes over a field that it does not know, without a word, and its server runs in no test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from m3w_core.grafana_role import GRAFANA_ROLE

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

DATASOURCE_FIELDS = {
    "name",
    "uid",
    "type",
    "access",
    "url",
    "user",
    "isDefault",
    "editable",
    "jsonData",
    "secureJsonData",
}
JSON_FIELDS = {
    "postgres": {"database", "sslmode", "postgresVersion", "maxOpenConns", "maxIdleConns", "connMaxLifetime"},
    "prometheus": {"httpMethod", "timeInterval"},
}
PROVIDER_FIELDS = {
    "name",
    "orgId",
    "folder",
    "folderUid",
    "type",
    "disableDeletion",
    "allowUiUpdates",
    "updateIntervalSeconds",
    "options",
}


def grafana_file(kind: str) -> dict[str, Any]:
    (path,) = (ROOT / "grafana" / "provisioning" / kind).glob("*.yml")
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def datasources() -> dict[str, dict[str, Any]]:
    return {source["uid"]: source for source in grafana_file("datasources")["datasources"]}


def in_the_environment(service: str) -> dict[str, str | None]:
    return SERVICES[service]["environment"]


def test_data_sources_have_the_uids_that_dashboards_name_and_documented_fields_only() -> None:
    """
    A dashboard finds its data by the uid, on every machine.
    """
    document = grafana_file("datasources")
    sources = datasources()

    assert set(document) == {"apiVersion", "datasources"}
    assert document["apiVersion"] == 1
    assert {uid: source["type"] for uid, source in sources.items()} == {
        "m3w-postgres": "postgres",
        "m3w-prometheus": "prometheus",
    }
    for source in sources.values():
        assert set(source) <= DATASOURCE_FIELDS
        assert set(source["jsonData"]) <= JSON_FIELDS[source["type"]]
        assert source["access"] == "proxy"
    assert [source["isDefault"] for source in sources.values()] == [True, False]


def test_grafana_reads_the_database_with_what_the_environment_says() -> None:
    """
    As $NAME: what ${NAME} gives is expanded once more, and a password loses what follows a $ (grafana#97185).
    """
    postgres = datasources()["m3w-postgres"]

    assert postgres["user"] == "$GRAFANA_DB_USER"
    assert postgres["secureJsonData"] == {"password": "$GRAFANA_DB_PASSWORD"}
    assert postgres["jsonData"]["database"] == "$GRAFANA_DB_NAME"
    assert postgres["url"] == "postgres:5432"
    assert in_the_environment("grafana")["GRAFANA_DB_USER"] == GRAFANA_ROLE
    assert in_the_environment("grafana")["GRAFANA_DB_NAME"] == "${POSTGRES_DB}"


def test_grafana_logs_in_with_the_password_that_the_backend_gives_its_role() -> None:
    """
    Both take it from the same place, also where an .env of the Kotlin backend has none.
    """
    expression = "${GRAFANA_DB_PASSWORD:-${POSTGRES_PASSWORD}}"

    assert in_the_environment("backend")["GRAFANA_DB_PASSWORD"] == expression
    assert in_the_environment("grafana")["GRAFANA_DB_PASSWORD"] == expression


def test_grafana_scrapes_no_faster_than_prometheus() -> None:
    """
    The interval in Grafana is the one of the scrapes.
    """
    prometheus = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())

    assert (
        datasources()["m3w-prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    )


def test_dashboards_are_read_from_the_files_that_are_mounted() -> None:
    """
    The files count, not what somebody has changed in the browser.
    """
    (provider,) = grafana_file("dashboards")["providers"]

    assert set(provider) <= PROVIDER_FIELDS
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in SERVICES["grafana"]["volumes"]
