"""The ASGI application, put together from its parts."""

from __future__ import annotations

from typing import Any

from falcon.asgi import App, Request, Response

from m3w_core import ApiKeys, DatabaseSettings, GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http.errors import add_error_handlers
from m3w_http.metrics import Metrics
from m3w_http.middleware import Lifespan, Observation
from m3w_http.rate_limits import RequestLimit
from m3w_http.readiness import Readiness
from m3w_http.resources import (
    BatchResource,
    Gate,
    HealthResource,
    MetricsResource,
    ReadyResource,
    SessionsResource,
)


def create_app(
    settings: Settings, *, writer: GroupCommitWriter, readiness: Readiness, metrics: Metrics
) -> App[Request, Response]:
    """
    Wire the application from its collaborators.

    Args:
        settings: Limits, keys, and what is switched on.
        writer: Takes the sessions; the application runs it from ASGI's startup to its shutdown.
        readiness: Answers ``/ready``.
        metrics: Is told of everything, and answers ``/metrics``.
    """
    gate = Gate(
        ApiKeys.from_settings(settings),
        RequestLimit(settings.rate_limit_requests, settings.rate_limit_window_s),
    )
    middleware: list[Any] = [Observation(metrics), Lifespan(writer, metrics)]
    app = App(middleware=middleware)
    app.add_route("/health", HealthResource())
    app.add_route("/ready", ReadyResource(readiness))
    app.add_route("/v1/sessions", SessionsResource(gate, writer, metrics, settings.max_body_bytes))
    app.add_route("/v1/sessions/batch", BatchResource(gate, writer, metrics))
    if settings.metrics_enabled:
        app.add_route("/metrics", MetricsResource(metrics))
    add_error_handlers(app)
    return app


def app_for(settings: Settings, database: DatabaseSettings) -> App[Request, Response]:
    """Wire the application that serves *database*."""
    metrics = Metrics()
    writer = GroupCommitWriter([PostgresSessionRepository(database)], observer=metrics)
    return create_app(settings, writer=writer, readiness=Readiness(database), metrics=metrics)
