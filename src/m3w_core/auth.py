"""
The check of API keys.

Digests are compared, so that the time it takes tells nothing about a key, neither its length nor how much of
it was right; and every key is compared each time, so that it does not tell which one matched.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Self

from attrs import field, frozen

from m3w_core.settings import Settings

#: The only valid key where none is configured, and its name.
DEVELOPMENT_KEY, DEVELOPMENT_KEY_NAME = "dev-key", "dev"


@frozen
class ApiKeys:
    """
    The keys that clients may use, each with a name that is no secret.

    Args:
        digests: Name and SHA-256 of each key. `from_keys` makes them.
        is_development: Whether one of them is the one that everybody knows. Warn before other machines can reach
            such a server.
    """

    digests: tuple[tuple[str, bytes], ...] = field(repr=False)
    is_development: bool = False

    @classmethod
    def from_keys(cls, keys: Mapping[str, str], *, is_development: bool = False) -> Self:
        """
        Take keys by their names.

        Args:
            keys: Where two names have the same key, the first is what `identify` gives.
            is_development: See the class.
        """
        return cls(tuple((name, _digest(key)) for name, key in keys.items()), is_development)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take the configured keys, or the development key where there is none."""
        keys = settings.api_keys or {DEVELOPMENT_KEY_NAME: DEVELOPMENT_KEY}
        return cls.from_keys(keys, is_development=DEVELOPMENT_KEY in keys.values())

    def identify(self, given: str | None) -> str | None:
        """
        Tell whose key it is.

        Args:
            given: As the client sent it, whatever that is; None where it sent none.

        Returns:
            The name of the key, or None for no key of ours.
        """
        if given is None:
            return None
        digest = _digest(given)
        found = None
        for name, expected in self.digests:
            # No early exit, see the module.
            if compare_digest(digest, expected) and found is None:
                found = name
        return found


def _digest(key: str) -> bytes:
    # surrogatepass: a header may hold any bytes, and a wrong key is a refusal, never an error.
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
