"""
Log lines on standard error: plain ones for people, JSON for machines.

No payload, key or password is ever handed to a logger, so there is nothing to filter here.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

import orjson

#: How long a line may wait for others, if there are others.
_FLUSH_S = 0.1

_PLAIN = "%(asctime)s %(levelname)-7s %(message)s"


class PlainFormatter(logging.Formatter):
    """A line for people, in local time."""

    def __init__(self) -> None:
        super().__init__(_PLAIN)
        self._second, self._text = -1, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's
        """Write the time; the part that is the same for a whole second is written once."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._text},{int(record.msecs):03}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class LazyHandler(logging.StreamHandler[TextIO]):
    """
    Writes many lines at once: a system call for each took a tenth of a busy worker's time.

    A line waits for the next one, or for `flush_lines`, but a warning goes out at once with all before it.
    """

    def __init__(self) -> None:
        # Not sys.stderr, which writes out each line by itself.
        stream = open(sys.stderr.fileno(), "w", buffering=65_536, errors="backslashreplace", closefd=False)  # noqa: SIM115
        super().__init__(stream)
        self._flushed_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        super().emit(record)
        if record.levelno >= logging.WARNING:
            self.flush_now()

    def flush(self) -> None:
        """Write out what waits, if the last time was long enough ago."""
        if time.monotonic() - self._flushed_at >= _FLUSH_S:
            self.flush_now()

    def flush_now(self) -> None:
        """Write out what waits."""
        super().flush()
        self._flushed_at = time.monotonic()


def be_lazy() -> None:
    """Write the lines of this process together from now on; somebody has to call `flush_lines` now and then."""
    lazy = LazyHandler()
    lazy.setFormatter(logging.root.handlers[0].formatter)
    logging.root.handlers[:] = [lazy]


def flush_lines() -> None:
    """Write out the lines that wait."""
    for handler in logging.root.handlers:
        if isinstance(handler, LazyHandler):
            handler.flush_now()


def configure(level: str, log_format: str) -> None:
    """
    Set up logging for this process.

    Args:
        level: Name of the lowest level that is written.
        log_format: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else PlainFormatter())
    # With a line for each request it counts what a record holds; nothing of this is written.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Its "Started server process" and "Waiting for …" lines repeat ours; its warnings and errors stay.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLevelName(level)))
