"""
The OpenAPI document, held against the specification, the rules of the model, and the list of errors.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from m3w_core import InvalidSessionError, Settings, session_from_dict
from m3w_http import errors
from m3w_http.openapi import openapi_document
from tests._client import DATA
from tests._openapi import Contract
from tests.factories import a_payload, an_entry_payload

DOCUMENT = openapi_document(Settings())
CONTRACT = Contract(DOCUMENT)
SESSION = CONTRACT.validator("components", "schemas", "Session")

ANSWERS = [value for value in vars(errors).values() if isinstance(value, errors.Answer)]

PAYLOADS = sorted((DATA / "sdk-payloads").glob("*.json"))


def test_it_is_valid_openapi_3_1():
    """
    By the specification's own schema, and every reference leads somewhere.
    """
    document = copy.deepcopy(DOCUMENT)
    found = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))

    assert document["openapi"] == "3.1.0"
    assert found == []
    assert len(references) > 5
    for reference in references:
        place = document
        for step in reference.split("/"):
            place = place[step]


def test_every_example_is_what_it_is_an_example_of():
    """
    Those of errors too; the example of a summary would be accepted.
    """
    examples = list(contents(DOCUMENT))
    summary = DOCUMENT["paths"]["/v1/sessions"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]

    assert len(examples) >= 13
    for steps, value in examples:
        CONTRACT.validator(*steps, "schema").validate(value)
    assert session_from_dict(summary).session_id == summary["sessionId"]


def contents(node, *steps):
    """Find all that have a schema and an example."""
    if isinstance(node, dict):
        if {"schema", "example"} <= node.keys():
            yield steps, node["example"]
        for name, value in node.items():
            yield from contents(value, *steps, name)


def test_every_error_code_is_documented_with_its_status():
    """
    Those of the code and no other; at the routes stand those that belong to a route.
    """
    source = Path(errors.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', source))
    documented = {
        response["content"]["application/json"]["example"]["error"]["code"]
        for response in DOCUMENT["components"]["responses"].values()
    }

    assert documented == codes
    assert CONTRACT.pairs() >= {
        ("POST", path, status)
        for path in ("/v1/sessions", "/v1/sessions/batch")
        for status in (200, 400, 401, 413, 415, 429, 500, 503)
    }


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.code)
def test_an_answer_that_is_always_the_same_is_as_documented(answer):
    """
    Those that the server gives before it looks for a route among them.
    """
    (name,) = (
        name
        for name, response in DOCUMENT["components"]["responses"].items()
        if response["content"]["application/json"]["example"]["error"]["code"] == answer.code
    )
    promised = DOCUMENT["components"]["responses"][name].get("headers", {})

    CONTRACT.validator("components", "responses", name, "content", "application/json", "schema").validate(
        json.loads(answer.body())
    )
    assert promised.keys() == answer.headers.keys()


def test_every_field_is_described_with_its_limits():
    """
    In the words of the model's docstring.
    """
    schemas = DOCUMENT["components"]["schemas"]
    session, entry = schemas["Session"], schemas["TimelineEntry"]

    assert [*session["properties"]] == [*a_payload()]
    assert [*entry["properties"]] == [*an_entry_payload()]
    assert session["required"] == ["sessionId", "timestamp", "sessionStartDateIso", "sessionDurationMs"]
    assert session["properties"]["rebufferCount"] == {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 2147483647,
        "description": "Number of stalls.",
    }
    assert session["properties"]["meanVideoFormatBitrate"] == {
        "anyOf": [{"type": ["integer", "null"], "minimum": 0, "maximum": 2**63 - 1}, {"const": -1}],
        "description": "Mean over play time, bit/s.",
    }
    described = [
        *session["properties"].values(),
        *entry["properties"].values(),
        session["additionalProperties"],
    ]
    assert all(field["description"] for field in described)


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_every_payload_of_the_sdk_fits_the_schema(path):
    """
    Else the document would tell a client's author less than what is taken.
    """
    SESSION.validate(json.loads(path.read_bytes()))


INTEGERS = st.sampled_from(
    [n + d for n in (0, 2**31, 2**63, -(2**63), 253402300799999) for d in (-1, 0, 1)]
) | st.integers(-2, 2**63)
TEXTS = st.sampled_from(["", " ", "\0", "a\0", "a\n", "\u2003", "ENDED"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=300
)
VALUES = (
    st.none()
    | st.booleans()
    | INTEGERS
    | TEXTS
    | st.floats(0.1, 0.9)
    | st.just([])
    | st.just({})
    | st.lists(st.just(an_entry_payload()), min_size=500, max_size=501)
)


@given(
    changes=st.dictionaries(st.sampled_from([*a_payload()]), VALUES, max_size=2),
    entry=st.dictionaries(st.sampled_from([*an_entry_payload()]), VALUES, max_size=2),
    left_out=st.sampled_from([*a_payload(), "own"]),
)
@example(changes={}, entry={}, left_out="own")
@example(changes={"sessionId": "\x1c"}, entry={}, left_out="own")
@example(changes={"startupTimeMs": -(2**63) + 1, "meanVideoFormatBitrate": -1}, entry={}, left_out="own")
def test_the_schema_allows_what_is_accepted_and_nothing_else(changes, entry, left_out):
    """
    Any value in any field of a session or an entry, and any field missing.
    """
    payload = a_payload(timelineEvents=[an_entry_payload(**entry)], own=1) | changes
    del payload[left_out]
    try:
        session_from_dict(payload)
    except InvalidSessionError:
        accepted = False
    else:
        accepted = True

    assert SESSION.is_valid(payload) == accepted


def test_the_document_is_plain_json():
    """
    What a client's tools read is what is checked here, to the last bit of 2^63 - 1.
    """
    assert orjson.loads(orjson.dumps(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize("settings", [Settings(metrics_enabled=False), Settings(metrics_port=9100)])
def test_metrics_that_are_not_there_are_not_documented(settings):
    """
    Switched off, or on a port of their own.
    """
    document = openapi_document(settings)

    assert DOCUMENT["paths"].keys() - document["paths"].keys() == {"/metrics"}


def test_the_document_tells_how_this_backend_is_set_up():
    """
    Its limit, and whether metrics want a token.
    """
    paths = openapi_document(Settings(max_body_bytes=2048, metrics_token="secret"))["paths"]

    assert "2048 bytes" in paths["/v1/sessions"]["post"]["requestBody"]["description"]
    assert paths["/metrics"]["get"]["security"] == [{"metricsToken": []}]
    assert "security" not in DOCUMENT["paths"]["/metrics"]["get"]
    assert "secret" not in json.dumps(paths)
