"""
The OpenAPI document of the routes, served at ``GET /openapi.json``.

The schemas of what is sent are made from the rules that check it, so that the two cannot disagree. JSON Schema
cannot say everything: to it 45000.0 is an integer too, and it has no word for the depth of nesting.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import attrs
import orjson
from falcon.asgi import Request, Response

from m3w_core import Session, Settings, TimelineEntry
from m3w_core.batch import MAX_BATCH_SESSIONS
from m3w_core.model import MAX_TIMELINE_ENTRIES
from m3w_core.validation import MAX_NESTING, Choice, Integer, Ratio, Text, json_name
from m3w_http.errors import JSON
from m3w_http.openapi_errors import error_responses
from m3w_http.openapi_routes import paths

Schema = dict[str, Any]

_DESCRIPTION = f"""\
Takes playback session summaries from the Media3Watch Android SDK.

A 200 means that what was sent is stored. Retry on 408, 429, 500 and 503, after the seconds in `Retry-After` where it is
given; any other error stays the same however often the request is sent. Sending the same summary twice changes
nothing: of one session the summary with the newest `timestamp` is kept, and the timeline entries of all of them.

Every error has the same body. A path that is not here is answered with 404 (`NOT_FOUND`), a method that a path does
not take with 405 (`METHOD_NOT_ALLOWED`) and `Allow`. Any request can also be answered with 400 (`INVALID_SCHEMA`) if
it is no HTTP, 408 (`REQUEST_TIMEOUT`) if it takes too long to arrive, 431 (`HEADERS_TOO_LARGE`), and 503
(`SERVER_BUSY`) if there are too many connections.

Types are strict: `"45000"`, `45000.0` and `true` are no integers. Strings hold neither NUL nor lone surrogates,
integers fit in 64 bits, and nothing is nested deeper than {MAX_NESTING} levels: in an app's own fields too.
"""


def openapi_document(settings: Settings) -> dict[str, Any]:
    """
    Describe the routes as OpenAPI 3.1.

    Args:
        settings: Decide on limits, and on whether ``/metrics`` is one of the routes.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Media3Watch backend",
            "version": version("media3watch-backend"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths(settings),
        "components": {
            "schemas": {
                "Session": _session(),
                "TimelineEntry": _object_of(TimelineEntry),
                **_ANSWERS,
            },
            "responses": error_responses(),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "metricsToken": {"type": "http", "scheme": "bearer"},
            },
        },
    }


class OpenApiResource:
    """
    ``GET /openapi.json``.

    Args:
        document: What `openapi_document` gave.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._body = orjson.dumps(document)

    async def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon passes it
        """Answer."""
        resp.content_type = JSON
        resp.data = self._body


def _session() -> Schema:
    schema = _object_of(Session)
    descriptions = _descriptions(Session)
    schema["properties"]["timelineEvents"] = {
        "type": ["array", "null"],
        "maxItems": MAX_TIMELINE_ENTRIES,
        "items": {"$ref": "#/components/schemas/TimelineEntry"},
        "description": descriptions["timeline_events"],
    }
    schema["additionalProperties"] = {"description": descriptions["extra"]}
    return schema


def _object_of(cls: type[attrs.AttrsInstance]) -> Schema:
    """Describe the JSON object of a class of the model by the rules of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    descriptions = _descriptions(cls)
    properties = {}
    required = []
    for field in attrs.fields(cls):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            name = json_name(field.name)
            properties[name] = _value_of(hint) | {"description": descriptions[field.name]}
            if field.default is attrs.NOTHING:
                required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _value_of(annotated: Any) -> Schema:
    rule = annotated.__metadata__[0]
    optional = type(None) in get_args(annotated.__origin__)

    def typed(name: str) -> Schema:
        return {"type": [name, "null"] if optional else name}

    match rule:
        case Integer(minimum=minimum, maximum=maximum, unset=unset):
            limits = {**typed("integer"), "minimum": minimum, "maximum": maximum}
            return limits if unset is None else {"anyOf": [limits, {"const": unset}]}
        case Ratio():
            return {**typed("number"), "minimum": 0, "maximum": 1}
        case Text(max_length=max_length, blank=blank):
            any_text = "^[^\\u0000]*$" if blank else "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"
            return {**typed("string"), "maxLength": max_length, "pattern": any_text}
        case Choice():
            return {"enum": list(get_args(annotated.__origin__))}
        case _:
            msg = f"openapi.py cannot describe the rule {rule!r}"
            raise TypeError(msg)


def _descriptions(cls: type) -> dict[str, str]:
    """Read what each field is from the docstring of its class; nothing where Python has left docstrings out."""
    arguments = (inspect.getdoc(cls) or "").partition("Args:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE)
    described = {name: re.sub(r"\s+", " ", text).replace("``", "`") for name, text in found}
    return {field.name: described.get(field.name, "") for field in attrs.fields(cls)}


def _closed(**properties: Schema) -> Schema:
    """Describe an object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


_TEXT: Schema = {"type": "string", "minLength": 1}

_ANSWERS: dict[str, Schema] = {
    "Stored": _closed(status={"const": "success"}, sessionId={"type": "string", "maxLength": 128}),
    "BatchStored": _closed(
        status={"const": "success"},
        accepted={"type": "integer", "minimum": 0, "maximum": MAX_BATCH_SESSIONS},
        rejected={
            "type": "array",
            "maxItems": MAX_BATCH_SESSIONS,
            "items": _closed(
                index={
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_BATCH_SESSIONS - 1,
                    "description": "Place in what was sent; of NDJSON blank lines are not counted.",
                },
                sessionId={"type": ["string", "null"], "description": "As sent, if it was a string."},
                code={"const": "INVALID_SCHEMA"},
                message=_TEXT,
            ),
        },
    ),
    "Problem": _closed(
        field={"type": "string", "description": "`timelineEvents[3].playbackState`, for example."},
        problem=_TEXT,
    ),
    "Error": _closed(
        error={
            "type": "object",
            "properties": {
                "code": {**_TEXT, "description": "For programs."},
                "message": {**_TEXT, "description": "For people."},
                "timestamp": {"type": "integer", "minimum": 1, "description": "Epoch ms of the answer."},
                "details": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"$ref": "#/components/schemas/Problem"},
                    "description": "Every bad field; of an app's own the first 100.",
                },
            },
            "required": ["code", "message", "timestamp"],
            "additionalProperties": False,
        }
    ),
}
