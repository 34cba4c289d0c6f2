"""
JSON text -> `Session` in one step, for what is as the SDK sends it.

msgspec checks types and bounds while it decodes, which takes half the time of decoding and then checking. But it
stops at the first problem, and a field without a rule is one to it. So what it does not take may still be right:
`m3w_core._convert` reads that, and names everything that is wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

import attrs
from msgspec import DecodeError, Meta, Raw, Struct, ValidationError, convert, defstruct
from msgspec.json import Decoder

from m3w_core.exceptions import InvalidSessionError
from m3w_core.model import MAX_TIMELINE_ENTRIES, Session, TimelineEntry
from m3w_core.validation import float32, json_name

#: What msgspec raises for a text that it does not take.
_NOT_TAKEN = (DecodeError, UnicodeDecodeError, RecursionError)

# Strings can hold it in this form only, if they are JSON.
_ESCAPED_NUL = b"\\u0000"


def _struct(cls: type[attrs.AttrsInstance], **others: Any) -> type[Struct]:
    """Make a type for msgspec, with the fields of *cls* that have rules, and *others* by their names."""
    fields: list[Any] = []
    for field in attrs.fields(attrs.resolve_types(cls)):
        if field.name in others:
            fields.append((field.name, others[field.name], None))
        elif field.name != "extra":
            allowed = _constrained(field.type)
            fields.append((field.name, allowed, None) if field.default is None else (field.name, allowed))
    return defstruct(cls.__name__, fields, rename=json_name, forbid_unknown_fields=True, kw_only=True)


def _constrained(annotated: Any) -> Any:
    """Give the type of a field with its rule as msgspec's constraint, which belongs inside an ``| None``."""
    kind, rule = annotated.__origin__, annotated.__metadata__[0]
    if type(None) not in get_args(kind):
        return Annotated[kind, rule.constraint()]
    return Annotated[get_args(kind)[0], rule.constraint()] | None


_entries: Any = Annotated[list[_struct(TimelineEntry)], Meta(max_length=MAX_TIMELINE_ENTRIES)]  # type: ignore[misc]

_decode_session = Decoder(_struct(Session, timeline_events=_entries | None)).decode
_decode_array = Decoder(list[Raw]).decode


def typed_session(body: bytes) -> Session | None:
    """Read a session summary; None where `m3w_core.parse_session` has to look closer."""
    try:
        decoded: Any = _decode_session(body)
    except _NOT_TAKEN:
        return None
    # What msgspec has no constraint for, or only a regular expression, which takes longer than to decode a field.
    if _ESCAPED_NUL in body or decoded.session_id.isspace() or decoded.session_start_date_iso.isspace():
        return None
    if decoded.timeline_events is None:
        decoded.timeline_events = ()
    session = convert(decoded, Session, from_attributes=True)
    if session.rebuffer_ratio is not None:
        session.rebuffer_ratio = float32(session.rebuffer_ratio)
    return session


def array_items(body: bytes) -> list[Raw]:
    """
    Give the text of each item of a JSON array, without a closer look at them; ``bytes()`` makes a copy of one.

    Raises:
        InvalidSessionError: If it is no JSON array.
    """
    try:
        return _decode_array(body)
    except ValidationError:
        raise InvalidSessionError("Invalid request body: must be a JSON array") from None
    except (DecodeError, RecursionError) as error:
        raise InvalidSessionError(f"Invalid request body: not valid JSON ({error})") from None
