"""
The machine and the versions of everything.

Numbers of two machines, or of two versions, cannot be compared.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.systems import PEERS

_PACKAGES = (
    "media3watch-backend",
    "falcon",
    "uvicorn",
    "uvloop",
    "httptools",
    "pg8000",
    "fastapi",
    "asyncpg",
)
_PROGRAMS = {"wrk": ["wrk", "--version"], "node": ["node", "--version"], "go": ["go", "version"]}


def describe(work_dir: Path) -> dict[str, str]:
    """
    Describe the machine and the software.

    Args:
        work_dir: Where the database lies.
    """
    found = {
        "CPU": f"{os.cpu_count()} x {_cpu_model()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(work_dir),
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for name, command in _PROGRAMS.items():
        if shutil.which(name) is not None:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
            found[name] = number[0] if number else "unknown"
    found |= json.loads((PEERS / "fastify" / "package.json").read_text())["dependencies"]
    return found


def load_average() -> float:
    """Tell how many processes wanted to run in the last minute: above zero before a run, somebody disturbs it."""
    return os.getloadavg()[0]


def file_system(path: Path) -> str:
    """Name the type of the file system that *path* is on."""
    path = path.resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if path.is_relative_to(each.mountpoint)]
    return max(mounts, key=lambda each: len(each.mountpoint)).fstype if mounts else "unknown"


def _cpu_model() -> str:
    cpu_info = Path("/proc/cpuinfo")
    match = (
        re.search(r"^model name\s*: (.*)$", cpu_info.read_text(), re.MULTILINE) if cpu_info.exists() else None
    )
    return match[1] if match else platform.machine()
