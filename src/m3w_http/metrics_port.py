"""
``/metrics`` on a port of its own.

Every worker listens on both ports, so there is no process whose death would end the scraping. Which port a request came
to is told by the socket, not by anything that the client sent.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from falcon.asgi import App


@define(eq=False)
class ByPort:
    """
    An ASGI application that is another one on one port.

    Args:
        app: On all others; it is run from ASGI's startup to its shutdown.
        port_app: On that port.
        port: Which.
    """

    app: App[Any, Any]
    port_app: App[Any, Any]
    port: int

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, or the lifespan."""
        is_port = scope["type"] == "http" and scope["server"][1] == self.port
        await (self.port_app if is_port else self.app)(scope, receive, send)
