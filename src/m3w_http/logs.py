"""
Log lines on standard error: plain ones for people, JSON for machines.

No payload, key or password is ever handed to a logger, so there is nothing to filter here.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO, cast

import orjson

request_logger = logging.getLogger("m3w_http.access")

#: How long a line may wait for others, if there are others.
_FLUSH_S = 0.1


class PlainFormatter(logging.Formatter):
    """A line for people, in local time."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._text = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        text = self.line(record.created, record.levelname, record.name, record.getMessage())
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text

    def line(self, created: float, level: str, name: str, message: str) -> str:  # noqa: ARG002 - as JsonFormatter
        """Write what a record holds."""
        second = int(created)
        if second != self._second:
            # The part that is the same for a whole second is written once.
            self._second = second
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._text},{int(created % 1 * 1000):03} {level:<7} {message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        exception = self.formatException(record.exc_info) if record.exc_info else None
        return self.line(record.created, record.levelname, record.name, record.getMessage(), exception)

    def line(self, created: float, level: str, name: str, message: str, exception: str | None = None) -> str:
        """Write what a record holds."""
        line = {
            "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "logger": name,
            "message": message,
        }
        if exception is not None:
            line["exception"] = exception
        return orjson.dumps(line).decode()


class LazyHandler(logging.StreamHandler[TextIO]):
    """
    Writes many lines at once: a system call for each took a tenth of a busy worker's time.

    A line waits for the next one, or for `flush_lines`, but a warning goes out at once with all before it.
    """

    def __init__(self, formatter: PlainFormatter | JsonFormatter) -> None:
        # Not sys.stderr, which writes out each line by itself.
        stream = open(sys.stderr.fileno(), "w", buffering=65_536, errors="backslashreplace", closefd=False)  # noqa: SIM115
        super().__init__(stream)
        self.setFormatter(formatter)
        self._line = formatter.line
        self._flushed_at = 0.0

    def write_request(self, message: str) -> None:
        """Write a line of `request_logger`; a LogRecord for each took a tenth of a busy worker's time too."""
        self.stream.write(self._line(time.time(), "INFO", request_logger.name, message) + "\n")
        self.flush()

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


_lazy: LazyHandler | None = None


def be_lazy() -> None:
    """Write the lines of this process together from now on; somebody has to call `flush_lines` now and then."""
    global _lazy  # noqa: PLW0603 - logging is global
    _lazy = LazyHandler(cast(PlainFormatter | JsonFormatter, logging.root.handlers[0].formatter))
    logging.root.handlers[:] = [_lazy]


def flush_lines() -> None:
    """Write out the lines that wait."""
    if _lazy is not None:
        _lazy.flush_now()


def request_finished(method: str, path: str, status: int, seconds: float) -> None:
    """Log one request."""
    if request_logger.isEnabledFor(logging.INFO):
        shown = path if path.isprintable() else ascii(path)
        message = f"{method} {shown[:200]} - {status} ({seconds * 1000:.0f}ms)"
        if _lazy is None:
            request_logger.info(message)
        else:
            _lazy.write_request(message)


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
