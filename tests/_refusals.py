"""
What a client is told of a payload that breaks a rule.
"""

from __future__ import annotations

import re

import pytest

from m3w_core import InvalidSessionError, session_from_dict
from tests.factories import a_payload


def attribute(name):
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def refusal(payload):
    """Read a payload that is not valid; give the error."""
    with pytest.raises(InvalidSessionError) as caught:
        session_from_dict(payload)
    return caught.value


def refused(**changes):
    """Change a valid payload so that it is not; give the message, and the bad fields with their problems."""
    error = refusal(a_payload(**changes))
    return str(error), [(bad.field, bad.problem) for bad in error.problems]
