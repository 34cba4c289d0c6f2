"""
The directory of the metrics: there while anybody uses it, and not for ever.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from m3w_http.metrics import Metrics
from m3w_http.metrics_directory import metrics_directory, remove_abandoned

A_USER = """
import sys, os
from m3w_http.metrics import Metrics
from m3w_http.metrics_directory import metrics_directory
with metrics_directory() as path:
    if sys.argv[1] == "forks" and os.fork():
        os._exit(0)
    (path / "counter_1.db").touch()
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def user(temporary):
    """Start another process that has a directory."""
    started = []

    def start(how):
        process = subprocess.Popen(
            [sys.executable, "-c", A_USER, how],
            env={"TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.communicate()


def test_it_is_there_for_the_block_only(temporary):
    """
    With all that was put into it.
    """
    with metrics_directory() as path:
        (path / "counter_1.db").touch()
        names = [each.name for each in temporary.iterdir()]

    assert names == [path.name]
    assert path.name.startswith("m3w-metrics-")
    assert list(temporary.iterdir()) == []


def test_one_that_was_left_behind_is_removed_by_the_next(temporary, user):
    """
    A killed process cannot clean up.
    """
    process, left = user("alone")
    process.kill()
    process.wait()
    before = [str(each) for each in temporary.iterdir()]
    with metrics_directory() as path:
        during = list(temporary.iterdir())

    assert before == [left]
    assert during == [path]


@pytest.mark.parametrize("how", ["alone", "forks"])
def test_one_that_is_used_stays(temporary, user, how):
    """
    By whoever: workers use it for a moment longer than their parent when that was killed.
    """
    _, used = user(how)
    remove_abandoned()
    during = [str(each) for each in temporary.iterdir()]

    assert during == [used]


def test_what_else_lies_there_stays(temporary):
    """
    Neither a file of such a name nor what a link of such a name points to is ours.
    """
    (temporary / "m3w-metrics-file").touch()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "m3w-metrics-link").symlink_to(elsewhere)
    remove_abandoned()

    assert {each.name for each in temporary.iterdir()} == {
        "m3w-metrics-file",
        "m3w-metrics-link",
        "elsewhere",
    }


def test_the_command_loads_no_metrics_before_it_has_a_directory():
    """
    prometheus-client decides when it is imported whether processes count together; too early is alone.
    """
    script = "import sys; import m3w_http.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)

    assert done.stdout == "False\n"


def test_a_file_that_is_just_being_made_is_passed_over(tmp_path, monkeypatch):
    """
    A scrape in the moment in which a process starts has the numbers of the others.
    """
    (tmp_path / "gauge_livesum_17.db").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    assert Metrics().render() == b""
