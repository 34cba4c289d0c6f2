"""
Schemathesis reads the OpenAPI document as a client's tools would, and asks a running backend for all that it promises.

It is installed for `tox run -e fuzz` only: it brings many packages along, and a plugin that this pytest does not take.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests._serve import Backend, on

CONFIG = Path(__file__).with_name("schemathesis.toml")

EXAMPLES = 50


@pytest.mark.skipif(
    find_spec("schemathesis") is None, reason="Schemathesis is not installed: tox run -e fuzz"
)
def test_a_running_backend_keeps_to_its_document(migrated_database, tmp_path):
    """
    No 5xx, and no status, header or body that is not documented.
    """
    variables = {"LOG_LEVEL": "WARN", "TRUSTED_PROXIES": "127.0.0.1"} | on(migrated_database)
    with Backend(("--workers", 1), variables) as backend:
        document = f"{backend.until_ready().url}/openapi.json"
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", document),
                *("--header", "X-API-Key: dev-key", "--max-examples", str(EXAMPLES)),
                *("--generation-database", "none", "--no-color"),
            ],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            text=True,
            timeout=300,
        )
        log = backend.err

    assert run.returncode == 0, run.stdout
    assert "Traceback" not in log
