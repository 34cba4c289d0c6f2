"""
Imports point one way, from the server to the library, and the library's public names exist.
"""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

import m3w_core

# What belongs to a server: frameworks, metrics, the command line.
FOREIGN = ["click", "falcon", "httptools", "limits", "m3w_http", "prometheus_client", "uvicorn", "uvloop"]

MODULES = sorted(module.name for module in pkgutil.walk_packages(m3w_core.__path__, "m3w_core."))


def modules_after(statement):
    """Run a statement in a fresh interpreter and give the names of the packages it has loaded."""
    script = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_the_library_needs_no_server():
    """
    None of its modules, public or not, loads a web framework, a metrics library or our own server.
    """
    loaded = modules_after("import " + ", ".join(["m3w_core", *MODULES]))

    assert len(MODULES) > 10
    assert {"m3w_core", "attr", "cattrs", "pg8000"} <= loaded
    assert loaded & set(FOREIGN) == set()


def test_the_server_needs_the_library():
    """
    That the check above sees what it looks for.
    """
    loaded = modules_after("import m3w_http.app")

    assert {"falcon", "limits", "m3w_core", "m3w_http", "prometheus_client"} <= loaded


@pytest.mark.parametrize("name", m3w_core.__all__)
def test_every_public_name_is_there(name):
    """
    ``from m3w_core import *`` works, and what it brings says what it is.
    """
    thing = getattr(m3w_core, name)

    assert thing.__doc__ or not (inspect.isclass(thing) or inspect.isroutine(thing))


def test_public_names_are_sorted_and_named_once():
    """
    So that one finds them.
    """
    assert m3w_core.__all__ == sorted(set(m3w_core.__all__), key=lambda name: (not name.isupper(), name))
