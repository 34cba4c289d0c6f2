"""
What the core needs from the outside, as Protocols.

Bring another store by writing these methods; the tests in ``tests/contract`` say what each has to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from m3w_core.model import Session, StoredSession


class SessionRepository(Protocol):
    """
    Where sessions are kept, one row per session ID.

    The methods block and may be called from one thread at a time.
    """

    def upsert(self, sessions: Sequence[Session], received_via: Sequence[str | None] | None = None) -> None:
        """
        Store summaries, all or none of them; when it returns they are durable.

        The newest summary of a session wins: one with an older ``timestamp`` than the stored one changes
        nothing but the timeline. Every timeline entry that is not there yet is added, whatever summary
        carries it. Storing the same summary twice changes nothing.

        Args:
            sessions: In the order of arrival, which decides between equal timestamps; IDs may repeat.
            received_via: For each of them the name of the API key that it came with; it is kept with the
                summary.

        Raises:
            SessionRefusedError: If one of them cannot be stored for what it holds. None was stored.
            StorageUnavailableError: If the store cannot be reached. The call may be repeated as it is.
        """
        ...

    def get(self, session_id: str) -> StoredSession | None:
        """
        Read one session back, with its whole timeline.

        Raises:
            StorageUnavailableError: If the store cannot be reached.
        """
        ...

    def close(self) -> None:
        """Give back what is held open. The next call of another method opens it again."""
        ...
