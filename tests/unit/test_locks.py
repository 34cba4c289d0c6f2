"""
What is locked: the packages of the image and of its build, and nixpkgs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-build.lock")
PYTHONS = ("3.11", "3.12", "3.13")


def locked(name: str, python: str) -> dict[str, str]:
    """Versions by package, for one Python on Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    found = {}
    for line in re.findall(r"(?m)^\w.*$", (ROOT / name).read_text()):
        pin = re.fullmatch(r"([\w.-]+)==([\w.]+)(?: ; (.+?))? \\", line)
        assert pin is not None, line
        if pin[3] is None or Marker(pin[3]).evaluate(environment):
            assert pin[1] not in found
            found[canonicalize_name(pin[1])] = pin[2]
    return found


def unmet(requirements: list[str], pins: dict[str, str]) -> list[str]:
    parsed = [Requirement(text) for text in requirements]
    return [
        str(needed)
        for needed in parsed
        if not needed.specifier.contains(pins.get(canonicalize_name(needed.name), "0"))
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_covers_every_dependency(python: str) -> None:
    """
    Whoever adds one renews the lock: tox run -e lock.
    """
    assert unmet(PYPROJECT["project"]["dependencies"], locked("requirements.lock", python)) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_of_the_build_covers_the_build(python: str) -> None:
    """
    It is made from a group, as tools that lock know groups only.
    """
    requires = PYPROJECT["build-system"]["requires"]

    assert PYPROJECT["dependency-groups"]["wheel"] == requires
    assert unmet(requires, locked("requirements-build.lock", python)) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_says_nothing_of_where_files_come_from(name: str) -> None:
    """
    A file is known by its hash, whichever index or mirror has it.
    """
    text = (ROOT / name).read_text()
    entries = re.split(r"(?m)^(?=\w)", text)[1:]

    assert "://" not in text
    assert not re.findall(r"(?m)^ *-(?!-hash=sha256:).*$", text)
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_nixpkgs_is_the_one_that_was_chosen() -> None:
    """
    The flake has one input, at one revision.
    """
    assert json.loads((ROOT / "flake.lock").read_text()) == {
        "nodes": {
            "nixpkgs": {
                "locked": {
                    "lastModified": 1775036866,
                    "narHash": "sha256-ZojAnPuCdy657PbTq5V0Y+AHKhZAIwSIT2cb8UgAz/U=",
                    "owner": "NixOS",
                    "repo": "nixpkgs",
                    "rev": "6201e203d09599479a3b3450ed24fa81537ebc4e",
                    "type": "github",
                },
                "original": {"owner": "NixOS", "ref": "nixos-unstable", "repo": "nixpkgs", "type": "github"},
            },
            "root": {"inputs": {"nixpkgs": "nixpkgs"}},
        },
        "root": "root",
        "version": 7,
    }


def nix_names(binding: str) -> set[str]:
    block = re.search(rf"{binding} =\s+ps: with ps; \[(.*?)\];", (ROOT / "flake.nix").read_text(), re.DOTALL)
    assert block is not None
    return set(block[1].split())


def names(requirements: list[str | dict[str, str]]) -> set[str]:
    """Names in a list of requirements, those of included groups too."""
    groups = PYPROJECT["dependency-groups"]
    found: set[str] = set()
    for needed in requirements:
        if isinstance(needed, dict):
            found |= names(groups[needed["include-group"]])
        else:
            found.add(Requirement(needed).name)
    return found


def test_the_flake_has_the_dependencies_of_the_package() -> None:
    """
    Nix takes them from nixpkgs by name, and reads none from pyproject.toml.
    """
    assert nix_names("runtimeDependencies") == names(PYPROJECT["project"]["dependencies"])
    assert nix_names("testDependencies") == names(PYPROJECT["dependency-groups"]["test"])


@pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="there is no nix-instantiate")
def test_nix_can_read_the_flake() -> None:
    """
    As far as that can be told without nixpkgs.
    """
    parsed = subprocess.run(
        ["nix-instantiate", "--parse", str(ROOT / "flake.nix")], capture_output=True, check=False, text=True
    )

    assert parsed.returncode == 0, parsed.stderr
