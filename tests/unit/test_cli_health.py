"""
``m3w health``: what the container's health check tells by its exit status.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner, Result

from m3w_core import Settings
from m3w_http.cli_health import UnhealthyError, health


class _Server(BaseHTTPRequestHandler):
    """Answers as the paths say."""

    def do_GET(self) -> None:
        if self.path == "/nonsense":
            self.wfile.write(b"not HTTP\r\n\r\n")
            return
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(b'{"status":"healthy"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, *arguments: str) -> Result:
    return CliRunner().invoke(health, arguments, obj=Settings(port=port))


def test_a_backend_that_answers_is_healthy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It asks at $PORT, and never through a proxy that is set for other addresses.
    """
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    result = ask(port)

    assert result.exit_code == 0
    assert result.output == '{"status":"healthy"}\n'


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("ready", "answers with status 503"), ("nonsense", "does not answer: not HTTP")],
)
def test_anything_but_a_success_is_not_healthy(port: int, path: str, complaint: str) -> None:
    """
    The message says where it asked.
    """
    url = f"http://127.0.0.1:{port}/{path}"
    result = ask(0, "--url", url)

    assert result.exit_code == 1
    assert isinstance(result.exception, UnhealthyError)
    assert str(result.exception).startswith(f"{url} {complaint}")


def test_a_backend_that_is_not_there_is_not_healthy(port: int) -> None:
    """
    Port 0 is nobody's.
    """
    result = ask(0)

    assert isinstance(result.exception, UnhealthyError)
    assert str(result.exception).startswith("http://127.0.0.1:0/health does not answer: ")


def test_a_file_is_not_read() -> None:
    """
    Only HTTP is spoken.
    """
    result = ask(0, "--url", "file:///etc/passwd")

    assert result.exit_code == 2
    assert "expected http://" in result.output
