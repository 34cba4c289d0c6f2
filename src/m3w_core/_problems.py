"""
From cattrs' tree of errors to the list of bad fields that a client is told.

cattrs names attributes and indexes in notes on each error; here they become JSON names and paths.
"""

from __future__ import annotations

from collections.abc import Iterable

from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    IterableValidationNote,
)

from m3w_core.exceptions import InvalidSessionError, Problem
from m3w_core.validation import OUT_OF_RANGE, SENTENCE, FieldError, json_name, missing

BadFields = Iterable[tuple[str, FieldError]]
"""JSON paths, and what is wrong there."""


def invalid_session(bad_fields: BadFields) -> InvalidSessionError:
    """Make the error that names every bad field."""
    bad = list(bad_fields)
    problems = tuple(Problem(field, fault.problem) for field, fault in bad)
    return InvalidSessionError(_message(bad), problems)


def bad_fields(error: Exception, path: str = "") -> BadFields:
    """
    List the bad fields behind what structuring a `Session` raised.

    Args:
        error: Of cattrs, or of one field; any other is raised again.
        path: Where it was raised.
    """
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from bad_fields(inner, path + _step(inner))
    elif isinstance(error, FieldError):
        yield (path + error.path).lstrip("."), error
    elif isinstance(error, KeyError):
        # How the code that cattrs generates meets a required field that is not there.
        yield path.lstrip("."), missing()
    else:
        raise error


def _step(error: Exception) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{json_name(note.name)}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]"
    return ""


def _message(bad: list[tuple[str, FieldError]]) -> str:
    """Put all problems into words, those of the Kotlin backend where it has them."""
    out_of_range = [field for field, fault in bad if fault.message is OUT_OF_RANGE and "." not in field]
    sentences = []
    for field, fault in bad:
        if field in out_of_range:
            # One sentence names them all, at the place of the first.
            if field == out_of_range[0]:
                sentences.append(OUT_OF_RANGE.format(field=", ".join(out_of_range), problem=fault.problem))
        else:
            message = SENTENCE if fault.message is OUT_OF_RANGE else fault.message
            sentences.append(message.format(field=field, problem=fault.problem))
    return "; ".join(sentences)
