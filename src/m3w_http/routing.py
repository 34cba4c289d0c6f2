"""
What Falcon makes of requests that are odd, but no reason for an error of another kind than the documented ones.

By itself it answers 400 to a method that it has never heard of, which tells an SDK that its payload is bad, and fails
before any error handler is there on a query that is not UTF-8.
"""

from __future__ import annotations

from typing import Any

from falcon.asgi import Request
from falcon.routing import CompiledRouter


class TolerantRequest(Request):
    """A request whose query cannot do harm: no route has one."""

    def __init__(
        self, scope: dict[str, Any], receive: Any, first_event: Any = None, options: Any = None
    ) -> None:
        if not scope["query_string"].isascii():
            scope = {**scope, "query_string": b""}
        super().__init__(scope, receive, first_event, options)
        if self.method == "WEBSOCKET":
            # Falcon's own name for a connection, which it answers before routing; as a method it is nobody's.
            self.method = "websocket"


class _Responders(dict[str, Any]):
    """Responders by method; Falcon has put one for 405 where the resource has none."""

    def __missing__(self, method: str) -> Any:
        # No resource takes TRACE, and none is to: it would send a client's key back.
        return self["TRACE"]


class Router(CompiledRouter):
    """Finds a responder for every method."""

    def map_http_methods(self, resource: object, **options: Any) -> dict[str, Any]:
        """Map methods to the responders of *resource*."""
        return _Responders(super().map_http_methods(resource, **options))
