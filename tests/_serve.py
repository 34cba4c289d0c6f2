"""
The real ``m3w`` as a process of its own, as a user starts it.

It is run by the script that the installation has put beside the interpreter, in a session of its own, with
nothing of our environment that it would read.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from m3w_core.database_url import DatabaseSettings
from tests._client import HEADERS

_beside = Path(sys.executable).with_name("m3w")
#: That of the environment the tests run in; under Nix it lies elsewhere.
M3W = _beside if _beside.exists() else Path(shutil.which("m3w") or _beside)

#: For what takes a second or two; a busy machine may need many times that.
PATIENCE_S = 40.0


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until *condition* gives something true, and give that."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.02)
    return result


def environment(**variables: str) -> dict[str, str]:
    """Give the environment of a process; none of our own settings, but what coverage needs to measure it."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "TMPDIR",
        "COVERAGE_FILE",
        "COVERAGE_PROCESS_CONFIG",
    )
    return {name: os.environ[name] for name in kept if name in os.environ} | variables


def on(database: DatabaseSettings) -> dict[str, str]:
    """Give the variables that name a database."""
    password = {} if database.password is None else {"DATABASE_PASSWORD": database.password}
    return {"DATABASE_URL": str(database), **password}


def m3w(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [M3W, *map(str, arguments)],
        env=environment(**variables),
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE_S,
    )


@define(eq=False)
class Running:
    """
    A command that goes on until it is stopped; a context manager, at whose end nothing of it is left.

    Args:
        arguments: Of ``m3w``.
        variables: Of its environment.
    """

    arguments: tuple[object, ...]
    variables: Mapping[str, str] = field(factory=dict)
    process: psutil.Popen = field(init=False)
    _directory: tempfile.TemporaryDirectory[str] = field(init=False)
    _seen: set[psutil.Process] = field(factory=set, init=False)

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="m3w-output-")
        with self._output("out").open("wb") as out, self._output("err").open("wb") as err:
            self.process = psutil.Popen(
                [str(M3W), *map(str, self.arguments)],
                # What it would leave there when it is killed goes with the directory.
                env=environment(TMPDIR=self._directory.name, **self.variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            for left in [self.process, *self.left_over()]:
                with suppress(psutil.NoSuchProcess):
                    left.kill()
            self.process.wait()
            self._directory.cleanup()

    def _output(self, name: str) -> Path:
        return Path(self._directory.name, name)

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._output("out").read_text()

    @property
    def err(self) -> str:
        """What it has logged so far."""
        return self._output("err").read_text()

    def children(self) -> list[psutil.Process]:
        """Give all processes below it, a database among them."""
        found: list[psutil.Process] = self.process.children(recursive=True)
        self._seen.update(found)
        return found

    def says(self, text: str) -> None:
        """Wait until it has printed or logged *text*."""

        def said() -> bool:
            ended = self.process.poll()
            both = self.out + self.err
            assert text in both or ended is None, f"ended with {ended}:\n{both}"
            return text in both

        until(said, f"{text!r} in:\n{self.out}{self.err}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and give the exit status."""
        self.children()
        self.process.send_signal(number)
        status: int = self.process.wait(PATIENCE_S)
        return status

    def left_over(self, patience_s: float = 2.0) -> list[psutil.Process]:
        """Give the processes of it that still run, when they have had time to end."""
        deadline = time.monotonic() + patience_s
        while (running := [each for each in self._seen if _runs(each)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        return running


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process does anything yet; one that nobody has waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@define(eq=False)
class Backend(Running):
    """
    ``m3w serve`` on a port that the system has chosen.

    Args:
        arguments: Of ``m3w serve``.
        variables: Of its environment.
    """

    url: str = field(default="", init=False)

    def __enter__(self) -> Self:
        self.arguments = ("serve", "--port", 0, *self.arguments)
        return super().__enter__()

    def until_ready(self) -> Self:
        """Wait until it serves."""
        self.says("Try it:")
        found = re.search(r"Sessions +(http://\S+)/v1/sessions", self.out)
        assert found is not None
        self.url = found[1]
        # Until it has a name of its own, the housekeeper looks like a worker.
        until(lambda: "m3w-housekeeper" in self._names(), "the housekeeper")
        return self

    def _names(self) -> set[str]:
        names = set()
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):
                names.add(child.name())
        return names

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        name, found = self.process.name(), []
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):
                # Forked, not executed: it has its parent's name, which no other child has.
                if child.name() == name:
                    found.append(child)
        return found

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection; it is made with the first request."""
        address = urlsplit(self.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)

    def get(self, path: str) -> str:
        """Read what is at a path, over a connection of its own."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Read the values that have no labels."""
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
            if not sample.labels
        }

    def post(
        self, payload: Mapping[str, object], connection: http.client.HTTPConnection | None = None
    ) -> int:
        """Post a summary and give the status; over a connection of its own where none is given."""
        using = connection or self.connect()
        try:
            using.request("POST", "/v1/sessions", json.dumps(payload), HEADERS)
            response = using.getresponse()
            response.read()
            return response.status
        finally:
            if connection is None:
                using.close()
