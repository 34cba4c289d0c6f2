"""
The application as another ASGI server imports it.
"""

from __future__ import annotations

import importlib
import sys

import pytest

from m3w_core import SettingsError
from tests._client import Client
from tests._serve import on
from tests.factories import a_payload


@pytest.fixture
def imported(monkeypatch):
    def load(variables):
        for name in ("DATABASE_URL", "DATABASE_USER", "DATABASE_PASSWORD", "M3W_API_KEY", "M3W_API_KEYS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        sys.modules.pop("m3w_http.asgi", None)
        return importlib.import_module("m3w_http.asgi")

    yield load
    sys.modules.pop("m3w_http.asgi", None)


def test_it_serves_the_database_of_the_environment(imported, migrated_database):
    """
    ``uvicorn m3w_http.asgi:app`` is enough where the schema is there.
    """
    with Client(imported(on(migrated_database)).app) as client:
        result = client.post(a_payload())

    assert result.status_code == 200


def test_it_names_what_is_missing(imported):
    """
    Only ``m3w serve`` brings a database along.
    """
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        imported({})
