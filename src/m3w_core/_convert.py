"""
JSON object <-> `Session`: camelCase outside, snake_case inside.

The converter is our own, never cattrs' global one, and its hooks are the strict checks of `m3w_core.validation`;
cattrs by itself would turn ``"45000"`` into 45000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, get_origin

import attrs
import orjson
from cattrs import Converter
from cattrs.errors import BaseValidationError, ClassValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from m3w_core._problems import bad_fields, invalid_session
from m3w_core._typed import typed_session
from m3w_core.exceptions import InvalidSessionError
from m3w_core.model import MAX_TIMELINE_ENTRIES, Session, TimelineEntry
from m3w_core.validation import SENTENCE, Check, FieldError, check_json, json_name

#: In how many arrays and objects a session and a timeline entry lie.
_SESSION_LEVEL, _ENTRY_LEVEL = 0, 2

#: Every field that has a rule, by its JSON path, ``timelineEvents[].playbackState``.
KNOWN_FIELDS = frozenset(
    [json_name(field.name) for field in attrs.fields(Session) if field.name != "extra"]
    + [f"timelineEvents[].{json_name(field.name)}" for field in attrs.fields(TimelineEntry)]
)

#: Of an app's own fields in one object, so many bad ones are named.
_MAX_EXTRA_ERRORS = 100

# The fewest digits of an integer of more than 64 bits, every digit being made a 0.
_LONG_RUN, _DIGITS_TO_0 = b"0" * 19, bytes.maketrans(b"123456789", b"000000000")
# A run of digits is looked at once, with what tells that it is no integer: in a body that is all digits, trying each
# shorter part of it would take hours.
_LONG_DIGITS = re.compile(rb"[0-9]{19,}+[.eE]?")


def _overrides(cls: type[attrs.AttrsInstance]) -> Any:
    return {
        field.name: override(omit=True) if field.name == "extra" else override(rename=json_name(field.name))
        for field in attrs.fields(cls)
    }


def has_rule(cls: Any) -> bool:
    """Tell whether it is the type of a field with a rule, see `m3w_core.model`."""
    return get_origin(cls) is Annotated


def make_converter() -> Converter:
    """Make the converter of `Session` and `TimelineEntry`, for both directions."""
    converter = Converter()
    converter.register_structure_hook_factory(
        has_rule,
        lambda cls: cls.__metadata__[0].check(cls.__origin__),
    )
    converter.register_structure_hook(TimelineEntry, _entry_check(converter))
    timeline_check = _timeline_check(converter)
    converter.register_structure_hook_func(lambda cls: cls == tuple[TimelineEntry, ...], timeline_check)
    converter.register_structure_hook(Session, _session_check(converter))
    for cls in (TimelineEntry, Session):
        converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, converter, **_overrides(cls)))
    return converter


def _object_check(cls: type[attrs.AttrsInstance], converter: Converter, level: int) -> Check:
    """Make the check of an object of *cls*, which gives the instance and the fields *cls* does not know."""
    structure = make_dict_structure_fn(cls, converter, **_overrides(cls))
    known = frozenset(json_name(field.name) for field in attrs.fields(cls)) - {"extra"}

    def check_object(value: Any, _: Any) -> tuple[Any, dict[str, Any]]:
        if type(value) is not dict:
            raise FieldError("must be an object")
        extra = {} if known.issuperset(value) else {name: value[name] for name in value.keys() - known}
        errors: list[Exception] = []
        try:
            instance = structure(value, cls)
        except ClassValidationError as group:
            errors += group.exceptions
        if extra:
            errors += _extra_errors(extra, level)
        if errors:
            raise ClassValidationError("invalid", errors, cls)
        return instance, extra

    return check_object


def _extra_errors(extra: dict[str, Any], level: int) -> list[Exception]:
    errors: list[Exception] = []
    try:
        check_json(extra, level)
    except FieldError:
        # Which ones? Not all of them, as there is no limit to how many fields an app can make up.
        for name, item in extra.items():
            try:
                check_json({name: item}, level)
            except FieldError as error:
                errors.append(error)
                if len(errors) == _MAX_EXTRA_ERRORS:
                    break
    return errors


def _entry_check(converter: Converter) -> Check:
    check_object = _object_check(TimelineEntry, converter, _ENTRY_LEVEL)
    return lambda value, cls: check_object(value, cls)[0]


def _timeline_check(converter: Converter) -> Check:
    structure = converter.get_structure_hook(tuple[TimelineEntry, ...])

    def check_timeline(value: Any, cls: Any) -> tuple[TimelineEntry, ...]:
        if value is None:
            return ()
        if type(value) is not list:
            raise FieldError("must be an array")
        if len(value) > MAX_TIMELINE_ENTRIES:
            raise FieldError(f"exceeds maximum of {MAX_TIMELINE_ENTRIES} entries", SENTENCE)
        entries: tuple[TimelineEntry, ...] = structure(value, cls)
        return entries

    return check_timeline


def _session_check(converter: Converter) -> Check:
    check_object = _object_check(Session, converter, _SESSION_LEVEL)

    def check_session(value: Any, cls: Any) -> Session:
        session: Session
        session, extra = check_object(value, cls)
        return attrs.evolve(session, extra=extra) if extra else session

    return check_session


_converter = make_converter()
_structure_session = _converter.get_structure_hook(Session)


def session_from_dict(payload: Mapping[str, Any]) -> Session:
    """
    Read a session summary from a decoded JSON object.

    Args:
        payload: The SDK's fields by their JSON names; other fields are kept in ``extra``.

    Raises:
        InvalidSessionError: If fields are missing, of a wrong type or out of range; all of them are named.
    """
    try:
        session: Session = _structure_session(dict(payload), Session)
    except (BaseValidationError, FieldError) as error:
        raise invalid_session(bad_fields(error)) from None
    return session


def session_to_dict(session: Session) -> dict[str, Any]:
    """Write a session as the JSON object it came from; what the payload left out is there as null."""
    payload: dict[str, Any] = _converter.unstructure(session)
    return {**payload, **session.extra}


def session_from_json(payload: Any) -> Session:
    """
    Read a session summary from any decoded JSON value.

    Raises:
        InvalidSessionError: If it is no object, or one whose fields break a rule; all of them are named.
    """
    if type(payload) is not dict:
        raise InvalidSessionError("Invalid request body: must be a JSON object")
    return session_from_dict(payload)


def parse_session(body: bytes) -> Session:
    """
    Read a session summary from the body of a request.

    Args:
        body: A JSON object in UTF-8. Of a name that appears twice the last value counts.

    Raises:
        InvalidSessionError: If it is no JSON object, or one whose fields break a rule; all of them are named.
    """
    session = typed_session(body)
    if session is not None:
        return session
    session = session_from_json(decode(body))
    if session.extra:
        refuse_rounded(session, rounded_integers(body))
    return session


def decode(body: bytes) -> Any:
    """
    Decode JSON.

    Raises:
        InvalidSessionError: If it is not JSON in UTF-8, or holds a number that no float can hold.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidSessionError(f"Invalid request body: not valid JSON ({error})") from None


def rounded_integers(body: bytes) -> frozenset[float]:
    """
    Give what `decode` makes of the integers in *body* that have more than 64 bits: it reads them as floats.

    Those of 19 digits that fit are among them, those in strings too, all without their signs.
    """
    # Nearly always there are none, which is found out a hundred times faster than by the regular expression.
    if _LONG_RUN not in body.translate(_DIGITS_TO_0):
        return frozenset()
    return frozenset(float(digits) for digits in _LONG_DIGITS.findall(body) if digits[-1:].isdigit())


def refuse_rounded(session: Session, rounded: frozenset[float]) -> None:
    """
    Make sure that no integer in an app's own fields was rounded.

    Args:
        session: To look into.
        rounded: The `rounded_integers` of the body that it was read from.

    Raises:
        InvalidSessionError: If one was.
    """
    fields = [name for name, value in session.extra.items() if rounded and _holds(value, rounded)]
    if fields:
        raise invalid_session([(field, FieldError("must fit in 64 bits")) for field in fields])


def _holds(value: Any, numbers: frozenset[float]) -> bool:
    if type(value) is dict:
        return any(_holds(item, numbers) for item in value.values())
    if type(value) is list:
        return any(_holds(item, numbers) for item in value)
    return type(value) is float and abs(value) in numbers
