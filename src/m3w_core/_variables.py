"""
Environment variables: how one is read, and what kinds of value there are.

A parser gives the value of a text, or raises ValueError with what is expected and nothing of the text, which
may be secret; `read` shows it where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path

from attrs import frozen

_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[!-~]+")  # printable ASCII


@frozen
class Variable:
    """
    An environment variable.

    Args:
        name: As in the environment.
        description: One line, for README's table.
        parse: Gives the value of a text, or raises ValueError with what is expected.
        secret: Never shown, and may come from a file.
    """

    name: str
    description: str
    parse: Callable[[str], object] = str
    secret: bool = False


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() alone would take 8_080, other scripts' digits, and any number of them.
        digits = re.fullmatch(r"\s*([0-9]{1,18})\s*", text)
        if digits is None or not minimum <= int(digits[1]) <= maximum:
            raise ValueError(f"a whole number from {minimum} to {maximum}")
        return int(digits[1])

    return parse


def choice(**words: object) -> Callable[[str], object]:
    def parse(text: str) -> object:
        try:
            return words[text.strip().lower()]
        except KeyError:
            raise ValueError(f"one of {', '.join(words)}") from None

    return parse


switch = choice(true=True, false=False, yes=True, no=False, on=True, off=False, **{"1": True, "0": False})


def api_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError("printable ASCII characters without spaces, as the key travels in a header")
    return text


def password(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("UTF-8 text") from None
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return text


def is_key_name(text: str) -> bool:
    return _KEY_NAME.fullmatch(text) is not None


def named_api_keys(text: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for number, entry in enumerate(text.split(","), start=1):
        name, equals, key = entry.strip().partition("=")
        # What stands before the = may be a key where a name was forgotten, so it is not shown.
        if not equals or not _KEY_NAME.fullmatch(name) or not _KEY.fullmatch(key):
            raise ValueError(
                "name=key,name=key with names of up to 64 letters, digits, - and _ and keys of printable "
                f"ASCII characters without spaces or commas; entry {number} is not like that"
            )
        if name in keys:
            raise ValueError(f"a name once only; entry {number} repeats an earlier one's")
        keys[name] = key
    return keys


def networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(part.strip())) for part in text.split(","))
    except ValueError:
        raise ValueError("IP addresses or networks, 10.0.0.0/8, with commas between them") from None


def redis_uri(text: str) -> str:
    if not re.match(r"rediss?://[^\s]+\Z", text):
        raise ValueError("redis://host:6379/0, or rediss:// where it speaks TLS")
    return text


def read(variable: Variable, environ: Mapping[str, str], problems: list[str]) -> object | None:
    """Give the value of a variable, or None where it is not set or a problem was added to *problems*."""
    name = variable.name
    text = environ.get(name) or None
    path = environ.get(f"{name}_FILE") if variable.secret else None
    if path and text is not None:
        problems.append(f"{name}: set, and {name}_FILE too; leave one of them out")
        return None
    if path:
        name = f"{name}_FILE"
        try:
            text = _content(path)
        except ValueError as exc:
            problems.append(f"{name}: {path!r} {exc}")
            return None
    if text is None:
        return None
    try:
        return variable.parse(text)
    except ValueError as exc:
        bad = "" if variable.secret else f"{text[:60]!r} is not valid; "
        problems.append(f"{name}: {bad}expected {exc}")
        return None


def _content(path: str) -> str:
    try:
        text = Path(path).read_bytes().decode()
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    text = re.sub(r"\r?\n\Z", "", text)
    if not text:
        # Taken for "not set", it would open the server to the development key.
        raise ValueError("is empty")
    return text
