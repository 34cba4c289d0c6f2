"""
What the files of the container have to say: docker-compose.yml, .env.example and the Dockerfile.

That they work is shown by tests/e2e/test_compose.py, for the services whose images it can have.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from m3w_core.grafana_role import GRAFANA_ROLE
from m3w_core.settings import describe

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()


def in_the_environment(service: str) -> dict[str, str | None]:
    return SERVICES[service]["environment"]


def mebibytes(size: str) -> int:
    assert size.endswith("m")
    return int(size[:-1])


def test_the_services_are_those_of_the_quick_start() -> None:
    """
    Images have a version, so that a start years later starts the same.
    """
    images = {name: service.get("image") for name, service in SERVICES.items()}

    assert set(images) == {"postgres", "backend", "prometheus", "grafana"}
    assert images["postgres"] == "postgres:16-alpine"
    assert images["grafana"] == "grafana/grafana:11.4.0"
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", images["prometheus"])
    assert SERVICES["backend"]["build"] == "."


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_watched_restarted_and_kept_in_bounds(name: str) -> None:
    """
    None can fill the disk with its log, take all memory, or gain rights.
    """
    service = SERVICES[name]

    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert mebibytes(service["mem_limit"]) > 0
    assert service["logging"]["options"]["max-size"] == "10m"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_all_together_fit_a_machine_of_one_gigabyte() -> None:
    """
    With room for the system and for Docker itself.
    """
    assert sum(mebibytes(service["mem_limit"]) for service in SERVICES.values()) <= 1024 - 160


def test_each_waits_until_those_it_needs_are_healthy() -> None:
    """
    Grafana for its role too, which the backend makes.
    """
    order = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }

    assert order == {
        "postgres": {},
        "backend": {"postgres": "service_healthy"},
        "prometheus": {"backend": "service_healthy"},
        "grafana": {"postgres": "service_healthy", "backend": "service_healthy"},
    }


def test_data_is_in_named_volumes() -> None:
    """
    A container may be thrown away.
    """
    assert set(COMPOSE["volumes"]) == {"postgres_data", "prometheus_data", "grafana_data"}
    assert SERVICES["postgres"]["volumes"] == ["postgres_data:/var/lib/postgresql/data"]
    assert "prometheus_data:/prometheus" in SERVICES["prometheus"]["volumes"]
    assert "grafana_data:/var/lib/grafana" in SERVICES["grafana"]["volumes"]


def test_what_is_mounted_exists() -> None:
    """
    For a path that does not exist Docker makes an empty directory, which belongs to root.
    """
    mounted = re.findall(r"(?m)^\s+- \./([^:]+):", COMPOSE_TEXT)

    assert len(mounted) == 4
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_the_port_is_the_same_outside_and_inside_and_for_prometheus() -> None:
    """
    PORT alone moves the backend, and METRICS_PORT its metrics.
    """
    assert SERVICES["backend"]["ports"] == ["${PORT:-8080}:${PORT:-8080}"]
    assert in_the_environment("backend")["PORT"] == "${PORT:-8080}"
    assert '"backend:${METRICS_PORT:-${PORT:-8080}}"' in COMPOSE["configs"]["scraped_backend"]["content"]
    # Compose makes a container anew when this changes, not when the content of a config does.
    assert in_the_environment("prometheus")["BACKEND_PORT"] == "${METRICS_PORT:-${PORT:-8080}}"


def test_database_and_prometheus_are_open_to_this_machine_only() -> None:
    """
    Unless somebody says otherwise in .env.
    """
    assert SERVICES["postgres"]["ports"] == ["${POSTGRES_PUBLISH:-127.0.0.1:5433}:5432"]
    assert SERVICES["prometheus"]["ports"] == ["${PROMETHEUS_PUBLISH:-127.0.0.1:9090}:9090"]
    assert SERVICES["grafana"]["ports"] == ["${GRAFANA_PUBLISH:-3000}:3000"]


def test_no_credential_is_written_in_the_compose_file() -> None:
    """
    A user, password or key comes from .env, without a value to fall back to but another of .env.
    """
    credentials = {
        f"{name}.{variable}": value
        for name in SERVICES
        for variable, value in in_the_environment(name).items()
        if re.search("USER$|PASSWORD|KEY|SECRET|TOKEN", variable)
    }

    assert len(credentials) > 10
    for variable, value in credentials.items():
        if (variable, value) == ("grafana.GRAFANA_DB_USER", GRAFANA_ROLE):
            continue
        assert value is None or re.fullmatch(
            r"\$\{\w+(:\?set [^{}]+|:-|:-\$\{\w+\})\}",
            value,
        ), variable


@pytest.mark.parametrize(
    "variable",
    [
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "DATABASE_URL",
        "DATABASE_USER",
        "DATABASE_PASSWORD",
    ],
)
def test_what_must_be_set_says_so(variable: str) -> None:
    """
    The message names the variable and the file.
    """
    (message,) = set(re.findall(rf"\$\{{{variable}:\?([^}}]+)\}}", COMPOSE_TEXT))

    assert variable in message
    assert message.endswith(" in .env, see .env.example")


def test_every_setting_reaches_the_backend() -> None:
    """
    A variable that is set in .env and does nothing would be a trap.
    """
    assert {setting.name for setting in describe()} <= set(in_the_environment("backend"))


def test_the_example_sets_what_compose_needs_and_nothing_that_it_does_not_know() -> None:
    """
    It works as it is, and what can be uncommented in it works too.
    """
    known = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT)) | set(in_the_environment("backend"))
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))
    given = set(re.findall(r"(?m)^(\w+)=.", EXAMPLE))
    offered = set(re.findall(r"(?m)^#(\w+)=.", EXAMPLE))

    assert required <= given
    assert given | offered <= known
    assert len(offered) > 5


def test_the_example_says_in_large_letters_which_secrets_to_change() -> None:
    """
    All that stand in it; what repeats another follows by itself.
    """
    secrets = set(re.findall(r"(?m)^(\w*(?:PASSWORD|KEY))=[^$\n]+$", EXAMPLE))
    warning = EXAMPLE.partition("BEFORE ANYONE ELSE CAN REACH IT, CHANGE THESE")[2].partition("#\n")[0]

    assert secrets == set(re.findall(r"\w+_(?:PASSWORD|KEY)\b", warning))
    assert warning == warning.upper()


def test_the_image_is_not_built_from_secrets_or_leftovers() -> None:
    """
    Nothing is sent to the engine but what is named.
    """
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == {
        "LICENSE",
        "README.md",
        "migrations",
        "pyproject.toml",
        "requirements.lock",
        "requirements-build.lock",
        "src",
    }


def test_the_image_runs_as_a_numbered_user_and_checks_itself() -> None:
    """
    Kubernetes can tell from a number only that it is not root.
    """
    dockerfile = (ROOT / "Dockerfile").read_text()
    final = dockerfile.rpartition("\nFROM ")[2]

    assert dockerfile.count("\nFROM ${PYTHON_IMAGE}") == 2
    assert "ARG PYTHON_IMAGE=python:3.13-slim\n" in dockerfile
    assert re.search(r"(?m)^USER [1-9]\d*:[1-9]\d*$", final)
    assert re.search(r'(?m)^HEALTHCHECK .*CMD \["m3w", "health"\]$', final)
    assert re.search(r'(?m)^CMD \["m3w", "serve", "--host", "0\.0\.0\.0"\]$', final)
    assert "STOPSIGNAL SIGTERM" in final
    assert "RUN" not in final
    assert dockerfile.count("--require-hashes") == 2
