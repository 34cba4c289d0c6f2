"""
The check of API keys.

A key is looked up by its SHA-256. How long that takes tells nothing about a key, neither its length nor how much
of it was right nor which one matched: whoever guesses cannot choose the digest of a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, Self

from attrs import field, frozen

from m3w_core.settings import Settings

#: The only valid key where none is configured or stored, and its name.
DEVELOPMENT_KEY, DEVELOPMENT_KEY_NAME = "dev-key", "dev"

#: What a key may be used for: single summaries, batches of them.
ROUTES: Final = ("sessions", "batch")


@frozen(kw_only=True)
class StoredKey:
    """
    A key of the table ``api_keys``; the key itself is kept nowhere.

    Args:
        name: What sessions and metrics call it.
        prefix: The first characters of the key.
        sha256: Of the key.
        routes: Which of `ROUTES` it may be used for.
        created_at: When it was made.
        revoked_at: Since when it is not valid; None while it is.
    """

    name: str
    prefix: str
    sha256: bytes = field(repr=False)
    routes: Sequence[str]
    created_at: datetime
    revoked_at: datetime | None = None


@frozen
class ApiKeys:
    """
    The keys that clients may use, each with a name that is no secret.

    Args:
        names: For each of `ROUTES`, the name of each key by its SHA-256. `from_keys` and `from_settings` make them.
        is_development: Whether one of them is the one that everybody knows. Warn before other machines can reach
            such a server.
        is_complete: Whether there are no others. While the stored ones have not been read, an unknown key may
            be right.
    """

    names: Mapping[str, Mapping[bytes, str]] = field(repr=False)
    is_development: bool = False
    is_complete: bool = True

    @classmethod
    def from_keys(
        cls,
        keys: Mapping[str, str],
        stored: Sequence[StoredKey] | None = (),
        *,
        is_development: bool = False,
    ) -> Self:
        """
        Take keys by their names.

        Args:
            keys: For all routes. Where two names have the same key, the first is what `identify` gives.
            stored: Those of the database, revoked ones too; None where they are not known.
            is_development: See the class.
        """
        digests = {name: digest(key) for name, key in keys.items()}
        valid = [key for key in stored or () if key.revoked_at is None]
        names = {
            route: {key.sha256: key.name for key in valid if route in key.routes}
            | {sha256: name for name, sha256 in reversed(digests.items())}
            for route in ROUTES
        }
        return cls(names, is_development, is_complete=stored is not None)

    @classmethod
    def from_settings(cls, settings: Settings, stored: Sequence[StoredKey] | None = ()) -> Self:
        """
        Take the configured and the stored keys, or the development key where there never was any.

        Args:
            settings: Whose keys may be used for all routes.
            stored: See `from_keys`.
        """
        keys = settings.api_keys
        if not keys and stored is not None and not stored:
            keys = {DEVELOPMENT_KEY_NAME: DEVELOPMENT_KEY}
        return cls.from_keys(keys, stored, is_development=DEVELOPMENT_KEY in keys.values())

    def identify(self, given: str | None, route: str = ROUTES[0]) -> str | None:
        """
        Tell whose key it is.

        Args:
            given: As the client sent it, whatever that is; None where it sent none.
            route: What it is used for, one of `ROUTES`.

        Returns:
            The name of the key, or None for no key of ours, or one that may not be used for this.
        """
        return None if given is None else self.names[route].get(digest(given))


def digest(key: str) -> bytes:
    """
    Give the SHA-256 of a key.

    A key made here is 256 random bits, which nobody finds by trying. A slow hash would protect nothing more, and
    every request would pay for it.
    """
    # surrogatepass: a header may hold any bytes, and a wrong key is a refusal, never an error.
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
