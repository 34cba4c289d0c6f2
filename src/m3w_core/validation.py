"""
The rules that a field of a payload can have.

A rule is the annotation of a field in `m3w_core.model`; from it a *check* is made once, a function that takes the
decoded JSON value and returns what is stored. Nothing is coerced: ``"45000"``, ``45000.0`` and ``true`` are not
integers, whatever Python makes of them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Protocol, get_args

from attrs import frozen
from msgspec import Meta

MAX_NESTING = 64
"""How deep arrays and objects may lie in each other, the payload itself being the first level."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_FLOAT32 = struct.Struct("<f")

Check = Callable[[Any, Any], Any]
"""Takes the JSON value (and its type, which cattrs passes and no check needs); returns the value to store."""


def json_name(name: str) -> str:
    """Give the JSON name of an attribute: ``session_id`` is ``sessionId``."""
    head, *tail = name.split("_")
    return head + "".join(map(str.title, tail))


# The wording of the Kotlin backend, which apps may have built on.
MISSING = "Missing or empty required field: {field}"
INVALID = "Invalid value for {field}: {problem}"
OUT_OF_RANGE = "Out-of-range value for field(s): {field}: {problem}"
SENTENCE = "{field} {problem}"


class FieldError(ValueError):
    """
    The value of one field breaks its rule.

    Args:
        problem: What is wrong, as the end of a sentence that begins with the field's name.
        message: The sentence a client is told, with ``{field}`` and ``{problem}`` to fill in.
        path: Where below the field, ``.tags[1]``.
    """

    def __init__(self, problem: str, message: str = INVALID, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.message = message
        self.path = path


def missing() -> FieldError:
    """Tell that a required field is absent, null or blank."""
    return FieldError("is missing or empty", MISSING)


class Rule(Protocol):
    """What a field's annotation has to offer."""

    def check(self, annotated: Any) -> Check:
        """Make the check for a field of the type *annotated*, which says whether null is allowed."""
        ...

    def constraint(self) -> Meta:
        """Give msgspec's constraint: as much of the check as it can do, and never more."""
        ...


def _is_optional(annotated: Any) -> bool:
    return type(None) in get_args(annotated)


@frozen(kw_only=True)
class Integer:
    """
    A whole number from *minimum* to *maximum*.

    Args:
        minimum: The smallest number allowed, 0 or 1.
        maximum: The largest number allowed.
        unset: Media3's way to say that there is no value; stored as ``None``.
    """

    minimum: int = 0
    maximum: int
    unset: int | None = None

    def check(self, annotated: Any) -> Check:
        """Make the check."""
        minimum, maximum, unset = self.minimum, self.maximum, self.unset
        optional = _is_optional(annotated)

        def check_integer(value: Any, _: Any) -> int | None:
            if type(value) is int:  # not isinstance(): True is an int to Python
                if minimum <= value <= maximum:
                    return value
                if optional and value == unset:
                    return None
                if value > maximum:
                    raise FieldError(f"must be at most {maximum}")
                if minimum:
                    raise FieldError("must be positive")
                raise FieldError("must be non-negative", OUT_OF_RANGE)
            if value is None:
                if optional:
                    return None
                raise missing()
            raise FieldError("must be an integer")

        return check_integer

    def constraint(self) -> Meta:
        """Give msgspec's constraint."""
        return Meta(ge=self.minimum, le=self.maximum)


@frozen
class Ratio:
    """A number from 0 to 1, rounded to the 32-bit float that is stored."""

    def check(self, annotated: Any) -> Check:  # noqa: ARG002 - every ratio is optional
        """Make the check."""

        def check_ratio(value: Any, _: Any) -> float | None:
            if value is None:
                return None
            if type(value) is not float and type(value) is not int:
                raise FieldError("must be a number")
            if not 0 <= value <= 1:
                raise FieldError("must be between 0 and 1 (inclusive)", SENTENCE)
            return float32(value)

        return check_ratio

    def constraint(self) -> Meta:
        """Give msgspec's constraint."""
        return Meta(ge=0, le=1)


def float32(value: float) -> float:
    """Round a number from 0 to 1 to the nearest 32-bit float; below the smallest of them it is 0, never -0."""
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    return abs(rounded)


@frozen(kw_only=True)
class Text:
    """
    A string that PostgreSQL can hold.

    Args:
        max_length: In characters, that is Unicode code points.
        blank: Whether nothing but white space is allowed.
    """

    max_length: int
    blank: bool = True

    def check(self, annotated: Any) -> Check:
        """Make the check."""
        max_length, blank = self.max_length, self.blank
        optional = _is_optional(annotated)

        def check_text(value: Any, _: Any) -> str | None:
            if type(value) is str:
                if len(value) > max_length:
                    raise FieldError(f"exceeds maximum length of {max_length} characters", SENTENCE)
                if not blank and not value.strip():
                    raise missing()
                _check_characters(value)
                return value
            if value is None:
                if optional:
                    return None
                raise missing()
            raise FieldError("must be a string")

        return check_text

    def constraint(self) -> Meta:
        """Give msgspec's constraint."""
        return Meta(max_length=self.max_length, min_length=None if self.blank else 1)


@frozen
class Choice:
    """
    One of the words of the field's ``Literal`` type.

    Args:
        name: What the words are called when one of them is wrong.
    """

    name: str

    def check(self, annotated: Any) -> Check:
        """Make the check."""
        name, choices = self.name, frozenset(get_args(annotated))

        def check_choice(value: Any, _: Any) -> str:
            if value is None:
                raise missing()
            if type(value) is not str:
                raise FieldError("must be a string")
            if value not in choices:
                # Cut short, so that the answer stays small whatever was sent.
                raise FieldError(f"'{value[:32]}' is not a valid {name}", SENTENCE)
            return value

        return check_choice

    def constraint(self) -> Meta:
        """Give msgspec's constraint."""
        return Meta()


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise FieldError("must not contain the NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FieldError("must not contain a lone surrogate") from None


def check_json(value: Any, level: int) -> None:
    """
    Check a value of no known type: an app's own field.

    Args:
        value: Any decoded JSON value.
        level: How many arrays and objects *value* lies in.

    Raises:
        FieldError: If it, or anything in it, cannot be stored and read back as it is; *path* says where.
    """
    if type(value) is dict:
        level = _deeper(level)
        for name, item in value.items():
            try:
                _check_name(name)
                check_json(item, level)
            except FieldError as error:
                error.path = f".{name}{error.path}"
                raise
    elif type(value) is list:
        level = _deeper(level)
        for index, item in enumerate(value):
            try:
                check_json(item, level)
            except FieldError as error:
                error.path = f"[{index}]{error.path}"
                raise
    else:
        _check_scalar(value)


def _deeper(level: int) -> int:
    if level >= MAX_NESTING:
        raise FieldError(f"must not be nested deeper than {MAX_NESTING} levels")
    return level + 1


def _check_scalar(value: Any) -> None:
    kind = type(value)
    if kind is str:
        _check_characters(value)
    elif kind is int:
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise FieldError("must fit in 64 bits")
    elif kind is float:
        if not math.isfinite(value):
            raise FieldError("must be a finite number")
    elif value is not None and kind is not bool:
        raise FieldError("must be a JSON value")


def _check_name(name: Any) -> None:
    if type(name) is not str:
        raise FieldError("must have a string as its name")
    _check_characters(name)
