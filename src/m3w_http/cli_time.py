"""Times as options of commands: UTC unless they say otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

import click


def moment(text: str) -> datetime:
    """
    Read a date or time.

    Args:
        text: In ISO 8601; a date is its first moment.

    Raises:
        BadParameter: If it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no date or time like 2026-02-15 or 2026-02-15T10:00:00Z"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
