"""
Posts summaries to a backend, as a gateway would: the batch route, NDJSON, gzip, a few requests at a time.

It leaves proxies aside: where one is set for the whole machine, it would be asked for 127.0.0.1 too.
"""

from __future__ import annotations

import gzip
import http.client
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import orjson
from attrs import field, frozen

from m3w_core import M3WError

_ROUTE = "/v1/sessions/batch"

# Well below what the route takes, so that the bar moves.
_BATCH_SESSIONS, _BATCH_BYTES = 250, 2 * 1024 * 1024

_AT_ONCE = 4
_TIMEOUT_S = 60
_ATTEMPTS = 6
_MAX_WAIT_S = 60

_BUSY = (429, 503)


class DemoError(M3WError):
    """The backend did not take the sessions; the message says what to do."""


@frozen
class Sender:
    """
    Where to post, and with which key.

    Args:
        url: Of the backend; the path of the SDK's route may stand at its end.
        api_key: That it knows.
    """

    url: str
    api_key: str = field(repr=False)

    def send(self, payloads: Iterable[Mapping[str, Any]], sent: Callable[[int], None] | None = None) -> None:
        """
        Post all summaries; they are taken from *payloads* about as fast as the backend takes them.

        Args:
            payloads: JSON objects of the API.
            sent: Is told how many more are stored, in this thread.

        Raises:
            DemoError: If the backend does not answer or does not take them.
        """
        under_way: deque[Future[int]] = deque()

        def settle() -> None:
            stored = under_way.popleft().result()
            if sent is not None:
                sent(stored)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for lines in _batches(payloads):
                    if len(under_way) >= _AT_ONCE:
                        settle()
                    under_way.append(pool.submit(self._post, lines))
                while under_way:
                    settle()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _post(self, lines: list[bytes]) -> int:
        answer = self._answer(gzip.compress(b"\n".join(lines), compresslevel=1))
        if answer.get("rejected"):
            bad = answer["rejected"][0]
            raise DemoError(
                f"The backend at {self._base} refused {len(answer['rejected'])} of {len(lines)} sessions:"
                f" {bad['message']}. Is it of another release than this command?"
            )
        return len(lines)

    def _answer(self, body: bytes) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the command has checked the scheme
            self._base + _ROUTE,
            body,
            {
                "X-API-Key": self.api_key,
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with opener.open(request, timeout=_TIMEOUT_S) as response:
                    return dict(orjson.loads(response.read()))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _BUSY or attempt == _ATTEMPTS:
                        raise DemoError(self._refusal(error)) from error
                    wait_s = _retry_after_s(error)
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                raise DemoError(
                    f"There is no answer from {self._base}: {reason}. Start the backend with `m3w serve`,"
                    " or name another with --url."
                ) from error
            time.sleep(wait_s)
        raise AssertionError  # the last attempt returns or raises

    @property
    def _base(self) -> str:
        return self.url.rstrip("/").removesuffix("/batch").removesuffix("/v1/sessions")

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code == http.client.UNAUTHORIZED:
            return (
                f"The backend at {self._base} does not know this API key. Set M3W_API_KEY to one of its keys."
            )
        message = ""
        with suppress(OSError, ValueError, LookupError, TypeError):
            message = f": {orjson.loads(error.read())['error']['message']}"
        if error.code in _BUSY:
            return f"The backend at {self._base} takes no more at present{message}. Try again later."
        return (
            f"{self._base}{_ROUTE} answers with status {error.code}{message}."
            " Is --url the address of a Media3Watch backend?"
        )


def _retry_after_s(error: urllib.error.HTTPError) -> float:
    text = error.headers.get("Retry-After", "")
    return min(int(text), _MAX_WAIT_S) if text.isdecimal() else 1


def _batches(payloads: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size_bytes = 0
    for payload in payloads:
        line = orjson.dumps(payload)
        lines.append(line)
        size_bytes += len(line)
        if len(lines) >= _BATCH_SESSIONS or size_bytes >= _BATCH_BYTES:
            yield lines
            lines, size_bytes = [], 0
    if lines:
        yield lines
