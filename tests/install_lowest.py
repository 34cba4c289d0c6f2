"""
Installs the lowest version of each dependency that pyproject.toml admits, into this environment.

Run by ``tox -e lowest``: the bounds are promises too, and other tools that import m3w_core may hold us to them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def lowest(requirement: str) -> str:
    """Pin ``name>=1.2`` to ``name==1.2``."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)(,<[0-9.]+)?", requirement)
    if match is None:
        sys.exit(f"{requirement}: expected name>=version")
    return f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    pins = [lowest(requirement) for requirement in PROJECT["dependencies"]]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *pins], check=True)
