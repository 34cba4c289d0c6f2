"""
The use case without a server: one payload in, one session stored.

The HTTP adapter does the same in two steps, so that it can share a transaction among requests: `parse_session`,
then `GroupCommitWriter.write`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3w_core._convert import parse_session, session_from_dict
from m3w_core.model import Session
from m3w_core.ports import SessionRepository


def ingest(payload: bytes | Mapping[str, Any], repository: SessionRepository) -> Session:
    """
    Validate one session summary and store it.

    Args:
        payload: The body of a request, or its decoded JSON object with the SDK's names.
        repository: Where the session is kept, one row per session ID.

    Returns:
        The session as read from the payload.

    Raises:
        InvalidSessionError: If fields are missing or out of range; all of them are named.
        SessionRefusedError: If the database refuses what it holds.
        StorageUnavailableError: If the database cannot be reached; the call may be repeated as it is.
    """
    session = parse_session(payload) if isinstance(payload, bytes) else session_from_dict(payload)
    repository.upsert([session])
    return session
