"""
The OpenAPI document as a judge: whether an answer is one that it promises.

It is strict where the document is: an answer of a status, a type or a field that is not there is a failure, so that
nothing can be added to an answer without being documented.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from jsonschema import Draft202012Validator


@define(eq=False)
class Contract:
    """
    What the document promises.

    Args:
        document: As ``GET /openapi.json`` gives it.
    """

    document: Mapping[str, Any]
    _inlined: Any = field(init=False)
    _validators: dict[tuple[str, ...], Draft202012Validator] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._inlined = self._inline(self.document)

    def _inline(self, node: Any) -> Any:
        """Put what references refer to in their places: looking it up takes most of the time of a check."""
        if isinstance(node, list):
            return [self._inline(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        if "$ref" not in node:
            return {name: self._inline(value) for name, value in node.items()}
        place: Any = self.document
        for step in node["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        return self._inline(place)

    def pairs(self) -> set[tuple[str, str, int]]:
        """Give method, path and status of every answer in the document."""
        return {
            (method.upper(), path, int(status))
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
            for status in operation["responses"]
        }

    def validator(self, *steps: str) -> Draft202012Validator:
        """Make the validator of a schema in the document, ``("components", "schemas", "Session")`` for example."""
        if steps not in self._validators:
            self._validators[steps] = Draft202012Validator(self._at(steps))
        return self._validators[steps]

    def _at(self, steps: Sequence[str]) -> Any:
        place = self._inlined
        for step in steps:
            place = place[step]
        return place

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """
        Hold one answer against the document.

        Args:
            method: Of the request.
            path: Of the request, without its query.
            status: Of the answer.
            headers: Of the answer, names in lower case.
            body: Of the answer.
        """
        steps = self.response(method, path, status)
        response = self._at(steps)
        for name, promised in response.get("headers", {}).items():
            value = headers[name.lower()]
            number = promised["schema"].get("type") == "integer"
            self.validator(*steps, "headers", name, "schema").validate(int(value) if number else value)
        if "content" not in response or method == "HEAD":
            assert body == b""
            return
        media_type = headers["content-type"].partition(";")[0]
        assert media_type in response["content"]
        value = json.loads(body) if media_type == "application/json" else body.decode()
        self.validator(*steps, "content", media_type, "schema").validate(value)

    def response(self, method: str, path: str, status: int) -> tuple[str, ...]:
        """Give the place of an answer's description in the document, which has to be there."""
        operations = self.document["paths"].get(path)
        if operations is None:
            assert status == 404, f"{method} {path}: {status}"
            return "components", "responses", "NotFound"
        if method not in map(str.upper, operations):
            assert status == 405, f"{method} {path}: {status}"
            return "components", "responses", "MethodNotAllowed"
        promised = operations[method.lower()]["responses"]
        assert str(status) in promised, f"{method} {path}: {status}"
        return "paths", path, method.lower(), "responses", str(status)
