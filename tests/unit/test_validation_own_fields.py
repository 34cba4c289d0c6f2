"""
Fields of an app's own: kept as they are, as long as they can be.
"""

from __future__ import annotations

import pytest

from m3w_core import session_from_dict, session_to_dict
from tests._refusals import refusal, refused
from tests.factories import a_payload, an_entry_payload


def test_unknown_fields_are_kept():
    """
    Whatever an app sends beside ours is stored as it is, a field named extra too.
    """
    own = {"contentId": "video-456", "custom": {"tags": ["a", None, 1.5, True]}, "extra": {"a": 1}, "": 0}

    session = session_from_dict(a_payload(**own))

    assert session.extra == own
    assert session_to_dict(session) == {**a_payload(timelineEvents=[]), **own}


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (2**63, "own", "must fit in 64 bits"),
        (-(2**63) - 1, "own", "must fit in 64 bits"),
        (float("nan"), "own", "must be a finite number"),
        ({"tags": ["a", {"deep": "\0"}]}, "own.tags[1].deep", "must not contain the NUL character"),
        ({"a\0": 1}, "own.a\0", "must not contain the NUL character"),
        ((1, 2), "own", "must be a JSON value"),
        ({1: 2}, "own.1", "must have a string as its name"),
    ],
)
def test_the_rules_hold_inside_unknown_fields_too(value, path, problem):
    """
    Named by its path below the field.
    """
    _, problems = refused(own=value)

    assert problems == [(path, problem)]


def test_of_fields_that_an_app_has_made_up_a_hundred_bad_ones_are_named():
    """
    There is no limit to how many a payload can hold, and the answer stays small.
    """
    error = refusal(a_payload(timestamp=0, **{f"own{number}": "\0" for number in range(5_000)}))

    assert len(error.problems) == 101
    assert error.problems[0].field == "timestamp"


@pytest.mark.parametrize("where", ["session", "entry"])
def test_nesting_is_limited_to_64_levels(where):
    """
    The payload itself is the first; an entry of the timeline lies in the third.
    """

    def payload(levels):
        above = 1 if where == "session" else 3
        value = 1
        for _ in range(levels - above):
            value = [value]
        return (
            a_payload(own=value)
            if where == "session"
            else a_payload(timelineEvents=[an_entry_payload(own=value)])
        )

    error = refusal(payload(65))

    assert session_from_dict(payload(64))
    assert "must not be nested deeper than 64 levels" in str(error)
