"""The ASGI application, put together from its parts."""

from __future__ import annotations

from typing import Any

from falcon.asgi import App, Request, Response

from m3w_core import ApiKeys, DatabaseSettings, GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_core.rejected import RejectedQueue
from m3w_http.errors import add_error_handlers
from m3w_http.metrics import Metrics
from m3w_http.metrics_port import ByPort
from m3w_http.middleware import Lifespan, Observation
from m3w_http.openapi import OpenApiResource, openapi_document
from m3w_http.rate_limits import RequestLimit, SharedCounts
from m3w_http.readiness import Readiness
from m3w_http.resources import (
    BatchResource,
    Gate,
    HealthResource,
    MetricsResource,
    ReadyResource,
    SessionsResource,
)
from m3w_http.routing import Router, TolerantRequest
from m3w_http.upkeep import Upkeep


def create_app(
    settings: Settings,
    *,
    writer: GroupCommitWriter,
    readiness: Readiness,
    metrics: Metrics,
    database: DatabaseSettings | None = None,
) -> App[Request, Response]:
    """
    Wire the application from its collaborators.

    Args:
        settings: Limits, keys, and what is switched on.
        writer: Takes the sessions; the application runs it from ASGI's startup to its shutdown.
        readiness: Answers ``/ready``.
        metrics: Is told of everything, and answers ``/metrics``.
        database: Where stored keys are read, and rejected payloads written; None for neither.
    """
    rejected = RejectedQueue()
    gate = Gate(
        ApiKeys.from_settings(settings, () if database is None else None),
        _request_limit(settings),
    )
    upkeep = None if database is None else Upkeep(settings, database, rejected, gate.use_keys, metrics)
    middleware: list[Any] = [Observation(metrics), Lifespan(writer, metrics, upkeep)]
    if gate.request_limit is not None:
        middleware.append(gate.request_limit)
    app = _new_app(middleware)
    app.add_route("/health", HealthResource())
    app.add_route("/ready", ReadyResource(readiness))
    app.add_route("/v1/sessions", SessionsResource(gate, writer, rejected, metrics, settings.max_body_bytes))
    app.add_route("/v1/sessions/batch", BatchResource(gate, writer, rejected, metrics))
    if settings.metrics_enabled and settings.metrics_port is None:
        app.add_route("/metrics", MetricsResource(metrics, settings.metrics_token))
    app.add_route("/openapi.json", OpenApiResource(openapi_document(settings)))
    return app


def _new_app(middleware: list[Any]) -> App[Request, Response]:
    app: App[Request, Response] = App(middleware=middleware, router=Router(), request_type=TolerantRequest)
    add_error_handlers(app)
    return app


def _request_limit(settings: Settings) -> RequestLimit | None:
    if settings.rate_limit_requests == 0:
        return None
    uri = settings.rate_limit_storage_uri
    shared = None if uri is None else SharedCounts(uri)
    return RequestLimit(settings.rate_limit_requests, settings.rate_limit_window_s, shared)


def app_for(
    settings: Settings,
    database: DatabaseSettings,
    *,
    metrics: Metrics | None = None,
    metrics_port: int | None = None,
) -> App[Request, Response] | ByPort:
    """
    Wire the application that serves *database*.

    Args:
        settings: Of the whole program.
        database: Where sessions go.
        metrics: Is told of everything; None makes them.
        metrics_port: The port that is for ``/metrics`` alone, as it was bound; None where there is none.
    """
    metrics = metrics or Metrics()
    writer = GroupCommitWriter([PostgresSessionRepository(database)], observer=metrics)
    app = create_app(
        settings, writer=writer, readiness=Readiness(database), metrics=metrics, database=database
    )
    if metrics_port is None:
        return app
    of_port = _new_app([Observation(metrics)])
    of_port.add_route("/metrics", MetricsResource(metrics, settings.metrics_token))
    return ByPort(app, of_port, metrics_port)
