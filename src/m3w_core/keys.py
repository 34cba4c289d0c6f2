"""
API keys in the database: made, listed, revoked.

A key is shown once, when it is made; what is stored is its SHA-256. A revoked key keeps its row, because sessions
bear its name and another key must not get it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pg8000.native import Connection

from m3w_core._errors import translating
from m3w_core._variables import is_key_name
from m3w_core.auth import ROUTES, StoredKey, digest
from m3w_core.exceptions import KeyNameError

#: So that a key is recognised where it should not be, by people and by scanners for leaked secrets.
KEY_PREFIX = "m3w_"

#: How much of a key is stored and shown: the prefix and 36 of its 256 bits.
_SHOWN_CHARACTERS = len(KEY_PREFIX) + 6

_KEY_BYTES = 32

_INSERT = """
INSERT INTO api_keys (name, prefix, sha256, routes) VALUES (:name, :prefix, :sha256, :routes)
ON CONFLICT DO NOTHING RETURNING name
"""
_SELECT = """
SELECT name, prefix, sha256, routes, created_at, revoked_at FROM api_keys ORDER BY created_at, name
"""
_REVOKE = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE name = :name RETURNING name
"""


def add_key(connection: Connection, name: str, routes: Sequence[str] = ROUTES) -> str:
    """
    Make a key and store its digest.

    Args:
        connection: To a migrated database.
        name: Up to 64 letters, digits, - and _; no key ever had it.
        routes: Which of `ROUTES` it may be used for.

    Returns:
        The key, which cannot be read back.

    Raises:
        KeyNameError: If the name is taken or is none.
        StorageUnavailableError: If the database does not answer.
    """
    _check_name(name)
    if not is_key_name(name):
        raise KeyNameError("A key's name has up to 64 letters, digits, - and _. Choose another.")
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    with translating():
        added = connection.run(
            _INSERT,
            name=name,
            prefix=key[:_SHOWN_CHARACTERS],
            sha256=digest(key),
            routes=[route for route in ROUTES if route in routes],
        )
    if not added:
        raise KeyNameError(
            f"There is a key {name} already, or there was one: sessions are found by it. Choose another name."
        )
    return key


def stored_keys(connection: Connection) -> list[StoredKey]:
    """
    Read all keys, revoked ones too, in the order in which they were made.

    Raises:
        StorageUnavailableError: If the database does not answer or does not let us read them.
    """
    with translating():
        rows = connection.run(_SELECT)
    return [
        StoredKey(name=name, prefix=prefix, sha256=sha256, routes=routes, created_at=made, revoked_at=revoked)
        for name, prefix, sha256, routes, made, revoked in rows
    ]


def revoke_key(connection: Connection, name: str) -> None:
    """
    End the validity of a key; nothing happens where it ended before.

    Raises:
        KeyNameError: If no stored key has this name.
        StorageUnavailableError: If the database does not answer.
    """
    _check_name(name)
    with translating():
        revoked = connection.run(_REVOKE, name=name)
    if not revoked:
        raise KeyNameError(f"There is no stored key {name}. `m3w keys list` shows those that there are.")


def _check_name(name: str) -> None:
    if name.startswith(KEY_PREFIX):
        # It would be written into logs, metrics and rows.
        raise KeyNameError("This looks like a key, and what is needed is its name: `m3w keys list` shows it.")
